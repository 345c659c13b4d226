//! The table of checks, one entry for each code. docs/checks.md is generated from it.

use schemars::JsonSchema;
use serde::Serialize;

/// A check of a namespace at rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// The code, which never changes.
    pub code: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// When it finds something, in a sentence.
    pub says: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// How to go on.
    pub remedy: &'static str,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The promise is weaker than it looks.
    Warning,
    /// Somebody is being hurt, or the next ordinary step hurts.
    Error,
}

impl Severity {
    /// The word: `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Defines each check, and the list of all.
macro_rules! checks {
    ($($name:ident = $code:literal, $severity:ident, $says:literal, $why:literal, $remedy:literal;)+) => {
        $(
            #[doc = $says]
            pub static $name: Check =
                Check { code: $code, severity: Severity::$severity, says: $says, why: $why, remedy: $remedy };
        )+

        /// All checks.
        pub static ALL: &[&Check] = &[$(&$name),+];
    };
}

checks! {
    LIVE_NOT_READY = "live-not-ready", Error,
        "A traffic Service routes to no ready Pod.",
        "Its clients get no answer.",
        "Look at the Pods of the live colour, or flip back to a colour that is ready.";
    LIVE_BELOW_FLOOR = "live-below-floor", Error,
        "A traffic Service has fewer ready Pods than a change has to leave.",
        "No change of the live colour passes any more, and the load is on fewer Pods than planned.",
        "Mend the Pods, or scale the live colour up.";
    LIVE_DEGRADED = "live-degraded", Warning,
        "The live colour has enough ready Pods, but not all that it wants.",
        "One more failure may be one too many.",
        "Look at the Pod that is not ready.";
    COLOURS_MIXED = "colours-mixed", Error,
        "One selector without a colour serves two colours that both want Pods.",
        "Clients get both versions, and no flip moves them.",
        "Pin a colour in the selector.";
    SERVICE_SPLIT = "service-split", Warning,
        "Traffic Services of one app point at different colours.",
        "A flip of one was forgotten, or has not happened yet: clients of one app meet two versions.",
        "Flip the other Service as well.";
    NO_WAY_BACK = "no-way-back", Warning,
        "No other colour has a ready Pod.",
        "Going back takes a deployment, and that takes minutes while clients wait. During the hold of a flip, it is an error.",
        "Keep the previous colour running until the new one is trusted.";
    FLIP_WOULD_BE_DENIED = "flip-would-be-denied", Info,
        "A flip to another colour would be denied now.",
        "The next release step fails, or the way back is shut.",
        "Mend what the denial names before the flip.";
    CAPACITY_BELOW_LIVE = "capacity-below-live", Warning,
        "Another colour has fewer Pods than the live one.",
        "After the flip, fewer Pods carry the same load.",
        "Scale it as far as the live colour.";
    ENVIRONMENT_DIFFERS = "environment-differs", Warning,
        "The configuration of two colours differs beyond their images.",
        "The flip changes more than the version.",
        "Make them alike, or flip knowingly.";
    VERSION_MISMATCH = "version-mismatch", Warning,
        "The version label of a colour differs from its image.",
        "People read the label and believe it.",
        "Correct the label or the image.";
    IMAGE_UNTAGGED = "image-untagged", Warning,
        "An image has no tag, so nobody knows which version runs.",
        "The same template may run another image after a restart.",
        "Name a tag or a digest.";
    NO_READINESS_PROBE = "no-readiness-probe", Warning,
        "A colour has no readiness probe.",
        "Its Pods count as ready before they can answer.",
        "Add a readinessProbe.";
    PORT_UNRESOLVED = "port-unresolved", Error,
        "A named port of the Service is missing in another colour.",
        "After the flip, the port leads nowhere.",
        "Name the port in the containers.";
    SAME_IMAGE = "same-image", Info,
        "Both colours run the same image.",
        "There is no other version to go back to.",
        "Nothing, if that is meant; the next release goes into the idle colour.";
    ONE_NODE = "one-node", Warning,
        "All ready Pods of the live colour are on one Node.",
        "The loss of that Node takes the app down.",
        "Spread the Pods: topologySpreadConstraints, or podAntiAffinity.";
    NO_PDB = "no-pdb", Warning,
        "The live colour has two or more Pods and no PodDisruptionBudget.",
        "A drain may evict all of them at once; flipguard does not judge evictions.",
        "Create a PodDisruptionBudget with the labels of the colour.";
    PDB_SPANS_COLOURS = "pdb-spans-colours", Warning,
        "A PodDisruptionBudget covers two colours.",
        "Idle Pods count as available, so a drain may take all Pods of the live colour.",
        "Give each colour a budget of its own, with the colour in its selector.";
    PDB_BLOCKS_DRAIN = "pdb-blocks-drain", Warning,
        "Evictions of live Pods fail: a budget allows none at full health, or two budgets match one Pod.",
        "Nodes cannot be drained, and cluster upgrades hang.",
        "Allow one disruption, and keep one budget for each Pod.";
    AUTOSCALER_ON_ONE_COLOUR = "autoscaler-on-one-colour", Warning,
        "A HorizontalPodAutoscaler scales one colour only.",
        "After the flip, the other colour keeps its size; at 0, no autoscaler wakes it.",
        "Give each colour an autoscaler, or move it with the flip.";
    STATE_SHARED = "state-shared", Error,
        "Two colours mount the same claim, which only one Node or Pod can mount.",
        "The second colour cannot start on another Node (Multi-Attach), and both write the same data.",
        "Use a ReadWriteMany claim, or keep state out of the Pods.";
    STATE_PER_COLOUR = "state-per-colour", Warning,
        "Each colour has claims of its own.",
        "The data parts at the flip: what was written behind one colour is missing behind the other.",
        "Keep state outside the colours, such as in a database.";
    STATE_ON_NODE = "state-on-node", Warning,
        "A colour writes to a folder of its Node (hostPath); with --state all, also to one that ends with the Pod (emptyDir).",
        "The data stays on the Node when the colour moves.",
        "Keep state outside the Pods.";
    STICKY_SESSIONS = "sticky-sessions", Warning,
        "Sessions stick to Pods: sessionAffinity of the Service, or cookies of an Ingress to it.",
        "After a flip, sessions end, or clients stick to the old colour.",
        "Keep sessions outside the Pods.";
    MIGRATION_SINCE = "migration-since", Info,
        "A Job that looks like a migration ended after the template of another colour was made.",
        "Going back may meet a newer schema. A hook Job is often deleted at once, so silence proves nothing.",
        "Keep migrations compatible with the version before.";
    MIGRATION_IN_PODS = "migration-in-pods", Info,
        "An init container looks like a migration.",
        "Both colours change the schema when their Pods start.",
        "Run the migration as a Job before the flip, compatible with both versions.";
    ENDPOINTS_FROZEN = "endpoints-frozen", Error,
        "A Service has no selector, and its EndpointSlices are those of a selector that it had.",
        "Nobody updates the slices any more: traffic goes to the Pods of that time, also when they are gone.",
        "Give the Service its selector again, or delete the slices.";
    PUBLISHES_NOT_READY = "publishes-not-ready", Error,
        "A traffic Service routes to Pods that are not ready (publishNotReadyAddresses).",
        "Clients meet Pods that cannot answer, and a flip moves them before the colour is ready.",
        "Leave publishNotReadyAddresses out; peers that find each other early need a Service of their own.";
    DNS_SWITCHED = "dns-switched", Warning,
        "A traffic Service is headless. Or a DNS alias carries traffic, points at a Service that pins a colour, or at none.",
        "Clients cache DNS, so a switch takes effect late and unevenly; flipguard does not judge a change of an alias.",
        "Route by a Service with a selector and an address of its own.";
    UNGUARDED = "unguarded", Warning,
        "A Service with a colour is opted out of flipguard, or marked by Argo Rollouts without its Rollout.",
        "Nothing protects its traffic.",
        "Remove the annotation flipguard.dev/guard, or that of Argo Rollouts.";
    PREVIEW_WITH_TRAFFIC = "preview-with-traffic", Warning,
        "A preview Service is a LoadBalancer, or a route leads to it, so it gets traffic from outside.",
        "The traffic is real, and flips of this Service are not guarded.",
        "Set flipguard.dev/role: traffic, or make it a ClusterIP.";
    ROUTE_UNGUARDED = "route-unguarded", Warning,
        "A route (Ingress, HTTPRoute, OpenShift Route) sends traffic to a Service that is named for a colour. Without a ready Pod, it is an error.",
        "The flip happens in the route, and flipguard does not judge it.",
        "Route to one traffic Service, and flip its selector.";
    NOT_GUARDING = "not-guarding", Error,
        "flipguard is suspended, not registered, or no replica of it runs. Where it was never registered, this is a warning.",
        "Nothing is denied, or the API server denies what flipguard should judge.",
        "Run flipguard doctor.";
    ACCEPT_IGNORED = "accept-ignored", Warning,
        "A part of the annotation flipguard.dev/accept accepts nothing: its code is unknown, or it has no reason.",
        "Somebody believes that a finding is accepted.",
        "Write CODE: REASON, and separate several by a semicolon.";
    OVERRIDE_ACTIVE = "override-active", Warning,
        "An override lets denied changes pass.",
        "Until it ends, nothing is denied.",
        "Remove the annotation once the emergency is over.";
    OVERRIDE_LEFT = "override-left", Info,
        "An override has ended and is still there.",
        "It does nothing, and misleads readers.",
        "Remove the annotation flipguard.dev/override.";
    ORPHAN_COLOUR = "orphan-colour", Info,
        "A coloured workload runs Pods, and no Service selects it or its app.",
        "It costs money and serves nobody.",
        "Delete it, or route to it.";
    EXEMPTION_EXPIRED = "exemption-expired", Info,
        "An exemption of a policy has ended.",
        "It lifts nothing any more, and misleads readers.",
        "Remove it from the policy.";
    EXEMPTION_UNUSED = "exemption-unused", Info,
        "An exemption of a policy has let nothing pass for 30 days.",
        "It is a hole that nobody needs any more.",
        "Remove it from the policy.";
    POLICY_SET_ASIDE = "policy-set-aside", Error,
        "A policy cannot be read, or may or may not count.",
        "It demands and forgives nothing, or only demands.",
        "Run kubectl get bgpolicy -o wide.";
    POLICY_SOFTENS = "policy-softens", Info,
        "A policy makes settings or rules softer than the defaults.",
        "Where it selects, less is denied than people expect.",
        "Nothing, if that is meant.";
    POLICIES_OVERLAP = "policies-overlap", Info,
        "Policies select the same namespaces.",
        "The strictest of what they say counts, so none of them can soften what another says.",
        "Nothing, if that is meant; else make their selectors exclude each other.";
}
