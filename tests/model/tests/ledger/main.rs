//! The exhaustive model of the intent ledger. It runs flipguard's own protocol and rules through every interleaving of
//! a few concurrent requests. The steps in between include controllers, label edits, crashes and abandoned requests.
//! Replicas see the cluster by reads at different instants.
//!
//! Four invariants must hold. A Service never routes to a colour of which nothing runs. The ledger never records an
//! event that did not happen, and never loses one that did. It never keeps the intent of a denied change. A flip is taken
//! for a rollback if and only if it is one. If a rollout completes between verdict and commit, either class is right.
//!
//! The model can fail: twenty-four deliberate mistakes are each found, with the history that leads to the error.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a model may panic where it is wrong itself, and its arrays are of a fixed size"
)]

mod cluster;
mod drain;
mod process;
mod search;

use std::io::Write;

use cluster::{Cluster, Colour, Shape};
use process::{Lost, Mistake, PolicyChange, Request};
use search::{Scenario, search};

use Colour::{Blue, Green};
use Request::{CreateService, Delete, DeleteService, Flip, Redeploy, ScaleToOne, ScaleToZero};

fn scenario(name: &'static str, requests: &[Request]) -> Scenario {
    let start = Cluster::new(true, 0);
    let requests = requests.to_vec();
    Scenario {
        name,
        start,
        requests,
        tries: 1,
        crashes: true,
        expiry: true,
        at_once: false,
        looks: 8,
        lost: Lost::Nothing,
        change: None,
    }
}

/// Prints even where the test harness captures output. The number of searched states shows the strength of the result.
macro_rules! say {
    ($($words:tt)*) => {
        drop(writeln!(std::io::stdout(), $($words)*))
    };
}

fn holds(scenario: &Scenario) {
    let started = std::time::Instant::now();
    let searched = search(scenario, None);
    say!(
        "{} {:?}: {} states, {} different verdicts, {:.1} s",
        scenario.name,
        scenario.requests,
        searched.states,
        searched.verdicts,
        started.elapsed().as_secs_f64()
    );
    if let Some(story) = searched.broken {
        panic!("{}:\n{story}", scenario.name);
    }
}

/// Every pair of requests, with two attempts each and a status write or label edit in between.
#[test]
fn every_two_requests() {
    let all = [
        Flip(Green),
        ScaleToZero(Green),
        Delete(Green),
        Redeploy(Green),
        Flip(Blue),
        ScaleToZero(Blue),
        Delete(Blue),
        Redeploy(Blue),
        DeleteService,
        CreateService(Green),
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let start = Cluster::new(true, 1);
            holds(&Scenario { start, tries: 2, ..scenario("two requests", &[*one, *other]) });
        }
    }
}

#[test]
fn three_requests() {
    let triples = [
        [Flip(Green), ScaleToZero(Green), DeleteService],
        [Flip(Green), Delete(Green), Flip(Blue)],
        [Flip(Green), ScaleToZero(Green), ScaleToZero(Green)],
        [Flip(Green), ScaleToZero(Blue), Redeploy(Green)],
        [DeleteService, CreateService(Green), Delete(Blue)],
    ];
    for triple in &triples {
        holds(&scenario("three requests", triple));
    }
}

/// An attempt that looks at few of the objects in the ledger leaves the others pending.
#[test]
fn three_requests_with_few_looks() {
    let triples = [
        [Flip(Green), ScaleToZero(Green), DeleteService],
        [Flip(Green), Delete(Green), Flip(Blue)],
        [DeleteService, CreateService(Green), Delete(Blue)],
    ];
    for triple in &triples {
        holds(&Scenario { looks: 0, at_once: true, ..scenario("three requests, few looks", triple) });
    }
}

/// The first dangerous requests of a namespace create the ledger.
#[test]
fn without_a_ledger_yet() {
    let start = Cluster { has_ledger: false, ..Cluster::new(true, 0) };
    let all = [
        Flip(Green),
        ScaleToZero(Green),
        Delete(Green),
        Flip(Blue),
        ScaleToZero(Blue),
        DeleteService,
        CreateService(Green),
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let start = start.clone();
            holds(&Scenario { start, ..scenario("two requests, no ledger", &[*one, *other]) });
        }
    }
    let triple = [ScaleToZero(Green), DeleteService, CreateService(Green)];
    holds(&Scenario { start, at_once: true, ..scenario("three requests, no ledger", &triple) });
}

/// All lists are read at one instant here, and attempts are abandoned instead of crashing. Other requests cannot tell
/// the difference.
#[test]
fn four_requests() {
    let quadruples = [
        [Flip(Green), ScaleToZero(Green), Delete(Green), DeleteService],
        [DeleteService, CreateService(Green), Delete(Blue), ScaleToZero(Green)],
    ];
    for quadruple in &quadruples {
        holds(&Scenario { crashes: false, expiry: false, at_once: true, ..scenario("four requests", quadruple) });
    }
}

/// Colours of two Pods that are replaced one by one. So some changes leave Pods, and rollouts take several steps.
#[test]
fn rollouts_of_two_pods() {
    let all = [Flip(Green), Redeploy(Green), ScaleToOne(Green), ScaleToZero(Green), Redeploy(Blue), ScaleToOne(Blue)];
    for shape in [Shape::Rolling, Shape::StatefulSet] {
        for (index, one) in all.iter().enumerate() {
            for other in &all[index..] {
                let start = Cluster::of(shape, 2, true, 0);
                let it = scenario("rollouts of two pods", &[*one, *other]);
                holds(&Scenario { start, tries: 2, at_once: true, ..it });
            }
        }
        let start = Cluster::of(shape, 2, true, 0);
        let triple = [Flip(Green), Redeploy(Green), ScaleToOne(Green)];
        holds(&Scenario { start, at_once: true, ..scenario("rollouts of two pods", &triple) });
    }
}

/// Where the live colour is alone, it is redeployed in place.
#[test]
fn rollouts_of_the_live_colour() {
    for shape in [Shape::Rolling, Shape::StatefulSet] {
        for one in [Redeploy(Blue), ScaleToOne(Blue), ScaleToZero(Blue), Delete(Blue)] {
            let start = Cluster::of(shape, 2, true, 1).without(Green);
            let it = scenario("rollouts of the live colour", &[Redeploy(Blue), one]);
            holds(&Scenario { start, tries: 2, ..it });
        }
        let start = Cluster::of(shape, 2, true, 0).without(Green);
        let triple = [Redeploy(Blue), ScaleToOne(Blue), Redeploy(Blue)];
        holds(&Scenario { start, at_once: true, ..scenario("rollouts of the live colour", &triple) });
    }
}

/// Answers of flipguard and of the ledger are lost. Where the API server need not wait, it admits the change. That change
/// has no guarantee, and neither have requests that were under way; all later ones have.
#[test]
fn answers_that_are_lost() {
    let all = [Flip(Green), ScaleToZero(Green), Delete(Green), Flip(Blue), DeleteService, CreateService(Green)];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let it = scenario("lost answers", &[*one, *other]);
            let it = Scenario { tries: 2, crashes: false, at_once: true, lost: Lost::Answers, ..it };
            if [one, other].contains(&&Delete(Green)) {
                let lost = Lost::AnswersAboutWorkloads;
                holds(&Scenario { lost, name: "lost answers, colour not certain", ..it.clone() });
            }
            holds(&it);
        }
    }
    let it = scenario("lost answers", &[Flip(Green), ScaleToZero(Green), Flip(Blue)]);
    holds(&Scenario { crashes: false, expiry: false, at_once: true, lost: Lost::Answers, ..it });
}

/// A policy changes once, at any time. Two replicas may judge by different ones until it is programmed.
#[test]
fn a_policy_that_changes() {
    let all = [Flip(Green), ScaleToOne(Green), ScaleToZero(Green), Redeploy(Green), Delete(Green), Flip(Blue)];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let it = scenario("a policy that changes", &[*one, *other]);
            let start = Cluster::of(Shape::Rolling, 2, true, 0);
            let change = Some(PolicyChange::Numbers);
            holds(&Scenario { start, change, tries: 2, crashes: false, at_once: true, ..it });
        }
    }
}

/// A policy adds the key of the colours. A change that the older policy left alone has no guarantee, and neither have
/// requests that were under way; all later ones have.
#[test]
fn a_policy_that_adds_a_key() {
    let all = [Flip(Green), ScaleToZero(Green), Delete(Green), Flip(Blue), DeleteService, CreateService(Green)];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let it = scenario("a policy that adds a key", &[*one, *other]);
            let change = Some(PolicyChange::AddsKey);
            holds(&Scenario { change, tries: 2, crashes: false, at_once: true, ..it });
        }
    }
    let it = scenario("a policy that adds a key", &[Flip(Green), ScaleToZero(Green), Flip(Blue)]);
    holds(&Scenario { change: Some(PolicyChange::AddsKey), crashes: false, expiry: false, at_once: true, ..it });
}

/// A flip is a rollback by the records if and only if it is one by the order of the commits.
#[test]
fn flips_are_classed_rightly() {
    // Away from a colour that never was ready, a flip passes to one with some ready Pods, although a rollout stops them.
    // A redeployment of green is therefore left out there: the Service routes to nothing before and after.
    let never_ready = || Cluster::of(Shape::Recreate, 2, true, 0).where_blue_never_was_ready();
    let ready = || Cluster::new(true, 0).with_a_clock();
    let all = [
        (ready(), vec![Flip(Green), Flip(Blue), Flip(Green)]),
        (ready(), vec![Flip(Green), Redeploy(Blue), Flip(Blue)]),
        (ready(), vec![Flip(Green), Flip(Blue), Redeploy(Green)]),
        (never_ready(), vec![Flip(Green), Flip(Blue)]),
        (never_ready(), vec![Flip(Green), Redeploy(Blue), Flip(Blue)]),
    ];
    for (start, requests) in all {
        let it = scenario("classes of flips", &requests);
        holds(&Scenario { start, crashes: false, expiry: false, at_once: true, ..it });
    }
}

/// Each committed change of a Service is in the history once, or still in the ledger, whenever a replica ends.
#[test]
fn changes_go_into_the_history() {
    let all = [
        vec![Flip(Green), Flip(Blue)],
        vec![Flip(Green), Flip(Green)],
        vec![Flip(Green), DeleteService],
        vec![Flip(Green), ScaleToZero(Blue)],
        vec![DeleteService, CreateService(Green)],
    ];
    for requests in all {
        let start = Cluster::new(true, 1).with_a_drain();
        let it = scenario("into the history", &requests);
        holds(&Scenario { start, tries: 2, crashes: false, expiry: false, at_once: true, ..it });
    }
    let start = Cluster::new(true, 0).with_a_drain();
    let it = scenario("into the history", &[Flip(Green), Flip(Blue), Flip(Green)]);
    holds(&Scenario { start, crashes: false, expiry: false, at_once: true, ..it });
}

#[test]
fn draining_before_adding_breaks() {
    let start = Cluster::new(true, 0).with_a_drain();
    is_found_from(start, "drains first", Mistake::DrainsFirst, &[Flip(Green), Flip(Blue)]);
}

#[test]
fn adding_what_is_not_written_breaks() {
    let start = Cluster::new(true, 1).with_a_drain();
    is_found_from(start, "adds unwritten", Mistake::AddsUnwritten, &[Flip(Green), Flip(Blue)]);
}

#[test]
fn adding_twice_breaks() {
    let start = Cluster::new(true, 0).with_a_drain();
    is_found_from(start, "adds twice", Mistake::AddsTwice, &[Flip(Green), Flip(Blue)]);
}

/// A replica takes a former ledger that it remembers for the stored one.
#[test]
fn ledgers_that_are_remembered() {
    let all = [Flip(Green), ScaleToZero(Green), Delete(Green), Flip(Blue), DeleteService, CreateService(Green)];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index..] {
            let start = Cluster::new(true, 0).with_memory();
            let it = scenario("remembered ledgers", &[*one, *other]);
            holds(&Scenario { start, tries: 2, at_once: true, ..it });
        }
    }
    let triples = [
        [Flip(Green), ScaleToZero(Green), DeleteService],
        [Flip(Green), Delete(Green), Flip(Blue)],
        [DeleteService, CreateService(Green), Delete(Blue)],
    ];
    for triple in &triples {
        let start = Cluster::new(true, 0).with_memory();
        let it = scenario("remembered ledgers", triple);
        holds(&Scenario { start, crashes: false, expiry: false, at_once: true, ..it });
    }
}

#[test]
fn trusting_a_remembered_ledger_breaks() {
    let start = Cluster::new(true, 0).with_memory();
    is_found_from(start, "trusts memory", Mistake::TrustsMemory, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn trusting_the_version_in_the_review_breaks() {
    let start = Cluster::new(true, 1).with_a_drain();
    is_found_from(start, "trusts the review", Mistake::TrustsTheReview, &[Flip(Green), Flip(Green)]);
}

/// Asserts that a mistake is found, and prints the history of the error.
fn is_found(what: &str, mistake: Mistake, requests: &[Request]) {
    // This mistake is possible only where there is no ledger yet.
    let has_ledger = mistake != Mistake::LooksOnce;
    is_found_from(Cluster { has_ledger, ..Cluster::new(true, 1) }, what, mistake, requests);
}

fn is_found_from(start: Cluster, what: &str, mistake: Mistake, requests: &[Request]) {
    let loses = matches!(mistake, Mistake::WithdrawsUnanswered | Mistake::LeavesStray);
    let lost = if loses { Lost::AnswersAboutWorkloads } else { Lost::Nothing };
    let it = scenario("", requests);
    is_found_in(what, mistake, &Scenario { start, tries: 2, lost, ..it });
}

fn is_found_in(what: &str, mistake: Mistake, scenario: &Scenario) {
    let scenario = Scenario { crashes: false, expiry: false, at_once: true, ..scenario.clone() };
    let searched = search(&scenario, Some(mistake));
    match searched.broken {
        Some(story) => say!("{what}: found after {} states\n{story}\n", searched.states),
        None => panic!("{what}: not found in {} states", searched.states),
    }
}

/// Two requests under a policy that adds the key of the colours.
fn is_found_while_a_key_is_added(what: &str, mistake: Mistake) {
    let it = scenario("", &[Flip(Green), ScaleToZero(Green)]);
    is_found_in(what, mistake, &Scenario { change: Some(PolicyChange::AddsKey), ..it });
}

#[test]
fn without_a_ledger_it_breaks() {
    is_found("no ledger", Mistake::NoLedger, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn with_a_lock_around_each_admission_it_breaks() {
    is_found("a mutex", Mistake::Mutex, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn where_only_flips_write_it_breaks() {
    is_found("flips only", Mistake::FlipsOnly, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn reading_before_the_ledger_breaks() {
    is_found("reads before the ledger", Mistake::ReadsBeforeLedger, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn reading_before_the_objects_of_others_breaks() {
    is_found("reads before looking", Mistake::ReadsBeforeLooking, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn keeping_reads_after_a_conflict_breaks() {
    is_found("keeps what was read", Mistake::KeepsWhatWasRead, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn an_early_expiry_breaks() {
    is_found("early expiry", Mistake::EarlyExpiry, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn expiring_without_a_read_breaks() {
    is_found("dropped unseen", Mistake::DropsUnseen, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn trying_only_none_and_all_breaks() {
    is_found("only none and all", Mistake::OnlyNoneAndAll, &[Flip(Green), DeleteService, ScaleToZero(Green)]);
}

#[test]
fn leaving_out_an_intent_that_matters_breaks() {
    is_found("leaves one out", Mistake::LeavesOneOut, &[Flip(Green), ScaleToZero(Green)]);
}

#[test]
fn withdrawing_by_object_breaks() {
    is_found("withdrawn by object", Mistake::WithdrawByObject, &[Flip(Green), ScaleToZero(Green), Delete(Green)]);
}

#[test]
fn reading_a_missing_ledger_once_breaks() {
    is_found("looks once", Mistake::LooksOnce, &[ScaleToZero(Green), DeleteService, CreateService(Green)]);
}

#[test]
fn taking_a_changed_version_for_a_commit_breaks() {
    is_found("moved is committed", Mistake::MovedIsCommitted, &[Flip(Green), ScaleToZero(Blue)]);
}

#[test]
fn taking_a_rollout_for_over_breaks() {
    for shape in [Shape::Rolling, Shape::StatefulSet] {
        let start = Cluster::of(shape, 2, true, 0).without(Green);
        is_found_from(start, "rollouts for over", Mistake::TakesRolloutsForOver, &[Redeploy(Blue), ScaleToOne(Blue)]);
    }
}

#[test]
fn without_a_ledger_a_rollout_breaks() {
    for shape in [Shape::Rolling, Shape::StatefulSet] {
        let start = Cluster::of(shape, 2, true, 0);
        let requests = [Flip(Green), Redeploy(Green), ScaleToOne(Green)];
        is_found_from(start, "no ledger, rollouts", Mistake::NoLedger, &requests);
    }
}

#[test]
fn withdrawing_what_may_pass_unanswered_breaks() {
    is_found("withdraws unanswered", Mistake::WithdrawsUnanswered, &[Flip(Green), Delete(Green)]);
}

#[test]
fn leaving_a_stray_intent_breaks() {
    is_found("leaves a stray", Mistake::LeavesStray, &[Flip(Green), Delete(Green)]);
}

#[test]
fn forgetting_earlier_flips_breaks() {
    let start = Cluster::new(true, 0).with_a_clock();
    let requests = [Flip(Green), Flip(Blue), Flip(Green)];
    is_found_from(start, "forgets earlier flips", Mistake::ForgetsEarlierFlips, &requests);
}

#[test]
fn taking_age_for_service_breaks() {
    let start = Cluster::of(Shape::Recreate, 2, true, 0).where_blue_never_was_ready();
    is_found_from(start, "age for service", Mistake::TakesAgeForService, &[Flip(Green), Flip(Blue)]);
}

#[test]
fn telling_too_early_that_a_policy_is_programmed_breaks() {
    is_found_while_a_key_is_added("programmed early", Mistake::ProgrammedEarly);
}

#[test]
fn keeping_half_of_an_older_policy_breaks() {
    is_found_while_a_key_is_added("half of the old policy", Mistake::KeepsHalfOfTheOldPolicy);
}
