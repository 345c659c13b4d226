//! Set-ups as people really have them: whole sequences, each with the answers that it should get.

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{Pods, Shop, service, workload};

pub(crate) const TESTS: &[Test] = &[
    ("recognition::production_and_stage_are_swapped", production_and_stage_are_swapped),
    ("recognition::a_tool_points_its_stage_service_anywhere", a_tool_points_its_stage_service_anywhere),
    ("recognition::one_version_service_first", one_version_service_first),
    ("recognition::one_version_deployment_first", one_version_deployment_first),
    ("recognition::a_selector_that_is_too_wide", a_selector_that_is_too_wide),
    ("recognition::a_maintenance_page", a_maintenance_page),
    ("recognition::a_flag_moves_with_the_flip", a_flag_moves_with_the_flip),
    ("recognition::a_colour_at_the_start_of_a_value", a_colour_at_the_start_of_a_value),
    ("recognition::numbers", numbers),
    ("recognition::a_flip_is_undone_by_another_manager", a_flip_is_undone_by_another_manager),
    ("recognition::a_second_try_is_no_rollback", a_second_try_is_no_rollback),
    ("recognition::a_rollback_to_one_pod", a_rollback_to_one_pod),
    ("recognition::a_partition_keeps_its_pods", a_partition_keeps_its_pods),
    ("recognition::a_plain_selector_that_reaches_nothing", a_plain_selector_that_reaches_nothing),
    ("recognition::an_app_moves_to_another_namespace", an_app_moves_to_another_namespace),
    ("recognition::a_key_that_is_not_known", a_key_that_is_not_known),
];

pub(crate) fn set(shop: &Shop, service: &str, pair: &str) -> Result<super::shop::Attempt> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let patch = format!(r#"{{"spec":{{"selector":{{"{key}":"{value}"}}}}}}"#);
    shop.kubectl(&["patch", "service", service, "-p", &patch])
}

fn production_and_stage_are_swapped(shop: &Shop) -> Result<()> {
    let slot = |slot: &'static str| [("app", "pantry"), ("slot", slot)];
    shop.deploy_ready("pantry-blue", &slot("blue"), 2)?;
    shop.deploy_ready("pantry-green", &slot("green"), 2)?;
    shop.route("pantry-prod", &slot("blue"))?.passes_silently()?;
    shop.route("pantry-stage", &slot("green"))?.passes_silently()?;
    // A new version to the stage, or none for a while.
    shop.kubectl(&["set", "image", "deployment/pantry-green", "web=web:2"])?.passes_silently()?;
    shop.rolled_out("deployment/pantry-green")?;
    shop.kubectl(&["scale", "deployment/pantry-green", "--replicas=0"])?.passes_silently()?;
    shop.is_at_zero("pantry-green")?;
    shop.kubectl(&["scale", "deployment/pantry-green", "--replicas=2"])?.passes_silently()?;
    shop.rolled_out("deployment/pantry-green")?;
    set(shop, "pantry-prod", "slot=green")?.passes_silently()?;
    set(shop, "pantry-stage", "slot=blue")?.passes_silently()?;
    shop.kubectl(&[
        "annotate",
        "service",
        "pantry-stage",
        "flipguard.dev/role=preview",
        "--as=alice",
        "--as-group=system:masters",
    ])?
    .passes_silently()?;
    // Production is guarded throughout.
    shop.kubectl(&["scale", "deployment/pantry-green", "--replicas=0"])?
        .is_refused("live-scaled-down", &["pantry-prod"])
}

fn a_tool_points_its_stage_service_anywhere(shop: &Shop) -> Result<()> {
    let slot = |slot: &'static str| [("app", "kiosk"), ("color", slot)];
    shop.deploy_ready("kiosk-blue", &slot("blue"), 1)?;
    shop.route("kiosk", &slot("blue"))?.passes_silently()?;
    // The first release: the stage Service is pointed at a colour that does not exist yet.
    shop.route("kiosk-stage", &slot("green"))?.passes_silently()?;
    let mut live = "blue";
    for release in ["2", "3", "4"] {
        let next = if live == "blue" { "green" } else { "blue" };
        let deployment =
            workload("Deployment", &format!("kiosk-{next}"), &slot(next), 1, Pods::Ready, &format!("web:{release}"));
        let both = format!("{deployment}---\n{}", service("kiosk-stage", &slot(next)));
        // From the second release on, this is the colour before the last flip, seconds later: a warning.
        shop.apply(&both)?.succeeds()?;
        shop.rolled_out(&format!("deployment/kiosk-{next}"))?;
        set(shop, "kiosk", &format!("color={next}"))?.passes_silently()?;
        set(shop, "kiosk-stage", &format!("color={live}"))?.passes_silently()?;
        shop.kubectl(&["delete", "deployment", &format!("kiosk-{next}")])?
            .is_refused("live-deleted", &["Service kiosk"])?;
        live = next;
    }
    Ok(())
}

/// One Deployment, one Service, and `version` in both.
fn stamped(shop: &Shop, version: &'static str) -> [String; 2] {
    let labels = [("app", "almanac"), ("version", version)];
    let _ = shop;
    [service("almanac", &labels), workload("Deployment", "almanac", &labels, 1, Pods::Ready, &format!("web:{version}"))]
}

fn ends_with_endpoints(shop: &Shop, version: &str) -> Result<()> {
    shop.rolled_out("deployment/almanac")?;
    let selector = shop.selector("almanac")?;
    ensure!(selector.get("version").is_none_or(|now| now == version), "{selector:?}");
    shop.until("the Service has endpoints", || {
        let of =
            ["get", "endpointslices", "-l", "kubernetes.io/service-name=almanac", "-o=jsonpath={.items[*].endpoints}"];
        Ok(shop.kubectl(&of)?.out.contains("true"))
    })
}

fn one_version_service_first(shop: &Shop) -> Result<()> {
    let [service, deployment] = stamped(shop, "1.0");
    shop.apply(&service)?.succeeds()?;
    shop.apply(&deployment)?.succeeds()?;
    ends_with_endpoints(shop, "1.0")?;
    for version in ["2.0", "3.0"] {
        let [service, deployment] = stamped(shop, version);
        shop.apply(&service)?.passes_with_warning(&["take version out of the selector"])?;
        shop.apply(&deployment)?.succeeds()?;
        ends_with_endpoints(shop, version)?;
    }
    the_cure_passes(shop)
}

fn one_version_deployment_first(shop: &Shop) -> Result<()> {
    for version in ["1.0", "2.0", "3.0"] {
        let [service, deployment] = stamped(shop, version);
        shop.apply(&deployment)?.succeeds()?;
        shop.apply(&service)?.succeeds()?;
        ends_with_endpoints(shop, version)?;
    }
    the_cure_passes(shop)
}

fn the_cure_passes(shop: &Shop) -> Result<()> {
    let patch = r#"[{"op":"remove","path":"/spec/selector/version"}]"#;
    shop.kubectl(&["patch", "service", "almanac", "--type=json", "-p", patch])?.passes_silently()?;
    ends_with_endpoints(shop, "none")
}

fn a_selector_that_is_too_wide(shop: &Shop) -> Result<()> {
    for app in ["quarry", "gantry"] {
        for version in ["blue", "green"] {
            shop.deploy_ready(&format!("{app}-{version}"), &[("app", app), ("version", version)], 1)?;
        }
        shop.route(app, &[("app", app), ("version", "blue")])?.succeeds()?;
    }
    shop.kubectl(&["set", "selector", "service", "quarry", "version=green"])?
        .is_refused("selector-too-wide", &["Deployment gantry-green", "Keep app=quarry"])?;
    set(shop, "quarry", "version=green")?.succeeds()
}

fn a_maintenance_page(shop: &Shop) -> Result<()> {
    let blue = [("app", "shop"), ("color", "blue")];
    shop.deploy_ready("shop-blue", &blue, 2)?;
    shop.route("app", &blue)?.passes_silently()?;
    shop.deploy("closed", &[("app", "closed")], 2, Pods::Starting)?;
    shop.wait_for_pods("name=closed", 2, "Running")?;
    shop.route("app", &[("app", "closed")])?.is_refused("target-not-ready", &["Deployment closed"])?;
    shop.pods_become("name=closed", Pods::Ready)?;
    shop.rolled_out("deployment/closed")?;
    shop.route("app", &[("app", "closed")])?.succeeds()?;
    shop.route("app", &blue)?.succeeds()
}

fn a_flag_moves_with_the_flip(shop: &Shop) -> Result<()> {
    let manifest = |name: &str, colour: &str, consume: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 1, \
             selector: {{matchLabels: {{name: {name}}}}}, template: {{metadata: {{labels: {{name: {name}, app: shop, \
             color: {colour}}}, annotations: {{kwok.flipguard.dev/pod: ready}}}}, spec: {{containers: [{{name: web, \
             image: 'web:1', readinessProbe: {{httpGet: {{port: 80}}}}, env: [{{name: CONSUME, value: '{consume}'}}]}}]}}}}}}}}"
        )
    };
    let blue = [("app", "shop"), ("color", "blue")];
    let green = [("app", "shop"), ("color", "green")];
    let apply = |name: &str, colour: &str, consume: &str| shop.apply(&manifest(name, colour, consume));
    apply("app-blue", "blue", "on")?.succeeds()?;
    apply("app-green", "green", "off")?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", &blue)?.passes_silently()?;
    // The Service first.
    shop.route("app", &green)?.succeeds()?;
    apply("app-blue", "blue", "off")?.succeeds()?;
    apply("app-green", "green", "on")?.passes_with_warning(&["live-reconfigured: "])?;
    shop.rolled_out("deployment/app-green")?;
    shop.rolled_out("deployment/app-blue")?;
    // The Service last.
    // The template ran before, so this is an undo.
    apply("app-green", "green", "off")?.passes_silently()?;
    apply("app-blue", "blue", "on")?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", &blue)?.succeeds()
}

fn a_colour_at_the_start_of_a_value(shop: &Shop) -> Result<()> {
    for colour in ["blue", "green"] {
        let app = format!("{colour}-sundial");
        shop.deploy_ready(&app, &[("app", &app), ("version", colour)], 1)?;
    }
    shop.route("sundial", &[("app", "blue-sundial"), ("version", "blue")])?.succeeds()?;
    shop.kubectl(&["scale", "deployment/blue-sundial", "--replicas=0"])?
        .is_refused("live-scaled-down", &["Switch to Deployment green-sundial first"])
}

fn numbers(shop: &Shop) -> Result<()> {
    shop.deploy_ready("orchard-v1", &[("app", "orchard-v1")], 1)?;
    shop.route("orchard", &[("app", "orchard-v1")])?.succeeds()?;
    shop.deploy("orchard-v2", &[("app", "orchard-v2")], 1, Pods::Failing("CrashLoopBackOff"))?;
    shop.wait_for_pods("name=orchard-v2", 1, "CrashLoopBackOff")?;
    shop.route("orchard", &[("app", "orchard-v2")])?.is_refused("target-not-ready", &["CrashLoopBackOff"])?;
    shop.kubectl(&["scale", "deployment/orchard-v1", "--replicas=0"])?.is_refused("live-scaled-down", &[])
}

fn a_flip_is_undone_by_another_manager(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let to = |colour: &str| service("app", &[("app", "shop"), ("color", colour)]);
    let by = |manager: &str, colour: &str| {
        let manager = format!("--field-manager={manager}");
        shop.apply_with(&to(colour), &["--server-side", "--force-conflicts", &manager])
    };
    by("jenkins", "green")?.passes_silently()?;
    by("argocd-controller", "blue")?
        .passes_with_warning(&["flip-undone: argocd-controller takes back the flip to color=green"])?;
    shop.until("an Event says so", || {
        Ok(shop.kubectl(&["get", "events", "-o=jsonpath={.items[*].reason}"])?.out.contains("FlipUndone"))
    })
}

fn a_second_try_is_no_rollback(shop: &Shop) -> Result<()> {
    let (blue, green) = ([("app", "shop"), ("color", "blue")], [("app", "shop"), ("color", "green")]);
    shop.deploy_ready("app-blue", &blue, 2)?;
    shop.route("app", &blue)?.passes_silently()?;
    shop.deploy_ready("app-green", &green, 2)?;
    shop.has_an_age("app-blue")?;
    shop.has_an_age("app-green")?;
    shop.route("app", &green)?.passes_silently()?;
    shop.route("app", &blue)?.passes_silently()?;
    let pod = shop.kubectl(&["get", "pods", "-l", "name=app-green", "-o=jsonpath={.items[0].metadata.name}"])?.out;
    shop.kubectl(&["annotate", "pod", &pod, "--overwrite", "kwok.flipguard.dev/pod=starting"])?.succeeds()?;
    shop.wait_for("deployment/app-green", "{.status.readyReplicas}", "1")?;
    shop.route("app", &green)?.is_refused("target-not-ready", &["1 of 2 pods ready", "returns-to-abandoned"])?;
    shop.kubectl(&["annotate", "pod", &pod, "--overwrite", "kwok.flipguard.dev/pod=ready"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", &green)?.passes_with_warning(&["returns-to-abandoned: a rollback left this version"])
}

fn a_rollback_to_one_pod(shop: &Shop) -> Result<()> {
    let (blue, green) = ([("app", "shop"), ("color", "blue")], [("app", "shop"), ("color", "green")]);
    shop.deploy_ready("app-blue", &blue, 1)?;
    shop.route("app", &blue)?.passes_silently()?;
    shop.deploy_ready("app-green", &green, 6)?;
    shop.has_an_age("app-blue")?;
    shop.route("app", &green)?.passes_silently()?;
    shop.route("app", &blue)?.passes_with_warning(&["capacity-below-live: the target has 1 ready pod"])
}

fn a_partition_keeps_its_pods(shop: &Shop) -> Result<()> {
    let blue = [("app", "db"), ("color", "blue")];
    for (name, colour) in [("db-blue", "blue"), ("db-green", "green")] {
        let labels = [("app", "db"), ("color", colour)];
        shop.apply(&workload("StatefulSet", name, &labels, 3, Pods::Ready, "web:1"))?.succeeds()?;
        shop.rolled_out(&format!("statefulset/{name}"))?;
    }
    shop.route("db", &blue)?.passes_silently()?;
    let patch = |partition: u32, label: &str| {
        let patch = format!(
            r#"{{"spec":{{"updateStrategy":{{"type":"RollingUpdate","rollingUpdate":{{"partition":{partition}}}}},
                "template":{{"metadata":{{"labels":{{"color":"{label}"}}}}}}}}}}"#
        );
        shop.kubectl(&["patch", "statefulset", "db-blue", "-p", &patch])
    };
    patch(0, "red")?.is_refused("live-detached", &["would keep 0 of 3"])?;
    patch(2, "red")?.succeeds()
}

fn a_plain_selector_that_reaches_nothing(shop: &Shop) -> Result<()> {
    shop.deploy_ready("plain", &[("app", "plain")], 1)?;
    shop.route("plain", &[("app", "plain")])?.passes_silently()?;
    shop.route("plain", &[("app", "plain"), ("tier", "web")])?
        .passes_with_warning(&["endpoints-lost: selector app=plain,tier=web matches no ready pod"])?;
    // Nothing is written down for it.
    shop.route("plain", &[("app", "plain")])?.passes_silently()
}

fn an_app_moves_to_another_namespace(shop: &Shop) -> Result<()> {
    let blue = [("app", "courier"), ("color", "blue")];
    shop.deploy_ready("courier-blue", &blue, 1)?;
    shop.route("courier", &blue)?.passes_silently()?;
    let alias = |target: &str| {
        let patch = format!(r#"{{"spec":{{"type":"ExternalName","externalName":"{target}"}}}}"#);
        shop.kubectl(&["patch", "service", "courier", "-p", &patch])
    };
    alias("courier.example.com")?.is_refused("type-external-name", &[])?;
    alias("courier.new-home.svc.cluster.local")?.passes_with_warning(&["type-external-name: "])
}

fn a_key_that_is_not_known(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-one", &[("app", "shop"), ("lane", "one")], 1)?;
    shop.route("app", &[("app", "shop"), ("lane", "one")])?.passes_silently()?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/role=traffic"])?.passes_with_warning(&["key-unknown: "])
}
