//! Checks who may write the status of Jobs, where a policy has a gate of kind Job: whoever may can forge its result.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::ListParams;
use kube::{Api, Client};

use super::{Check, Health};
use crate::policy::Policies;
use crate::policy::resource::GateKind;

const CHECK: &str = "gates";
/// The largest number of subjects that a message names.
const MOST_NAMED: usize = 5;

/// The check; `None` where no gate is of kind Job.
pub(super) async fn status_of_jobs(client: &Client, policies: &Policies) -> Option<Check> {
    if !has_gate_of_jobs(policies) {
        return None;
    }
    Some(match bound(client).await {
        Ok(subjects) => judge(&subjects),
        Err(error) => Check::unknown(CHECK, "list the roles and their bindings", &error),
    })
}

fn has_gate_of_jobs(policies: &Policies) -> bool {
    let specs = policies.all.iter().filter_map(|stored| stored.content.as_ref().ok());
    let mut gates = specs.filter_map(|spec| spec.flip.as_ref()).flat_map(|flip| &flip.gates);
    gates.any(|gate| gate.kind == GateKind::Job)
}

fn judge(subjects: &[String]) -> Check {
    if subjects.is_empty() {
        return Check::ok(CHECK, "only cluster admins and controllers may write the status of Jobs");
    }
    let mut named = subjects.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if subjects.len() > MOST_NAMED {
        named = format!("{named} and {} more", subjects.len() - MOST_NAMED);
    }
    let message = format!("these may write the status of Jobs, and so forge the result of a gate: {named}");
    Check::of(CHECK, Health::Warning, message, "take the right on jobs/status away, or trust them with it")
}

/// Who may write the status of Jobs, besides cluster admins and the parts of Kubernetes.
async fn bound(client: &Client) -> kube::Result<Vec<String>> {
    let all = ListParams::default();
    let (cluster_roles, cluster_bindings) = (
        Api::<ClusterRole>::all(client.clone()).list(&all).await?,
        Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await?,
    );
    let (roles, bindings) =
        (Api::<Role>::all(client.clone()).list(&all).await?, Api::<RoleBinding>::all(client.clone()).list(&all).await?);
    let of_cluster: Vec<String> = cluster_roles
        .into_iter()
        .filter(|role| may(role.rules.as_deref()))
        .filter_map(|role| role.metadata.name)
        .filter(|name| !is_kubernetes(name))
        .collect();
    let of_namespace: Vec<(String, String)> = roles
        .into_iter()
        .filter(|role| may(role.rules.as_deref()))
        .filter_map(|role| Some((role.metadata.namespace?, role.metadata.name?)))
        .collect();
    let grants = |role: &RoleRef, namespace: &str| match role.kind.as_str() {
        "ClusterRole" => of_cluster.contains(&role.name),
        _ => of_namespace.iter().any(|(in_namespace, name)| in_namespace == namespace && *name == role.name),
    };
    let mut subjects = Vec::new();
    for binding in cluster_bindings.into_iter().filter(|binding| grants(&binding.role_ref, "")) {
        subjects.extend(binding.subjects.unwrap_or_default().iter().map(|subject| named(subject, None)));
    }
    for binding in bindings {
        let namespace = binding.metadata.namespace.unwrap_or_default();
        if grants(&binding.role_ref, &namespace) {
            let of_binding = binding.subjects.unwrap_or_default();
            subjects.extend(of_binding.iter().map(|subject| named(subject, Some(&namespace))));
        }
    }
    subjects.sort();
    subjects.dedup();
    Ok(subjects)
}

/// The roles that Kubernetes brings along: those of its controllers, and `cluster-admin`.
fn is_kubernetes(role: &str) -> bool {
    role.starts_with("system:") || role == "cluster-admin"
}

/// Whether rules grant a write of the status of Jobs.
fn may(rules: Option<&[PolicyRule]>) -> bool {
    let has = |said: Option<&Vec<String>>, words: &[&str]| {
        said.is_some_and(|said| said.iter().any(|one| words.contains(&one.as_str())))
    };
    rules.unwrap_or_default().iter().any(|rule| {
        has(rule.api_groups.as_ref(), &["batch", "*"])
            && has(rule.resources.as_ref(), &["jobs/status", "*/status", "*"])
            && has(Some(&rule.verbs), &["update", "patch", "*"])
    })
}

fn named(subject: &Subject, namespace: Option<&str>) -> String {
    let own = subject.namespace.as_ref().map(|own| format!("{own}/")).unwrap_or_default();
    let place = namespace.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    format!("{} {own}{}{place}", subject.kind, subject.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rights_on_the_status_of_jobs() {
        let may = |group: &str, resource: &str, verb: &str| {
            let rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": ["get", verb] });
            may(Some(&[serde_json::from_value(rule).unwrap()]))
        };
        assert!(may("batch", "jobs/status", "patch") && may("*", "*", "*") && may("batch", "*/status", "update"));
        assert!(!may("batch", "jobs", "update") && !may("batch", "jobs/status", "watch") && !may("apps", "*", "*"));
    }
}
