//! A Service as a drawing: an arrow from its clients to the live colour, and each colour as a box with its Pods as dots.

use maud::{Markup, html};

use super::service::role;
use crate::status::report::{ColourRole, ColourStatus, ServiceStatus};

/// The most dots of a colour.
const MOST_DOTS: usize = 20;
/// The height of a colour, and the space between two.
const HEIGHT: usize = 36;
const GAP: usize = 8;
const LEFT: usize = 132;
const WIDTH: usize = 380;

/// A dot: whether the Pod is ready, and what is said of it.
struct Dot {
    is_ready: bool,
    title: String,
}

pub(super) fn svg(service: &ServiceStatus) -> Markup {
    let height = service.colours.len() * (HEIGHT + GAP) + GAP;
    let size = format!("0 0 {} {height}", LEFT + WIDTH + 8);
    let live = service.colours.iter().position(|colour| colour.role == ColourRole::Live).unwrap_or(0);
    let middle = GAP + live * (HEIGHT + GAP) + HEIGHT / 2;
    html! {
        svg viewBox=(size) role="img" aria-label=(format!("Traffic of {} and its colours", service.name)) {
            text.clients x="4" y=(middle + 4) { "clients" }
            line.arrow x1="58" y1=(middle) x2=(LEFT - 12) y2=(middle) {}
            path.head d=(format!("M{} {} l-9 -5 v10 z", LEFT - 4, middle)) {}
            @for (at, colour) in service.colours.iter().enumerate() {
                (colour_box(colour, GAP + at * (HEIGHT + GAP)))
            }
        }
    }
}

fn colour_box(colour: &ColourStatus, top: usize) -> Markup {
    let dots = dots(colour);
    let more = dots.len().saturating_sub(MOST_DOTS);
    let middle = top + HEIGHT / 2;
    html! {
        rect class=(role(colour.role)) x=(LEFT) y=(top) width=(WIDTH) height=(HEIGHT) rx="6" {}
        text.name x=(LEFT + 10) y=(middle + 4) { (shortened(&colour.colour)) }
        text.role x=(LEFT + 92) y=(middle + 4) { (role(colour.role)) }
        @for (at, dot) in dots.iter().take(MOST_DOTS).enumerate() {
            circle class=(if dot.is_ready { "ready" } else { "unready" }) cx=(LEFT + 136 + at * 11) cy=(middle) r="4" {
                title { (dot.title) }
            }
        }
        @if more > 0 { text.more x=(LEFT + 136 + MOST_DOTS * 11) y=(middle + 4) { "+" (more) } }
    }
}

/// The Pods that are named, then those that only are counted. Pods that are not ready come first.
fn dots(colour: &ColourStatus) -> Vec<Dot> {
    let mut all = Vec::new();
    for workload in &colour.workloads {
        let named = workload.pods.iter().map(|pod| Dot {
            is_ready: pod.ready,
            title: format!("{}: {}", pod.name, pod.because.as_deref().unwrap_or("ready")),
        });
        let (mut ready, mut missing) =
            (workload.ready, usize::try_from(workload.desired).unwrap_or(0).saturating_sub(workload.ready));
        for dot in named {
            let rest = if dot.is_ready { &mut ready } else { &mut missing };
            *rest = rest.saturating_sub(1);
            all.push(dot);
        }
        all.extend((0..missing.min(1000)).map(|_| Dot { is_ready: false, title: "not there yet".to_owned() }));
        all.extend((0..ready.min(1000)).map(|_| Dot { is_ready: true, title: "ready".to_owned() }));
    }
    all.sort_by_key(|dot| dot.is_ready);
    all
}

/// A name that fits into the box.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 11 { name.to_owned() } else { name.chars().take(10).chain(['…']).collect() }
}
