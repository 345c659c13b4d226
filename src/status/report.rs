//! The facts about a namespace, as plain data.

use schemars::JsonSchema;
use serde::Serialize;

use super::past::PastFlip;
use crate::audit::checks::{LIVE_BELOW_FLOOR, LIVE_NOT_READY, Severity};
use crate::audit::finding::Finding;
use crate::audit::snapshot::Snapshot;
use crate::audit::whatif::{self, Answer, Decision};
use crate::model::{
    ClusterView, Enforcement, Override, Pod, Policy, Role, Selector, Service, Timestamp, Workload, annotation, setting,
};
use crate::policy::explain::{Explained, explain};
use crate::rules::state::backends::Backends;
use crate::rules::state::explain::held_for;
use crate::rules::state::readiness::first_failing;
use crate::rules::state::roles::role_because;
use crate::rules::state::traffic::TrafficService;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceStatus {
    /// Its name.
    pub namespace: String,
    /// Whether flipguard guards it at this moment; without it, that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<bool>,
    /// Why flipguard does not guard it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unguarded_because: Option<String>,
    /// `Deny` or `Warn`.
    pub enforcement: &'static str,
    /// The policy that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement_by: Option<String>,
    /// The traffic Services, by name.
    pub services: Vec<ServiceStatus>,
    /// All other Services, by name.
    pub others: Vec<OtherService>,
    /// What could not be read. Then nothing is said about colours and flips.
    pub unread: Vec<String>,
    /// Why holds and flips on record are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_ledger: Option<String>,
    /// The settings that are not the defaults, each with the policy that says it.
    pub settings: Vec<Explained>,
    /// The errors of the set-up; only `status` looks for them. A repeated look sees Services and workloads alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<Problem>>,
    /// What is unknown about the policies and about flipguard itself.
    pub notes: Vec<String>,
    /// Kinds that only the audit reads and could not read, each with the reason. Their checks were skipped.
    pub skipped: Vec<String>,
}

/// An error in the set-up: a finding of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The code of the check.
    pub code: &'static str,
    /// The object: `Service app`.
    pub object: String,
    /// What was found, in a sentence.
    pub message: String,
}

/// A traffic Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Why it is a traffic Service.
    pub because: &'static str,
    /// Whether blue-green is in use; elsewhere, every rule only warns.
    pub uses_blue_green: bool,
    /// The number of ready Pods behind it.
    pub ready: usize,
    /// The number of ready Pods that a change has to leave.
    pub floor: usize,
    /// The override that counts now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_override: Option<OverrideStatus>,
    /// The last flip on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_flip: Option<FlipRecord>,
    /// Its last flips, the newest first. They are read for Services that are named, and for the page.
    pub flips: Vec<PastFlip>,
    /// Its colours, the live one first.
    pub colours: Vec<ColourStatus>,
    /// Why it needs attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
}

/// One colour of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColourStatus {
    /// The colour: `green`.
    pub colour: String,
    /// Its role.
    pub role: ColourRole,
    /// The workloads that run it.
    pub workloads: Vec<WorkloadStatus>,
    /// How much longer it is held, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_seconds: Option<u64>,
    /// What a flip to it would be answered now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<FlipStatus>,
}

/// What a colour is to its Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ColourRole {
    /// It gets the traffic.
    Live,
    /// It got the traffic until a moment ago, and is kept.
    Held,
    /// Any other.
    Idle,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// As kubectl takes it: `deployment/app-blue`.
    pub workload: String,
    /// The image of its main container.
    pub image: String,
    /// The number of its Pods that serve.
    pub ready: usize,
    /// The desired number of Pods.
    pub desired: u32,
    /// The revision of its template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The first failing Pod with its reason, or another reason why it is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Whether waiting alone will not mend that.
    pub broken: bool,
    /// Its Pods, those that do not serve first; at most 10.
    pub pods: Vec<PodStatus>,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Whether it serves.
    pub ready: bool,
    /// Why it does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// The most Pods of a workload that are named.
const MOST_PODS: usize = 10;

/// What a flip would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlipStatus {
    /// `passes`, `not-yet`, `denied` or `unknown`.
    pub decision: &'static str,
    /// The codes of what denies it.
    pub denies: Vec<&'static str>,
    /// The codes of what warns.
    pub warns: Vec<&'static str>,
    /// Whether it is a rollback.
    pub rollback: bool,
    /// The first reason, in a sentence.
    pub because: String,
    /// The answer in a few words.
    pub words: String,
}

/// An override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideStatus {
    /// Its end.
    pub until: Timestamp,
    /// Its reason.
    pub reason: String,
}

/// A flip on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlipRecord {
    /// The time of the request.
    pub at: Timestamp,
    /// How long ago that was, in seconds.
    pub seconds_ago: u64,
    /// The colour before.
    pub from: String,
    /// Who asked for it.
    pub user: String,
    /// The field manager that asked for it.
    pub manager: String,
}

/// A Service that carries no traffic that is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherService {
    /// Its name.
    pub name: String,
    /// `preview`, `plain` or `unguarded`.
    pub role: &'static str,
    /// Why it has that role.
    pub because: &'static str,
}

/// The status of a namespace. Only the Services that `wanted` names are in it.
#[must_use]
pub fn status(snapshot: &Snapshot, policy: &Policy, wanted: &dyn Fn(&Service) -> bool) -> NamespaceStatus {
    let Snapshot { namespace, view, at, .. } = snapshot;
    let unread: Vec<String> =
        snapshot.failures().iter().map(|failure| format!("{}: {}", failure.what, failure.why)).collect();
    let mut services: Vec<&Service> =
        view.services.iter().filter(|service| !service.meta.deleting && wanted(service)).collect();
    services.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    let roles = services.into_iter().map(|service| (service, role_because(service, view, &policy.colours)));
    let (traffic, others): (Vec<_>, Vec<_>) = roles.partition(|(_, (role, _))| *role == Role::Traffic);
    let of_traffic = |(service, (_, because)): &(&Service, (Role, crate::model::Because))| {
        service_status(service, because.words(), view, policy, *at)
    };
    NamespaceStatus {
        namespace: namespace.clone(),
        guarded: Some(true),
        unguarded_because: None,
        enforcement: if policy.enforcement == Enforcement::Deny { "Deny" } else { "Warn" },
        enforcement_by: policy.source(setting::ENFORCEMENT).map(str::to_owned),
        services: if unread.is_empty() { traffic.iter().map(of_traffic).collect() } else { Vec::new() },
        others: others
            .iter()
            .map(|(service, (role, because))| OtherService {
                name: service.meta.name.clone(),
                role: role.name(),
                because: because.words(),
            })
            .collect(),
        unread,
        without_ledger: snapshot.without_ledger().map(|failure| format!("{}: {}", failure.what, failure.why)),
        settings: of_note(policy),
        problems: None,
        notes: policy.notes.clone(),
        skipped: Vec::new(),
    }
}

/// The settings that are not the defaults.
fn of_note(policy: &Policy) -> Vec<Explained> {
    let defaults = explain(&Policy::default());
    let is_default = |one: &Explained| one.policy.is_none() && defaults.contains(one);
    explain(policy).into_iter().filter(|one| !is_default(one)).collect()
}

fn service_status(
    service: &Service,
    because: &'static str,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> ServiceStatus {
    let facts = TrafficService::of(service, view, policy);
    let (ready, floor) = (facts.ready(), facts.floor);
    let attention = if ready == 0 && !facts.may_sleep {
        Some("no ready pod gets its traffic".to_owned())
    } else {
        (ready < floor && !facts.may_sleep).then(|| format!("it has {ready} ready of the {floor} that it needs"))
    };
    let mut colours = vec![live_colour(service, view, policy)];
    colours.extend(other_colours(service, view, policy, now));
    let record = view.records.last_flip(service).map(|flip| FlipRecord {
        at: flip.at,
        seconds_ago: now.since(flip.at).as_secs(),
        from: policy.colours.colour_of(&flip.from),
        user: flip.user.clone(),
        manager: flip.manager.clone(),
    });
    let active = service.meta.annotation(annotation::OVERRIDE).and_then(|value| Override::parse(value).ok());
    ServiceStatus {
        name: service.meta.name.clone(),
        because,
        uses_blue_green: facts.uses_blue_green,
        ready,
        floor,
        active_override: active
            .filter(|active| active.lasts(now, policy.max_override))
            .map(|Override { until, reason }| OverrideStatus { until, reason }),
        last_flip: record,
        flips: Vec::new(),
        colours,
        attention,
    }
}

fn live_colour(service: &Service, view: &ClusterView, policy: &Policy) -> ColourStatus {
    let backends = Backends::of(service.routed(), view);
    let mut workloads: Vec<WorkloadStatus> =
        backends.workloads.iter().map(|workload| workload_status(workload, service.routed(), view)).collect();
    let bare = backends.unowned.len() + backends.orphaned.len();
    if bare > 0 {
        let serving = backends.unowned.iter().chain(&backends.orphaned).filter(|pod| pod.serves()).count();
        workloads.push(WorkloadStatus {
            workload: "pods".to_owned(),
            image: String::new(),
            ready: serving,
            desired: u32::try_from(bare).unwrap_or(u32::MAX),
            revision: None,
            trouble: None,
            broken: false,
            pods: pod_statuses(backends.unowned.iter().chain(&backends.orphaned).copied().collect()),
        });
    }
    let colour = policy.colours.colour_of(service.routed());
    ColourStatus { colour, role: ColourRole::Live, workloads, held_seconds: None, flip: None }
}

fn other_colours(service: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<ColourStatus> {
    let selectors = whatif::other_colours(service, view, &policy.colours);
    let questions = whatif::flips(service, view, &policy.colours);
    let colour = |(selector, workloads): (&Selector, &Vec<&Workload>)| {
        let colour = policy.colours.colour_of(selector);
        let held = workloads.iter().filter_map(|workload| held_for(workload, view, policy, now)).max();
        let goes_there = |question: &&whatif::Question| matches!(&question.change.write, crate::model::Write::ServiceUpdate { new, .. } if new.selector == *selector);
        let answer = questions.iter().find(goes_there).map(|question| whatif::answer(question, view, policy, now));
        ColourStatus {
            role: if held.is_some() { ColourRole::Held } else { ColourRole::Idle },
            workloads: workloads.iter().map(|workload| workload_status(workload, selector, view)).collect(),
            held_seconds: held.map(|rest| rest.as_secs()),
            flip: answer.map(|answer| FlipStatus::of(&answer)),
            colour,
        }
    };
    selectors.iter().map(colour).collect()
}

fn workload_status(workload: &Workload, selector: &Selector, view: &ClusterView) -> WorkloadStatus {
    let pods = view.pods_of(workload);
    let ready = pods.iter().filter(|pod| pod.serves() && selector.matches(&pod.meta.labels)).count();
    let failing = first_failing(workload, view);
    let trouble = if workload.meta.deleting {
        Some("is being deleted".to_owned())
    } else if let Some(pod) = failing {
        Some(format!("{}: {}", pod.meta.name, pod.not_ready_because()))
    } else if workload.deadline_exceeded {
        Some("its rollout failed (ProgressDeadlineExceeded)".to_owned())
    } else if workload.paused {
        Some("its rollout is paused".to_owned())
    } else {
        (workload.desired == 0).then(|| "scaled to 0".to_owned())
    };
    WorkloadStatus {
        workload: format!("{}/{}", workload.kind.singular(), workload.meta.name),
        image: workload.template.main_image().unwrap_or_default().to_owned(),
        ready,
        desired: workload.desired,
        revision: workload.revision().or(workload.update_revision.as_deref()).map(str::to_owned),
        trouble,
        broken: workload.deadline_exceeded || failing.is_some_and(Pod::is_broken),
        pods: pod_statuses(pods),
    }
}

fn pod_statuses(mut pods: Vec<&Pod>) -> Vec<PodStatus> {
    pods.sort_by(|a, b| (a.serves(), &a.meta.name).cmp(&(b.serves(), &b.meta.name)));
    let of = |pod: &&Pod| PodStatus {
        name: pod.meta.name.clone(),
        ready: pod.serves(),
        because: (!pod.serves()).then(|| pod.not_ready_because().to_owned()),
    };
    pods.iter().take(MOST_PODS).map(of).collect()
}

impl FlipStatus {
    fn of(answer: &Answer) -> Self {
        Self {
            decision: answer.decision.name(),
            denies: answer.denies.clone(),
            warns: answer.warns.clone(),
            rollback: answer.is_rollback,
            because: answer.because.clone(),
            words: answer.to_string(),
        }
    }

    /// Whether the flip passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.decision == Decision::Passes.name()
    }
}

impl NamespaceStatus {
    /// Says of each flip that passes that it is unknown: a policy that could not be read may deny it.
    pub fn without_policies(&mut self) {
        let flips =
            self.services.iter_mut().flat_map(|service| &mut service.colours).filter_map(|one| one.flip.as_mut());
        for flip in flips.filter(|flip| flip.passes()) {
            flip.decision = Decision::Unknown.name();
            "unknown: no rule denies it, and a policy that cannot be read may".clone_into(&mut flip.words);
        }
    }

    /// Adds the errors among the findings of an audit. Of Services, only those that are shown count.
    pub fn add_problems(&mut self, findings: &[Finding]) {
        let is_shown = |finding: &&Finding| {
            let mut names = self.services.iter().map(|one| &one.name).chain(self.others.iter().map(|one| &one.name));
            finding.kind != "Service" || names.any(|name| *name == finding.name)
        };
        // The table says so already.
        let is_told = |finding: &&Finding| [LIVE_NOT_READY.code, LIVE_BELOW_FLOOR.code].contains(&finding.code);
        let errors = findings.iter().filter(|finding| finding.counts(Severity::Error) && !is_told(finding));
        let problem = |finding: &Finding| Problem {
            code: finding.code,
            object: format!("{} {}", finding.kind, finding.name),
            message: finding.message.clone(),
        };
        self.problems = Some(errors.filter(is_shown).map(problem).collect());
    }

    /// The Services that need attention, each with the reason.
    pub fn attention(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.iter().filter_map(|service| Some((service.name.as_str(), service.attention.as_deref()?)))
    }
}
