//! Overrides by users with real permissions: each one counts only if somebody was asked to permit it.

use anyhow::{Result, ensure};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Shop, service};

pub(crate) const TESTS: &[Test] = &[
    ("overrides::of_a_workload_without_a_colour_counts_for_nothing", of_a_workload_without_a_colour_counts_for_nothing),
    ("overrides::are_asked_for_the_service_that_is_left", are_asked_for_the_service_that_is_left),
    ("overrides::brought_by_a_new_object_need_the_verb", brought_by_a_new_object_need_the_verb),
    ("overrides::sleeping_needs_the_verb", sleeping_needs_the_verb),
];

/// An override that ends in ten minutes, as `kubectl annotate` takes it.
fn soon() -> String {
    let time = OffsetDateTime::now_utc() + time::Duration::minutes(10);
    let time = time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default();
    format!("flipguard.dev/override={time} in a hurry")
}

/// Bob has the role `edit` of Kubernetes, and the verb `override` on these Services.
fn bob_may_edit(shop: &Shop, and_override: &[&str]) -> Result<()> {
    shop.kubectl(&["create", "rolebinding", "bob-edits", "--clusterrole=edit", "--user=bob"])?.succeeds()?;
    if and_override.is_empty() {
        return Ok(());
    }
    shop.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: override, namespace: {}}}, rules: \
         [{{apiGroups: [flipguard.dev], resources: [bluegreenpolicies], resourceNames: [{}], verbs: [override]}}]}}",
        shop.namespace,
        and_override.join(", ")
    ))?
    .succeeds()?;
    shop.kubectl(&["create", "rolebinding", "bob-overrides", "--role=override", "--user=bob"])?.succeeds()
}

fn bob(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    shop.kubectl(&[&["--as=bob"], args].concat())
}

fn of_a_workload_without_a_colour_counts_for_nothing(shop: &Shop) -> Result<()> {
    bob_may_edit(shop, &[])?;
    let plain = &[("app", "shop")];
    shop.deploy_ready("shop", plain, 2)?;
    shop.apply(&service("app", plain))?.succeeds()?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/role=traffic"])?.succeeds()?;
    // The API server does not ask about annotations of a workload without a colour.
    bob(shop, &["annotate", "deployment", "shop", &soon()])?.succeeds()?;
    bob(shop, &["scale", "deployment/shop", "--replicas=0"])?
        .is_refused("live-scaled-down", &["set flipguard.dev/override", "on service/app"])?;
    // The Deployment controller copies the annotation to the ReplicaSet.
    let replica_set = shop.replica_set_of("shop")?;
    bob(shop, &["scale", &replica_set, "--replicas=0"])?.is_refused("live-scaled-down", &[])?;
    // On the Service, it needs the verb.
    bob(shop, &["annotate", "service", "app", &soon()])?.is_refused("override-not-permitted", &[])?;
    // A colour that is added later makes the stored value count as set.
    bob(
        shop,
        &["patch", "deployment", "shop", "-p", r#"{"spec":{"template":{"metadata":{"labels":{"color":"blue"}}}}}"#],
    )?
    .is_refused("override-not-permitted", &["user bob may not override Service app"])
}

fn are_asked_for_the_service_that_is_left(shop: &Shop) -> Result<()> {
    bob_may_edit(shop, &["stage"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.apply(&service("stage", &[("app", "shop"), ("color", "stage")]))?.succeeds()?;
    let annotation = soon();
    let (key, value) = annotation.split_once('=').unwrap_or_default();
    let patch = format!(
        r#"{{"metadata":{{"annotations":{{"{key}":"{value}"}}}},
            "spec":{{"template":{{"metadata":{{"labels":{{"color":"stage"}}}}}}}}}}"#
    );
    bob(shop, &["patch", "deployment", "app-blue", "-p", &patch])?
        .is_refused("override-not-permitted", &["user bob may not override Service app"])
}

fn brought_by_a_new_object_need_the_verb(shop: &Shop) -> Result<()> {
    bob_may_edit(shop, &[])?;
    shop.blue_serves()?;
    let annotation = soon();
    let (key, value) = annotation.split_once('=').unwrap_or_default();
    let with_override = |name: &str, selector: &[(&str, &str)]| {
        let annotated = format!("{{name: {name}, annotations: {{'{key}': '{value}'}}}}");
        service(name, selector).replace(&format!("{{name: {name}}}"), &annotated)
    };
    shop.apply_with(&with_override("second", BLUE), &["--as=bob"])?.is_refused("override-not-permitted", &[])?;
    // A plain Service takes the annotation, and it counts as set once the Service has a colour.
    shop.apply_with(&with_override("third", &[("app", "shop")]), &["--as=bob"])?.succeeds()?;
    bob(shop, &["patch", "service", "third", "-p", r#"{"spec":{"selector":{"color":"blue"}}}"#])?
        .is_refused("override-not-permitted", &[])?;
    // So does a write of the status.
    let patch = format!(r#"{{"metadata":{{"annotations":{{"{key}":"{value}"}}}}}}"#);
    shop.kubectl(&["create", "role", "status", "--verb=patch", "--resource=services/status"])?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "bob-status", "--role=status", "--user=bob"])?.succeeds()?;
    bob(shop, &["patch", "service", "app", "--subresource=status", "-p", &patch])?
        .is_refused("override-not-permitted", &[])
}

fn sleeping_needs_the_verb(shop: &Shop) -> Result<()> {
    bob_may_edit(shop, &[])?;
    shop.blue_serves()?;
    let asleep = &["annotate", "service", "app", "flipguard.dev/min-replicas=0"];
    bob(shop, asleep)?.is_refused("opt-out-not-permitted", &["min-replicas=0 would let anyone scale"])?;
    let to_zero = &["scale", "deployment/app-blue", "--replicas=0"];
    bob(shop, to_zero)?.is_refused("live-scaled-down", &[])?;
    shop.kubectl(asleep)?.passes_silently()?;
    bob(shop, &["delete", "deployment", "app-blue"])?.is_refused("live-deleted", &[])?;
    bob(shop, to_zero)?.passes_silently()?;
    shop.is_at_zero("app-blue")?;
    bob(shop, &["scale", "deployment/app-blue", "--replicas=1"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    ensure!(bob(shop, to_zero)?.ok, "it may sleep again");
    Ok(())
}
