//! The filter: which writes can matter to a rule at all.
//!
//! One table is rendered twice: as a predicate for the rules, and as CEL match conditions that the API server evaluates
//! before it calls flipguard. The conditions accept every write that the predicate accepts. So ordinary writes cost
//! nothing, and no write that a rule could deny is missed.

use crate::model::{Change, ColourScheme, GATE_PREFIX, GateJob, Meta, Role, Service, Workload, Write, annotation};

/// One CEL expression of a webhook's `matchConditions`; all of them must hold for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The name, unique within the webhook.
    pub name: &'static str,
    /// The expression. It is total: the API server denies a write whose condition fails to evaluate.
    pub expression: String,
}

/// A way in which an update can matter, as Rust and as CEL.
struct Row<T> {
    applies: fn(&T, &T) -> bool,
    /// The expression in CEL; `OLD` and `NEW` stand for the two states.
    cel: &'static str,
}

/// A field that differs, in CEL.
macro_rules! differs {
    ($field:literal) => {
        concat!("NEW.", $field, " != OLD.", $field)
    };
}

/// An annotation that differs. CEL needs the key as a literal; a test compares the two.
macro_rules! annotation_row {
    ($name:ident, $key:literal) => {
        Row {
            applies: |old, new| annotation_differs(&old.meta, &new.meta, annotation::$name),
            cel: concat!(
                "NEW.?metadata.?annotations[?'",
                $key,
                "'].orValue('') != OLD.?metadata.?annotations[?'",
                $key,
                "'].orValue('')"
            ),
        }
    };
}

/// The changes of a Service that move its traffic or its guard.
const SERVICE: [Row<Service>; 13] = [
    Row { applies: |old, new| old.selector != new.selector, cel: differs!("?spec.?selector.orValue({})") },
    Row { applies: |old, new| old.ports != new.ports, cel: differs!("?spec.?ports.orValue([])") },
    // One field of Kubernetes; the model has two of its values.
    Row {
        applies: |old, new| {
            old.is_external_name != new.is_external_name || old.is_load_balancer != new.is_load_balancer
        },
        cel: differs!("?spec.?type.orValue('')"),
    },
    Row {
        applies: |old, new| old.local.internal != new.local.internal,
        cel: differs!("?spec.?internalTrafficPolicy.orValue('')"),
    },
    Row {
        applies: |old, new| old.local.external != new.local.external,
        cel: differs!("?spec.?externalTrafficPolicy.orValue('')"),
    },
    Row {
        applies: |old, new| old.publishes_not_ready != new.publishes_not_ready,
        cel: differs!("?spec.?publishNotReadyAddresses.orValue(false)"),
    },
    annotation_row!(GUARD, "flipguard.dev/guard"),
    annotation_row!(ROLE, "flipguard.dev/role"),
    annotation_row!(ARGO_ROLLOUTS, "argo-rollouts.argoproj.io/managed-by-rollouts"),
    annotation_row!(OVERRIDE, "flipguard.dev/override"),
    annotation_row!(HOLD, "flipguard.dev/hold"),
    annotation_row!(MIN_REPLICAS, "flipguard.dev/min-replicas"),
    annotation_row!(QUARANTINE, "flipguard.dev/quarantine"),
];

/// The annotations of a Service that a rule reads: those of the table above.
pub const SERVICE_ANNOTATIONS: [&str; 7] = [
    annotation::GUARD,
    annotation::ROLE,
    annotation::ARGO_ROLLOUTS,
    annotation::OVERRIDE,
    annotation::HOLD,
    annotation::MIN_REPLICAS,
    annotation::QUARANTINE,
];

/// The changes of a workload that can take ready Pods away.
const WORKLOAD: [Row<Workload>; 10] = [
    Row { applies: |old, new| old.template != new.template, cel: differs!("?spec.?template.orValue({})") },
    // One field of the model: Deployments have the first, StatefulSets and DaemonSets the second.
    Row { applies: |old, new| old.strategy != new.strategy, cel: differs!("?spec.?strategy.orValue({})") },
    Row { applies: |old, new| old.strategy != new.strategy, cel: differs!("?spec.?updateStrategy.orValue({})") },
    Row {
        applies: |old, new| old.partition != new.partition,
        cel: differs!("?spec.?updateStrategy.?rollingUpdate.?partition.orValue(0)"),
    },
    Row { applies: |old, new| old.first_ordinal != new.first_ordinal, cel: differs!("?spec.?ordinals.orValue({})") },
    Row {
        applies: |old, new| new.desired < old.desired,
        cel: "NEW.?spec.?replicas.orValue(1) < OLD.?spec.?replicas.orValue(1)",
    },
    Row {
        applies: |old, new| old.paused && !new.paused,
        cel: "OLD.?spec.?paused.orValue(false) && !NEW.?spec.?paused.orValue(false)",
    },
    Row {
        applies: |old, new| old.meta.owners != new.meta.owners,
        cel: differs!("?metadata.?ownerReferences.orValue([])"),
    },
    annotation_row!(OVERRIDE, "flipguard.dev/override"),
    annotation_row!(ROLLBACK, "deprecated.deployment.rollback.to"),
];

/// The changes of a Job that would make another test of it.
const JOB: [Row<GateJob>; 3] = [
    Row {
        applies: |old, new| old.gate().unwrap_or_default() != new.gate().unwrap_or_default(),
        cel: "NEW.?metadata.?labels[?'flipguard.dev/gate'].orValue('') != \
              OLD.?metadata.?labels[?'flipguard.dev/gate'].orValue('')",
    },
    annotation_row!(TARGET, "flipguard.dev/target"),
    annotation_row!(TESTED, "flipguard.dev/tested"),
];

const OVERRIDE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/override'].orValue('')";
const MIN_REPLICAS: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/min-replicas'].orValue('')";
const ROLE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/role'].orValue('')";
const SELECTOR: &str = "OBJECT.?spec.?selector.orValue({})";

fn annotation_differs(old: &Meta, new: &Meta, key: &str) -> bool {
    old.annotation(key) != new.annotation(key)
}

/// Whether a row of a table applies to an update.
fn any_applies<T>(rows: &[Row<T>], old: &T, new: &T) -> bool {
    rows.iter().any(|row| (row.applies)(old, new))
}

/// The same table in CEL.
fn any_of<T>(rows: &[Row<T>]) -> String {
    let expressions = rows.iter().map(|row| row.cel.replace("NEW", "object").replace("OLD", "oldObject"));
    expressions.collect::<Vec<_>>().join(" || ")
}

/// Whether an update of a Service is judged: its routing or its guard changes, and its old or new object is a traffic
/// Service.
#[must_use]
pub fn service_update(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    any_applies(&SERVICE, old, new) && may_be_traffic(old, new, colours)
}

/// Whether a Service is, or was, a traffic Service by its own marks.
fn may_be_traffic(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    [old, new].iter().any(|service| service.own_role(colours) == Role::Traffic)
}

/// Whether a Service may carry traffic by its own marks.
#[must_use]
pub fn is_candidate(service: &Service, colours: &ColourScheme) -> bool {
    service.own_role(colours) == Role::Traffic
}

/// Whether an update moves a Service that pins no colour: then only a loss of all endpoints is warned of.
fn moves_plain_service(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let is_plain = |service: &Service| service.own_role(colours) == Role::Plain;
    old.selector != new.selector && is_plain(old) && is_plain(new)
}

/// Whether an update sets a role that does not exist on a Service that no other rule looks at. A preview by its name may
/// be meant to become a traffic Service.
fn sets_unknown_role(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let is_set = new.meta.unknown_role().is_some() && annotation_differs(&old.meta, &new.meta, annotation::ROLE);
    is_set
        && match new.own_role(colours) {
            Role::Plain => colours.pins(old.routed()).is_empty(),
            Role::Preview => true,
            Role::Traffic | Role::Unguarded(_) => false,
        }
}

/// Whether a change is to be written into the ledger: not where only a warning can come of it, and nothing depends on it.
/// An override that is set or removed takes no Pod away.
#[must_use]
pub fn needs_ledger(change: &Change, colours: &ColourScheme) -> bool {
    match &change.write {
        Write::ServiceUpdate { old, new } => may_be_traffic(old, new, colours) && !changes_only_override(old, new),
        write => takes_away(write, colours),
    }
}

/// Whether the override of a Service is all that a rule would look at. One permission decides it, so that an override can
/// be set while the cluster cannot be read.
#[must_use]
pub fn changes_only_override(old: &Service, new: &Service) -> bool {
    let mut without = new.clone();
    without.meta.annotations.remove(annotation::OVERRIDE);
    without.meta.annotations.extend(
        old.meta.annotations.get_key_value(annotation::OVERRIDE).map(|(key, value)| (key.clone(), value.clone())),
    );
    !any_applies(&SERVICE, old, &without)
}

/// Whether any rule can apply to a write.
#[must_use]
pub fn is_relevant(write: &Write, colours: &ColourScheme) -> bool {
    takes_away(write, colours)
        || match write {
            Write::WorkloadUpdate { old, new } => gates_set(&old.meta, &new.meta).next().is_some(),
            Write::JobCreate { .. } | Write::JobDelete { .. } => true,
            Write::JobUpdate { old, new } => any_applies(&JOB, old, new) || releases(old, new),
            _ => false,
        }
}

/// Whether an update may be the last one of an ended Job: finalizers hold it, and are removed.
pub(super) fn releases(old: &GateJob, new: &GateJob) -> bool {
    new.meta.deleting && old.end.is_some()
}

/// The gates whose annotation an update sets to another value, each with that value. Who removes one proves nothing.
pub(super) fn gates_set<'a>(old: &'a Meta, new: &'a Meta) -> impl Iterator<Item = (&'a str, &'a str)> {
    new.gates().filter(|(gate, value)| !old.gates().any(|(other, stored)| other == *gate && stored == *value))
}

/// Whether a write can take traffic, Pods or protection away, so that rules about blue-green apply to it.
#[must_use]
pub fn takes_away(write: &Write, colours: &ColourScheme) -> bool {
    match write {
        Write::ServiceUpdate { old, new } => {
            service_update(old, new, colours)
                || moves_plain_service(old, new, colours)
                || sets_unknown_role(old, new, colours)
        }
        Write::ServiceCreate { new } => {
            let role = new.meta.annotation(annotation::ROLE);
            !colours.pins(new.routed()).is_empty() || role.is_some_and(|role| role != "preview")
        }
        Write::ServiceDelete { old } => old.own_role(colours) == Role::Traffic,
        Write::WorkloadCreate { new } => colours.is_marked(&new.template.labels),
        Write::WorkloadUpdate { old, new } => {
            [old, new].iter().any(|workload| colours.is_marked(&workload.template.labels))
                && any_applies(&WORKLOAD, old, new)
        }
        Write::WorkloadDelete { old } => colours.is_marked(&old.template.labels),
        Write::Scale { from, to, .. } => to < from,
        Write::JobCreate { .. } | Write::JobUpdate { .. } | Write::JobDelete { .. } | Write::Other => false,
    }
}

/// Whether the API server asks for advice only. The change goes on where it cannot be judged.
#[must_use]
pub fn is_advisory(change: &Change, colours: &ColourScheme) -> bool {
    let has = |meta: &Meta, key: &str| meta.annotation(key).is_some();
    match change.write {
        Write::ServiceUpdate { ref old, ref new } => !may_be_traffic(old, new, colours),
        Write::ServiceCreate { ref new } => {
            !has(&new.meta, annotation::OVERRIDE) && !has(&new.meta, annotation::MIN_REPLICAS)
        }
        Write::ServiceDelete { .. } | Write::JobDelete { .. } => true,
        Write::JobUpdate { ref old, ref new } => !any_applies(&JOB, old, new),
        Write::WorkloadCreate { ref new } => !has(&new.meta, annotation::OVERRIDE),
        Write::Scale { to, .. } => to > 0,
        _ => false,
    }
}

/// Whether the API server may admit a change without an answer: it asks for advice, or it cannot tell that the workload
/// belongs to blue-green. A `version` or a number alone is common without it (service meshes). Of a Scale it sees the
/// workload's name and selector. The selector is not decoded here.
#[must_use]
pub fn may_pass_unanswered(change: &Change, colours: &ColourScheme) -> bool {
    let is_certain = |workload: &Workload| colours.is_certain(&workload.template.labels);
    is_advisory(change, colours)
        || match &change.write {
            Write::WorkloadUpdate { old, new } => {
                let is_open = !is_certain(old) && !is_certain(new) && !sets_override(&old.meta, &new.meta);
                is_open && gates_set(&old.meta, &new.meta).next().is_none()
            }
            Write::WorkloadDelete { old } => !is_certain(old),
            Write::Scale { .. } => true,
            _ => false,
        }
}

fn sets_override(old: &Meta, new: &Meta) -> bool {
    new.annotation(annotation::OVERRIDE).is_some() && annotation_differs(old, new, annotation::OVERRIDE)
}

/// How a webhook treats a write that flipguard does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The write is denied.
    Denied,
    /// The write is admitted.
    Admitted,
}

/// The conditions under which the API server calls for a change or deletion of a workload. A write is denied without an
/// answer where a colour is certain, or where it sets an override, which needs permission.
#[must_use]
pub fn workload_conditions(colours: &ColourScheme, exempt: &[String], unanswered: Unanswered) -> Vec<Condition> {
    let takes_away = format!("request.operation == 'DELETE' || {}", any_of(&WORKLOAD));
    let (new, old) = (on_object("object", OVERRIDE), on_object("oldObject", OVERRIDE));
    let certain = format!(
        "{} || (request.operation == 'UPDATE' && {new} != '' && {new} != {old})",
        marked(&certain_pair(colours, "k", "s[k]"))
    );
    vec![
        not_exempt(exempt),
        Condition { name: "colour-marked", expression: marked(&pinned(colours)) },
        Condition { name: "takes-something-away", expression: takes_away },
        only(unanswered, "colour-certain", &certain),
    ]
}

/// The condition that keeps the writes which must wait for an answer apart from all others.
fn only(unanswered: Unanswered, name: &'static str, must_wait: &str) -> Condition {
    let expression = match unanswered {
        Unanswered::Denied => must_wait.to_owned(),
        Unanswered::Admitted => format!("!({must_wait})"),
    };
    Condition { name, expression }
}

/// The conditions under which the API server calls for a new workload: one with an override, which needs permission, or
/// any other, for advice.
#[must_use]
pub fn workload_create_conditions(colours: &ColourScheme, exempt: &[String], with_override: bool) -> Vec<Condition> {
    let sign = if with_override { "!=" } else { "==" };
    vec![
        not_exempt(exempt),
        Condition { name: "colour-marked", expression: marked(&pinned(colours)) },
        Condition { name: "override", expression: format!("{} {sign} ''", on_object("object", OVERRIDE)) },
    ]
}

/// The conditions under which the API server calls for a scale-down by the subresource to 0. A Scale leaves `replicas`
/// out when it is 0. It carries no labels of the template. It has the workload's name, and its selector as text
/// (Kubernetes, `registry/apps`, `scaleFromDeployment`). A colour is certain if either shows one. A selector with a set
/// (`color in (blue)`) counts as one with a colour.
#[must_use]
pub fn scale_to_zero_conditions(colours: &ColourScheme, exempt: &[String], unanswered: Unanswered) -> Vec<Condition> {
    let selectors = "[object, oldObject].exists(o, o.?status.?selector.orValue('').split(',')";
    let pair = certain_pair(colours, "kv[0]", "kv[1]");
    let names: Vec<String> = colours.names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let certain = format!(
        "object.metadata.name.split('-').exists(part, part in {}) || \
         {selectors}.exists(p, p.contains(' ') || [p.split('=')].exists(kv, kv.size() == 2 && ({pair}))))",
        list(&names)
    );
    let mut conditions = scale_conditions(exempt);
    conditions.push(Condition { name: "scales-to-nothing", expression: format!("{} < 1", replicas("object")) });
    conditions.push(only(unanswered, "colour-certain", &certain));
    conditions
}

/// The conditions under which the API server calls for a scale-down by the subresource to 1 or more.
#[must_use]
pub fn scale_down_conditions(exempt: &[String]) -> Vec<Condition> {
    let mut conditions = scale_conditions(exempt);
    conditions.push(Condition { name: "scales-to-something", expression: format!("{} >= 1", replicas("object")) });
    conditions
}

fn scale_conditions(exempt: &[String]) -> Vec<Condition> {
    let expression = format!("{} < {}", replicas("object"), replicas("oldObject"));
    vec![not_exempt(exempt), Condition { name: "scales-down", expression }]
}

fn replicas(object: &str) -> String {
    on_object(object, "OBJECT.?spec.?replicas.orValue(0)")
}

/// The conditions under which the API server calls for the deletion of a Service.
#[must_use]
pub fn service_delete_conditions(colours: &ColourScheme, exempt: &[String]) -> Vec<Condition> {
    let selector = on_object("oldObject", SELECTOR);
    let role = on_object("oldObject", ROLE);
    let expression = format!("[{selector}].exists(s, s.exists(k, {})) || {role} == 'traffic'", pinned(colours));
    vec![not_exempt(exempt), Condition { name: "colour-pinned", expression }]
}

/// The conditions under which the API server calls for a new Service: for one with an annotation that needs permission,
/// or for any other.
#[must_use]
pub fn service_create_conditions(colours: &ColourScheme, unanswered: Unanswered) -> Vec<Condition> {
    let new = |cel: &str| on_object("object", cel);
    // Any role but `preview`: of one that does not exist, the write is warned.
    let expression = format!(
        "[{}].exists(s, s.exists(k, {})) || !({} in ['', 'preview'])",
        new(SELECTOR),
        pinned(colours),
        new(ROLE)
    );
    let permitted = format!("{} != '' || {} != ''", new(OVERRIDE), new(MIN_REPLICAS));
    vec![Condition { name: "colour-pinned", expression }, only(unanswered, "needs-permission", &permitted)]
}

/// The conditions under which the API server calls for an annotation of a gate. The controller of Deployments copies the
/// annotations of a Deployment to its ReplicaSets, and is left alone with these.
#[must_use]
pub fn gate_conditions(exempt: &[String]) -> Vec<Condition> {
    let all = |object: &str| on_object(object, "OBJECT.?metadata.?annotations.orValue({})");
    let expression = format!(
        "[{}].exists(a, [{}].exists(b, a.exists(k, k.startsWith({}) && a[k] != '' && a[k] != b[?k].orValue(''))))",
        all("object"),
        all("oldObject"),
        quote(GATE_PREFIX)
    );
    let copies =
        format!("request.resource.resource != 'replicasets' || !(request.userInfo.username in {})", list(exempt));
    vec![
        Condition { name: "no-copy-by-a-controller", expression: copies },
        Condition { name: "gate-is-set", expression },
    ]
}

/// The conditions under which the API server calls for a Job that is a test for a gate.
#[must_use]
pub fn gate_job_conditions() -> Vec<Condition> {
    let expression = format!("request.operation == 'CREATE' || {}", any_of(&JOB));
    vec![Condition { name: "is-made-a-test", expression }]
}

/// The conditions under which the API server tells of the deletion of such a Job: it has ended. A Job that finalizers hold
/// is deleted by the update that removes the last one.
#[must_use]
pub fn gate_job_delete_conditions() -> Vec<Condition> {
    let ended = "oldObject.?status.?conditions.orValue([]).exists(c, c.type in ['Complete', 'Failed'] && \
                 c.status == 'True')";
    let goes = "request.operation == 'DELETE' || object.?metadata.?deletionTimestamp.hasValue()";
    [("has-ended", ended), ("is-being-deleted", goes)]
        .map(|(name, expression)| Condition { name, expression: expression.to_owned() })
        .into()
}

fn not_exempt(exempt: &[String]) -> Condition {
    Condition { name: "not-an-exempt-user", expression: format!("!(request.userInfo.username in {})", list(exempt)) }
}

/// Whether a pair of key `k` in the labels `s` of the old or the new template is so.
fn marked(pair: &str) -> String {
    format!(
        "[object, oldObject].exists(o, o != null && [o.?spec.?template.?metadata.?labels.orValue({{}})].exists(s, \
         s.exists(k, {pair})))"
    )
}

/// Whether the pair of key `k` in map `s` pins a colour; the same as [`ColourScheme::pin`].
fn pinned(colours: &ColourScheme) -> String {
    let version = quote(&colours.version_key.to_ascii_lowercase());
    let version = if colours.pins_version { format!(" || k.lowerAscii() == {version}") } else { String::new() };
    format!("{}{version} || s[k].matches('.-[vVrR][0-9]+$')", certain_pair(colours, "k", "s[k]"))
}

/// Whether a pair has a colour key or the name of a colour; the same as [`ColourScheme::is_certain`].
fn certain_pair(colours: &ColourScheme, key: &str, value: &str) -> String {
    let lower = |words: &[String]| words.iter().map(|word| word.to_ascii_lowercase()).collect::<Vec<_>>();
    let mut certain = vec![format!("{key}.lowerAscii() in {}", list(&lower(&colours.keys)))];
    // A vendor's key counts as a whole.
    let parts = lower(&colours.keys).into_iter().filter(|key| !key.contains('/'));
    let ends = parts.map(|name| quote(&format!("/{name}")));
    certain.extend(ends.map(|end| format!("{key}.lowerAscii().endsWith({end})")));
    for name in lower(&colours.names) {
        let [whole, end, start] = [name.clone(), format!("-{name}"), format!("{name}-")].map(|text| quote(&text));
        certain.push(format!("{value}.lowerAscii() == {whole}"));
        certain.push(format!("{value}.lowerAscii().endsWith({end})"));
        certain.push(format!("{value}.lowerAscii().startsWith({start})"));
    }
    certain.join(" || ")
}

/// The conditions under which the API server calls for an update of a Service.
#[must_use]
pub fn service_update_conditions(colours: &ColourScheme) -> Vec<Condition> {
    let both = |cel: &str| format!("[{}, {}]", on_object("object", cel), on_object("oldObject", cel));
    vec![
        Condition { name: "routing-or-guard-changes", expression: any_of(&SERVICE) },
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

/// The conditions under which the API server calls for a Service that pins no colour: for a new selector, and for a role
/// that does not exist.
#[must_use]
pub fn plain_service_conditions(colours: &ColourScheme) -> Vec<Condition> {
    let selector = SELECTOR.replace("OBJECT", "object");
    let stored = on_object("oldObject", SELECTOR);
    let no_pin = format!("![{selector}, {stored}].exists(s, s.exists(k, {}))", pinned(colours));
    let [role, stored_role] = ["object", "oldObject"].map(|object| on_object(object, ROLE));
    let unknown = format!("{role} != {stored_role} && !({role} in ['', 'traffic', 'preview'])");
    vec![
        Condition {
            name: "selector-changes-or-unknown-role",
            expression: format!("{selector} != {stored} || ({unknown})"),
        },
        Condition { name: "no-colour-pinned", expression: no_pin },
        Condition {
            name: "no-traffic-by-role",
            expression: format!("![{role}, {stored_role}].exists(r, r == 'traffic')"),
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
                on_object("object", spec),
                on_object("oldObject", spec),
                on_object("object", &mark),
                on_object("oldObject", &mark),
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

fn on_object(object: &str, cel: &str) -> String {
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
        let of_services = SERVICE.iter().filter(|row| row.cel.contains("annotations[?'"));
        assert_eq!(of_services.count(), SERVICE_ANNOTATIONS.len());
        let cel = any_of(&SERVICE);
        for key in SERVICE_ANNOTATIONS {
            assert!(cel.contains(&format!("[?'{key}']")), "{key}");
        }
        assert!(any_of(&WORKLOAD).contains(&format!("[?'{}']", annotation::ROLLBACK)));
    }
}
