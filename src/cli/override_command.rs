//! `flipguard override`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use kube::core::Request;
use kube::core::params::GetParams;
use serde_json::{Value, json};

use super::print_out;
use super::target::{Cluster, ClusterArgs, run};
use crate::cluster::clock;
use crate::cluster::connect::one_line;
use crate::cluster::meter::measured;
use crate::cluster::patch::merge;
use crate::install::namespaces;
use crate::model::{Kind, Policy, Timestamp, annotation, printable, setting};
use crate::plugin::answer::Answer;
use crate::plugin::next::Ending;
use crate::rules::in_words;

/// Let denied changes of a Service or a workload pass for a short time
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 done, 1 denied, 2 it could not look or ask.\nIt writes the annotation \
    flipguard.dev/override. Setting it needs the verb override on bluegreenpolicies.flipguard.dev; ending it needs none.")]
pub(super) struct OverrideCommand {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The Service, or a workload such as deployment/app-green
    object: String,
    /// How long it lasts, such as 20m; an hour at most, or what a policy allows
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, required_unless_present = "end", requires = "reason")]
    lasts: Option<Duration>,
    /// Why it is needed; whoever looks at the object sees it
    #[arg(long, value_name = "TEXT", value_parser = reason, requires = "lasts")]
    reason: Option<String>,
    /// End it now
    #[arg(long, conflicts_with_all = ["lasts", "reason"])]
    end: bool,
    /// The namespace; without it, that of the context
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
}

/// The object that is written.
struct Place {
    kind: Kind,
    name: String,
    namespace: String,
}

impl OverrideCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run(async {
            let (kind, name) = kind_and_name(&self.object)?;
            let cluster = self.cluster.open_to_look().await?;
            let namespace = cluster.namespace(self.namespace.as_deref()).await?;
            let place = Place { kind, name: name.to_owned(), namespace };
            let ((stored, now), _) = measured(async { (place.read(&cluster).await, clock::now()) }).await;
            let stored = stored?;
            let (Some(lasts), Some(reason)) = (self.lasts, &self.reason) else {
                return place.end(&cluster, &stored).await;
            };
            let policy = cluster.settings(&place.namespace).await;
            if let Some(unread) = cluster.unread_policies() {
                eprintln!("note: {unread}");
            }
            let until = until(lasts, now, &policy)?;
            let value = format!("{until} {reason}");
            if let Some(code) = place.write(&cluster, &json!(value)).await? {
                return Ok(code);
            }
            print_out(&place.told(until, lasts, reason))?;
            if let (Some(false), Some(why)) = cluster.guards(&place.namespace) {
                eprintln!("WARNING: flipguard does not guard this namespace ({why}), so the override changes nothing.");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// The end of an override, within what is allowed.
fn until(lasts: Duration, now: Timestamp, policy: &Policy) -> anyhow::Result<Timestamp> {
    if lasts.as_secs() == 0 {
        bail!("--for {} is no time; give at least 1s, such as --for 20m", humantime::format_duration(lasts));
    }
    let most = policy.max_override;
    if lasts > most {
        let by = policy.source(setting::MAX_OVERRIDE).map_or_else(
            || "no override may last longer than that".to_owned(),
            |by| format!("policy {by} says so (spec.override.max)"),
        );
        let (given, most) = (humantime::format_duration(lasts), in_words(most));
        bail!(
            "--for {given} is too long: {most} at most, since {by}; give a shorter time, and set it again if need be"
        );
    }
    Ok(now.after(lasts))
}

impl Place {
    fn collection(&self) -> String {
        let namespace = &self.namespace;
        match self.kind {
            Kind::Workload(kind) => format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource()),
            Kind::Service | Kind::Job => format!("/api/v1/namespaces/{namespace}/services"),
        }
    }

    /// As kubectl takes it.
    fn object(&self) -> String {
        format!("{}/{}", self.kind.singular(), self.name)
    }

    async fn read(&self, cluster: &Cluster) -> anyhow::Result<Value> {
        let request = Request::new(self.collection()).get(&self.name, &GetParams::default())?;
        let read = cluster.client.request(request).await;
        read.map_err(|error| {
            anyhow::anyhow!("cannot read {} in {}: {}", self.object(), self.namespace, one_line(&error))
        })
    }

    /// Writes the annotation. The exit code, where it was not written.
    async fn write(&self, cluster: &Cluster, value: &Value) -> anyhow::Result<Option<ExitCode>> {
        let change = json!({ "metadata": { "annotations": { annotation::OVERRIDE: value } } });
        let path = format!("{}/{}", self.collection(), self.name);
        let said = merge(&cluster.client, &path, &change, false).await;
        let said = said.map_err(|why| anyhow::anyhow!("no answer came, so look whether it was set: {why}"))?;
        for warning in &said.warnings {
            eprintln!("Warning: {warning}");
        }
        let (ending, words) = match Answer::of_write(said.status, &said.body) {
            Answer::Done => return Ok(None),
            Answer::Refused(refusal) => (Ending::Refused, refusal.message),
            Answer::Gone(why) | Answer::Invalid(why) => (Ending::Refused, why),
            Answer::Conflict => (Ending::Unasked, "the object has just changed; try again".to_owned()),
            Answer::Busy(why) | Answer::NotPermitted(why) | Answer::Lost(why) => (Ending::Unasked, why),
        };
        eprintln!("flipguard: {words}");
        Ok(Some(ExitCode::from(ending.code())))
    }

    async fn end(&self, cluster: &Cluster, stored: &Value) -> anyhow::Result<ExitCode> {
        let annotations = stored.pointer("/metadata/annotations");
        if annotations.and_then(|all| all.get(annotation::OVERRIDE)).is_none() {
            print_out(&format!("{} has no override\n", self.object()))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(code) = self.write(cluster, &Value::Null).await? {
            return Ok(code);
        }
        print_out(&format!("override of {} ended\n", self.object()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the override means.
    fn told(&self, until: Timestamp, lasts: Duration, reason: &str) -> String {
        let object = self.object();
        let covers = match self.kind {
            Kind::Service | Kind::Job => "the Service and of every workload behind it",
            Kind::Workload(_) => "the workload, if its Pod template has the label of a colour,",
        };
        let given = if self.kind == Kind::Service { &self.name } else { &object };
        format!(
            "override of {object} until {until} ({}): {}\nUntil then, denied changes of {covers} pass with a warning.\n\
             End it with: flipguard override {given} -n {} --end\n",
            in_words(lasts),
            printable(reason),
            self.namespace
        )
    }
}

fn kind_and_name(object: &str) -> anyhow::Result<(Kind, &str)> {
    let found = match object.split_once('/') {
        None => Some((Kind::Service, object)),
        Some(("svc", name)) => Some((Kind::Service, name)),
        Some(("deploy", name)) => Kind::of_singular("deployment").map(|kind| (kind, name)),
        Some((kind, name)) => Kind::of_singular(kind).map(|kind| (kind, name)),
    };
    let found = found.filter(|(_, name)| !name.is_empty());
    found.with_context(|| {
        format!("`{object}` names no Service and no workload; write, for example, app or deployment/app-green")
    })
}

/// A reason is one line that says something.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("it must be one line that says why, such as \"the shop is on fire\"".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_bounds_the_time() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let mut policy = Policy::default();
        let end = |lasts, policy: &Policy| until(lasts, Timestamp(0), policy).map_err(|error| error.to_string());
        assert_eq!(end(minutes(60), &policy), Ok(Timestamp(3600)));
        let why = end(minutes(61), &policy).unwrap_err();
        assert!(why.starts_with("--for 1h 1m is too long: 1 h at most, since no override may last longer"), "{why}");
        policy.max_override = minutes(15);
        policy.said_by.insert(setting::MAX_OVERRIDE.to_owned(), "production".to_owned());
        assert_eq!(end(minutes(15), &policy), Ok(Timestamp(900)));
        let why = end(minutes(20), &policy).unwrap_err();
        assert!(why.contains("15 min at most, since policy production says so (spec.override.max)"), "{why}");
        assert!(end(Duration::from_millis(10), &policy).unwrap_err().contains("is no time"));
    }

    #[test]
    fn objects_as_kubectl_takes_them() {
        let named = |object: &str| kind_and_name(object).map(|(kind, name)| format!("{kind} {name}")).ok();
        assert_eq!(named("app").as_deref(), Some("Service app"));
        assert_eq!(named("service/app").as_deref(), Some("Service app"));
        assert_eq!(named("deploy/app").as_deref(), Some("Deployment app"));
        assert_eq!(named("statefulset/app").as_deref(), Some("StatefulSet app"));
        assert_eq!((named("pod/app"), named("service/"), named("")), (None, None, None));
    }
}
