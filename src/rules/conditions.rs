//! The filter as CEL match conditions, which the API server evaluates before it calls flipguard.

use super::filter::{JOB, Row, SERVICE, WORKLOAD};
use crate::model::{ColourScheme, GATE_PREFIX, annotation};

/// One CEL expression of a webhook's `matchConditions`; all of them must hold for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The name, unique within the webhook.
    pub name: &'static str,
    /// The expression. It is total: the API server denies a write whose condition fails to evaluate.
    pub expression: String,
}

const OVERRIDE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/override'].orValue('')";
const MIN_REPLICAS: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/min-replicas'].orValue('')";
const ROLE: &str = "OBJECT.?metadata.?annotations[?'flipguard.dev/role'].orValue('')";
const SELECTOR: &str = "OBJECT.?spec.?selector.orValue({})";

/// The rows of a table, in CEL.
pub(super) fn any_of<T>(rows: &[Row<T>]) -> String {
    let expressions = rows.iter().map(|row| row.cel.replace("NEW", "object").replace("OLD", "oldObject"));
    expressions.collect::<Vec<_>>().join(" || ")
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
}
