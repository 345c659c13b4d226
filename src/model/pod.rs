//! Pods: whether each one serves, and why not.

use serde::Deserialize;

use super::time::lenient;
use super::{Container, Containers, Meta, Timestamp};

/// A Pod, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Manifest")]
pub struct Pod {
    /// `metadata` of the Pod.
    pub meta: Meta,
    /// Whether the condition `Ready` is true.
    pub ready: bool,
    /// Since when it is ready and none of its containers was started: the later of the condition's `lastTransitionTime`
    /// and the containers' `startedAt`. `None` where it is not ready, or does not say.
    pub ready_since: Option<Timestamp>,
    /// Whether `status.podIP` is set.
    pub has_ip: bool,
    /// Whether the phase is `Succeeded` or `Failed`.
    pub terminal: bool,
    /// The serving containers of `spec`.
    pub containers: Containers,
    /// `imageID` of each container that has one, with those of init containers first: what it runs, by digest.
    pub image_ids: Vec<String>,
    /// `spec.nodeName`; empty until the Pod is scheduled.
    pub node: String,
    /// The reason why the Pod is not ready, in Kubernetes' own word if possible (`ImagePullBackOff`); `None` if ready.
    pub not_ready_reason: Option<String>,
}

impl Pod {
    /// Whether a Job controls the Pod. Such a Pod ends by itself and does not serve.
    #[must_use]
    pub fn is_of_a_job(&self) -> bool {
        self.meta.controller.as_ref().is_some_and(|owner| owner.kind == "Job")
    }

    /// Whether a Service that selects the Pod sends traffic to it. The Pod must be Ready, have an IP, and be neither
    /// ended nor being deleted (Kubernetes, `staging/src/k8s.io/endpointslice/util`, `ShouldPodBeInEndpoints`).
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ready && self.has_ip && !self.terminal && !self.meta.deleting
    }
}

impl Pod {
    /// The reason why the Pod does not serve, in a few words.
    #[must_use]
    pub fn not_ready_because(&self) -> &str {
        if self.meta.deleting {
            "is being deleted"
        } else {
            self.not_ready_reason.as_deref().unwrap_or("no pod IP yet")
        }
    }

    /// Whether waiting alone will not make the Pod ready. Then its image, configuration or program fails (Kubernetes,
    /// `pkg/kubelet/images/types.go` and `pkg/kubelet/container/sync_result.go`), or no Node accepts it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        const BROKEN: [&str; 14] = [
            "ImagePullBackOff",
            "ErrImagePull",
            "ErrImageNeverPull",
            "ErrImageInspect",
            "InvalidImageName",
            "RegistryUnavailable",
            "CrashLoopBackOff",
            "CreateContainerConfigError",
            "CreateContainerError",
            "RunContainerError",
            "OOMKilled",
            "Error",
            "Evicted",
            "Unschedulable",
        ];
        self.not_ready_reason.as_deref().is_some_and(|reason| BROKEN.contains(&reason))
    }
}

#[derive(Deserialize)]
struct Manifest {
    metadata: Meta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    reason: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Option<Vec<Condition>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    #[serde(default, rename = "lastTransitionTime", deserialize_with = "lenient")]
    since: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    ready: Option<bool>,
    state: Option<State>,
    #[serde(default, rename = "imageID")]
    image_id: String,
}

#[derive(Deserialize)]
struct State {
    waiting: Option<Ended>,
    terminated: Option<Ended>,
    running: Option<Running>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    reason: Option<String>,
    exit_code: Option<i64>,
}

#[derive(Deserialize)]
struct Running {
    #[serde(default, rename = "startedAt", deserialize_with = "lenient")]
    started: Option<Timestamp>,
}

impl From<Manifest> for Pod {
    fn from(manifest: Manifest) -> Self {
        let mut status = manifest.status.unwrap_or_default();
        let spec = manifest.spec.unwrap_or_default();
        let ready = status.condition("Ready").is_some_and(|condition| condition.status == "True");
        Self {
            meta: manifest.metadata,
            containers: Containers::new(spec.containers.unwrap_or_default(), spec.init_containers.unwrap_or_default()),
            image_ids: status.take_image_ids(),
            node: spec.node_name.unwrap_or_default(),
            ready,
            ready_since: if ready { status.ready_since() } else { None },
            has_ip: status.pod_ip.as_deref().is_some_and(|ip| !ip.is_empty()),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            not_ready_reason: if ready { None } else { Some(status.not_ready_reason()) },
        }
    }
}

impl Status {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().flatten().find(|condition| condition.kind == kind)
    }

    fn take_image_ids(&mut self) -> Vec<String> {
        let statuses =
            [&mut self.init_container_statuses, &mut self.container_statuses].into_iter().flatten().flatten();
        statuses.map(|status| std::mem::take(&mut status.image_id)).filter(|id| !id.is_empty()).collect()
    }

    fn ready_since(&self) -> Option<Timestamp> {
        let condition = self.condition("Ready")?.since?;
        let started = self.container_statuses.iter().flatten();
        started.filter_map(|status| status.state.as_ref()?.running.as_ref()?.started).chain([condition]).max()
    }

    /// The most specific reason why the Pod is not ready. The Pod's own reason (`Evicted`) comes first, then the
    /// scheduler's. The containers come next: a waiting reason, an exit reason, or a failing probe.
    fn not_ready_reason(&self) -> String {
        if let Some(reason) = &self.reason {
            return reason.clone();
        }
        if let Some(scheduled) = self.condition("PodScheduled").filter(|condition| condition.status == "False") {
            return scheduled.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned());
        }
        let init = self.init_container_statuses.iter().flatten();
        let containers = self.container_statuses.iter().flatten();
        let statuses: Vec<&ContainerStatus> = init.chain(containers).collect();
        let waiting = statuses
            .iter()
            .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
            .find(|reason| !matches!(*reason, "PodInitializing" | "ContainerCreating"));
        if let Some(reason) = waiting {
            return reason.to_owned();
        }
        let died = statuses.iter().filter(|status| status.ready != Some(true)).find_map(|status| {
            let ended = status.state.as_ref()?.terminated.as_ref()?;
            (ended.exit_code != Some(0)).then(|| ended.reason.clone().unwrap_or_else(|| "Error".to_owned()))
        });
        if let Some(reason) = died {
            return reason;
        }
        let running_unready = self.container_statuses.iter().flatten().any(|status| {
            status.ready != Some(true) && status.state.as_ref().is_some_and(|state| state.running.is_some())
        });
        if running_unready {
            return "readiness probe not passed".to_owned();
        }
        if statuses.iter().any(|status| status.state.as_ref().is_some_and(|state| state.waiting.is_some())) {
            return "ContainerCreating".to_owned();
        }
        // All containers are ready but the Pod is not: a readiness gate is not met.
        let gate = self.condition("Ready").and_then(|condition| condition.reason.clone());
        gate.unwrap_or_else(|| "Pending".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_ready_reason(status: &str) -> Option<String> {
        let json = format!(r#"{{"metadata":{{"name":"p"}},"status":{status}}}"#);
        serde_json::from_str::<Pod>(&json).unwrap().not_ready_reason
    }

    #[test]
    fn gives_the_reason_in_kubernetes_own_word() {
        let says = |status: &str| not_ready_reason(status).unwrap();
        let waiting = r#"{"containerStatuses":[{"ready":false,"state":{"waiting":{"reason":"ImagePullBackOff"}}}]}"#;
        assert_eq!(says(waiting), "ImagePullBackOff");
        let init = r#"{"initContainerStatuses":[{"ready":false,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}],
            "containerStatuses":[{"ready":false,"state":{"waiting":{"reason":"PodInitializing"}}}]}"#;
        assert_eq!(says(init), "CrashLoopBackOff");
        let unschedulable = r#"{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable"}]}"#;
        assert_eq!(says(unschedulable), "Unschedulable");
        let probe = r#"{"containerStatuses":[{"ready":false,"state":{"running":{"startedAt":"x"}}}]}"#;
        assert_eq!(says(probe), "readiness probe not passed");
        let killed =
            r#"{"containerStatuses":[{"ready":false,"state":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}"#;
        assert_eq!(says(killed), "OOMKilled");
        let gate = r#"{"conditions":[{"type":"Ready","status":"False","reason":"ReadinessGatesNotReady"}],
            "containerStatuses":[{"ready":true,"state":{"running":{}}}]}"#;
        assert_eq!(says(gate), "ReadinessGatesNotReady");
        assert_eq!(says("{}"), "Pending");
    }

    #[test]
    fn a_ready_pod_has_no_reason() {
        assert_eq!(not_ready_reason(r#"{"conditions":[{"type":"Ready","status":"True"}]}"#), None);
    }
}
