//! The filter: which writes can matter to a rule at all.
//!
//! One table is rendered twice: as a predicate for the rules, here, and as CEL match conditions for the API server, in
//! [`conditions`](super::conditions). The conditions accept every write that the predicate accepts. So ordinary writes
//! cost nothing, and no write that a rule could deny is missed.

use crate::model::{Change, ColourScheme, GateJob, Meta, Role, Service, Workload, Write, annotation};

/// A way in which an update can matter, as Rust and as CEL.
pub(super) struct Row<T> {
    applies: fn(&T, &T) -> bool,
    /// The expression in CEL; `OLD` and `NEW` stand for the two states.
    pub(super) cel: &'static str,
}

/// A field that differs, in CEL.
macro_rules! differs {
    ($field:literal) => {
        concat!("NEW.", $field, " != OLD.", $field)
    };
}

/// An annotation that differs. CEL needs the key as a literal; a test compares the two.
macro_rules! annotation_row {
    ($name:ident, $key:literal) => {
        Row {
            applies: |old, new| annotation_differs(&old.meta, &new.meta, annotation::$name),
            cel: concat!(
                "NEW.?metadata.?annotations[?'",
                $key,
                "'].orValue('') != OLD.?metadata.?annotations[?'",
                $key,
                "'].orValue('')"
            ),
        }
    };
}

/// The changes of a Service that move its traffic or its guard.
pub(super) const SERVICE: [Row<Service>; 13] = [
    Row { applies: |old, new| old.selector != new.selector, cel: differs!("?spec.?selector.orValue({})") },
    Row { applies: |old, new| old.ports != new.ports, cel: differs!("?spec.?ports.orValue([])") },
    // One field of Kubernetes; the model has two of its values.
    Row {
        applies: |old, new| {
            old.is_external_name != new.is_external_name || old.is_load_balancer != new.is_load_balancer
        },
        cel: differs!("?spec.?type.orValue('')"),
    },
    Row {
        applies: |old, new| old.local.internal != new.local.internal,
        cel: differs!("?spec.?internalTrafficPolicy.orValue('')"),
    },
    Row {
        applies: |old, new| old.local.external != new.local.external,
        cel: differs!("?spec.?externalTrafficPolicy.orValue('')"),
    },
    Row {
        applies: |old, new| old.publishes_not_ready != new.publishes_not_ready,
        cel: differs!("?spec.?publishNotReadyAddresses.orValue(false)"),
    },
    annotation_row!(GUARD, "flipguard.dev/guard"),
    annotation_row!(ROLE, "flipguard.dev/role"),
    annotation_row!(ARGO_ROLLOUTS, "argo-rollouts.argoproj.io/managed-by-rollouts"),
    annotation_row!(OVERRIDE, "flipguard.dev/override"),
    annotation_row!(HOLD, "flipguard.dev/hold"),
    annotation_row!(MIN_REPLICAS, "flipguard.dev/min-replicas"),
    annotation_row!(QUARANTINE, "flipguard.dev/quarantine"),
];

/// The annotations of a Service that a rule reads: those of the table above.
pub const SERVICE_ANNOTATIONS: [&str; 7] = [
    annotation::GUARD,
    annotation::ROLE,
    annotation::ARGO_ROLLOUTS,
    annotation::OVERRIDE,
    annotation::HOLD,
    annotation::MIN_REPLICAS,
    annotation::QUARANTINE,
];

/// The changes of a workload that can take ready Pods away.
pub(super) const WORKLOAD: [Row<Workload>; 10] = [
    Row { applies: |old, new| old.template != new.template, cel: differs!("?spec.?template.orValue({})") },
    // One field of the model: Deployments have the first, StatefulSets and DaemonSets the second.
    Row { applies: |old, new| old.strategy != new.strategy, cel: differs!("?spec.?strategy.orValue({})") },
    Row { applies: |old, new| old.strategy != new.strategy, cel: differs!("?spec.?updateStrategy.orValue({})") },
    Row {
        applies: |old, new| old.partition != new.partition,
        cel: differs!("?spec.?updateStrategy.?rollingUpdate.?partition.orValue(0)"),
    },
    Row { applies: |old, new| old.first_ordinal != new.first_ordinal, cel: differs!("?spec.?ordinals.orValue({})") },
    Row {
        applies: |old, new| new.desired < old.desired,
        cel: "NEW.?spec.?replicas.orValue(1) < OLD.?spec.?replicas.orValue(1)",
    },
    Row {
        applies: |old, new| old.paused && !new.paused,
        cel: "OLD.?spec.?paused.orValue(false) && !NEW.?spec.?paused.orValue(false)",
    },
    Row {
        applies: |old, new| old.meta.owners != new.meta.owners,
        cel: differs!("?metadata.?ownerReferences.orValue([])"),
    },
    annotation_row!(OVERRIDE, "flipguard.dev/override"),
    annotation_row!(ROLLBACK, "deprecated.deployment.rollback.to"),
];

/// The changes of a Job that would make another test of it.
pub(super) const JOB: [Row<GateJob>; 3] = [
    Row {
        applies: |old, new| old.gate().unwrap_or_default() != new.gate().unwrap_or_default(),
        cel: "NEW.?metadata.?labels[?'flipguard.dev/gate'].orValue('') != \
              OLD.?metadata.?labels[?'flipguard.dev/gate'].orValue('')",
    },
    annotation_row!(TARGET, "flipguard.dev/target"),
    annotation_row!(TESTED, "flipguard.dev/tested"),
];

fn annotation_differs(old: &Meta, new: &Meta, key: &str) -> bool {
    old.annotation(key) != new.annotation(key)
}

/// Whether a row of a table applies to an update.
fn any_applies<T>(rows: &[Row<T>], old: &T, new: &T) -> bool {
    rows.iter().any(|row| (row.applies)(old, new))
}

/// Whether an update of a Service is judged: its routing or its guard changes, and its old or new object is a traffic
/// Service.
#[must_use]
pub fn service_update(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    any_applies(&SERVICE, old, new) && may_be_traffic(old, new, colours)
}

/// Whether a Service is, or was, a traffic Service by its own marks.
fn may_be_traffic(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    [old, new].iter().any(|service| service.own_role(colours) == Role::Traffic)
}

/// Whether a Service may carry traffic by its own marks.
#[must_use]
pub fn is_candidate(service: &Service, colours: &ColourScheme) -> bool {
    service.own_role(colours) == Role::Traffic
}

/// Whether an update moves a Service that pins no colour: then only a loss of all endpoints is warned of.
fn moves_plain_service(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let is_plain = |service: &Service| service.own_role(colours) == Role::Plain;
    old.selector != new.selector && is_plain(old) && is_plain(new)
}

/// Whether an update sets a role that does not exist on a Service that no other rule looks at. A preview by its name may
/// be meant to become a traffic Service.
fn sets_unknown_role(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let is_set = new.meta.unknown_role().is_some() && annotation_differs(&old.meta, &new.meta, annotation::ROLE);
    is_set
        && match new.own_role(colours) {
            Role::Plain => colours.pins(old.routed()).is_empty(),
            Role::Preview => true,
            Role::Traffic | Role::Unguarded(_) => false,
        }
}

/// Whether a change is to be written into the ledger: not where only a warning can come of it, and nothing depends on it.
/// An override that is set or removed takes no Pod away.
#[must_use]
pub fn needs_ledger(change: &Change, colours: &ColourScheme) -> bool {
    match &change.write {
        Write::ServiceUpdate { old, new } => may_be_traffic(old, new, colours) && !changes_only_override(old, new),
        write => takes_away(write, colours),
    }
}

/// Whether the override of a Service is all that a rule would look at. One permission decides it, so that an override can
/// be set while the cluster cannot be read.
#[must_use]
pub fn changes_only_override(old: &Service, new: &Service) -> bool {
    let mut without = new.clone();
    without.meta.annotations.remove(annotation::OVERRIDE);
    without.meta.annotations.extend(
        old.meta.annotations.get_key_value(annotation::OVERRIDE).map(|(key, value)| (key.clone(), value.clone())),
    );
    !any_applies(&SERVICE, old, &without)
}

/// Whether any rule can apply to a write.
#[must_use]
pub fn is_relevant(write: &Write, colours: &ColourScheme) -> bool {
    takes_away(write, colours)
        || match write {
            Write::WorkloadUpdate { old, new } => gates_set(&old.meta, &new.meta).next().is_some(),
            Write::JobCreate { .. } | Write::JobDelete { .. } => true,
            Write::JobUpdate { old, new } => any_applies(&JOB, old, new) || releases(old, new),
            _ => false,
        }
}

/// Whether an update may be the last one of an ended Job: finalizers hold it, and are removed.
pub(super) fn releases(old: &GateJob, new: &GateJob) -> bool {
    new.meta.deleting && old.end.is_some()
}

/// The gates whose annotation an update sets to another value, each with that value. Who removes one proves nothing.
pub(super) fn gates_set<'a>(old: &'a Meta, new: &'a Meta) -> impl Iterator<Item = (&'a str, &'a str)> {
    new.gates().filter(|(gate, value)| !old.gates().any(|(other, stored)| other == *gate && stored == *value))
}

/// Whether a write can take traffic, Pods or protection away, so that rules about blue-green apply to it.
#[must_use]
pub fn takes_away(write: &Write, colours: &ColourScheme) -> bool {
    match write {
        Write::ServiceUpdate { old, new } => {
            service_update(old, new, colours)
                || moves_plain_service(old, new, colours)
                || sets_unknown_role(old, new, colours)
        }
        Write::ServiceCreate { new } => {
            let role = new.meta.annotation(annotation::ROLE);
            !colours.pins(new.routed()).is_empty() || role.is_some_and(|role| role != "preview")
        }
        Write::ServiceDelete { old } => old.own_role(colours) == Role::Traffic,
        Write::WorkloadCreate { new } => colours.is_marked(&new.template.labels),
        Write::WorkloadUpdate { old, new } => {
            [old, new].iter().any(|workload| colours.is_marked(&workload.template.labels))
                && any_applies(&WORKLOAD, old, new)
        }
        Write::WorkloadDelete { old } => colours.is_marked(&old.template.labels),
        Write::Scale { from, to, .. } => to < from,
        Write::JobCreate { .. } | Write::JobUpdate { .. } | Write::JobDelete { .. } | Write::Other => false,
    }
}

/// Whether the API server asks for advice only. The change goes on where it cannot be judged.
#[must_use]
pub fn is_advisory(change: &Change, colours: &ColourScheme) -> bool {
    let has = |meta: &Meta, key: &str| meta.annotation(key).is_some();
    match change.write {
        Write::ServiceUpdate { ref old, ref new } => !may_be_traffic(old, new, colours),
        Write::ServiceCreate { ref new } => {
            !has(&new.meta, annotation::OVERRIDE) && !has(&new.meta, annotation::MIN_REPLICAS)
        }
        Write::ServiceDelete { .. } | Write::JobDelete { .. } => true,
        Write::JobUpdate { ref old, ref new } => !any_applies(&JOB, old, new),
        Write::WorkloadCreate { ref new } => !has(&new.meta, annotation::OVERRIDE),
        Write::Scale { to, .. } => to > 0,
        _ => false,
    }
}

/// Whether the API server may admit a change without an answer: it asks for advice, or it cannot tell that the workload
/// belongs to blue-green. A `version` or a number alone is common without it (service meshes). Of a Scale it sees the
/// workload's name and selector. The selector is not decoded here.
#[must_use]
pub fn may_pass_unanswered(change: &Change, colours: &ColourScheme) -> bool {
    let is_certain = |workload: &Workload| colours.is_certain(&workload.template.labels);
    is_advisory(change, colours)
        || match &change.write {
            Write::WorkloadUpdate { old, new } => {
                let is_open = !is_certain(old) && !is_certain(new) && !sets_override(&old.meta, &new.meta);
                is_open && gates_set(&old.meta, &new.meta).next().is_none()
            }
            Write::WorkloadDelete { old } => !is_certain(old),
            Write::Scale { .. } => true,
            _ => false,
        }
}

fn sets_override(old: &Meta, new: &Meta) -> bool {
    new.annotation(annotation::OVERRIDE).is_some() && annotation_differs(old, new, annotation::OVERRIDE)
}

#[cfg(test)]
mod tests {
    use super::super::conditions::any_of;
    use super::*;

    #[test]
    fn annotations_in_cel_are_those_that_are_read() {
        let of_services = SERVICE.iter().filter(|row| row.cel.contains("annotations[?'"));
        assert_eq!(of_services.count(), SERVICE_ANNOTATIONS.len());
        let cel = any_of(&SERVICE);
        for key in SERVICE_ANNOTATIONS {
            assert!(cel.contains(&format!("[?'{key}']")), "{key}");
        }
        assert!(any_of(&WORKLOAD).contains(&format!("[?'{}']", annotation::ROLLBACK)));
    }
}
