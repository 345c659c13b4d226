//! Part 1: processor time and latency of a request, compared with a null webhook and with one that decodes into trees.
//!
//! No rule applies to these reviews, so flipguard reads nothing from the cluster. Measured are the envelope, both
//! objects, the filter and the answer. Part 2 measures the cost of judging.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use controlplane::{ControlPlane, Guard};

use crate::figures::{ROUNDS, Spread, order, ratios};
use crate::process::{cpu, to_second_processor};
use crate::recorded;
use crate::report::{Report, heading};
use crate::servers::Handler;
use crate::webhook::{Registered, Webhook, pinned};

/// The duration of a slice: long enough that a timer tick of the system is negligible.
const SLICE: Duration = Duration::from_millis(250);
/// The numbers of concurrent connections.
const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// The slices of one server.
#[derive(Debug, Default)]
struct Measured {
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures all reviews, or only the named ones.
///
/// # Errors
/// When a server does not answer.
pub fn measure(control_plane: &ControlPlane, flipguard: &Path, only: &[String], report: &mut Report) -> Result<()> {
    let guard = Guard::start(control_plane, &pinned(control_plane, flipguard)?, &[])?;
    let registered = Registered::read(control_plane)?;
    let mut webhooks = [
        Webhook::own(control_plane, Handler::Null)?,
        Webhook::without_log("flipguard, no log", control_plane, flipguard, &guard, &registered)?,
        Webhook::of_guard("flipguard", &guard, &registered)?,
        Webhook::own(control_plane, Handler::Tree)?,
    ];
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            if let Err(error) = to_second_processor() {
                eprintln!("bench: the client is not bound to a processor of its own: {error:#}");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                // The thread never sleeps. Waking another processor costs the server up to a sixth of its time, and
                // only where the server is slower than the client. Across a network, it costs nothing.
                tokio::spawn(async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                });
                all(&mut webhooks, only, report).await
            })
        });
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })
}

async fn all(webhooks: &mut [Webhook], only: &[String], report: &mut Report) -> Result<()> {
    let wanted = |name: &&str| only.is_empty() || only.iter().any(|only| only == name);
    let names: Vec<&str> = recorded::UNJUDGED.into_iter().filter(wanted).collect();
    for review in recorded::reviews(&names)? {
        let body = Bytes::from(review.body);
        for connections in CONNECTIONS {
            heading(&format!("1. {} ({} bytes), {connections} at once, {ROUNDS} rounds", review.name, body.len()));
            let measured = slices(webhooks, &body, connections).await?;
            table(webhooks, &measured);
            if connections == 8 {
                bars(&review.name, &measured, report).context("four servers")?;
            }
        }
    }
    Ok(())
}

async fn slices(webhooks: &mut [Webhook], body: &Bytes, connections: usize) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = webhooks.iter().map(|_| Measured::default()).collect();
    for webhook in webhooks.iter_mut() {
        webhook.target.ask_for(body, connections, SLICE / 2).await.with_context(|| webhook.name.clone())?;
    }
    for round in 0..ROUNDS {
        for index in order(round, webhooks.len()) {
            let (Some(webhook), Some(measured)) = (webhooks.get_mut(index), measured.get_mut(index)) else { continue };
            let before = cpu(webhook.process)?;
            let slice = webhook.target.ask_for(body, connections, SLICE).await.with_context(|| webhook.name.clone())?;
            let spent = cpu(webhook.process)?.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
            measured.cpu.push(spent.as_secs_f64() * 1e6 / slice.answered.max(1) as f64);
            measured.p50.push(slice.latency(0.5));
            measured.p99.push(slice.latency(0.99));
        }
    }
    Ok(measured)
}

fn table(webhooks: &[Webhook], measured: &[Measured]) {
    println!("  {:<20}{:>10}{:>24}{:>10}{:>10}", "", "CPU us", "x null [quarters]", "p50 us", "p99 us");
    let null = measured.first().map(|null| null.cpu.clone()).unwrap_or_default();
    for (webhook, measured) in webhooks.iter().zip(measured) {
        let ratio = ratios(&measured.cpu, &null);
        println!(
            "  {:<20}{:>10.1}{:>24}{:>10.0}{:>10.0}",
            webhook.name,
            Spread::of(measured.cpu.clone()).median,
            format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.low, ratio.high),
            Spread::of(measured.p50.clone()).median,
            Spread::of(measured.p99.clone()).median,
        );
    }
}

/// The limits of the design, at 8 connections.
fn bars(review: &str, measured: &[Measured], report: &mut Report) -> Option<()> {
    let [null, silent, shipped, tree] = measured else { return None };
    let size = review.trim_end_matches("-label").trim_end_matches("-up");
    let (of_null_silent, of_null, of_tree) = match size {
        "deployment-24k" => (None, 2.2, Some(0.4)),
        "deployment-200k" => (None, 2.0, Some(0.3)),
        "deployment-6k" => (Some(1.6), 2.0, Some(0.6)),
        _ => (Some(1.6), 2.0, None),
    };
    if let Some(bar) = of_null_silent {
        report.bar(format!("cpu/{size}: without log, of null"), ratios(&silent.cpu, &null.cpu).median, bar);
    }
    report.bar(format!("cpu/{size}: as shipped, of null"), ratios(&shipped.cpu, &null.cpu).median, of_null);
    if let Some(bar) = of_tree {
        report.bar(format!("cpu/{size}: as shipped, of trees"), ratios(&shipped.cpu, &tree.cpu).median, bar);
    }
    report.bar(format!("p99/{size}: as shipped, of null, 8 at once"), ratios(&shipped.p99, &null.p99).median, 1.75);
    Some(())
}
