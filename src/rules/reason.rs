//! The table of rules: one row for each reason code.

use std::fmt;

use crate::model::Action;

/// Why something was found; shown to users by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The target matches nothing.
    TargetMissing,
    /// The target is not fully ready.
    TargetNotReady,
    /// The selector is taken away.
    SelectorEmptied,
    /// The new selector pins no colour any more.
    SelectorUnpinned,
    /// A named port is not to be found in the Pods.
    PortUnresolved,
    /// The Service becomes a DNS alias.
    TypeExternalName,
    /// The Service is told to route to Pods that are not ready.
    PublishesNotReady,
    /// The Service leaves flipguard's care.
    OptOutNotPermitted,
    /// An override that may not be set as it is.
    OverrideNotPermitted,
    /// The target has fewer ready Pods than the current colour.
    CapacityBelowLive,
    /// The target's template differs in more than its image.
    EnvironmentDiffers,
    /// Nothing checks whether the target is ready.
    NoReadinessProbe,
    /// The version label and the image disagree.
    VersionMismatch,
    /// An image without a tag.
    ImageUntagged,
    /// The live colour is scaled below what its Service needs.
    LiveScaledDown,
    /// The live colour is cut by more than half.
    LiveShrunk,
    /// The live colour is deleted.
    LiveDeleted,
    /// The live colour loses the labels by which its Service finds it.
    LiveDetached,
    /// The live colour gets a new version in place.
    LiveRedeployed,
    /// All Pods of the live colour go before new ones come.
    LiveRecreate,
    /// Another colour's workload comes behind a live selector.
    JoinsLive,
    /// A Service is deleted while Pods serve through it.
    ServiceDeleted,
    /// The colour before is scaled away while it is held.
    HeldScaledDown,
    /// The colour before is deleted while it is held.
    HeldDeleted,
    /// A Service that was just deleted is made again for a colour that is not ready.
    ServiceRecreated,
    /// The verdict depends on another change that is on its way.
    ConcurrentChange,
    /// What the verdict depends on could not be read.
    ClusterUnreadable,
}

/// Whether waiting helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The same change may pass later, with nothing else done.
    NotYet,
    /// The change itself must be another one.
    Never,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The stable code that messages, metrics and policies use.
    pub code: &'static str,
    /// What it does unless a policy says otherwise.
    pub action: Action,
    /// Whether waiting helps.
    pub patience: Patience,
    /// When it speaks.
    pub says: &'static str,
    /// Why that is dangerous.
    pub why: &'static str,
    /// What to do.
    pub way_out: &'static str,
}

impl Reason {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 27] = [
        Self::TargetMissing,
        Self::TargetNotReady,
        Self::SelectorEmptied,
        Self::SelectorUnpinned,
        Self::PortUnresolved,
        Self::TypeExternalName,
        Self::PublishesNotReady,
        Self::OptOutNotPermitted,
        Self::OverrideNotPermitted,
        Self::CapacityBelowLive,
        Self::EnvironmentDiffers,
        Self::NoReadinessProbe,
        Self::VersionMismatch,
        Self::ImageUntagged,
        Self::LiveScaledDown,
        Self::LiveShrunk,
        Self::LiveDeleted,
        Self::LiveDetached,
        Self::LiveRedeployed,
        Self::LiveRecreate,
        Self::JoinsLive,
        Self::ServiceDeleted,
        Self::HeldScaledDown,
        Self::HeldDeleted,
        Self::ServiceRecreated,
        Self::ConcurrentChange,
        Self::ClusterUnreadable,
    ];

    /// Its row of the table.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table, one row each")]
    pub fn row(self) -> Row {
        use Action::{Deny, Warn};
        use Patience::{Never, NotYet};
        let (code, action, patience, says, why, way_out) = match self {
            Self::TargetMissing => (
                "target-missing",
                Deny,
                NotYet,
                "A flip goes to a selector that matches no workload and no Pod.",
                "The Service would have no endpoints: every request would fail.",
                "Deploy the colour first, or correct the selector.",
            ),
            Self::TargetNotReady => (
                "target-not-ready",
                Deny,
                NotYet,
                "A flip goes to a colour of which something is not fully ready: its counters do not agree with its \
                 spec, or too few Pods of its current template serve.",
                "Traffic for all replicas would meet some, none, or those of an older version.",
                "Wait with the command in the message. When the current colour has no ready Pod and the target has \
                 one, the flip passes with a warning.",
            ),
            Self::SelectorEmptied => (
                "selector-emptied",
                Deny,
                Never,
                "The selector of a traffic Service is removed or made empty.",
                "Kubernetes then stops writing its endpoints: the old ones stay for ever, ready or not.",
                "Flip to another colour, or delete the Service to take the app down.",
            ),
            Self::SelectorUnpinned => (
                "selector-unpinned",
                Deny,
                Never,
                "The old selector pinned a colour and the new one pins none, or it matches workloads of two colours \
                 that both want Pods. Where blue-green is not practised (a `version` for a mesh, without another one beside \
                 it), it is a warning.",
                "Both versions would serve at once.",
                "Keep one colour in the selector. A move from one colour key to another passes.",
            ),
            Self::PortUnresolved => (
                "port-unresolved",
                Deny,
                Never,
                "A named target port is not declared, under this name and protocol, by every Pod that would serve. \
                 Numbers always pass. For a port that is added beside others it is a warning. Where not even every \
                 current Pod has the port, one target Pod that has it is enough.",
                "Pods without the port get no traffic on it; if none has it, all requests on it fail.",
                "Declare the port in the target's Pod template, or correct `targetPort`.",
            ),
            Self::TypeExternalName => (
                "type-external-name",
                Deny,
                Never,
                "A traffic Service with ready endpoints becomes a DNS alias (`type: ExternalName`).",
                "Clients move as their DNS caches end, and nothing can check what they meet.",
                "Make a Service of another name for the alias.",
            ),
            Self::PublishesNotReady => (
                "publishes-not-ready",
                Deny,
                Never,
                "`publishNotReadyAddresses` is set on a traffic Service. Where blue-green is not practised, it is a warning.",
                "Traffic would go to Pods whether they are ready or not.",
                "Set it on a Service of its own, such as the headless one of a StatefulSet.",
            ),
            Self::OptOutNotPermitted => (
                "opt-out-not-permitted",
                Deny,
                Never,
                "A traffic Service with ready endpoints is taken out of flipguard's care (`flipguard.dev/guard: \
                 \"false\"`, `flipguard.dev/role: preview`, Argo Rollouts' mark, `role: traffic` taken back) by somebody who \
                 may not.",
                "The next change of it would be guarded by nobody.",
                "Ask somebody with the verb `override` on `bluegreenpolicies.flipguard.dev` in the namespace. Argo \
                 Rollouts' mark is accepted where a Rollout of that name exists.",
            ),
            Self::OverrideNotPermitted => (
                "override-not-permitted",
                Deny,
                Never,
                "The annotation `flipguard.dev/override` is set or extended by somebody who may not, reaches more than 1 h \
                 ahead, or cannot be read. A value that is already past needs no permission, and does nothing.",
                "While it lasts, nothing is refused.",
                "Ask somebody with the verb `override` on `bluegreenpolicies.flipguard.dev` in the namespace; write \
                 `<RFC 3339 time> <reason>`.",
            ),
            Self::CapacityBelowLive => (
                "capacity-below-live",
                Warn,
                Never,
                "The target has fewer ready Pods than the current colour.",
                "The same traffic would meet fewer Pods.",
                "Scale the target to the current colour's size before the flip.",
            ),
            Self::EnvironmentDiffers => (
                "environment-differs",
                Warn,
                Never,
                "The Pod template of the target differs from the current one in more than its image and what spells \
                 its colour; the paths are listed.",
                "A flip is to change the version; another setting that changes with it is easily overlooked.",
                "Compare the two templates; if it is meant, go on.",
            ),
            Self::NoReadinessProbe => (
                "no-readiness-probe",
                Warn,
                Never,
                "No container of a target workload has a readiness probe.",
                "Ready then only means started.",
                "Add a readinessProbe to the Pod template.",
            ),
            Self::VersionMismatch => (
                "version-mismatch",
                Warn,
                Never,
                "The version label of the target and the tag of its image disagree.",
                "What the selector says is not what runs.",
                "Correct the label or the image.",
            ),
            Self::ImageUntagged => (
                "image-untagged",
                Warn,
                Never,
                "A Deployment with a colour runs an image without a tag.",
                "The version label says `latest`, and two colours cannot be told apart by it.",
                "Give the image a tag.",
            ),
            Self::LiveScaledDown => (
                "live-scaled-down",
                Deny,
                Never,
                "A scale-down, by whatever client, would leave a traffic Service fewer ready Pods than it needs: one, or \
                 what its annotation `flipguard.dev/min-replicas` says. So would a Deployment that takes a ReplicaSet over \
                 and wants fewer Pods, or Pods of another colour.",
                "The Service promises traffic to this colour, and nothing would answer.",
                "Flip to the other colour first; or delete the Service to take the app down.",
            ),
            Self::LiveShrunk => (
                "live-shrunk",
                Warn,
                Never,
                "One write by anybody but an autoscaler cuts the live colour by more than half.",
                "A chart that says `replicas: 1` easily undoes what an autoscaler has built up.",
                "Leave `replicas` out of manifests of workloads that are autoscaled.",
            ),
            Self::LiveDeleted => (
                "live-deleted",
                Deny,
                Never,
                "A workload is deleted, by whatever propagation policy, without which a traffic Service would have fewer \
                 ready Pods than it needs; or a ReplicaSet that runs such a workload. Or its owners change so that none of \
                 them exists (by kind, name and uid): the garbage collector would delete it. Where flipguard may not look \
                 for the owner, that is a warning.",
                "The Service promises traffic to this colour, and nothing would answer.",
                "Delete the Service first, then its workloads; or flip to the other colour first.",
            ),
            Self::LiveDetached => (
                "live-detached",
                Deny,
                Never,
                "The Pod template of the live colour loses a label that the Service selects by, and without it the Service \
                 would have fewer ready Pods than it needs.",
                "As the new Pods come, the Service finds none of them.",
                "Flip to the other colour first.",
            ),
            Self::LiveRedeployed => (
                "live-redeployed",
                Deny,
                Never,
                "The Pod template of the live colour changes (image, environment ...) while another colour stands by. \
                 Without another colour, or while the live one has fewer ready Pods than it needs, it is a warning; while \
                 it has none, nothing is said. `rollout undo`, `rollout restart` and changes of metadata \
                 pass.",
                "The new version would meet traffic unseen, and the way back would be gone.",
                "Deploy the new version to the idle colour, and flip.",
            ),
            Self::LiveRecreate => (
                "live-recreate",
                Deny,
                Never,
                "A change lets all Pods of the live colour go before new ones are ready: strategy `Recreate`, or a \
                 `maxUnavailable` of all, with a new template, in the middle of a rollout, or with a template released \
                 by un-pausing. Without another colour it is a warning.",
                "Nothing would answer in between.",
                "Deploy to the idle colour and flip, or set strategy `RollingUpdate` first.",
            ),
            Self::JoinsLive => (
                "joins-live",
                Warn,
                Never,
                "A workload that is named for another colour is created behind a live selector, or relabelled so that it \
                 comes behind one.",
                "Its Pods serve at once, beside the others, as soon as they are ready.",
                "Correct the labels of its Pod template if that is not meant.",
            ),
            Self::ServiceDeleted => (
                "service-deleted",
                Warn,
                Never,
                "A traffic Service is deleted while Pods serve through it.",
                "From then on nothing protects the Pods. It is the right first step of taking an app down.",
                "Create it again at once if that is not meant.",
            ),
            Self::HeldScaledDown => (
                "held-scaled-down",
                Warn,
                NotYet,
                "The colour that was live before the last flip of a Service is scaled below what the Service needs, before the                  hold time is over (2 min; `flipguard.dev/hold: 10m` on the Service makes it longer, and refuses).",
                "Until it is over, rolling back is one change of a selector; afterwards it is a deployment.",
                "Wait for as long as the message says. Deleting the Service, or flipping back, ends the hold.",
            ),
            Self::HeldDeleted => (
                "held-deleted",
                Warn,
                NotYet,
                "The colour that was live before the last flip of a Service is deleted before the hold time is over (2 min;                  `flipguard.dev/hold: 10m` on the Service makes it longer, and refuses).",
                "Until it is over, rolling back is one change of a selector; afterwards it is a deployment.",
                "Wait for as long as the message says. Deleting the Service, or flipping back, ends the hold.",
            ),
            Self::ServiceRecreated => (
                "service-recreated",
                Deny,
                NotYet,
                "A traffic Service that was deleted less than 10 min ago is made again for another colour, which is not \
                 ready, while the colour that it had still runs.",
                "Deleting a Service and making it again is a flip too, and would be refused as one.",
                "Wait until the new colour is ready, or make the Service with the selector that it had: that always passes.",
            ),
            Self::ConcurrentChange => (
                "concurrent-change",
                Deny,
                NotYet,
                "The verdict depends on another change that was admitted and is not known to have been carried out or given \
                 up: each of the two would be fine by itself, and together they would leave a Service without ready Pods. \
                 Answered with 429, which clients try again by themselves; where only advice is asked for, it is a warning.",
                "Two changes at once are the one thing that no rule about one change can see.",
                "Try again in a second. A change that was given up (by another webhook, or because a client went away) is \
                 waited for until its object changes, and for 90 s at most.",
            ),
            Self::ClusterUnreadable => (
                "cluster-unreadable",
                Deny,
                NotYet,
                "Something that the verdict depends on could not be read in time. Where only advice is asked for, it is a \
                 warning.",
                "What is not known is not ready.",
                "Clients try again by themselves. If it stays, look at flipguard's log and its permissions.",
            ),
        };
        Row { code, action, patience, says, why, way_out }
    }

    /// The stable code that messages, metrics and policies use.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().code
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
