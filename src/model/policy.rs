//! The settings of an administrator, as they count for one namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{ColourScheme, Gate, Timestamp, User};

/// The settings that rules depend on: what policies say, merged with the flags and the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The labels by which colours are marked.
    pub colours: ColourScheme,
    /// Whether a denial denies the request or only warns.
    pub enforcement: Enforcement,
    /// Whether a policy enforces what the flag would only warn of.
    pub enforces_beyond_flag: bool,
    /// Whether a denial that resolves by waiting denies a dry run; `Warn` by default.
    pub dry_run: Enforcement,
    /// The percentage of a target's Pods that must be ready for a flip to it; 100 by default.
    pub ready_percent: u32,
    /// What counts as ready; `Available` by default.
    pub basis: ReadinessBasis,
    /// The ready Pods that a target should have, as a percentage of the current colour's; 100 by default.
    pub parity_percent: u32,
    /// How long a target has to be ready before a flip to it; 0 by default.
    pub soak: Duration,
    /// What has to be proved before a flip; nothing by default.
    pub gates: Vec<Gate>,
    /// The number of ready Pods that a change has to leave; `None` where nobody says one, which counts as 1.
    pub floor: Option<u32>,
    /// The percentage above which a cut of the live colour is told of; 50 by default.
    pub shrink_percent: u32,
    /// The time for which the previous colour is kept after a flip; 120 s by default.
    pub hold: Duration,
    /// How long after a rollback the version that it left is denied; 0 by default.
    pub quarantine: Duration,
    /// The percentage of a colour's Pods that must be ready for a rollback to it; 50 by default.
    pub rollback_percent: u32,
    /// How far ahead an override may end; 1 h by default, and at most.
    pub max_override: Duration,
    /// The labels that are added to Deployments.
    pub labels: Labelling,
    /// The actions that differ from the table of rules, by reason code; none by default.
    pub actions: BTreeMap<String, Action>,
    /// The changes that may pass although a rule denies them; none by default.
    pub exemptions: Vec<Exemption>,
    /// The name of the policy that says a setting, by the path of the setting ([`setting`]). What nobody says is not here.
    pub said_by: BTreeMap<String, String>,
    /// What is unknown about the policies, in words; each judged answer says it.
    pub notes: Vec<String>,
    /// The policies that select the namespace, each as `NAME@GENERATION`; those that may select it, too.
    pub versions: Vec<String>,
}

/// The paths of the settings that messages name a policy for.
pub mod setting {
    /// `spec.enforcement`.
    pub const ENFORCEMENT: &str = "enforcement";
    /// `spec.dryRun`.
    pub const DRY_RUN: &str = "dryRun";
    /// `spec.colours.keys`.
    pub const COLOUR_KEYS: &str = "colours.keys";
    /// `spec.colours.names`.
    pub const COLOUR_NAMES: &str = "colours.names";
    /// `spec.colours.previewWords`.
    pub const PREVIEW_WORDS: &str = "colours.previewWords";
    /// `spec.flip.minReadyPercent`.
    pub const READY_PERCENT: &str = "flip.minReadyPercent";
    /// `spec.flip.readinessBasis`.
    pub const BASIS: &str = "flip.readinessBasis";
    /// `spec.flip.parityPercent`.
    pub const PARITY_PERCENT: &str = "flip.parityPercent";
    /// `spec.flip.soak`.
    pub const SOAK: &str = "flip.soak";
    /// `spec.flip.gates`.
    pub const GATES: &str = "flip.gates";
    /// `spec.live.floor`.
    pub const FLOOR: &str = "live.floor";
    /// `spec.live.shrinkPercent`.
    pub const SHRINK_PERCENT: &str = "live.shrinkPercent";
    /// `spec.rollback.hold`.
    pub const HOLD: &str = "rollback.hold";
    /// `spec.rollback.quarantine`.
    pub const QUARANTINE: &str = "rollback.quarantine";
    /// `spec.rollback.minReadyPercent`.
    pub const ROLLBACK_PERCENT: &str = "rollback.minReadyPercent";
    /// `spec.override.max`.
    pub const MAX_OVERRIDE: &str = "override.max";
    /// `spec.labels.mode`.
    pub const LABELS_MODE: &str = "labels.mode";
    /// `spec.labels.podTemplate`.
    pub const LABELS_POD_TEMPLATE: &str = "labels.podTemplate";
    /// `spec.labels.colourKey`.
    pub const LABELS_COLOUR_KEY: &str = "labels.colourKey";
    /// `spec.labels.versionKey`.
    pub const LABELS_VERSION_KEY: &str = "labels.versionKey";

    /// The path of a rule's action: `rules.held-deleted`.
    #[must_use]
    pub fn rule(code: &str) -> String {
        format!("rules.{code}")
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            colours: ColourScheme::default(),
            enforcement: Enforcement::default(),
            enforces_beyond_flag: false,
            dry_run: Enforcement::Warn,
            ready_percent: 100,
            basis: ReadinessBasis::default(),
            parity_percent: 100,
            soak: Duration::ZERO,
            gates: Vec::new(),
            floor: None,
            shrink_percent: 50,
            hold: Duration::from_secs(120),
            quarantine: Duration::ZERO,
            rollback_percent: 50,
            max_override: Duration::from_secs(3600),
            labels: Labelling::default(),
            actions: BTreeMap::new(),
            exemptions: Vec::new(),
            said_by: BTreeMap::new(),
            notes: Vec::new(),
            versions: Vec::new(),
        }
    }
}

impl Policy {
    /// The name of the policy that says a setting.
    #[must_use]
    pub fn source(&self, setting: &str) -> Option<&str> {
        self.said_by.get(setting).map(String::as_str)
    }
}

/// Whether a denial denies the request or only warns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Enforcement {
    /// Every denial becomes a warning, for a trial period.
    Warn,
    /// Denied changes are denied.
    #[default]
    Deny,
}

/// What counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ReadinessBasis {
    /// A Pod that is Ready.
    Ready,
    /// A Pod that has been Ready for `minReadySeconds`.
    #[default]
    Available,
}

/// The labels that are added to Deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelling {
    /// Whether labels are added at all; true by default.
    pub is_on: bool,
    /// Whether the Pod template gets labels where it changes; true by default.
    pub on_pod_template: bool,
    /// The key of a colour on a Deployment that has none yet; `color` by default.
    pub colour_key: String,
    /// The key of a version; `version` by default.
    pub version_key: String,
}

impl Default for Labelling {
    fn default() -> Self {
        Self { is_on: true, on_pod_template: true, colour_key: "color".to_owned(), version_key: "version".to_owned() }
    }
}

/// The action of a rule's finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The rule finds nothing.
    Off,
    /// The finding is only logged; the user sees nothing.
    Audit,
    /// The user is warned, and the change is allowed.
    Warn,
    /// The change is denied.
    Deny,
}

/// Changes that may pass although a rule denies them. It counts as a whole: one subject, one rule and one Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exemption {
    /// The name of the policy that has it.
    pub policy: String,
    /// Its own name.
    pub name: String,
    /// The codes of the rules that it lifts.
    pub rules: BTreeSet<String>,
    /// Who is exempt.
    pub subjects: Vec<ExemptSubject>,
    /// The names of traffic Services; `*` stands for every name, or for the end of one.
    pub services: Vec<String>,
    /// Why.
    pub reason: String,
    /// The end, by the API server's clock.
    pub expires: Option<Timestamp>,
}

/// Who is exempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExemptSubject {
    /// A user, by name. A ServiceAccount has the name `system:serviceaccount:NAMESPACE:NAME`.
    User(String),
    /// All users of a group.
    Group(String),
}

impl Exemption {
    /// Whether it counts for this user at this time.
    #[must_use]
    pub fn counts_for(&self, user: &User, now: Timestamp) -> bool {
        let is_user = |subject: &ExemptSubject| match subject {
            ExemptSubject::User(name) => *name == user.name,
            ExemptSubject::Group(name) => user.groups.contains(name),
        };
        self.expires.is_none_or(|end| now < end) && self.subjects.iter().any(is_user)
    }

    /// Whether it lifts a rule about this traffic Service.
    #[must_use]
    pub fn lifts(&self, code: &str, service: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => service.starts_with(beginning),
            None => pattern == service,
        };
        self.rules.contains(code) && self.services.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemption_counts_as_a_whole() {
        let exemption = Exemption {
            policy: "production".to_owned(),
            name: "night".to_owned(),
            rules: ["live-scaled-down".to_owned()].into(),
            subjects: vec![
                ExemptSubject::User("system:serviceaccount:scaler:scaler".to_owned()),
                ExemptSubject::Group("ops".into()),
            ],
            services: vec!["app".to_owned(), "shop-*".to_owned()],
            reason: String::new(),
            expires: Some(Timestamp(100)),
        };
        let scaler = User { name: "system:serviceaccount:scaler:scaler".to_owned(), ..User::default() };
        let member = User { groups: vec!["ops".to_owned()], ..User::default() };
        assert!(exemption.counts_for(&scaler, Timestamp(99)) && exemption.counts_for(&member, Timestamp(99)));
        assert!(!exemption.counts_for(&scaler, Timestamp(100)), "it has ended");
        assert!(!exemption.counts_for(&User::default(), Timestamp(0)));
        assert!(exemption.lifts("live-scaled-down", "app") && exemption.lifts("live-scaled-down", "shop-web"));
        assert!(!exemption.lifts("live-scaled-down", "apps") && !exemption.lifts("live-scaled-down", "shop"));
        assert!(!exemption.lifts("live-deleted", "app"));
        let all = Exemption { services: vec!["*".to_owned()], ..exemption };
        assert!(all.lifts("live-scaled-down", "anything"));
    }
}
