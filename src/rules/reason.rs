//! The table of rules: one row for each reason code. `docs/rules.md` is generated from it.

use std::fmt;

use crate::model::Action::{self, Deny, Warn};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The stable code that messages, metrics and policies use.
    pub code: &'static str,
    /// The action, unless a policy sets another one.
    pub action: Action,
    /// Whether the same request may pass later without any other step.
    pub retryable: bool,
    /// The condition under which the rule applies.
    pub says: &'static str,
    /// The danger that the rule prevents.
    pub why: &'static str,
    /// The next step for the user.
    pub remedy: &'static str,
}

/// Defines the reasons, each with its row, and the list of all of them.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident { $($row:tt)+ })+) => {
        /// The reason of a finding; users see its code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All reasons, in the order of `docs/rules.md`.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The row of this reason.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => &Row { $($row)+ },)+
                }
            }
        }
    };
}

reasons! {
    /// The target of a flip matches nothing.
    TargetMissing {
        code: "target-missing",
        action: Deny,
        retryable: true,
        says: "The new selector of a flip matches no workload and no Pod.",
        why: "The Service would have no endpoints, and every request would fail.",
        remedy: "Deploy the colour first, or correct the selector.",
    }
    /// The target of a flip is not fully ready.
    TargetNotReady {
        code: "target-not-ready",
        action: Deny,
        retryable: true,
        says: "A workload or Pod behind the new selector of a flip is not fully ready. Either its counters disagree with \
               its spec, or too few Pods of its current template serve.",
        why: "Traffic for all replicas would reach only some Pods, none, or Pods of an older version.",
        remedy: "Fix the failing Pod that the message names, or wait. When the current colour has no ready Pod and the \
                 target has one, the flip passes with a warning.",
    }
    /// The target of a flip has not been ready for long enough.
    NotSoaked {
        code: "not-soaked",
        action: Deny,
        retryable: true,
        says: "A policy has `flip.soak`, and too few Pods of the target have been ready for that time without a restart. A \
               rollback is not asked for it.",
        why: "A version that fails after a minute would get all traffic.",
        remedy: "Wait as long as the message says.",
    }
    /// The target of a flip runs another version than the Service expects.
    NotExpected {
        code: "not-expected",
        action: Deny,
        retryable: true,
        says: "A Service has the annotation `flipguard.dev/expect`, and the target of a flip runs another version. A rollback \
               passes if the same write does not change the annotation. Where the current colour has no ready Pod and the \
               target has one, it is a warning.",
        why: "A release that writes Service and workload in one go would land on the version before.",
        remedy: "Wait until the expected version is rolled out, or correct the annotation.",
    }
    /// A gate of a policy has no valid proof for the target of a flip.
    GateNotPassed {
        code: "gate-not-passed",
        action: Deny,
        retryable: true,
        says: "A policy has `flip.gates`, and a gate has no valid proof for the Pod template and the images of the target: none \
               at all, a failed one, one that is too old, or one of another version. A rollback is not asked for it. A deleted \
               Service that is created again within 10 min, for another colour, is.",
        why: "A version that nobody has tested or approved would get all traffic.",
        remedy: "Run the test of the gate, or let somebody pass or approve it. See docs/gates.md.",
    }
    /// The selector is removed.
    SelectorEmptied {
        code: "selector-emptied",
        action: Deny,
        retryable: false,
        says: "The selector of a traffic Service is removed or made empty.",
        why: "Kubernetes then stops updating the endpoints. The old ones stay for ever, ready or not.",
        remedy: "Flip to another colour. To retire the app, delete the Service.",
    }
    /// The new selector no longer pins a colour.
    SelectorUnpinned {
        code: "selector-unpinned",
        action: Deny,
        retryable: false,
        says: "The old selector pinned a colour. The new one matches, or with the deployed workloads would match, two \
               colours of this app. Where blue-green is not in use, this is a warning.",
        why: "Both versions would serve at once.",
        remedy: "Keep one colour in the selector. A move from one colour key to another passes.",
    }
    /// The new selector reaches another app.
    SelectorTooWide {
        code: "selector-too-wide",
        action: Deny,
        retryable: false,
        says: "The new selector lacks a pair that was no colour, and matches workloads of another app.",
        why: "`kubectl set selector service app version=green` replaces the whole selector. Then another app answers for \
              this one.",
        remedy: "Keep all pairs of the selector, and change the colour alone.",
    }
    /// The new selector reaches no ready Pod.
    EndpointsLost {
        code: "endpoints-lost",
        action: Warn,
        retryable: false,
        says: "The selector of any Service changes, ready Pods served until now, and none would.",
        why: "The Service would have no endpoints, and every request would fail.",
        remedy: "Compare the selector with the labels of the Pods.",
    }
    /// Another writer takes back a recent flip.
    FlipUndone {
        code: "flip-undone",
        action: Warn,
        retryable: false,
        says: "Another field manager takes back a flip within an hour. An Event `FlipUndone` on the Service says so too.",
        why: "Self-heal of Argo CD, or a second pipeline, writes the old selector back.",
        remedy: "Change the selector in Git or in the pipeline too.",
    }
    /// A second try of a version that a rollback left.
    ReturnsToAbandoned {
        code: "returns-to-abandoned",
        action: Warn,
        retryable: true,
        says: "A flip goes to the template that a rollback left within the last hour. It is no rollback: all Pods must be \
               ready. With `flipguard.dev/quarantine: 1h` on the Service, it is denied for that time.",
        why: "The version was rolled back for a reason.",
        remedy: "Deploy a mended version first.",
    }
    /// A named port is not declared by the Pods.
    PortUnresolved {
        code: "port-unresolved",
        action: Deny,
        retryable: false,
        says: "Some Pod that would serve does not declare a named target port with its name and protocol. For a port that \
               is added beside others, this is a warning. Where some current Pod lacks the port too, one target Pod that \
               has it is enough. The same for a new Pod template of the live colour that drops the port, an undo \
               included; while other Pods behind the Service declare it, that is a warning.",
        why: "Pods without the port get no traffic on it. If no Pod has it, every request on it fails.",
        remedy: "Declare the port in the target's Pod template, or correct `targetPort`.",
    }
    /// A target port by number is declared by no Pod of the target.
    PortUndeclared {
        code: "port-undeclared",
        action: Warn,
        retryable: false,
        says: "A target port is a number that no container of the target declares, while the current Pods declare theirs.",
        why: "Kubernetes does not check numbers. If no container listens there, every request is refused.",
        remedy: "Check that a container listens on that number, or correct `targetPort`.",
    }
    /// A port that clients use goes away.
    PortRemoved {
        code: "port-removed",
        action: Warn,
        retryable: false,
        says: "A port or a node port of a traffic Service with ready endpoints is removed or gets another number.",
        why: "Clients of the old port are refused at once.",
        remedy: "Keep the port beside the new one until no client uses it.",
    }
    /// Traffic that stays on its node finds no Pod there.
    TrafficLocal {
        code: "traffic-local",
        action: Warn,
        retryable: false,
        says: "`internalTrafficPolicy` or `externalTrafficPolicy` is `Local`. A node that runs a ready Pod of the current \
               colour runs none of the target. The same when the policy becomes `Local`.",
        why: "On a node without a ready Pod, the Service has no endpoint for that traffic.",
        remedy: "Run a Pod of the target on each such node, or set the policy to `Cluster`.",
    }
    /// The address of a load balancer is released.
    TypeNarrowed {
        code: "type-narrowed",
        action: Warn,
        retryable: false,
        says: "A traffic Service of type `LoadBalancer` gets another type. A manifest without `type` does that.",
        why: "The cloud releases the address. Another one is assigned when the type comes back.",
        remedy: "Keep `type: LoadBalancer` in the manifest.",
    }
    /// The Service becomes a DNS alias.
    TypeExternalName {
        code: "type-external-name",
        action: Deny,
        retryable: false,
        says: "A traffic Service with ready endpoints becomes a DNS alias (`type: ExternalName`).",
        why: "Clients move as their DNS caches expire, and nothing can check the target.",
        remedy: "Create a separate Service for the alias. An alias of a Service in this cluster (`x.y.svc`) is a warning.",
    }
    /// The Service would route to Pods that are not ready.
    PublishesNotReady {
        code: "publishes-not-ready",
        action: Deny,
        retryable: false,
        says: "`publishNotReadyAddresses` is set on a traffic Service. Where blue-green is not in use, this is a warning.",
        why: "Pods would get traffic whether they are ready or not.",
        remedy: "Set it on a separate Service, such as the headless one of a StatefulSet.",
    }
    /// The Service opts out of flipguard.
    OptOutNotPermitted {
        code: "opt-out-not-permitted",
        action: Deny,
        retryable: false,
        says: "A user without the verb `override` takes a traffic Service with ready endpoints out of flipguard's care: \
               by `flipguard.dev/guard: \"false\"`, by `flipguard.dev/role: preview`, by Argo Rollouts' mark, or by \
               removing `role: traffic`. The same for `flipguard.dev/min-replicas: \"0\"`, on a new Service too.",
        why: "Nothing would guard the next change of the Service.",
        remedy: "Ask for the verb `override` on `bluegreenpolicies.flipguard.dev` in the namespace. Argo Rollouts' mark \
                 is accepted where a Rollout of that name exists.",
    }
    /// An override without permission, or with an invalid value.
    OverrideNotPermitted {
        code: "override-not-permitted",
        action: Deny,
        retryable: false,
        says: "The annotation `flipguard.dev/override` is set or extended by a user without the verb, ends more than 1 h \
               ahead, or cannot be read. A value that is already past needs no permission and does nothing.",
        why: "While an override lasts, nothing is denied.",
        remedy: "Ask for the verb `override` on `bluegreenpolicies.flipguard.dev` in the namespace. Write \
                 `<RFC 3339 time> <reason>`.",
    }
    /// Somebody tries to prove a gate who may not.
    GateNotPermitted {
        code: "gate-not-permitted",
        action: Deny,
        retryable: false,
        says: "A Job with the label `flipguard.dev/gate`, or an annotation `flipguard.dev/gate.<name>` on a workload, would prove \
               a gate without the right to do so. The user lacks the verb `pass` or `approve`, the annotation names another \
               user or another version, or the Job runs an image that the policy does not allow. The label and the \
               annotations of such a Job never change.",
        why: "A proof that anyone can forge proves nothing.",
        remedy: "Ask for the verb on `bluegreenpolicies.flipguard.dev/gates`. Let `flipguard gate` write the annotation.",
    }
    /// A Service has a setting that cannot be read.
    AnnotationInvalid {
        code: "annotation-invalid",
        action: Deny,
        retryable: false,
        says: "The annotation `flipguard.dev/hold` or `flipguard.dev/min-replicas` is set to a value that cannot be read. \
               A stored value that cannot be read counts as not set. For an unknown value of `flipguard.dev/role` or \
               `flipguard.dev/guard`, this is a warning.",
        why: "The Service would be less protected than its owner believes.",
        remedy: "Correct the value: a duration such as `10m`, a whole number such as `2`, `traffic` or `preview`, `true` or \
                 `false`.",
    }
    /// A traffic Service by annotation, whose selector picks no known colour.
    KeyUnknown {
        code: "key-unknown",
        action: Warn,
        retryable: false,
        says: "`flipguard.dev/role: traffic` is set on a Service whose selector has no key and no value that flipguard knows as \
               a colour.",
        why: "Its flips and `kubectl scale` of its workloads are guarded. Deletions and changes of its workloads are not: their \
              labels mark no colour.",
        remedy: "Add a label such as `color` to the Pod template and to the selector.",
    }
    /// The target has fewer ready Pods than the current colour.
    CapacityBelowLive {
        code: "capacity-below-live",
        action: Warn,
        retryable: false,
        says: "The target of a flip has fewer ready Pods than the current colour.",
        why: "Fewer Pods would get the same traffic.",
        remedy: "Scale the target to the size of the current colour before the flip.",
    }
    /// The target's template differs in more than its image.
    EnvironmentDiffers {
        code: "environment-differs",
        action: Warn,
        retryable: false,
        says: "The Pod template of the target differs from the current one in more than its image and its colour. The \
               message lists the paths.",
        why: "A flip changes the version. Another setting that changes with it is easily overlooked.",
        remedy: "Compare the two templates.",
    }
    /// The target has no readiness probe.
    NoReadinessProbe {
        code: "no-readiness-probe",
        action: Warn,
        retryable: false,
        says: "The main container of a target workload has no readiness probe.",
        why: "Ready then only means started.",
        remedy: "Add a readinessProbe to the main container. Sidecars do not count.",
    }
    /// The version label and the image disagree.
    VersionMismatch {
        code: "version-mismatch",
        action: Warn,
        retryable: false,
        says: "The version label of the target and the tag of its image disagree.",
        why: "The selector names another version than the one that runs.",
        remedy: "Correct the label or the image.",
    }
    /// An image without a tag.
    ImageUntagged {
        code: "image-untagged",
        action: Warn,
        retryable: false,
        says: "A Deployment with a colour runs an image without a tag.",
        why: "The version label says `latest`, and cannot tell two colours apart.",
        remedy: "Give the image a tag.",
    }
    /// The live colour is scaled below the floor of its Service.
    LiveScaledDown {
        code: "live-scaled-down",
        action: Deny,
        retryable: false,
        says: "A scale-down, by anyone including the HPA, would leave a traffic Service fewer ready Pods than it needs. \
               It needs one, or as many as `flipguard.dev/min-replicas` says; at `\"0\"`, it may be scaled to 0. The same holds for a Deployment that would \
               adopt a ReplicaSet and scale it down, or replace its Pods by another colour's.",
        why: "The Service sends traffic to this colour, and nothing would answer.",
        remedy: "Switch the Service to the other colour first. To retire the app, delete the Service first.",
    }
    /// The live colour is cut by more than half.
    LiveShrunk {
        code: "live-shrunk",
        action: Warn,
        retryable: false,
        says: "One write by anyone but an autoscaler cuts the live colour by more than half.",
        why: "A chart with `replicas: 1` easily undoes an autoscaler's work.",
        remedy: "Leave `replicas` out of manifests of workloads that are autoscaled.",
    }
    /// The live colour is deleted.
    LiveDeleted {
        code: "live-deleted",
        action: Deny,
        retryable: false,
        says: "A workload is deleted, with any propagation policy, and a traffic Service would keep fewer ready Pods than \
               it needs. The same holds for its current ReplicaSet, and for owners that change so that none of them \
               exists (by kind, name and uid): the garbage collector would delete the object. Where flipguard may not \
               read the owner, this is a warning.",
        why: "The Service sends traffic to this colour, and nothing would answer.",
        remedy: "Switch the Service to the other colour first. To retire the app, delete the Service first.",
    }
    /// The live colour loses the labels that its Service selects.
    LiveDetached {
        code: "live-detached",
        action: Deny,
        retryable: false,
        says: "The Pod template of the live colour loses a label that the Service selects, and the Service would keep \
               fewer ready Pods than it needs.",
        why: "The Service would find none of the new Pods.",
        remedy: "Switch the Service to the other colour first.",
    }
    /// The live colour gets a new version in place.
    LiveRedeployed {
        code: "live-redeployed",
        action: Deny,
        retryable: false,
        says: "An image of the live colour changes, or a container comes or goes, while another colour exists. Without \
               another colour, or while the live one has fewer ready Pods than it needs, this is a warning. While no Pod \
               is ready, nothing is said. `rollout undo`, `rollout restart` and changes of metadata pass.",
        why: "The new version would get traffic untested, and the old one would be gone.",
        remedy: "Deploy the new version to the idle colour, and flip.",
    }
    /// The live colour gets other settings in place.
    LiveReconfigured {
        code: "live-reconfigured",
        action: Warn,
        retryable: false,
        says: "The Pod template of the live colour changes, and no image does: an environment variable, resources, a volume.",
        why: "The change gets traffic untested. A flag that moves with the flip, or a reload of configuration, is ordinary.",
        remedy: "Deploy a new version to the idle colour, and flip.",
    }
    /// All Pods of the live colour stop before new ones start.
    LiveRecreate {
        code: "live-recreate",
        action: Deny,
        retryable: false,
        says: "A change lets all Pods of the live colour stop before new ones are ready: strategy `Recreate`, or a \
               `maxUnavailable` of all, together with a new template, during a rollout, or with a template released by \
               un-pausing. Without another colour, this is a warning.",
        why: "Nothing would answer in between.",
        remedy: "Deploy to the idle colour and flip, or set strategy `RollingUpdate` first.",
    }
    /// Another colour's workload joins a live selector.
    JoinsLive {
        code: "joins-live",
        action: Warn,
        retryable: false,
        says: "A workload that is named for another colour is created behind a live selector, or relabelled to match one.",
        why: "Its Pods get live traffic as soon as they are ready, next to the live colour.",
        remedy: "Check the labels of its Pod template.",
    }
    /// A Service is deleted while Pods serve through it.
    ServiceDeleted {
        code: "service-deleted",
        action: Warn,
        retryable: false,
        says: "A traffic Service is deleted while Pods serve through it.",
        why: "Nothing protects the Pods any more. To retire an app, it is the right first step.",
        remedy: "Create the Service again at once if the deletion was a mistake.",
    }
    /// The previous colour is scaled away while it is held.
    HeldScaledDown {
        code: "held-scaled-down",
        action: Warn,
        retryable: true,
        says: "The previous colour of a Service is scaled below the Service's floor before the hold time is over. The \
               hold time is 2 min. `flipguard.dev/hold: 10m` on the Service makes it longer, and denies.",
        why: "During the hold, a rollback is one change of a selector. Without the Pods, it is a deployment.",
        remedy: "Wait as long as the message says. Deleting the Service, or flipping back, ends the hold.",
    }
    /// The previous colour is deleted while it is held.
    HeldDeleted {
        code: "held-deleted",
        action: Warn,
        retryable: true,
        says: "The previous colour of a Service is deleted before the hold time is over. The hold time is 2 min. \
               `flipguard.dev/hold: 10m` on the Service makes it longer, and denies.",
        why: "During the hold, a rollback is one change of a selector. Without the Pods, it is a deployment.",
        remedy: "Wait as long as the message says. Deleting the Service, or flipping back, ends the hold.",
    }
    /// The previous colour gets a new version while it is held.
    HeldRedeployed {
        code: "held-redeployed",
        action: Warn,
        retryable: true,
        says: "The Pod template of the previous colour changes before the hold time is over. Where \
               `flipguard.dev/hold` on the Service is set and an image changes, this is a denial.",
        why: "The way back is gone: the version that served before the flip no longer runs.",
        remedy: "Wait as long as the message says. Deleting the Service, or flipping back, ends the hold.",
    }
    /// A deleted Service is created again for a colour that is not ready.
    ServiceRecreated {
        code: "service-recreated",
        action: Warn,
        retryable: true,
        says: "A traffic Service that was deleted less than 10 min ago is created again for another colour. That colour \
               is not ready, and the previous one still runs.",
        why: "Deleting a Service and creating it again is a flip too. It is not denied: without its Service, nobody answers.",
        remedy: "Wait until the new colour is ready, or create the Service with its previous selector, which always \
                 passes.",
    }
    /// A policy cannot be read, or it is not known whether it counts.
    PolicyUnreadable {
        code: "policy-unreadable",
        action: Warn,
        retryable: false,
        says: "A `BlueGreenPolicy` that may be for the namespace cannot be read, or the labels of the namespace cannot. What \
               it demands counts where that is known, and nothing that it or another policy forgives.",
        why: "A policy of a newer version, or a mistake in one, must not soften what is asked elsewhere.",
        remedy: "Run `kubectl get bgpolicy -o wide`, and correct the policy that is not accepted.",
    }
    /// The verdict depends on another change that is pending.
    ConcurrentChange {
        code: "concurrent-change",
        action: Deny,
        retryable: true,
        says: "The verdict depends on another change that was admitted and is neither committed nor void. Each change \
               would be fine by itself. Together they would leave a Service without ready Pods. The answer is 429, and \
               clients retry by themselves. Where only advice is asked for, this is a warning.",
        why: "No rule about one change can see two changes at once.",
        remedy: "Retry in a second. A change that was abandoned (denied by another webhook, or by a client that left) is \
                 waited for until its object changes, and for 90 s at most.",
    }
    /// A read that the verdict depends on failed.
    ClusterUnreadable {
        code: "cluster-unreadable",
        action: Deny,
        retryable: true,
        says: "A read that the verdict depends on failed or took too long. Where only advice is asked for, this is a \
               warning.",
        why: "Unknown is not ready.",
        remedy: "Clients retry by themselves. If the error persists, run `flipguard doctor`.",
    }
}

impl Reason {
    /// Whether no policy may change the action: the rules about permission, and the one that the ledger rests on.
    #[must_use]
    pub const fn is_fixed(self) -> bool {
        matches!(
            self,
            Self::OverrideNotPermitted | Self::OptOutNotPermitted | Self::GateNotPermitted | Self::ConcurrentChange
        )
    }

    /// Whether no override lifts it: it is about the right to override, or to prove a gate.
    #[must_use]
    pub const fn is_about_rights(self) -> bool {
        matches!(self, Self::OverrideNotPermitted | Self::GateNotPermitted)
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
