//! A status as it is shown: without hidden characters, and without text of any length.

use super::past::PastFlip;
use super::report::{
    ColourStatus, FlipRecord, FlipStatus, NamespaceStatus, OtherService, OverrideStatus, PodStatus, Problem,
    ServiceStatus, WorkloadStatus,
};
use crate::model::shortened;
use crate::policy::explain::Explained;

/// The most characters of a text that people read.
pub const MOST: usize = 500;

impl NamespaceStatus {
    /// The same for people to read.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        shown.each_text(&|text| *text = shortened(text, MOST).into_owned());
        shown
    }

    /// Changes each text that may come from the cluster. All fields are named, so that none is forgotten.
    pub fn each_text(&mut self, change: &impl Fn(&mut String)) {
        let Self {
            namespace,
            guarded: _,
            enforcement: _,
            enforcement_by,
            services,
            others,
            unread,
            without_ledger,
            settings,
            problems,
            notes,
            unguarded_because,
            skipped,
        } = self;
        change(namespace);
        let texts = enforcement_by.iter_mut().chain(without_ledger).chain(unguarded_because);
        texts.chain(unread).chain(notes).chain(skipped).for_each(change);
        for Explained { setting, value, policy } in settings {
            [setting, value].into_iter().chain(policy).for_each(change);
        }
        for Problem { code: _, object, message } in problems.iter_mut().flatten() {
            [object, message].into_iter().for_each(change);
        }
        for service in services {
            of_service(service, change);
        }
        for OtherService { name, role: _, because: _ } in others {
            change(name);
        }
    }
}

fn of_service(service: &mut ServiceStatus, change: &impl Fn(&mut String)) {
    let ServiceStatus {
        name,
        because: _,
        uses_blue_green: _,
        ready: _,
        floor: _,
        active_override,
        last_flip,
        flips,
        colours,
        attention,
    } = service;
    change(name);
    attention.iter_mut().for_each(change);
    if let Some(OverrideStatus { until: _, reason }) = active_override {
        change(reason);
    }
    if let Some(FlipRecord { at: _, seconds_ago: _, from, user, manager }) = last_flip {
        [from, user, manager].into_iter().for_each(change);
    }
    for PastFlip { at, act, colour, image, user, with, notes } in flips {
        [at, act, colour, image, user, with, notes].into_iter().for_each(change);
    }
    for colour in colours {
        of_colour(colour, change);
    }
}

fn of_colour(colour: &mut ColourStatus, change: &impl Fn(&mut String)) {
    let ColourStatus { colour, role: _, workloads, held_seconds: _, flip } = colour;
    change(colour);
    if let Some(FlipStatus { decision: _, denies: _, warns: _, rollback: _, because, words }) = flip {
        [because, words].into_iter().for_each(change);
    }
    for WorkloadStatus { workload, image, ready: _, desired: _, revision, trouble, broken: _, pods } in workloads {
        [workload, image].into_iter().chain(revision).chain(trouble).for_each(change);
        for PodStatus { name, ready: _, because } in pods {
            std::iter::once(name).chain(because).for_each(change);
        }
    }
}
