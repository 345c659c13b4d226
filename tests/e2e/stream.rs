//! A constant stream of admissions: flips that must be allowed, flips that must be denied, and new connections as an
//! API server makes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flipguard::certs::pem::is_trusted;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::admission::on_runtime;
use super::shop::{BLUE, GREEN, PATIENCE, Shop};
use super::tls;

/// The number of parallel writers. Each has a Service of its own.
const WRITERS: usize = 3;

/// The pause of a writer after each flip. Without it, the stream would take both processors from other tests.
const PAUSE: Duration = Duration::from_millis(20);

/// A running stream.
pub(crate) struct Stream {
    ended: Arc<AtomicBool>,
    counts: Arc<Mutex<Counts>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// The results of a stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) allowed: usize,
    pub(crate) refused: usize,
    pub(crate) handshakes: usize,
    /// Other results: the call to the webhook failed, or the verdict was wrong.
    pub(crate) failures: Vec<String>,
}

impl Stream {
    /// Starts the writers. Blue and green are ready, and red does not exist. The writers flip between blue and green,
    /// and to red.
    pub(crate) fn start(shop: &Shop) -> Result<Self> {
        shop.deploy_ready("app-blue", BLUE, 1)?;
        shop.deploy_ready("app-green", GREEN, 1)?;
        let ended = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Mutex::new(Counts::default()));
        let mut threads = Vec::new();
        for writer in 0..WRITERS {
            let service = format!("app-{writer}");
            shop.route(&service, BLUE)?.succeeds()?;
            let path = format!("/api/v1/namespaces/{}/services", shop.namespace);
            let kubeconfig = shop.control_plane.kubeconfig().to_owned();
            let (ended, counts) = (ended.clone(), counts.clone());
            threads.push(spawn(move || {
                on_runtime(async {
                    let client = flipguard::cluster::connect::connect(Some(&kubeconfig)).await?;
                    while !ended.load(Ordering::Relaxed) {
                        for colour in ["green", "red", "blue", "red"] {
                            let answer = flip(&client, &path, &service, colour).await;
                            note(&counts, colour, answer);
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    Ok(())
                })
            }));
        }
        let kubeconfig = shop.control_plane.kubeconfig().to_owned();
        let (until, counted) = (ended.clone(), counts.clone());
        threads.push(spawn(move || on_runtime(connect_again_and_again(&kubeconfig, &until, &counted))));
        Ok(Self { ended, counts, threads })
    }

    /// Ends the stream, once it has sent enough. Any failure is an error, and so are too few requests.
    pub(crate) fn end(self) -> Result<Counts> {
        let deadline = Instant::now() + PATIENCE;
        while !lock(&self.counts).are_enough() && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a writer panicked")??;
        }
        let counts = lock(&self.counts).clone();
        ensure!(
            counts.failures.is_empty(),
            "{} failures, such as {:#?}",
            counts.failures.len(),
            counts.failures.first()
        );
        ensure!(counts.are_enough(), "the stream sent too few requests: {counts:?}");
        Ok(counts)
    }
}

impl Counts {
    /// Whether there is something to count. A failure need not wait for more.
    fn are_enough(&self) -> bool {
        !self.failures.is_empty() || [self.allowed, self.refused, self.handshakes].into_iter().all(|count| count > 20)
    }
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn flip(client: &kube::Client, services: &str, service: &str, colour: &str) -> kube::Result<Value> {
    let selector = json!({ "spec": { "selector": { "color": colour } } });
    let request = Request::new(services).patch(service, &PatchParams::default(), &Patch::Merge(selector));
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

fn note(counts: &Mutex<Counts>, colour: &str, answer: kube::Result<Value>) {
    let mut counts = lock(counts);
    match answer {
        Ok(_) if colour != "red" => counts.allowed += 1,
        Ok(_) => counts.failures.push("a flip to a colour that does not exist passed".to_owned()),
        Err(kube::Error::Api(status))
            if status.code == 403 && colour == "red" && status.message.contains("target-missing") =>
        {
            counts.refused += 1;
        }
        Err(error) => counts.failures.push(format!("{} to {colour}: {error}", OffsetDateTime::now_utc())),
    }
}

/// Makes one new connection after another, and trusts the currently registered authority. An API server without an open
/// connection does the same.
async fn connect_again_and_again(
    kubeconfig: &std::path::Path,
    ended: &AtomicBool,
    counts: &Mutex<Counts>,
) -> Result<()> {
    let client = flipguard::cluster::connect::connect(Some(kubeconfig)).await?;
    while !ended.load(Ordering::Relaxed) {
        match connect_once(&client).await {
            Ok(()) => lock(counts).handshakes += 1,
            Err(error) => lock(counts).failures.push(format!("{}: {error:#}", OffsetDateTime::now_utc())),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn connect_once(client: &kube::Client) -> Result<()> {
    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
    let configurations: kube::Api<ValidatingWebhookConfiguration> = kube::Api::all(client.clone());
    let registered = configurations.get("flipguard").await?;
    let Some(webhook) = registered.webhooks.iter().flatten().next() else { bail!("no webhook is registered") };
    let config = &webhook.client_config;
    let url: http::Uri = config.url.as_deref().context("no URL")?.parse()?;
    let bundle = String::from_utf8(config.ca_bundle.clone().context("no bundle")?.0)?;
    let address = url.authority().context("no address")?.as_str();
    let served = tls::served(address).await?;
    is_trusted(&bundle, &served, url.host().unwrap_or_default(), OffsetDateTime::now_utc())
        .with_context(|| format!("what is served is not trusted by what is registered ({} bytes)", bundle.len()))
}
