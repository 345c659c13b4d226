//! The namespace of one test, and the commands of a user in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use controlplane::{ControlPlane, Guard, as_yaml};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The time limit for a condition; a loaded machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks at a condition, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The two colours of the shop.
pub(crate) const BLUE: &[(&str, &str)] = &[("app", "shop"), ("color", "blue")];
pub(crate) const GREEN: &[(&str, &str)] = &[("app", "shop"), ("color", "green")];

/// The namespace of one test.
pub(crate) struct Shop {
    pub(crate) namespace: String,
    pub(crate) control_plane: &'static ControlPlane,
    pub(crate) guard: &'static Guard,
}

/// The output of a command, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Attempt {
    command: String,
    pub(crate) ok: bool,
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The behaviour of a Pod, set by the annotations that kwok reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pods {
    Ready,
    Starting,
    Failing(&'static str),
}

impl Shop {
    pub(crate) fn open(test: &str, control_plane: &'static ControlPlane, guard: &'static Guard) -> Result<Self> {
        let namespace: String = test.replace("::", "-").replace('_', "-").chars().take(60).collect();
        let shop = Self { namespace, control_plane, guard };
        shop.plain_kubectl(&["create", "namespace", &shop.namespace])?.succeeds()?;
        Ok(shop)
    }

    /// Ends the shared guard with SIGTERM.
    pub(crate) fn without_the_guard(&self) -> Result<()> {
        if self.guard.process().is_running() {
            self.guard.process().terminate()?;
            let status = self.guard.process().wait(PATIENCE).context("the guard does not end on SIGTERM")?;
            ensure!(status.success(), "the guard ended with {status}");
        }
        Ok(())
    }

    /// Runs kubectl in this namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<Attempt> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        self.plain_kubectl(&all)
    }

    pub(crate) fn plain_kubectl(&self, args: &[&str]) -> Result<Attempt> {
        let mut command = self.control_plane.kubectl();
        command.args(args);
        attempt(command, None)
    }

    /// Runs `kubectl apply` on YAML, with further arguments.
    pub(crate) fn apply_with(&self, yaml: &str, args: &[&str]) -> Result<Attempt> {
        let mut command = self.control_plane.kubectl();
        command.args(["-n", &self.namespace, "apply", "-f", "-"]).args(args);
        attempt(command, Some(&as_yaml(yaml)))
    }

    pub(crate) fn apply(&self, yaml: &str) -> Result<Attempt> {
        self.apply_with(yaml, &[])
    }

    /// Runs `kubectl replace` on YAML.
    pub(crate) fn replace(&self, yaml: &str) -> Result<Attempt> {
        let mut command = self.control_plane.kubectl();
        command.args(["-n", &self.namespace, "replace", "-f", "-"]);
        attempt(command, Some(&as_yaml(yaml)))
    }

    /// Applies a Service with this selector.
    pub(crate) fn route(&self, name: &str, selector: &[(&str, &str)]) -> Result<Attempt> {
        self.apply(&service(name, selector))
    }

    /// Applies a Deployment whose Pods have these labels.
    pub(crate) fn deploy(&self, name: &str, labels: &[(&str, &str)], replicas: u32, pods: Pods) -> Result<()> {
        // The image has the tag of the version label; otherwise flips would warn.
        let version = labels.iter().find(|(key, _)| *key == "version").map_or("1", |(_, version)| version);
        self.apply(&workload("Deployment", name, labels, replicas, pods, &format!("web:{version}")))?.succeeds()
    }

    /// Applies a Deployment and waits until it is fully ready.
    pub(crate) fn deploy_ready(&self, name: &str, labels: &[(&str, &str)], replicas: u32) -> Result<()> {
        self.deploy(name, labels, replicas, Pods::Ready)?;
        self.rolled_out(&format!("deployment/{name}"))
    }

    /// Deploys blue, waits until it is ready, and routes the Service to it.
    pub(crate) fn blue_serves(&self) -> Result<()> {
        self.deploy_ready("app-blue", BLUE, 1)?;
        self.route("app", BLUE)?.passes_silently()
    }

    /// Deploys both colours, waits until they are ready, and routes the Service to blue.
    pub(crate) fn blue_is_live(&self) -> Result<()> {
        self.deploy_ready("app-blue", BLUE, 3)?;
        self.deploy_ready("app-green", GREEN, 3)?;
        self.route("app", BLUE)?.passes_silently()
    }

    /// The first ReplicaSet of a Deployment, as `kubectl` takes it.
    pub(crate) fn replica_set_of(&self, deployment: &str) -> Result<String> {
        let label = format!("name={deployment}");
        let name = self.kubectl(&["get", "rs", "-l", &label, "-o=jsonpath={.items[0].metadata.name}"])?.out;
        Ok(format!("replicaset/{name}"))
    }

    /// Waits until the template of a Deployment is older than the present second. Kubernetes tells its age in whole seconds,
    /// so a flip within that second leaves nothing that a rollback could return to.
    pub(crate) fn has_an_age(&self, deployment: &str) -> Result<()> {
        let replica_set = self.replica_set_of(deployment)?;
        let created = self.kubectl(&["get", &replica_set, "-o=jsonpath={.metadata.creationTimestamp}"])?.out;
        let created = OffsetDateTime::parse(&created, &Rfc3339)?;
        self.until(&format!("{deployment} has an age"), || {
            Ok(OffsetDateTime::now_utc() - created >= Duration::from_secs(2))
        })
    }

    pub(crate) fn rolled_out(&self, object: &str) -> Result<()> {
        self.kubectl(&["rollout", "status", object, "--timeout=60s"])?.succeeds()
    }

    /// Waits until no Pod of a Deployment is left after a scale to zero. A Deployment that is scaled up again before that
    /// still reports the old Pods, and `kubectl rollout status` believes it.
    pub(crate) fn is_at_zero(&self, deployment: &str) -> Result<()> {
        self.wait_for(&format!("deployment/{deployment}"), "{.status.replicas}", "")
    }

    /// Changes the behaviour of the Pods with a label.
    pub(crate) fn pods_become(&self, selector: &str, pods: Pods) -> Result<()> {
        let annotations: Vec<String> =
            pods.annotations().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = vec!["annotate", "pods", "--overwrite", "-l", selector];
        args.extend(annotations.iter().map(String::as_str));
        self.kubectl(&args)?.succeeds()
    }

    /// Waits until a JSON path of an object has a value.
    pub(crate) fn wait_for(&self, object: &str, path: &str, value: &str) -> Result<()> {
        self.until(&format!("{path} of {object} is {value}"), || {
            let read = self.kubectl(&["get", object, &format!("-o=jsonpath={path}")])?;
            Ok(read.ok && read.out == value)
        })
    }

    /// Waits until this many Pods with a label show a text in `kubectl get pods`.
    pub(crate) fn wait_for_pods(&self, selector: &str, count: usize, shows: &str) -> Result<()> {
        self.until(&format!("{count} pods of {selector} show {shows}"), || {
            let read = self.kubectl(&["get", "pods", "-l", selector, "--no-headers"])?;
            Ok(read.ok && read.out.lines().filter(|line| line.contains(shows)).count() == count)
        })
    }

    /// Waits until a condition holds. Each look usually runs kubectl, which takes a tenth of a second of a processor, so
    /// longer waits look less often.
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        while !holds()? {
            if Instant::now() > deadline {
                let all = self.kubectl(&["get", "svc,deploy,sts,ds,rs,pods", "-o", "wide"])?;
                bail!("timed out waiting until {what}:\n{}", all.out);
            }
            sleep(pause);
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// The current selector of a Service.
    pub(crate) fn selector(&self, service: &str) -> Result<BTreeMap<String, String>> {
        let read = self.kubectl(&["get", "service", service, "-o", "json"])?;
        let object: Value = serde_json::from_str(&read.out).with_context(|| read.err.clone())?;
        Ok(serde_json::from_value(object.pointer("/spec/selector").cloned().unwrap_or_default())?)
    }

    /// The guard's log lines about decisions in this namespace.
    pub(crate) fn decisions(&self) -> Result<Vec<Value>> {
        let log = self.guard.log()?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter(|line| line.get("namespace").and_then(Value::as_str) == Some(&self.namespace)).collect())
    }
}

impl Attempt {
    pub(crate) fn succeeds(&self) -> Result<()> {
        ensure!(self.ok, "{} should succeed:\n{}", self.command, self.err);
        Ok(())
    }

    /// Asserts success without a warning.
    pub(crate) fn passes_silently(&self) -> Result<()> {
        self.succeeds()?;
        ensure!(!self.err.contains("Warning:"), "{} should not warn:\n{}", self.command, self.err);
        Ok(())
    }

    /// Asserts success with a warning that contains these words.
    pub(crate) fn passes_with_warning(&self, words: &[&str]) -> Result<()> {
        self.succeeds()?;
        self.says("Warning: ")?;
        words.iter().try_for_each(|words| self.says(words))
    }

    /// Asserts that flipguard denied the request for this reason, with these words.
    pub(crate) fn is_refused(&self, reason: &str, words: &[&str]) -> Result<()> {
        ensure!(!self.ok, "{} should be denied, but was allowed:\n{}{}", self.command, self.out, self.err);
        self.says("flipguard.dev\" denied the request")?;
        self.says(&format!("({reason}): "))?;
        words.iter().try_for_each(|words| self.says(words))
    }

    pub(crate) fn says(&self, words: &str) -> Result<()> {
        // kubectl wraps warnings where flipguard does.
        let all = format!("{}{}", self.out, self.err);
        ensure!(all.contains(words), "{} should say `{words}`:\n{all}", self.command);
        Ok(())
    }
}

impl Pods {
    fn annotations(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Ready => vec![("kwok.flipguard.dev/pod", "ready")],
            Self::Starting => vec![("kwok.flipguard.dev/pod", "starting")],
            Self::Failing(reason) => {
                vec![("kwok.flipguard.dev/pod", "failing"), ("kwok.flipguard.dev/reason", reason)]
            }
        }
    }
}

/// Runs a command with a text as its input.
pub(crate) fn attempt(mut command: Command, input: Option<&str>) -> Result<Attempt> {
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let printed = format!("`{} {}`", command.get_program().to_string_lossy(), words.join(" "));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {printed}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    Ok(Attempt {
        command: printed,
        ok: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A Service on port 80.
pub(crate) fn service(name: &str, selector: &[(&str, &str)]) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, \
         spec: {{selector: {}, ports: [{{port: 80, targetPort: 8080}}]}}}}\n",
        map(selector)
    )
}

/// A workload of one container.
pub(crate) fn workload(
    kind: &str,
    name: &str,
    labels: &[(&str, &str)],
    replicas: u32,
    pods: Pods,
    image: &str,
) -> String {
    let replicas = if kind == "DaemonSet" { String::new() } else { format!("replicas: {replicas}, ") };
    let more = if kind == "StatefulSet" { "serviceName: none, podManagementPolicy: Parallel, " } else { "" };
    // The selector must not depend on the labels under test.
    let mut all = vec![("name", name)];
    all.extend(labels);
    format!(
        "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{replicas}{more}\
         selector: {{matchLabels: {{name: {name}}}}}, template: {{metadata: {{labels: {}, annotations: {}}}, \
         spec: {{containers: [{{name: web, image: '{image}', readinessProbe: {{httpGet: {{port: 8080}}}}}}]}}}}}}}}\n",
        map(&all),
        map(&pods.annotations()),
    )
}

/// A Pod of one container.
pub(crate) fn pod(name: &str, labels: &[(&str, &str)], pods: Pods) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {}, annotations: {}}}, \
         spec: {{containers: [{{name: web, image: 'web:1'}}]}}}}\n",
        map(labels),
        map(&pods.annotations()),
    )
}

/// A flow mapping with quoted values.
pub(crate) fn map(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (key, value) in pairs {
        let _ = write!(text, "{key}: \"{value}\", ");
    }
    text + "}"
}
