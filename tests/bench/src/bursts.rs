//! Flips at a steady rate, whether the earlier ones are answered or not: their times, and the share that has to be sent
//! again. Part 9: at several rates, in one and in several namespaces, with one replica and with three.

use std::path::Path;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use controlplane::{ControlPlane, Guard, Replicas};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};

use crate::cluster::{Cluster, deployment, send, service};
use crate::figures::quantile;
use crate::report::heading;
use crate::webhook::end;

/// The apps of each namespace. Each has two colours and a Service.
pub const APPS: usize = 8;
/// The flips that come in a second.
const RATES: [u32; 4] = [1, 5, 20, 50];
/// The namespaces that they go to.
const NAMESPACES: [usize; 2] = [1, 20];
/// The writes in a second that do not concern flipguard, beside 5 flips a second.
const BACKGROUND: u32 = 100;
/// The writers at the same time that scale colours of one namespace, each as fast as it is answered.
const WRITERS: [usize; 3] = [1, 8, 64];
/// The pause between the flips beside them.
const BETWEEN: Duration = Duration::from_millis(500);
/// The duration of each rate.
const TIME: Duration = Duration::from_secs(12);

/// What became of the flips of one rate.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// The median of the allowed flips, in milliseconds.
    pub p50: f64,
    /// The time that 99 of 100 allowed flips did not exceed, in milliseconds.
    pub p99: f64,
    /// The share of flips that were answered by HTTP 429 or 409.
    pub again: f64,
    /// The share of flips that the API server denied because flipguard's answer took longer than its timeout.
    pub unanswered: f64,
}

/// How many requests ended in each way, and the times of the allowed ones in milliseconds.
#[derive(Debug, Default)]
struct Ends {
    took: Vec<f64>,
    again: u32,
    unanswered: u32,
}

impl Ends {
    /// Counts an answer.
    ///
    /// # Errors
    /// When the request was denied for any other reason.
    fn add(&mut self, answer: Result<String>, took: Duration) -> Result<()> {
        let Err(error) = answer else {
            self.took.push(took.as_secs_f64() * 1e3);
            return Ok(());
        };
        match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if matches!(status.code, 409 | 429) => self.again += 1,
            // "failed calling webhook ...: context deadline exceeded" (apiserver/pkg/admission/plugin/webhook).
            Some(kube::Error::Api(status))
                if status.message.contains("failed calling webhook")
                    && status.message.contains("deadline exceeded") =>
            {
                self.unanswered += 1;
            }
            _ => return Err(error),
        }
        Ok(())
    }

    fn append(&mut self, mut others: Self) {
        self.took.append(&mut others.took);
        self.again += others.again;
        self.unanswered += others.unanswered;
    }

    fn burst(mut self) -> Burst {
        self.took.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "some thousand")]
        let all = self.took.len() as f64 + f64::from(self.again) + f64::from(self.unanswered);
        let share = |count: u32| f64::from(count) / all.max(1.0);
        let (again, unanswered) = (share(self.again), share(self.unanswered));
        Burst { p50: quantile(&self.took, 0.5), p99: quantile(&self.took, 0.99), again, unanswered }
    }
}

/// Measures flips at each rate.
///
/// # Errors
/// When a flip is denied by flipguard for another reason than that it has to be sent again.
pub async fn measure(control_plane: &ControlPlane, cluster: &Cluster, flipguard: &Path) -> Result<()> {
    let most = NAMESPACES.into_iter().max().unwrap_or_default();
    let all: Vec<String> = (0..most).map(namespace).collect();
    for namespace in &all {
        apps(cluster, namespace).await?;
    }
    for replicas in [1, 3] {
        let (one, more) = if replicas == 1 {
            (Some(Guard::start(control_plane, flipguard, &[])?), None)
        } else {
            (None, Some(Replicas::behind_a_service(control_plane, flipguard, replicas, &[])?))
        };
        heading(&format!("9. flips at a steady rate, {replicas} replicas, {APPS} apps in each namespace"));
        // The first flip of a namespace creates its ledger.
        flips(cluster, &all, 20, Duration::from_secs(8)).await?;
        for count in NAMESPACES {
            let some = all.get(..count).context("too few namespaces")?;
            for rate in RATES {
                print(&format!("{rate} a second over {count} namespaces"), &flips(cluster, some, rate, TIME).await?);
            }
        }
        let some = all.get(..1).context("no namespace")?;
        let quiet = flips(cluster, some, 5, TIME).await?;
        print("5 a second, no other writes", &quiet);
        let writer = tokio::spawn(background(cluster.bare.clone()));
        let busy = flips(cluster, some, 5, TIME).await;
        writer.abort();
        print(&format!("5 a second, {BACKGROUND} other writes a second"), &busy?);
        for count in WRITERS {
            let (flips, changes) = flood(cluster, namespace(0), count).await?;
            let a_second = changes.took.len() / usize::try_from(TIME.as_secs())?;
            print(&format!("a flip beside {count} writers"), &flips.burst());
            print(&format!("  their changes, {a_second} a second"), &changes.burst());
        }
        if let Some(guard) = &one {
            end(guard)?;
        }
        for number in 0..more.as_ref().map_or(0, Replicas::count) {
            if let Some(replicas) = &more {
                replicas.with(number, end)?;
            }
        }
    }
    Ok(())
}

fn print(what: &str, Burst { p50, p99, again, unanswered }: &Burst) {
    let (again, unanswered) = (again * 100.0, unanswered * 100.0);
    println!(
        "  {what:<40} p50 {p50:>6.0} ms, p99 {p99:>6.0} ms, {again:>4.1} % to be sent again, {unanswered:>4.1} % unanswered"
    );
}

/// The namespace of this number.
#[must_use]
pub fn namespace(number: usize) -> String {
    format!("apps-{number}")
}

/// Creates the apps of a namespace, and waits until all colours are ready.
///
/// # Errors
/// When an object is rejected.
pub async fn apps(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.namespace(namespace).await?;
    let of = |object: Value, app: usize| {
        let text = object.to_string().replace(r#""app":"app""#, &format!(r#""app":"app-{app}""#));
        serde_json::from_str::<Value>(&text)
    };
    let colours = ["blue", "green"];
    let deployments = (0..APPS)
        .flat_map(|app| colours.map(|colour| of(deployment(&format!("app-{app}-{colour}"), Some(colour), 1), app)));
    let deployments = deployments.collect::<Result<Vec<Value>, _>>()?;
    let services = (0..APPS).map(|app| of(service(&format!("app-{app}"), Some("blue")), app));
    let services = services.collect::<Result<Vec<Value>, _>>()?;
    cluster.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), deployments).await?;
    cluster.create(&format!("/api/v1/namespaces/{namespace}/services"), services).await?;
    cluster.until_ready(namespace, APPS * 2).await
}

/// Takes all Services back to blue, past flipguard. A flip to the colour that a Service has already is not judged.
async fn all_blue(cluster: &Cluster, namespaces: &[String]) -> Result<()> {
    for namespace in namespaces {
        for app in 0..APPS {
            flip(&cluster.bare, namespace, app, "blue").await?;
        }
    }
    Ok(())
}

/// Sends one flip.
async fn flip(client: &Client, namespace: &str, app: usize, colour: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{namespace}/services/app-{app}");
    let change = json!({ "spec": { "selector": { "color": colour } } });
    send(client, Method::PATCH, &path, Some(&change)).await
}

/// Sends flips at a steady rate, each to the next app of the next namespace, there and back.
///
/// # Errors
/// When a flip is denied by flipguard for another reason than that it has to be sent again.
pub async fn flips(cluster: &Cluster, namespaces: &[String], rate: u32, time: Duration) -> Result<Burst> {
    all_blue(cluster, namespaces).await?;
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let count = usize::try_from(u64::from(rate) * time.as_secs())?;
    let mut sent = Vec::with_capacity(count);
    for number in 0..count {
        ticks.tick().await;
        let (app, turn) = (number / namespaces.len() % APPS, number / namespaces.len() / APPS);
        let namespace = namespaces.get(number % namespaces.len()).context("no namespace")?.clone();
        let colour = if turn % 2 == 0 { "green" } else { "blue" };
        let client = cluster.guarded.clone();
        sent.push(tokio::spawn(async move {
            let began = Instant::now();
            let answer = flip(&client, &namespace, app, colour).await;
            (began.elapsed(), answer)
        }));
    }
    let mut ends = Ends::default();
    for flip in sent {
        let (took, answer) = flip.await?;
        ends.add(answer, took).context("a flip failed")?;
    }
    Ok(ends.burst())
}

/// Scales idle colours by several writers at once, and flips another app there and back meanwhile. Returns how the flips
/// ended, and how the scalings did.
async fn flood(cluster: &Cluster, namespace: String, count: usize) -> Result<(Ends, Ends)> {
    all_blue(cluster, slice::from_ref(&namespace)).await?;
    let client = &cluster.guarded;
    let until = Instant::now() + TIME;
    let writers: Vec<_> =
        (0..count).map(|number| tokio::spawn(scale(client.clone(), namespace.clone(), number, until))).collect();
    let mut flips = Ends::default();
    while Instant::now() < until {
        sleep(BETWEEN).await;
        let colour = if flips.took.len() % 2 == 0 { "green" } else { "blue" };
        let began = Instant::now();
        let answer = flip(client, &namespace, 0, colour).await;
        flips.add(answer, began.elapsed())?;
    }
    let mut changes = Ends::default();
    for writer in writers {
        changes.append(writer.await??);
    }
    Ok((flips, changes))
}

/// One writer: scales the idle colour of an app up and down. Returns how the scalings ended.
async fn scale(client: Client, namespace: String, number: usize, until: Instant) -> Result<Ends> {
    let app = 1 + number % (APPS - 1);
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/app-{app}-green");
    let mut ends = Ends::default();
    for turn in 0_u32.. {
        if Instant::now() >= until {
            break;
        }
        let change = json!({ "spec": { "replicas": 1 + turn % 2 } });
        let began = Instant::now();
        let answer = send(&client, Method::PATCH, &path, Some(&change)).await;
        ends.add(answer, began.elapsed())?;
    }
    Ok(ends)
}

/// Writes ConfigMaps of other namespaces, until it is aborted.
async fn background(client: Client) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / BACKGROUND);
    for number in 0_u64.. {
        ticks.tick().await;
        let object =
            json!({ "metadata": { "name": format!("noise-{}", number % 50) }, "data": { "n": number.to_string() } });
        let path = format!("/api/v1/namespaces/default/configmaps/noise-{}", number % 50);
        if send(&client, Method::PATCH, &path, Some(&object)).await.is_err() {
            let created = send(&client, Method::POST, "/api/v1/namespaces/default/configmaps", Some(&object)).await;
            if created.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}
