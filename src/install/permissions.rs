//! The permissions that flipguard needs. The manifests grant them, and `serve` checks them when it starts.

use super::NAME;

/// One rule of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// `apiGroups`; empty for the core group.
    pub group: &'static str,
    /// `resources`, such as `deployments`.
    pub resource: &'static str,
    /// `verbs`, such as `get`.
    pub verbs: &'static [&'static str],
    /// `resourceNames`: the only object that it grants, if any.
    pub name: Option<&'static str>,
    /// Whether it is a rule of the ClusterRole, or of the Role in flipguard's own namespace.
    pub everywhere: bool,
}

/// All permissions that flipguard needs.
pub const NEEDED: [Permission; 18] = [
    reads("apps", "deployments"),
    reads("apps", "statefulsets"),
    reads("apps", "daemonsets"),
    reads("apps", "replicasets"),
    reads("apps", "controllerrevisions"),
    reads("", "pods"),
    reads("", "services"),
    Permission { group: "argoproj.io", resource: "rollouts", verbs: &["get"], name: None, everywhere: true },
    // An Event is in the namespace of its object.
    Permission { group: "", resource: "events", verbs: &["create"], name: None, everywhere: true },
    Permission {
        group: "authorization.k8s.io",
        resource: "subjectaccessreviews",
        verbs: &["create"],
        name: None,
        everywhere: true,
    },
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "mutatingwebhookconfigurations",
        verbs: &["get", "patch"],
        name: Some(NAME),
        everywhere: true,
    },
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "validatingwebhookconfigurations",
        verbs: &["get", "patch"],
        name: Some(NAME),
        everywhere: true,
    },
    Permission { group: "", resource: "secrets", verbs: &["get", "update"], name: Some(NAME), everywhere: false },
    // The ledgers: one ConfigMap for each namespace with traffic Services, and the index.
    Permission {
        group: "",
        resource: "configmaps",
        verbs: &["get", "create", "update", "delete"],
        name: None,
        everywhere: false,
    },
    // To delete the ledgers of deleted namespaces.
    Permission { group: "", resource: "namespaces", verbs: &["get"], name: None, everywhere: true },
    // RBAC cannot limit `create` to a name, which is not known when the request is authorised.
    Permission { group: "", resource: "secrets", verbs: &["create"], name: None, everywhere: false },
    Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "update"],
        name: Some("flipguard-keeper"),
        everywhere: false,
    },
    // Also for the dry run that shows whether the API server reaches flipguard.
    Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["create"], name: None, everywhere: false },
];

const fn reads(group: &'static str, resource: &'static str) -> Permission {
    Permission { group, resource, verbs: &["get", "list"], name: None, everywhere: true }
}
