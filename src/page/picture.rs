//! A Service as a drawing: an arrow from its clients to the live colour, and each colour as a box with its Pods as dots.
//! A table below says the same, so the drawing is hidden from screen readers.

use maud::{Markup, html};

use super::service::role;
use crate::status::report::{ColourRole, ColourStatus, ServiceStatus};

/// The most dots of a colour.
const MOST_DOTS: usize = 20;
/// The most ready Pods of a colour that are named.
const MOST_NAMES: usize = 5;
/// The height of a colour, and the space between two.
const HEIGHT: usize = 36;
const GAP: usize = 8;
const LEFT: usize = 132;
const WIDTH: usize = 380;
/// The place of the first dot, and the way to the next.
const FIRST: usize = 136;
const STEP: usize = 11;

/// The Pods of a colour.
#[derive(Default)]
struct Pods {
    /// What is said of each Pod that is not ready.
    unready: Vec<String>,
    ready: usize,
    /// The names of ready Pods, as far as they are known.
    names: Vec<String>,
}

pub(super) fn svg(service: &ServiceStatus) -> Markup {
    let height = service.colours.len() * (HEIGHT + GAP) + GAP;
    let size = format!("0 0 {} {height}", LEFT + WIDTH + 8);
    let live = service.colours.iter().position(|colour| colour.role == ColourRole::Live).unwrap_or(0);
    let middle = GAP + live * (HEIGHT + GAP) + HEIGHT / 2;
    html! {
        svg viewBox=(size) aria-hidden="true" {
            text x="4" y=(middle + 4) { "clients" }
            path d=(format!("M58 {middle}h62l-1-5 9 5-9 5 1-5")) {}
            @for (at, colour) in service.colours.iter().enumerate() {
                (colour_box(colour, GAP + at * (HEIGHT + GAP)))
            }
        }
    }
}

fn colour_box(colour: &ColourStatus, top: usize) -> Markup {
    let pods = pods(colour);
    let more = (pods.unready.len() + pods.ready).saturating_sub(MOST_DOTS);
    let text = HEIGHT / 2 + 4;
    html! {
        g class=(role(colour.role)) transform=(format!("translate({LEFT} {top})")) {
            rect width=(WIDTH) height=(HEIGHT) {}
            text x="10" y=(text) { (shortened(&colour.colour)) }
            text x="92" y=(text) { (role(colour.role)) }
            (dots(&pods))
            @if more > 0 { text x=(FIRST + MOST_DOTS * STEP) y=(text) { "+" (more) } }
        }
    }
}

/// Pods that are not ready come first, each on its own. Ready ones are one line of dots (style.css), which is as long as
/// they are many.
fn dots(pods: &Pods) -> Markup {
    let unready = pods.unready.len().min(MOST_DOTS);
    let ready = pods.ready.min(MOST_DOTS - unready);
    let line = |first: usize| format!("M{} 0h{}", first * STEP, ready.saturating_sub(1) * STEP + 1);
    html! {
        g transform=(format!("translate({FIRST} {})", HEIGHT / 2)) {
            @for (at, title) in pods.unready.iter().take(MOST_DOTS).enumerate() {
                circle cx=(at * STEP) r="4" { title { (title) } }
            }
            @if ready > 0 { path d=(line(unready)) { title { (title(pods)) } } }
        }
    }
}

/// `30 ready: app-blue-1, app-blue-2, …`
fn title(pods: &Pods) -> String {
    let mut names: Vec<&str> = pods.names.iter().take(MOST_NAMES).map(String::as_str).collect();
    if pods.ready > names.len() {
        names.push("…");
    }
    format!("{} ready: {}", pods.ready, names.join(", "))
}

/// The Pods that are named, then those that only are counted.
fn pods(colour: &ColourStatus) -> Pods {
    let mut all = Pods::default();
    for workload in &colour.workloads {
        let (ready, unready): (Vec<_>, Vec<_>) = workload.pods.iter().partition(|pod| pod.ready);
        let missing = usize::try_from(workload.desired).unwrap_or(0).saturating_sub(workload.ready);
        let unnamed = missing.saturating_sub(unready.len()).min(1000);
        all.unready.extend(
            unready.iter().map(|pod| format!("{}: {}", pod.name, pod.because.as_deref().unwrap_or("not ready"))),
        );
        all.unready.extend((0..unnamed).map(|_| "not there yet".to_owned()));
        all.ready += workload.ready;
        all.names.extend(ready.iter().map(|pod| pod.name.clone()));
    }
    all
}

/// A name that fits into the box.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 11 { name.to_owned() } else { name.chars().take(10).chain(['…']).collect() }
}
