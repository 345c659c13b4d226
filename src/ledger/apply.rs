//! A view after an intent, and back: scenarios need no copy of a namespace.

use std::sync::Arc;

use super::{IntendedChange, Intent, WorkloadAfter};
use crate::model::{ClusterView, Kind, Meta, Pod, Records, Selector, Service, Tombstone, Workload, WorkloadKind};

/// The parts of a view that an intent replaced.
#[derive(Debug, Default)]
pub struct Before {
    services: Option<Vec<Service>>,
    records: Option<Records>,
    workload: Option<Replaced>,
    /// The removed Pods, each with its position.
    pods: Vec<(usize, Pod)>,
}

#[derive(Debug)]
enum Replaced {
    Changed(usize, Box<Workload>),
    Removed(usize, Box<Workload>),
}

impl Before {
    /// Puts everything back. Of several intents, the last applied one is restored first.
    pub fn restore(self, view: &mut ClusterView) {
        if let Some(services) = self.services {
            view.services = services;
        }
        if let Some(records) = self.records {
            view.records = records;
        }
        match self.workload {
            Some(Replaced::Removed(index, workload)) => view.workloads.insert(index, *workload),
            Some(Replaced::Changed(index, workload)) => {
                if let Some(changed) = view.workloads.get_mut(index) {
                    *changed = *workload;
                }
            }
            None => {}
        }
        // From the first position on, each later one is right again.
        for (index, pod) in self.pods {
            view.pods.insert(index, pod);
        }
    }
}

/// Applies an intent to a view, and returns what it replaced. `None` where the view stays as it is: the object has a newer
/// version.
pub fn apply(view: &mut ClusterView, intent: &Intent) -> Option<Before> {
    match intent.object.kind {
        Kind::Service => apply_to_service(view, intent),
        Kind::Workload(kind) => apply_to_workload(view, kind, intent),
        // Nothing depends on a Job that is pending.
        Kind::Job => None,
    }
}

fn is_base(meta: &Meta, intent: &Intent) -> bool {
    meta.name == intent.object.name && meta.uid == intent.uid && meta.resource_version == intent.base
}

fn apply_to_service(view: &mut ClusterView, intent: &Intent) -> Option<Before> {
    let service = &intent.object.name;
    let services = Some(view.services.clone());
    match &intent.effect {
        IntendedChange::Gone { selector } => {
            let before = Before { services, records: Some(view.records.clone()), ..Before::default() };
            view.services.retain(|service| !is_base(&service.meta, intent));
            let selector = selector.clone().unwrap_or_else(Selector::nothing);
            view.records.flips.retain(|flip| flip.service != *service);
            view.records.tombstones.retain(|other| other.service != *service);
            view.records.tombstones.push(Tombstone {
                service: service.clone(),
                selector,
                at: intent.at,
                still_there: false,
            });
            Some(before)
        }
        IntendedChange::Service(after) if intent.creates() => {
            if view.services.iter().any(|other| other.meta.uid == intent.uid) {
                return None;
            }
            // The Service is created only after the one with its name is deleted. That deletion may not be in the
            // ledger yet.
            view.services.retain(|other| other.meta.name != *service);
            let (name, uid) = (service.clone(), intent.uid.clone());
            let meta = Meta { name, uid, annotations: after.annotations.clone(), ..Meta::default() };
            view.services.push(Service { meta, selector: after.to.clone(), ..Service::default() });
            Some(Before { services, ..Before::default() })
        }
        IntendedChange::Service(after) => {
            let service = view.services.iter_mut().find(|service| is_base(&service.meta, intent))?;
            service.selector.clone_from(&after.to);
            service.is_external_name = false;
            service.meta.annotations.clone_from(&after.annotations);
            Some(Before { services, ..Before::default() })
        }
        IntendedChange::Scaled { .. } | IntendedChange::Workload(_) => None,
    }
}

fn apply_to_workload(view: &mut ClusterView, kind: WorkloadKind, intent: &Intent) -> Option<Before> {
    let is_it = |workload: &Workload| workload.kind == kind && is_base(&workload.meta, intent);
    let index = view.workloads.iter().position(is_it)?;
    let before = Box::new(view.workloads.get(index)?.clone());
    let part = Some(before.meta.uid.clone()).filter(|_| !before.stands_alone());
    let (replaced, desired) = match &intent.effect {
        IntendedChange::Gone { .. } => {
            view.workloads.remove(index);
            (Replaced::Removed(index, before), 0)
        }
        IntendedChange::Scaled { to } => {
            become_scaled(view.workloads.get_mut(index)?, *to);
            (Replaced::Changed(index, before), *to)
        }
        IntendedChange::Workload(after) => {
            let workload = view.workloads.get_mut(index)?;
            become_changed(workload, after);
            let desired = workload.desired;
            (Replaced::Changed(index, before), desired)
        }
        IntendedChange::Service(_) => return None,
    };
    let pods = part.map(|uid| keep_pods(view, &uid, desired)).unwrap_or_default();
    Some(Before { workload: Some(replaced), pods, ..Before::default() })
}

/// Scales a workload whose controller has not seen the change yet.
fn become_scaled(workload: &mut Workload, desired: u32) {
    workload.meta.generation = workload.meta.generation.saturating_add(1);
    workload.desired = desired;
}

fn become_changed(workload: &mut Workload, after: &WorkloadAfter) {
    become_scaled(workload, if after.owners_change { 0 } else { after.desired });
    workload.paused = after.paused;
    let template = Arc::make_mut(&mut workload.template);
    template.labels.clone_from(&after.labels);
    if after.template_changes {
        // No Pod runs the new template yet, whatever its content.
        template.spec = "\"changed\"".into();
    }
    workload.strategy = after.strategy;
    workload.partition = after.partition;
    workload.first_ordinal = after.first_ordinal;
    workload.meta.annotations.clone_from(&after.annotations);
}

/// Reduces the Pods of a ReplicaSet, as its Deployment will see them. Returns the removed ones, with their positions.
fn keep_pods(view: &mut ClusterView, owner: &str, count: u32) -> Vec<(usize, Pod)> {
    let mut kept = 0;
    let mut removed = Vec::new();
    let pods = std::mem::take(&mut view.pods);
    for (index, pod) in pods.into_iter().enumerate() {
        let is_part = pod.meta.is_controlled_by(owner);
        if is_part && kept >= count {
            removed.push((index, pod));
        } else {
            kept += u32::from(is_part);
            view.pods.push(pod);
        }
    }
    removed
}
