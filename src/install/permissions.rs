//! The permissions that flipguard needs. The manifests grant them, `serve` checks them when it starts, and docs/rights.md
//! lists them.

use std::fmt::Write;

use super::NAME;

/// One rule of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The resource, or the path of the API server.
    pub on: Granted,
    /// `verbs`, such as `get`.
    pub verbs: &'static [&'static str],
    /// Where it is granted.
    pub place: Place,
    /// Why flipguard needs it.
    pub why: &'static str,
    /// The use of it for a thief of the token.
    pub stolen: &'static str,
}

/// The object of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// A resource of the API.
    Resource {
        /// `apiGroups`; empty for the core group.
        group: &'static str,
        /// `resources`, such as `deployments`.
        resource: &'static str,
        /// `resourceNames`: the only object that it grants, if any.
        name: Option<&'static str>,
    },
    /// `nonResourceURLs`: a path that is no resource.
    Url(&'static str),
}

/// The role that has a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The ClusterRole `flipguard`: all namespaces.
    Everywhere,
    /// The ClusterRole `flipguard-labels`: all namespaces, and only where labels are added.
    WithLabels,
    /// The Role `flipguard` in flipguard's own namespace.
    OwnNamespace,
}

const READ: &[&str] = &["get", "list"];
const SPECS: &str = "reads every spec of the cluster, with plain values of `env`";

/// All permissions that flipguard needs.
pub const NEEDED: [Permission; 22] = [
    everywhere("apps", "deployments", READ, "the workloads behind a Service, and their state", SPECS),
    everywhere("apps", "statefulsets", READ, "the same", SPECS),
    everywhere("apps", "daemonsets", READ, "the same", SPECS),
    everywhere("apps", "replicasets", READ, "the same", SPECS),
    everywhere("apps", "controllerrevisions", &["list"], "earlier versions of StatefulSets and DaemonSets", SPECS),
    everywhere("", "pods", &["list"], "the Pods that serve", SPECS),
    everywhere("batch", "jobs", &["list"], "the Jobs that are a test for a gate", SPECS),
    everywhere("", "services", READ, "the Services that select a workload", "reads every Service"),
    everywhere(
        "argoproj.io",
        "rollouts",
        &["get"],
        "whether a Service belongs to Argo Rollouts",
        "reads every Rollout",
    ),
    everywhere(
        "",
        "namespaces",
        READ,
        "which policies select a namespace; ledgers of deleted namespaces are deleted",
        "reads every Namespace",
    ),
    everywhere("flipguard.dev", "bluegreenpolicies", &["list"], "the policies", "reads every policy"),
    everywhere(
        "flipguard.dev",
        "bluegreenpolicies/status",
        &["patch"],
        "whether each policy counts already",
        "says that a policy counts which does not",
    ),
    // An Event is in the namespace of its object.
    everywhere(
        "",
        "events",
        &["create"],
        "the Events `Overridden`, `FlipUndone` and `PolicyDeleted`",
        "creates false Events",
    ),
    everywhere(
        "authorization.k8s.io",
        "subjectaccessreviews",
        &["create"],
        "whether a user has the verb `override`, `pass` or `approve`",
        "asks about the rights of every user",
    ),
    Permission {
        on: Granted::Url("/version"),
        verbs: &["get"],
        place: Place::Everywhere,
        why: "the version of the API server, and whether it answers",
        stolen: "nothing",
    },
    Permission {
        on: webhook_configuration("validatingwebhookconfigurations"),
        verbs: &["get", "patch"],
        place: Place::Everywhere,
        why: "its own registration",
        stolen: "empties the registration, or makes guarded changes fail; a policy forbids the rest",
    },
    Permission {
        on: webhook_configuration("mutatingwebhookconfigurations"),
        verbs: &["get", "patch"],
        place: Place::WithLabels,
        why: "its own registration for labels",
        stolen: "empties the registration for labels; a policy forbids the rest",
    },
    own(
        "",
        "secrets",
        &["get", "update"],
        Some(NAME),
        "its certificate and the token of its paths",
        "serves as flipguard",
    ),
    // RBAC cannot limit `create` to a name, which is not known when the request is authorised.
    own("", "secrets", &["create"], None, "the same Secret, if it is lost", "nothing: a policy allows that name only"),
    // The ledgers: one ConfigMap for each namespace with traffic Services, and the index.
    own(
        "",
        "configmaps",
        &["get", "create", "update", "patch", "delete"],
        None,
        "the ledgers and the histories",
        "forges ledgers: changes are denied, and holds are forgotten",
    ),
    own(
        "coordination.k8s.io",
        "leases",
        &["get", "update"],
        Some("flipguard-keeper"),
        "one replica keeps the registration",
        "keeps the replicas from repairing the registration",
    ),
    own(
        "coordination.k8s.io",
        "leases",
        &["create"],
        None,
        "the same Lease, if it is lost; a dry run that shows whether the API server reaches flipguard",
        "nothing: a policy allows only names of its own",
    ),
];

/// The permissions of an installation with or without labels.
pub fn needed(labels: bool) -> impl Iterator<Item = &'static Permission> {
    NEEDED.iter().filter(move |permission| labels || permission.place != Place::WithLabels)
}

/// The table of docs/rights.md.
#[must_use]
pub fn table() -> String {
    let mut table = "| where | verbs | what | needed for | with a stolen token |\n|---|---|---|---|---|\n".to_owned();
    for Permission { on, verbs, place, why, stolen } in NEEDED {
        let place = match place {
            Place::Everywhere => "everywhere",
            Place::WithLabels => "everywhere, with labels",
            Place::OwnNamespace => "its own namespace",
        };
        let on = match on {
            Granted::Url(path) => format!("`{path}`"),
            Granted::Resource { group: "", resource, name } => format!("`{resource}`{}", only(name)),
            // kubectl names a subresource after the group.
            Granted::Resource { group, resource, name } => match resource.split_once('/') {
                None => format!("`{resource}.{group}`{}", only(name)),
                Some((resource, part)) => format!("`{resource}.{group}/{part}`{}", only(name)),
            },
        };
        // Writing to a String does not fail.
        let _ = writeln!(table, "| {place} | {} | {on} | {why} | {stolen} |", verbs.join(", "));
    }
    table
}

fn only(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", only `{name}`"))
}

const fn everywhere(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
    stolen: &'static str,
) -> Permission {
    let on = Granted::Resource { group, resource, name: None };
    Permission { on, verbs, place: Place::Everywhere, why, stolen }
}

const fn own(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    name: Option<&'static str>,
    why: &'static str,
    stolen: &'static str,
) -> Permission {
    let on = Granted::Resource { group, resource, name };
    Permission { on, verbs, place: Place::OwnNamespace, why, stolen }
}

const fn webhook_configuration(resource: &'static str) -> Granted {
    Granted::Resource { group: "admissionregistration.k8s.io", resource, name: Some(NAME) }
}
