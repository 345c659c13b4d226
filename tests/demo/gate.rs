//! The act of a gate: a policy asks for a test before a flip, and the history has its proof.

use anyhow::Result;
use controlplane::ControlPlane;

use super::{Expect, Story, deployment, heading};

const POLICY: &str = r#"apiVersion: flipguard.dev/v1alpha1
kind: BlueGreenPolicy
metadata:
  name: production
spec:
  namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: by-gate}
  flip:
    gates:
    - {name: smoke, kind: Job, images: ["registry.example/smoke:*"]}
"#;

const JOB: &str = "apiVersion: batch/v1
kind: Job
metadata:
  name: smoke
  labels: {flipguard.dev/gate: smoke}
  annotations: {flipguard.dev/target: deployment/app-green}
spec:
  template:
    metadata:
      annotations: {kwok.flipguard.dev/pod: ready}
    spec:
      restartPolicy: Never
      containers:
      - {name: test, image: registry.example/smoke:1}
";

pub(super) fn tell(control_plane: &ControlPlane) -> Result<()> {
    let story = Story::new(control_plane, "by-gate", "color", "blue", "green")?;
    heading("A policy asks for a test before each flip");
    story.write("green.yaml", &deployment("app-green", "color", "green", "app:2.0", "ready"))?;
    story.write("policy.yaml", POLICY)?;
    story.write("smoke.yaml", JOB)?;
    story.runs("", &["create", "namespace", "by-gate"])?;
    story.runs("", &["apply", "-f", "blue.yaml", "-f", "green.yaml", "-f", "service-blue.yaml"])?;
    story.runs("", &["rollout", "status", "deployment/app-blue", "--timeout=60s"])?;
    story.runs("", &["rollout", "status", "deployment/app-green", "--timeout=60s"])?;
    story.runs("the cluster admin asks for it", &["apply", "-f", "policy.yaml"])?;
    story.runs("", &["wait", "--for=condition=Programmed", "bgpolicy/production", "--timeout=60s"])?;
    let flip: &[&str] = &["apply", "-f", "service-green.yaml"];
    let not_passed =
        Expect::Refused { reason: "gate-not-passed", saying: &["smoke has no proof for Deployment app-green"] };
    story.step("green is ready, and was never tested", flip, not_passed)?;
    story.runs("a Job tests it", &["apply", "-f", "smoke.yaml"])?;
    story.runs("", &["wait", "--for=condition=Complete", "job/smoke", "--timeout=60s"])?;
    story.runs("the same flip passes", flip)?;
    story.history("the history has the proof", "smoke: deployment/app-green passed by job")
}
