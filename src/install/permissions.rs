//! What flipguard must be allowed to do: the manifests grant it, and the start checks it.

use super::NAME;

/// One thing that flipguard must be allowed to do. The manifests grant exactly these, and the start checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, in the plural.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// The one object that it is limited to, if any.
    pub name: Option<&'static str>,
    /// Whether it is needed in all namespaces, or in flipguard's own alone.
    pub everywhere: bool,
}

/// All that flipguard must be allowed to do.
pub const NEEDED: [Permission; 19] = [
    reads("apps", "deployments"),
    reads("apps", "statefulsets"),
    reads("apps", "daemonsets"),
    reads("apps", "replicasets"),
    reads("apps", "controllerrevisions"),
    reads("", "pods"),
    reads("", "services"),
    Permission { group: "argoproj.io", resource: "rollouts", verbs: &["get"], name: None, everywhere: true },
    // Beside the object that they are about.
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
    // The ledgers: one ConfigMap for each namespace with traffic Services, and an index.
    Permission {
        group: "",
        resource: "configmaps",
        verbs: &["get", "create", "update", "delete"],
        name: None,
        everywhere: false,
    },
    // Whether a namespace is gone, and its ledger with it.
    Permission { group: "", resource: "namespaces", verbs: &["get"], name: None, everywhere: true },
    // RBAC cannot limit `create` to a name: the name is not known when it is checked.
    Permission { group: "", resource: "secrets", verbs: &["create"], name: None, everywhere: false },
    Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "update"],
        name: Some("flipguard-keeper"),
        everywhere: false,
    },
    Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["create"], name: None, everywhere: false },
    // Whether its own Service can be called yet.
    Permission {
        group: "discovery.k8s.io",
        resource: "endpointslices",
        verbs: &["list"],
        name: None,
        everywhere: false,
    },
];

const fn reads(group: &'static str, resource: &'static str) -> Permission {
    Permission { group, resource, verbs: &["get", "list"], name: None, everywhere: true }
}
