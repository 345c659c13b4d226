//! The words of `flipguard status`, compared with one file. `UPDATE=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "audited/hostile.rs"]
mod hostile;

use std::fmt::Write as _;
use std::path::Path;

use flipguard::audit::extras::Extras;
use flipguard::audit::judge::{Options, judge};
use flipguard::offline::case::Case;
use flipguard::status::goal::{Goal, Progress, progress};
use flipguard::status::report::Problem;
use flipguard::status::signs::Signs;
use flipguard::status::tree::{Style, text};
use flipguard::status::{NamespaceStatus, status};
use hostile::make_hostile;

/// The cases whose namespaces are shown.
const CASES: [&str; 3] = ["seeing/a-colour-that-fails", "hold/redeployed", "live/delete-with-two-services"];

fn case(name: &str) -> NamespaceStatus {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name).with_extension("yaml");
    let (snapshot, policy) = Case::load(&file).unwrap().at_rest().unwrap();
    let mut status = status(&snapshot, &policy, &|_| true);
    status.add_problems(&judge(&snapshot, &Extras::default(), &policy, Options::default()));
    status
}

/// The text without the escape codes of its colours.
fn plain(text: &str) -> String {
    let mut kept = String::new();
    for (index, part) in text.split('\u{1b}').enumerate() {
        kept.push_str(if index == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) });
    }
    kept
}

#[test]
fn words_match_the_golden_file() {
    let mut all = String::new();
    for name in CASES {
        let shown = case(name);
        for (title, is_ascii, is_wide, has_details) in [
            ("", false, false, false),
            (", wide", false, true, false),
            (", in letters", true, false, false),
            (", with pods", false, false, true),
        ] {
            let style = Style { signs: Signs::new(is_ascii), is_wide, has_details, no_headers: false };
            let text = plain(&text(&shown, style));
            assert!(!is_ascii || text.is_ascii(), "{text}");
            writeln!(all, "## {name}{title}\n{text}").unwrap();
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/status.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &all).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&golden).unwrap(),
        all,
        "if this is intended: UPDATE=1 cargo test --test status"
    );
}

/// Several missing rights are one line; one alone is told in full, and `-o wide` tells all.
#[test]
fn missing_rights_are_one_line() {
    let mut shown = case(CASES[0]);
    let style = |is_wide| Style { signs: Signs::new(true), is_wide, has_details: false, no_headers: true };
    let forbidden = |what: &str| format!("{what}: it is forbidden: User \"bob\" cannot list it");
    shown.notes = vec![forbidden("the policies are unknown")];
    assert!(text(&shown, style(false)).contains("note: the policies are unknown: it is forbidden: User \"bob\""));
    shown.notes.push(forbidden("whether flipguard guards is unknown"));
    shown.notes.push("another".to_owned());
    let short = text(&shown, style(false));
    let one = "note: you lack rights to know all (-o wide says which): the policies are unknown; whether flipguard guards \
               is unknown\n";
    assert!(short.contains(one) && short.contains("note: another\n") && !short.contains("bob"), "{short}");
    assert_eq!(text(&shown, style(true)).matches("bob").count(), 2);
}

/// The worst set-ups are named in the first look at a namespace.
#[test]
fn errors_of_the_set_up_are_listed() {
    let mut shown = case(CASES[0]);
    let problem = |number: usize| Problem {
        code: "colours-mixed",
        object: format!("Service app-{number}"),
        message: "its selector app=shop serves blue and green".to_owned(),
    };
    shown.problems = Some((1..=7).map(problem).collect());
    let style = Style { signs: Signs::new(true), is_wide: false, has_details: false, no_headers: true };
    let text = text(&shown, style);
    assert!(text.contains("  Service app-5: its selector app=shop serves blue and green (colours-mixed)\n"), "{text}");
    assert!(text.contains("\n  and 2 more\n") && !text.contains("app-6"), "{text}");
}

/// Hidden characters are shown, and a long text is shortened, in each place that a text of the cluster may have.
#[test]
fn hostile_text_stays_text() {
    let evil = format!("\u{1b}]0;x\u{7}\u{202e}\n{}", "long ".repeat(20_000));
    for (is_ascii, is_wide, has_details) in [(false, false, false), (true, true, true)] {
        let mut shown = case(CASES[0]);
        make_hostile(&mut shown, &evil);
        let style = Style { signs: Signs::new(is_ascii), is_wide, has_details, no_headers: false };
        let text = plain(&text(&shown, style));
        assert!(!is_ascii || text.is_ascii(), "{text}");
        for letter in ['\u{1b}', '\u{7}', '\u{202e}'] {
            assert!(!text.contains(letter), "{letter:?}");
        }
        assert!(!text.lines().any(|line| line.starts_with("long")), "{text}");
        assert!(text.contains("\\u{1b}]0;x\\u{7}\\u{202e} long long") && text.contains("more characters)"), "{text}");
        // No line has more than a handful of such texts.
        assert!(text.lines().all(|line| line.chars().count() < 6000), "{}", text.len());
    }
}

#[test]
fn what_is_waited_for() {
    let shown = case(CASES[0]);
    let reached = |name: &str, goal: Goal| {
        let mut one = shown.clone();
        one.services.retain(|service| service.name == name);
        assert_eq!(one.services.len(), 1, "{name}");
        progress(&one, goal, &[])
    };
    assert_eq!(reached("app", Goal::Ready), Progress::Reached);
    let pay = reached("pay", Goal::Ready);
    assert!(matches!(&pay, Progress::Never(why) if why.contains("1 of 2 pods ready (pay-a-2-1: ImagePullBackOff)")));
    assert_eq!(reached("cart", Goal::Flippable), Progress::Reached);
    assert!(matches!(reached("cart", Goal::HeldOver), Progress::NotYet(why) if why == "cart: 1.9 is held"));
    assert_eq!(reached("app", Goal::HeldOver), Progress::Reached);
    assert!(matches!(progress(&shown, Goal::Ready, &[]), Progress::Never(_)));
}

/// Waiting is no use where only somebody, or other rights, would help.
#[test]
fn nothing_waits_in_vain() {
    let shown = case(CASES[0]);
    let of_preview = progress(&shown, Goal::Ready, &["app-preview".to_owned()]);
    let no_traffic = "app-preview is no traffic Service, so nothing is waited for: preview";
    assert!(matches!(&of_preview, Progress::Never(why) if why.starts_with(no_traffic)), "{of_preview:?}");
    let mut none = shown.clone();
    none.services.clear();
    assert!(matches!(progress(&none, Goal::Ready, &[]), Progress::NotYet(why) if why.contains("no traffic Service")));
    none.unread = vec!["pods in namespace shop: pods is forbidden".to_owned()];
    assert!(matches!(progress(&none, Goal::Ready, &[]), Progress::Unreadable(_)));
    none.unread = vec!["pods in namespace shop: no answer".to_owned()];
    assert!(matches!(progress(&none, Goal::Ready, &[]), Progress::NotYet(_)));
    let mut asleep = shown.clone();
    asleep.services.retain(|service| service.name == "cart");
    asleep.services[0].attention = Some("no ready pod gets its traffic".to_owned());
    let live = &mut asleep.services[0].colours[0].workloads[0];
    (live.desired, live.ready) = (0, 0);
    assert!(matches!(progress(&asleep, Goal::Ready, &[]), Progress::Never(why) if why.contains("is scaled to 0")));
}

/// The heading tells whether flipguard guards.
#[test]
fn a_namespace_that_is_not_guarded_says_so() {
    let style = Style { signs: Signs::new(true), is_wide: false, has_details: false, no_headers: false };
    let mut shown = case(CASES[0]);
    shown.guarded = None;
    assert!(text(&shown, style).contains("enforcement Deny, if flipguard guards"));
    (shown.guarded, shown.unguarded_because) = (Some(false), Some("flipguard is suspended: fire".to_owned()));
    let said = text(&shown, style);
    let first = said.lines().next().unwrap_or_default();
    assert!(first.ends_with("not guarded: flipguard is suspended: fire") && !said.contains("enforcement"), "{first}");
}
