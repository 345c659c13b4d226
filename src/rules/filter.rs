//! Which writes can matter to a rule at all.
//!
//! The same table is rendered twice: as a predicate for the rules, and as CEL match conditions that the API server
//! evaluates before it calls anybody. What the predicate accepts, the conditions accept; so ordinary writes cost
//! nothing, and nothing that a rule could refuse slips past.

use crate::model::{Change, ColourScheme, Role, Service, Workload, Write, annotation};

/// One CEL expression of a webhook's `matchConditions`; all of them must hold for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name, unique within the webhook.
    pub name: &'static str,
    /// The expression. It is total: the API server refuses the write where one fails to evaluate.
    pub expression: String,
}

/// What of a Service routes traffic, or says how it is guarded: one row each, as Rust and as CEL.
struct Aspect {
    differs: fn(&Service, &Service) -> bool,
    /// The value in CEL; `OBJECT` stands for the object.
    cel: &'static str,
}

const ASPECTS: [Aspect; 10] = [
    Aspect { differs: |a, b| a.selector != b.selector, cel: SELECTOR },
    Aspect { differs: |a, b| a.ports != b.ports, cel: "OBJECT.?spec.?ports.orValue([])" },
    Aspect { differs: |a, b| a.is_external_name != b.is_external_name, cel: "OBJECT.?spec.?type.orValue('')" },
    Aspect {
        differs: |a, b| a.publishes_not_ready != b.publishes_not_ready,
        cel: "OBJECT.?spec.?publishNotReadyAddresses.orValue(false)",
    },
    Aspect {
        differs: |a, b| annotation_differs(a, b, annotation::GUARD),
        cel: "OBJECT.?metadata.?annotations[?'flipguard.dev/guard'].orValue('')",
    },
    Aspect { differs: |a, b| annotation_differs(a, b, annotation::ROLE), cel: ROLE },
    Aspect {
        differs: |a, b| annotation_differs(a, b, annotation::ARGO_ROLLOUTS),
        cel: "OBJECT.?metadata.?annotations[?'argo-rollouts.argoproj.io/managed-by-rollouts'].orValue('')",
    },
    Aspect { differs: |a, b| annotation_differs(a, b, annotation::OVERRIDE), cel: OVERRIDE },
    Aspect {
        differs: |a, b| annotation_differs(a, b, annotation::HOLD),
        cel: "OBJECT.?metadata.?annotations[?'flipguard.dev/hold'].orValue('')",
    },
    Aspect {
        differs: |a, b| annotation_differs(a, b, annotation::MIN_REPLICAS),
        cel: "OBJECT.?metadata.?annotations[?'flipguard.dev/min-replicas'].orValue('')",
    },
];

const OVERRIDE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/override'].orValue('')";
const OWNERS: &str = "OBJECT.?metadata.?ownerReferences.orValue([])";
const ROLLBACK: &str = "OBJECT.?metadata.?annotations[?'deprecated.deployment.rollback.to'].orValue('')";
const ROLE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/role'].orValue('')";
const SELECTOR: &str = "OBJECT.?spec.?selector.orValue({})";

fn annotation_differs(a: &Service, b: &Service, key: &str) -> bool {
    a.meta.annotation(key) != b.meta.annotation(key)
}

/// Whether an update of a Service is judged: its routing or its guard changes, and its old or new object is a traffic
/// Service.
#[must_use]
pub fn service_update(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let changes = ASPECTS.iter().any(|aspect| (aspect.differs)(old, new));
    changes && [old, new].iter().any(|service| service.own_role(colours) == Role::Traffic)
}

/// Whether any rule can speak on a write.
#[must_use]
pub fn is_relevant(write: &Write, colours: &ColourScheme) -> bool {
    match write {
        Write::ServiceUpdate { old, new } => service_update(old, new, colours),
        Write::ServiceCreate { new } => {
            !colours.pins(new.routed()).is_empty() || new.meta.annotation(annotation::ROLE) == Some("traffic")
        }
        Write::ServiceDelete { old } => old.own_role(colours) == Role::Traffic,
        Write::WorkloadCreate { new } => colours.is_marked(&new.template.labels),
        Write::WorkloadUpdate { old, new } => {
            [old, new].iter().any(|workload| colours.is_marked(&workload.template.labels)) && takes_away(old, new)
        }
        Write::WorkloadDelete { old } => colours.is_marked(&old.template.labels),
        Write::Scale { from, to, .. } => to < from,
        Write::Other => false,
    }
}

/// Whether a change is asked about for advice only: it goes on where it cannot be judged.
#[must_use]
pub fn is_advisory(change: &Change) -> bool {
    match change.write {
        Write::ServiceDelete { .. } => true,
        Write::WorkloadCreate { ref new } => new.meta.annotation(annotation::OVERRIDE).is_none(),
        Write::Scale { to, .. } => to > 0,
        _ => false,
    }
}

/// Whether a change of a workload can take ready Pods away.
fn takes_away(old: &Workload, new: &Workload) -> bool {
    new.desired < old.desired
        || new.template != old.template
        || new.strategy != old.strategy
        || new.first_ordinal != old.first_ordinal
        || (old.paused && !new.paused)
        || old.meta.owners != new.meta.owners
        || [annotation::OVERRIDE, annotation::ROLLBACK]
            .iter()
            .any(|key| old.meta.annotation(key) != new.meta.annotation(key))
}

/// The conditions under which the API server calls for a change or deletion of a workload.
#[must_use]
pub fn workload_conditions(colours: &ColourScheme, exempt: &[String]) -> Vec<Condition> {
    let differs = |path: &str, default: &str| {
        let cel = format!("OBJECT.?spec.?{path}.orValue({default})");
        format!("{} != {}", of("object", &cel), of("oldObject", &cel))
    };
    let replicas = "OBJECT.?spec.?replicas.orValue(1)";
    let paused = "OBJECT.?spec.?paused.orValue(false)";
    let takes_away = [
        "request.operation == 'DELETE'".to_owned(),
        differs("template", "{}"),
        differs("strategy", "{}"),
        differs("updateStrategy", "{}"),
        differs("ordinals", "{}"),
        format!("{} < {}", of("object", replicas), of("oldObject", replicas)),
        format!("{} && !{}", of("oldObject", paused), of("object", paused)),
        format!("{} != {}", of("object", OWNERS), of("oldObject", OWNERS)),
        format!("{} != {}", of("object", OVERRIDE), of("oldObject", OVERRIDE)),
        format!("{} != {}", of("object", ROLLBACK), of("oldObject", ROLLBACK)),
    ];
    vec![
        nobody_exempt(exempt),
        Condition { name: "colour-marked", expression: marked(colours) },
        Condition { name: "takes-something-away", expression: takes_away.join(" || ") },
    ]
}

/// The conditions under which the API server calls for a new workload: one that brings an override, which somebody must
/// permit, or any other, for advice.
#[must_use]
pub fn workload_create_conditions(colours: &ColourScheme, exempt: &[String], with_override: bool) -> Vec<Condition> {
    let sign = if with_override { "!=" } else { "==" };
    vec![
        nobody_exempt(exempt),
        Condition { name: "colour-marked", expression: marked(colours) },
        Condition { name: "override", expression: format!("{} {sign} ''", of("object", OVERRIDE)) },
    ]
}

/// The conditions under which the API server calls for a scale-down by the subresource: to nothing, or to something. A
/// Scale shows no labels, and leaves `replicas` out when it is 0.
#[must_use]
pub fn scale_conditions(to_nothing: bool, exempt: &[String]) -> Vec<Condition> {
    let replicas = "OBJECT.?spec.?replicas.orValue(0)";
    let (new, old) = (of("object", replicas), of("oldObject", replicas));
    let (name, reach) = if to_nothing { ("scales-to-nothing", "< 1") } else { ("scales-to-something", ">= 1") };
    vec![
        nobody_exempt(exempt),
        Condition { name: "scales-down", expression: format!("{new} < {old}") },
        Condition { name, expression: format!("{new} {reach}") },
    ]
}

/// The conditions under which the API server calls for the deletion of a Service.
#[must_use]
pub fn service_delete_conditions(colours: &ColourScheme, exempt: &[String]) -> Vec<Condition> {
    let selector = of("oldObject", SELECTOR);
    let role = of("oldObject", ROLE);
    let expression = format!("[{selector}].exists(s, s.exists(k, {})) || {role} == 'traffic'", pinned(colours));
    vec![nobody_exempt(exempt), Condition { name: "colour-pinned", expression }]
}

fn nobody_exempt(exempt: &[String]) -> Condition {
    Condition { name: "not-an-exempt-user", expression: format!("!(request.userInfo.username in {})", list(exempt)) }
}

/// Whether the old or the new template marks a colour.
fn marked(colours: &ColourScheme) -> String {
    format!(
        "[object, oldObject].exists(o, o != null && [o.?spec.?template.?metadata.?labels.orValue({{}})].exists(s, \
         s.exists(k, {})))",
        pinned(colours)
    )
}

/// Whether the pair of key `k` in map `s` pins a colour.
fn pinned(colours: &ColourScheme) -> String {
    let mut pinned = vec![format!("k in {}", list(&colours.all_keys().map(str::to_owned).collect::<Vec<_>>()))];
    if !colours.names.is_empty() {
        pinned.push(format!("s[k] in {}", list(&colours.names)));
        pinned.extend(colours.names.iter().map(|name| format!("s[k].endsWith({})", quote(&format!("-{name}")))));
    }
    pinned.join(" || ")
}

/// The conditions under which the API server calls for an update of a Service.
#[must_use]
pub fn service_update_conditions(colours: &ColourScheme) -> Vec<Condition> {
    let changes: Vec<String> = ASPECTS
        .iter()
        .map(|aspect| format!("{} != {}", of("object", aspect.cel), of("oldObject", aspect.cel)))
        .collect();
    // On CREATE there is no old object.
    let both = |cel: &str| {
        let new = of("object", cel);
        format!("(request.operation == 'CREATE' ? [{new}] : [{new}, {}])", of("oldObject", cel))
    };
    vec![
        Condition {
            name: "routing-or-guard-changes",
            expression: format!("request.operation == 'CREATE' || {}", changes.join(" || ")),
        },
        Condition {
            name: "colour-pinned",
            expression: format!(
                "{}.exists(s, s.exists(k, {})) || {}.exists(role, role == 'traffic')",
                both(SELECTOR),
                pinned(colours),
                both(ROLE),
            ),
        },
    ]
}

/// The conditions under which the API server asks for labels on a Deployment.
#[must_use]
pub fn label_conditions(colours: &ColourScheme) -> Vec<Condition> {
    let name = "object.?metadata.?name.orValue('')";
    let mark = format!("OBJECT.?metadata.?annotations[?{}].orValue('')", quote(annotation::ADDED_LABELS));
    let mut known = vec![
        format!("object.?spec.?template.?metadata.?labels.orValue({{}}).exists(k, k in {})", list(&colours.keys)),
        format!("object.?metadata.?labels.orValue({{}}).exists(k, k in {})", list(&colours.keys)),
    ];
    known.extend(colours.names.iter().map(|colour| {
        let [whole, end, begin] = [colour.clone(), format!("-{colour}"), format!("{colour}-")].map(|text| quote(&text));
        format!("{name} == {whole} || {name}.endsWith({end}) || {name}.startsWith({begin})")
    }));
    let spec = "OBJECT.?spec.orValue({})";
    vec![
        Condition {
            name: "spec-or-mark-changes",
            expression: format!(
                "request.operation == 'CREATE' || {} != {} || {} != {}",
                of("object", spec),
                of("oldObject", spec),
                of("object", &mark),
                of("oldObject", &mark),
            ),
        },
        Condition { name: "colour-known", expression: known.join(" || ") },
        Condition {
            name: "nobody-controls-it",
            expression: "!object.?metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false))"
                .to_owned(),
        },
    ]
}

fn of(object: &str, cel: &str) -> String {
    cel.replace("OBJECT", object)
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A CEL string literal.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_survive_quotes() {
        assert_eq!(quote(r"it's a \"), r"'it\'s a \\'");
    }

    #[test]
    fn annotations_in_cel_are_those_that_are_read() {
        let cel: String = ASPECTS.iter().map(|aspect| aspect.cel).collect();
        for key in [
            annotation::GUARD,
            annotation::ROLE,
            annotation::ARGO_ROLLOUTS,
            annotation::OVERRIDE,
            annotation::HOLD,
            annotation::MIN_REPLICAS,
        ] {
            assert!(cel.contains(&format!("[?'{key}']")), "{key}");
        }
        assert!(ROLLBACK.contains(annotation::ROLLBACK));
    }
}
