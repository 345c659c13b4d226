//! `flipguard gate run`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::WatchParams;
use kube::core::params::GetParams;
use kube::core::{Request, WatchEvent};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Found, Of, kind_and_name};
use crate::cli::print_out;
use crate::cli::target::{self, Cluster};
use crate::cluster::connect::one_line;
use crate::cluster::patch::create;
use crate::model::printable;
use crate::offline::files::Manifests;
use crate::plugin::answer::Answer;
use crate::plugin::fresh_job::{end, fresh_job};
use crate::plugin::next::Ending;

/// The time after which a watch that broke off begins again.
const PAUSE: Duration = Duration::from_secs(1);
/// The time after which the API server ends a watch by itself, in seconds.
const WATCH: u32 = 290;

/// Run the test of a gate: a fresh Job from another Job, a CronJob or a file
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 created, or with --wait complete; 1 denied or failed; 2 it could not look or ask; 124 the \
    time is up.\nIt needs the right to create Jobs, and the verb pass on the gate."
)]
pub(super) struct Run {
    /// The name of the gate
    gate: String,
    #[command(flatten)]
    of: Of,
    /// The Job or CronJob to take the test from, such as job/smoke
    #[arg(long, value_name = "KIND/NAME", required_unless_present = "file", conflicts_with = "file")]
    from: Option<String>,
    /// A file with one Job or CronJob; - for standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait until the Job ends
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// How a Job that was followed came out.
enum Followed {
    Ended { passed: bool, why: String },
    Gone,
    TimeIsUp,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        target::run(async {
            let (kind, name) = kind_and_name(&self.of.workload)?;
            let Found { cluster, namespace, tested, .. } = self.of.look().await?;
            let source = self.source(&cluster, &namespace).await?;
            let target = format!("{}/{name}", kind.singular());
            // Without its labels, flipguard does not write down what is tested.
            let is_told =
                cluster.installed.as_ref().is_none_or(|own| !own.arguments.iter().any(|one| one == "--labels=false"));
            let tested = (!is_told).then(|| tested.to_string());
            let job = fresh_job(&source, &self.gate, &target, tested.as_deref());
            let job = job.map_err(|why| anyhow::anyhow!("{} cannot be run: {why}", self.named()))?;
            let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
            let said = create(&cluster.client, &path, &job).await;
            let said =
                said.map_err(|why| anyhow::anyhow!("no answer came, so look whether the Job was created: {why}"))?;
            for warning in &said.warnings {
                eprintln!("Warning: {warning}");
            }
            let (ending, words) = match Answer::of_write(said.status, &said.body) {
                Answer::Done => return self.created(&cluster, &namespace, &said.body).await,
                Answer::Refused(refusal) => (Ending::Refused, refusal.message),
                Answer::Gone(why) | Answer::Invalid(why) => (Ending::Refused, why),
                Answer::Conflict => (Ending::Unasked, "a Job of the same name was just created; try again".to_owned()),
                Answer::Busy(why) | Answer::NotPermitted(why) | Answer::Lost(why) => (Ending::Unasked, why),
            };
            eprintln!("flipguard: {words}");
            Ok(ExitCode::from(ending.code()))
        })
    }

    /// The Job or CronJob that the test is taken from.
    async fn source(&self, cluster: &Cluster, namespace: &str) -> anyhow::Result<Value> {
        let Some(from) = &self.from else {
            let manifests = Manifests::read(self.file.as_slice())?;
            let mut objects: Vec<Value> = manifests.objects().iter().map(|one| one.object.clone()).collect();
            return match (objects.pop(), objects.len()) {
                (Some(object), 0) => Ok(object),
                (_, more) => bail!("{} has {} objects; it must have one Job or CronJob", self.named(), more + 1),
            };
        };
        let (kind, resource, name) = match from.split_once('/') {
            Some(("job" | "jobs", name)) if !name.is_empty() => ("Job", "jobs", name),
            Some(("cronjob" | "cronjobs" | "cj", name)) if !name.is_empty() => ("CronJob", "cronjobs", name),
            _ => bail!("`{from}` (--from) names no Job and no CronJob; write, for example, job/smoke or cronjob/smoke"),
        };
        let request = Request::new(format!("/apis/batch/v1/namespaces/{namespace}/{resource}"));
        let read = cluster.client.request(request.get(name, &GetParams::default())?).await;
        let mut found: Value = read.map_err(|error| anyhow::anyhow!("cannot read {from}: {}", one_line(&error)))?;
        found.as_object_mut().with_context(|| format!("{from} is no object"))?.insert("kind".to_owned(), kind.into());
        Ok(found)
    }

    fn named(&self) -> String {
        let file = || self.file.as_ref().map(|file| format!("`{}`", file.display())).unwrap_or_default();
        self.from.clone().unwrap_or_else(file)
    }

    async fn created(&self, cluster: &Cluster, namespace: &str, job: &Value) -> anyhow::Result<ExitCode> {
        let text = |pointer: &str| job.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (name, version) = (text("/metadata/name"), text("/metadata/resourceVersion"));
        print_out(&format!("job/{name} created, a test of {} for gate {}\n", self.of.workload, self.gate))?;
        if !self.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let deadline = Instant::now() + self.timeout;
        let (ending, words) = match follow(cluster, namespace, name, version, deadline).await? {
            Followed::Ended { passed: true, .. } => {
                print_out(&format!("job/{name} is complete: gate {} is passed\n", self.gate))?;
                return Ok(ExitCode::SUCCESS);
            }
            Followed::Ended { passed: false, why } => (Ending::Refused, format!("has failed ({})", printable(&why))),
            Followed::Gone => (Ending::Refused, "was deleted before it ended".to_owned()),
            Followed::TimeIsUp => {
                let time = humantime::format_duration(self.timeout);
                (Ending::TimeIsUp, format!("still runs, and the time is up ({time})"))
            }
        };
        eprintln!("flipguard: job/{name} {words}; look at it with: kubectl -n {namespace} describe job {name}");
        Ok(ExitCode::from(ending.code()))
    }
}

/// Follows a Job until it ends. A Job with a short TTL is deleted at once, so its last state is that of its deletion.
async fn follow(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    version: &str,
    deadline: Instant,
) -> anyhow::Result<Followed> {
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH);
    let mut version = version.to_owned();
    let watch = async {
        loop {
            let mut events = match jobs.watch(&params, &version).await {
                Ok(events) => events.boxed(),
                Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                    bail!("cannot watch job/{name}: {}", printable(&status.message));
                }
                Err(error) => {
                    eprintln!("waiting: {}", one_line(&error));
                    sleep(PAUSE).await;
                    continue;
                }
            };
            while let Ok(Some(event)) = events.try_next().await {
                let (job, is_gone) = match event {
                    WatchEvent::Added(job) | WatchEvent::Modified(job) => (job, false),
                    WatchEvent::Deleted(job) => (job, true),
                    WatchEvent::Bookmark(_) => continue,
                    // The version is too old, so it begins with the present state.
                    WatchEvent::Error(_) => {
                        "0".clone_into(&mut version);
                        break;
                    }
                };
                if let Some((passed, why)) = end(&serde_json::to_value(&job)?) {
                    return Ok(Followed::Ended { passed, why });
                }
                if is_gone {
                    return Ok(Followed::Gone);
                }
                version = job.metadata.resource_version.unwrap_or(version);
            }
            if jobs.get_opt(name).await.is_ok_and(|found| found.is_none()) {
                return Ok(Followed::Gone);
            }
            sleep(PAUSE).await;
        }
    };
    timeout_at(deadline, watch).await.unwrap_or(Ok(Followed::TimeIsUp))
}
