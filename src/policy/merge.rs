//! The merge.
//!
//! Among the policies that select a namespace, for each setting the strictest that is said wins. What nobody says is the
//! default. An exemption lifts what its own policy says and what nobody says, never what another policy says.
//!
//! The outcome depends on no age and no order: ties are broken by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::resource::{BlueGreenPolicySpec, ExemptSubject, LabelMode, LabelSettings, PodTemplateLabels, SubjectKind};
use super::value::{LabelKey, Word};
use crate::model::{self, Action, Enforcement, Exemption, Gate, Policy, setting};
use crate::rules::Reason;

/// A policy that selects a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `spec`.
    pub spec: &'a BlueGreenPolicySpec,
}

/// What policies say together; `flags` says what counts where nobody says anything.
#[must_use]
pub fn merge(flags: &Policy, policies: &[Named<'_>]) -> Policy {
    let mut policies = policies.to_vec();
    policies.sort_by_key(|policy| policy.name);
    policies.dedup_by_key(|policy| policy.name);
    let mut merging = Merging { merged: flags.clone(), policies: &policies };
    merging.whether_it_denies(flags.enforcement);
    merging.colours();
    merging.numbers();
    merging.labels(flags);
    merging.actions();
    merging.merged.exemptions = exemptions(&policies);
    merging.merged
}

struct Merging<'a> {
    merged: Policy,
    /// The policies, by name.
    policies: &'a [Named<'a>],
}

impl Merging<'_> {
    /// The strictest value that is said, noted with the first policy that says it.
    fn strictest<T: PartialOrd + Copy>(
        &mut self,
        path: &str,
        said: impl Fn(&BlueGreenPolicySpec) -> Option<T>,
        is_stricter: impl Fn(T, T) -> bool,
    ) -> Option<T> {
        let mut found: Option<(T, &str)> = None;
        for policy in self.policies {
            let Some(value) = said(policy.spec) else { continue };
            if found.is_none_or(|(strictest, _)| is_stricter(value, strictest)) {
                found = Some((value, policy.name));
            }
        }
        let (value, name) = found?;
        self.merged.said_by.insert(path.to_owned(), name.to_owned());
        Some(value)
    }

    fn larger<T: PartialOrd + Copy>(
        &mut self,
        path: &str,
        said: impl Fn(&BlueGreenPolicySpec) -> Option<T>,
    ) -> Option<T> {
        self.strictest(path, said, |value, strictest| value > strictest)
    }

    fn smaller<T: PartialOrd + Copy>(
        &mut self,
        path: &str,
        said: impl Fn(&BlueGreenPolicySpec) -> Option<T>,
    ) -> Option<T> {
        self.strictest(path, said, |value, strictest| value < strictest)
    }

    fn whether_it_denies(&mut self, flag: Enforcement) {
        if let Some(said) = self.larger(setting::ENFORCEMENT, |spec| spec.enforcement.map(Enforcement::from)) {
            self.merged.enforcement = said;
            self.merged.enforces_beyond_flag = said > flag;
        }
        if let Some(said) = self.larger(setting::DRY_RUN, |spec| spec.dry_run.map(Enforcement::from)) {
            self.merged.dry_run = said;
        }
    }

    fn colours(&mut self) {
        let keys = self.union(setting::COLOUR_KEYS, |spec| spec.colours.as_ref().map_or(&[][..], |said| &said.keys));
        if !keys.is_empty() {
            let is_version = |key: &LabelKey| key.0.eq_ignore_ascii_case(&self.merged.colours.version_key);
            self.merged.colours.pins_version = keys.iter().any(is_version);
            self.merged.colours.keys = keys.iter().filter(|key| !is_version(key)).map(|key| key.0.clone()).collect();
        }
        let names = self.union(setting::COLOUR_NAMES, |spec| spec.colours.as_ref().map_or(&[][..], |said| &said.names));
        if !names.is_empty() {
            self.merged.colours.names = names.into_iter().map(|name| name.0).collect();
        }
        // A Service with such a name is not guarded, so fewer words are stricter.
        let mut words: Option<BTreeSet<Word>> = None;
        for policy in self.policies {
            let Some(said) = policy.spec.colours.as_ref().and_then(|said| said.preview_words.as_ref()) else {
                continue;
            };
            let said: BTreeSet<Word> = said.iter().cloned().collect();
            self.merged.said_by.entry(setting::PREVIEW_WORDS.to_owned()).or_insert_with(|| policy.name.to_owned());
            words = Some(words.map_or_else(|| said.clone(), |words| words.intersection(&said).cloned().collect()));
        }
        if let Some(words) = words {
            self.merged.colours.preview_words = words.into_iter().map(|word| word.0).collect();
        }
    }

    /// All that is said, in order.
    fn union<T: Ord + Clone>(&mut self, path: &str, said: impl Fn(&BlueGreenPolicySpec) -> &[T]) -> Vec<T> {
        let mut all = BTreeSet::new();
        for policy in self.policies {
            let said = said(policy.spec);
            if !said.is_empty() {
                self.merged.said_by.entry(path.to_owned()).or_insert_with(|| policy.name.to_owned());
            }
            all.extend(said.iter().cloned());
        }
        all.into_iter().collect()
    }

    /// All gates of all policies. Two with one name count both.
    fn gates(&mut self) {
        let mut all: Vec<Gate> = Vec::new();
        for policy in self.policies {
            let said = policy.spec.flip.as_ref().map_or(&[][..], |flip| &flip.gates);
            if !said.is_empty() {
                self.merged.said_by.entry(setting::GATES.to_owned()).or_insert_with(|| policy.name.to_owned());
            }
            for gate in said.iter().map(|gate| gate_of(gate, policy.name)) {
                if !all.iter().any(|other| other.demands_as(&gate)) {
                    all.push(gate);
                }
            }
        }
        all.sort();
        if !all.is_empty() {
            self.merged.gates = all;
        }
    }

    fn numbers(&mut self) {
        let percent = |said: Option<i32>| said.and_then(|said| u32::try_from(said).ok());
        if let Some(said) = self.larger(setting::READY_PERCENT, |s| percent(s.flip.as_ref()?.min_ready_percent)) {
            self.merged.ready_percent = said;
        }
        if let Some(said) =
            self.larger(setting::BASIS, |s| s.flip.as_ref()?.readiness_basis.map(model::ReadinessBasis::from))
        {
            self.merged.basis = said;
        }
        if let Some(said) = self.larger(setting::PARITY_PERCENT, |s| percent(s.flip.as_ref()?.parity_percent)) {
            self.merged.parity_percent = said;
        }
        if let Some(said) = self.larger(setting::SOAK, |s| s.flip.as_ref()?.soak.map(|soak| soak.0)) {
            self.merged.soak = said;
        }
        self.gates();
        if let Some(said) = self.larger(setting::QUARANTINE, |s| s.rollback.as_ref()?.quarantine.map(|time| time.0)) {
            self.merged.quarantine = said;
        }
        if let Some(said) = self.larger(setting::FLOOR, |s| percent(s.live.as_ref()?.floor)) {
            self.merged.floor = Some(said);
        }
        if let Some(said) = self.smaller(setting::SHRINK_PERCENT, |s| percent(s.live.as_ref()?.shrink_percent)) {
            self.merged.shrink_percent = said;
        }
        if let Some(said) = self.larger(setting::HOLD, |s| s.rollback.as_ref()?.hold.map(|hold| hold.0)) {
            self.merged.hold = said;
        }
        if let Some(said) = self.larger(setting::ROLLBACK_PERCENT, |s| percent(s.rollback.as_ref()?.min_ready_percent))
        {
            self.merged.rollback_percent = said;
        }
        if let Some(said) = self.smaller(setting::MAX_OVERRIDE, |s| s.overrides.as_ref()?.max.map(|max| max.0)) {
            self.merged.max_override = said.min(Duration::from_secs(3600));
        }
    }

    /// Labels have no order: the policy whose name comes first counts.
    fn labels(&mut self, flags: &Policy) {
        let first = |said: fn(&LabelSettings) -> bool, policies: &[Named<'_>]| {
            let says = |policy: &&Named<'_>| policy.spec.labels.as_ref().is_some_and(said);
            policies.iter().find(says).and_then(|policy| Some((policy.spec.labels.clone()?, policy.name.to_owned())))
        };
        let mut note = |path: &str, name: String| self.merged.said_by.insert(path.to_owned(), name);
        if let Some((said, name)) = first(|said| said.mode.is_some(), self.policies) {
            note(setting::LABELS_MODE, name);
            self.merged.labels.is_on = flags.labels.is_on && said.mode == Some(LabelMode::Add);
        }
        let mut note = |path: &str, name: String| self.merged.said_by.insert(path.to_owned(), name);
        if let Some((said, name)) = first(|said| said.pod_template.is_some(), self.policies) {
            note(setting::LABELS_POD_TEMPLATE, name);
            self.merged.labels.on_pod_template = said.pod_template == Some(PodTemplateLabels::OnChange);
        }
        let mut note = |path: &str, name: String| self.merged.said_by.insert(path.to_owned(), name);
        if let Some((LabelSettings { colour_key: Some(key), .. }, name)) =
            first(|said| said.colour_key.is_some(), self.policies)
        {
            note(setting::LABELS_COLOUR_KEY, name);
            self.merged.labels.colour_key = key.0;
        }
        let mut note = |path: &str, name: String| self.merged.said_by.insert(path.to_owned(), name);
        if let Some((LabelSettings { version_key: Some(key), .. }, name)) =
            first(|said| said.version_key.is_some(), self.policies)
        {
            note(setting::LABELS_VERSION_KEY, name);
            self.merged.labels.version_key = key.0;
        }
    }

    fn actions(&mut self) {
        for reason in Reason::ALL.iter().copied().filter(|reason| !reason.is_fixed()) {
            let code = reason.code();
            if let Some(said) = self.larger(&setting::rule(code), |spec| action(spec, code)) {
                self.merged.actions.insert(code.to_owned(), said);
            }
        }
    }
}

/// The action that a policy says for a rule.
fn action(spec: &BlueGreenPolicySpec, code: &str) -> Option<Action> {
    let said = spec.rules.iter().filter(|rule| rule.rule.0 == code);
    said.map(|rule| Action::from(rule.action)).max()
}

/// The exemptions of all policies, each with the rules that no other policy says at the same or a stricter action.
fn exemptions(policies: &[Named<'_>]) -> Vec<Exemption> {
    let mut all = Vec::new();
    for policy in policies {
        let others: Vec<_> = policies.iter().filter(|other| other.name != policy.name).collect();
        let may_lift = |reason: &Reason| {
            let code = reason.code();
            let own = action(policy.spec, code).unwrap_or(reason.row().action);
            let is_said = others.iter().any(|other| action(other.spec, code).is_some_and(|said| said >= own));
            !is_said && !reason.is_fixed()
        };
        all.extend(policy.spec.exemptions.iter().map(|exemption| {
            let rules = exemption.rules.iter().filter_map(super::value::RuleCode::reason).filter(may_lift);
            Exemption {
                policy: policy.name.to_owned(),
                name: exemption.name.clone(),
                rules: rules.map(|reason| reason.code().to_owned()).collect(),
                subjects: exemption.subjects.iter().map(subject).collect(),
                services: exemption.services.clone(),
                reason: exemption.reason.clone(),
                expires: exemption.expires,
            }
        }));
    }
    all.retain(|exemption| !exemption.rules.is_empty());
    all
}

/// How old a proof may be where nobody says it.
const DEFAULT_AGE: Duration = Duration::from_secs(24 * 3600);

fn gate_of(said: &super::resource::Gate, policy: &str) -> Gate {
    let mut images = said.images.clone();
    images.sort();
    images.dedup();
    Gate {
        name: said.name.clone(),
        kind: said.kind.into(),
        images,
        max_age: said.max_age.map_or(DEFAULT_AGE, |age| age.0),
        policy: policy.to_owned(),
    }
}

fn subject(subject: &ExemptSubject) -> model::ExemptSubject {
    let ExemptSubject { kind, name, namespace } = subject;
    match kind {
        SubjectKind::User => model::ExemptSubject::User(name.clone()),
        SubjectKind::Group => model::ExemptSubject::Group(name.clone()),
        SubjectKind::ServiceAccount => {
            let namespace = namespace.as_deref().unwrap_or_default();
            model::ExemptSubject::User(format!("system:serviceaccount:{namespace}:{name}"))
        }
    }
}

/// The settings and rules that a policy makes softer than the defaults.
#[must_use]
pub fn softened(spec: &BlueGreenPolicySpec) -> Vec<String> {
    let defaults = Policy::default();
    let alone = merge(&defaults, &[Named { name: "", spec }]);
    let both = super::stricter::stricter(&alone, &defaults);
    let mut softened: Vec<String> = super::explain::explain(&alone)
        .into_iter()
        .zip(super::explain::explain(&both))
        .filter(|(alone, both)| alone.value != both.value)
        .map(|(alone, _)| alone.setting)
        .collect();
    let rules: BTreeMap<_, _> = alone.actions.iter().collect();
    for reason in Reason::ALL {
        if rules.get(&reason.code().to_owned()).is_some_and(|action| **action < reason.row().action) {
            softened.push(reason.code().to_owned());
        }
    }
    softened
}
