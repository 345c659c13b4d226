//! Flips: the basic story, and every kind of Service.

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{BLUE, GREEN, Pods, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("flips::the_story_by_version", the_story_by_version),
    ("flips::the_story_by_colour", the_story_by_colour),
    ("flips::to_a_colour_without_workloads", to_a_colour_without_workloads),
    ("flips::by_every_kind_of_write", by_every_kind_of_write),
    ("flips::of_preview_plain_and_unguarded_services_pass", of_preview_plain_and_unguarded_services_pass),
    ("flips::away_from_a_colour_that_is_down", away_from_a_colour_that_is_down),
    ("flips::first_adoption", first_adoption),
    ("flips::in_a_dry_run", in_a_dry_run),
];

fn the_story_by_version(shop: &Shop) -> Result<()> {
    story(shop, [("app", "app"), ("version", "1.0")], [("app", "app"), ("version", "2.0")], "version 1.0 -> 2.0")
}

fn the_story_by_colour(shop: &Shop) -> Result<()> {
    story(shop, [("app", "app"), ("color", "blue")], [("app", "app"), ("color", "green")], "color blue -> green")
}

fn story(shop: &Shop, one: [(&str, &str); 2], two: [(&str, &str); 2], summary: &str) -> Result<()> {
    let namespace = &shop.namespace;
    shop.deploy_ready("app-blue", &one, 3)?;
    shop.route("app", &one)?.passes_silently()?;
    shop.deploy("app-green", &two, 3, Pods::Failing("ImagePullBackOff"))?;
    shop.wait_for_pods("name=app-green", 3, "ImagePullBackOff")?;
    let describe = format!("kubectl -n {namespace} describe pod app-green-");
    shop.route("app", &two)?.is_refused(
        "target-not-ready",
        &[
            &format!("service {namespace}/app: flip {summary} denied"),
            "Deployment app-green has 0 of 3 pods ready",
            ": ImagePullBackOff)",
            &describe,
        ],
    )?;
    shop.pods_become("name=app-green", Pods::Starting)?;
    shop.wait_for_pods("name=app-green", 3, "Running")?;
    shop.route("app", &two)?.is_refused("target-not-ready", &["readiness probe not passed"])?;
    let selector = shop.selector("app")?;
    ensure!(one.iter().all(|(key, value)| selector.get(*key).is_some_and(|now| now == value)), "{selector:?}");
    shop.pods_become("name=app-green", Pods::Ready)?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", &two)?.passes_silently()?;
    shop.route("app", &one)?.passes_silently()
}

fn to_a_colour_without_workloads(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.is_refused("target-missing", &["matches app=shop,color=green"])
}

fn by_every_kind_of_write(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let refused = |args: &[&str]| shop.kubectl(args)?.is_refused("target-not-ready", &[]);
    let merge = r#"{"spec":{"selector":{"color":"green"}}}"#;
    refused(&["patch", "service", "app", "--type=merge", "-p", merge])?;
    refused(&["patch", "service", "app", "--type=strategic", "-p", merge])?;
    let json = r#"[{"op":"replace","path":"/spec/selector/color","value":"green"}]"#;
    refused(&["patch", "service", "app", "--type=json", "-p", json])?;
    refused(&["set", "selector", "service", "app", "app=shop,color=green"])?;
    let manifest = super::shop::service("app", GREEN);
    shop.apply_with(&manifest, &["--server-side", "--force-conflicts"])?.is_refused("target-not-ready", &[])?;
    shop.replace(&manifest)?.is_refused("target-not-ready", &[])?;
    shop.kubectl(&["--as=someone", "--as-group=system:masters", "patch", "service", "app", "-p", merge])?
        .is_refused("target-not-ready", &[])?;
    ensure!(shop.selector("app")?.get("color").is_some_and(|colour| colour == "blue"));
    shop.pods_become("name=app-green", Pods::Ready)?;
    shop.rolled_out("deployment/app-green")?;
    shop.kubectl(&["patch", "service", "app", "--type=json", "-p", json])?.passes_silently()
}

fn of_preview_plain_and_unguarded_services_pass(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    let nothing = &[("app", "nothing"), ("color", "green")];
    shop.route("app-green", BLUE)?.passes_silently()?;
    shop.route("app-green", nothing)?.is_refused("target-missing", &[])?;
    shop.route("app-preview", BLUE)?.passes_silently()?;
    shop.route("app-preview", nothing)?.passes_silently()?;
    shop.route("plain", &[("app", "shop")])?.passes_silently()?;
    shop.route("plain", &[("app", "nothing")])?.passes_with_warning(&["endpoints-lost: "])?;
    for annotation in ["flipguard.dev/guard: \"false\"", "flipguard.dev/role: preview"] {
        let service = |colour: &str| {
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: out, annotations: {{{annotation}}}}}, \
                 spec: {{selector: {{app: shop, color: {colour}}}, ports: [{{port: 80}}]}}}}"
            )
        };
        shop.apply(&service("blue"))?.passes_silently()?;
        shop.apply(&service("green"))?.passes_silently()?;
        shop.kubectl(&["delete", "service", "out"])?.succeeds()?;
    }
    let traffic = |app: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: in, annotations: {{flipguard.dev/role: traffic}}}}, \
             spec: {{selector: {{app: {app}}}, ports: [{{port: 80}}]}}}}"
        )
    };
    shop.apply(&traffic("shop"))?.passes_with_warning(&["key-unknown: "])?;
    shop.apply(&traffic("nothing"))?.is_refused("target-missing", &[])
}

fn away_from_a_colour_that_is_down(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.pods_become("name=app-blue", Pods::Starting)?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "")?;
    shop.pods_become("name=app-green", Pods::Starting)?;
    shop.wait_for("deployment/app-green", "{.status.readyReplicas}", "")?;
    shop.route("app", GREEN)?
        .is_refused("target-not-ready", &["Neither the current colour nor the target has a ready pod"])?;
    let one = shop.kubectl(&["get", "pods", "-l", "name=app-green", "-o=jsonpath={.items[0].metadata.name}"])?.out;
    shop.kubectl(&["annotate", "pod", &one, "kwok.flipguard.dev/pod=ready", "--overwrite"])?.succeeds()?;
    shop.wait_for("deployment/app-green", "{.status.readyReplicas}", "1")?;
    shop.route("app", GREEN)?
        .passes_with_warning(&["target-not-ready: allowed, since the current colour has no ready pod"])
}

fn first_adoption(shop: &Shop) -> Result<()> {
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?
        .passes_with_warning(&["target-missing: allowed, since the old selector matches no workload"])
}

fn in_a_dry_run(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.apply_with(&super::shop::service("app", GREEN), &["--dry-run=server"])?.passes_with_warning(&[
        "target-not-ready: dry run: would be denied now: Deployment app-green has 0 of 1 pods ready",
    ])?;
    ensure!(shop.selector("app")?.get("color").is_some_and(|colour| colour == "blue"));
    Ok(())
}
