//! How many bytes an object takes that was read, counted from its types. Strings and the nodes of maps are most of it.

use std::mem::size_of;

use crate::model::{GateJob, Labels, Meta, Owner, Pod, Revision, Selector, Service, Workload};

/// The overhead of an allocation.
const ALLOCATION: usize = 16;
/// The entries of a node of a `BTreeMap`, and the bytes of a node of strings.
const NODE: (usize, usize) = (11, 560);

/// An object that was read.
pub(super) trait Weight {
    /// Its bytes, together with everything that it owns.
    fn weight(&self) -> usize;
}

impl Weight for Workload {
    fn weight(&self) -> usize {
        let template = &*self.template;
        let containers: usize = template
            .containers
            .all()
            .iter()
            .map(|one| 160 + text(&one.name) + text(&one.image) + 64 * one.ports.len())
            .sum();
        let keys: usize = self.selector_keys.iter().map(|key| 24 + text(key)).sum();
        size_of::<Self>()
            + owned(&self.meta)
            + keys
            + ALLOCATION
            + size_of_val(template)
            + labels(&template.labels)
            + text(&template.annotations)
            + text(&template.spec)
            + containers
            + self.update_revision.as_deref().map_or(0, text)
    }
}

impl Weight for Pod {
    fn weight(&self) -> usize {
        let containers: usize = self
            .containers
            .all()
            .iter()
            .map(|one| 160 + text(&one.name) + text(&one.image) + 64 * one.ports.len())
            .sum();
        let image_ids: usize = self.image_ids.iter().map(|id| 24 + text(id)).sum();
        size_of::<Self>()
            + owned(&self.meta)
            + containers
            + image_ids
            + self.not_ready_reason.as_deref().map_or(0, text)
    }
}

impl Weight for Service {
    fn weight(&self) -> usize {
        // Its ports, and the selector.
        size_of::<Self>() + owned(&self.meta) + selector(self.routed()) + 512
    }
}

impl Weight for GateJob {
    fn weight(&self) -> usize {
        size_of::<Self>() + owned(&self.meta) + self.images.iter().map(|image| 24 + text(image)).sum::<usize>()
    }
}

impl Weight for Revision {
    fn weight(&self) -> usize {
        size_of::<Self>() + owned(&self.meta) + text(&self.template_spec)
    }
}

/// What metadata own besides themselves.
fn owned(meta: &Meta) -> usize {
    let texts = [&meta.namespace, &meta.name, &meta.uid, &meta.resource_version];
    let owner = |owner: &Owner| {
        [&owner.api_version, &owner.kind, &owner.name, &owner.uid].into_iter().map(|field| text(field)).sum::<usize>()
    };
    texts.into_iter().map(|field| text(field)).sum::<usize>()
        + labels(&meta.labels)
        + labels(&meta.annotations)
        + meta.controller.as_ref().map_or(0, owner)
        + meta.owners.iter().map(|one| size_of::<Owner>() + owner(one)).sum::<usize>()
}

fn selector(selector: &Selector) -> usize {
    selector.pairs().map(|(key, value)| 2 * 24 + text(key) + text(value)).sum()
}

fn labels(labels: &Labels) -> usize {
    let (entries, bytes) = NODE;
    labels.len().div_ceil(entries) * bytes + labels.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
}

fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { ALLOCATION + text.len() }
}
