//! Labels on Deployments, by every kind of write.

use anyhow::{Context, Result, ensure};
use controlplane::as_yaml;
use serde_json::Value;

use super::Test;
use super::policies::programmed;
use super::shop::{Attempt, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("labels::appear_where_a_colour_is_known", appear_where_a_colour_is_known),
    ("labels::stay_with_two_applies", stay_with_two_applies),
    ("labels::stay_with_two_server_side_applies", stay_with_two_server_side_applies),
    ("labels::stay_with_two_replaces", stay_with_two_replaces),
    ("labels::stay_with_two_patches", stay_with_two_patches),
    ("labels::move_with_the_image_and_come_back", move_with_the_image_and_come_back),
    ("labels::do_not_go_back_with_an_exported_file", do_not_go_back_with_an_exported_file),
    ("labels::left_for_a_service_move_on_later", left_for_a_service_move_on_later),
    ("labels::of_the_user_are_not_changed", of_the_user_are_not_changed),
    ("labels::never_touch_what_a_service_selects", never_touch_what_a_service_selects),
    ("labels::never_touch_a_selector_key", never_touch_a_selector_key),
    ("labels::never_start_a_rollout", never_start_a_rollout),
    ("labels::leave_others_alone", leave_others_alone),
    ("labels::warn_of_an_image_without_a_tag", warn_of_an_image_without_a_tag),
    ("labels::are_as_a_policy_says", are_as_a_policy_says),
];

/// A Deployment whose template has these labels besides `app`, as a flow mapping that begins with a comma.
fn deployment(name: &str, image: &str, template_labels: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 1, selector: \
         {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}{template_labels}}}}}, \
         spec: {{containers: [{{name: web, image: '{image}'}}]}}}}}}}}"
    )
}

fn read(shop: &Shop, name: &str) -> Result<Value> {
    let read = shop.kubectl(&["get", "deployment", name, "-o", "json"])?;
    serde_json::from_str(&read.out).context(read.err)
}

fn text<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    object.pointer(path).and_then(Value::as_str)
}

const OF_OBJECT: &str = "/metadata/labels/";
const OF_TEMPLATE: &str = "/spec/template/metadata/labels/";
const MARK: &str = "/metadata/annotations/flipguard.dev~1added-labels";

fn says(object: &Value, place: &str, key: &str, value: Option<&str>) -> Result<()> {
    let found = text(object, &format!("{place}{key}"));
    ensure!(found == value, "{place}{key} should be {value:?}, is {found:?}: {object:#}");
    Ok(())
}

fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}

fn appear_where_a_colour_is_known(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "registry:5000/shop/app:2.0@sha256:0123456789abcdef", ""))?
        .passes_silently()?;
    let made = read(shop, "app-green")?;
    for place in [OF_OBJECT, OF_TEMPLATE] {
        says(&made, place, "color", Some("green"))?;
        says(&made, place, "version", Some("2.0"))?;
    }
    let mark = text(&made, MARK);
    ensure!(mark == Some("metadata/color,metadata/version,template/color,template/version"), "{mark:?}");
    ensure!(generation(&made) == Some(1));
    // The key of an existing colour label is used.
    shop.apply(&deployment("app", "app:2.0", ", slot: b"))?.passes_silently()?;
    let made = read(shop, "app")?;
    says(&made, OF_OBJECT, "slot", Some("b"))?;
    says(&made, OF_OBJECT, "color", None)?;
    says(&made, OF_TEMPLATE, "version", Some("2.0"))
}

/// Writes twice, and asserts that the second write changes nothing.
fn twice(shop: &Shop, write: impl Fn() -> Result<Attempt>) -> Result<()> {
    write()?.passes_silently()?;
    let first = read(shop, "app-green")?;
    says(&first, OF_TEMPLATE, "version", Some("2.0"))?;
    write()?.passes_silently()?;
    let second = read(shop, "app-green")?;
    ensure!(generation(&first) == generation(&second), "a new generation:\n{first:#}\n{second:#}");
    for path in ["/spec", "/metadata/labels", MARK] {
        ensure!(first.pointer(path) == second.pointer(path), "{path} differs:\n{first:#}\n{second:#}");
    }
    Ok(())
}

fn stay_with_two_applies(shop: &Shop) -> Result<()> {
    let manifest = deployment("app-green", "app:2.0", "");
    twice(shop, || shop.apply(&manifest))?;
    let file = shop.control_plane.dir().join(format!("{}.yaml", shop.namespace));
    std::fs::write(&file, as_yaml(&manifest))?;
    let diff = shop.kubectl(&["diff", "-f", &file.to_string_lossy()])?;
    ensure!(diff.ok && diff.out.is_empty(), "{}{}", diff.out, diff.err);
    Ok(())
}

fn stay_with_two_server_side_applies(shop: &Shop) -> Result<()> {
    let manifest = deployment("app-green", "app:2.0", "");
    twice(shop, || shop.apply_with(&manifest, &["--server-side"]))
}

/// A replace removes the controller's own annotation. Any change of a Deployment's annotations makes a new generation
/// (Kubernetes, `pkg/registry/apps/deployment/strategy.go`). So flipguard is only required to leave the template
/// unchanged.
fn stay_with_two_replaces(shop: &Shop) -> Result<()> {
    let coloured = deployment("app-green", "app:2.0", "");
    let plain = deployment("plain", "app:2.0", "");
    for manifest in [&coloured, &plain] {
        shop.apply(manifest)?.passes_silently()?;
    }
    shop.rolled_out("deployment/app-green")?;
    shop.rolled_out("deployment/plain")?;
    let made = read(shop, "app-green")?;
    for _ in 0..2 {
        shop.replace(&coloured)?.passes_silently()?;
        shop.replace(&plain)?.passes_silently()?;
        let replaced = read(shop, "app-green")?;
        for path in ["/spec", "/metadata/labels", MARK] {
            ensure!(made.pointer(path) == replaced.pointer(path), "{path} differs:\n{made:#}\n{replaced:#}");
        }
        for name in ["app-green", "plain"] {
            shop.wait_for(
                &format!("deployment/{name}"),
                "{.metadata.annotations.deployment\\.kubernetes\\.io/revision}",
                "1",
            )?;
        }
    }
    ensure!(
        generation(&read(shop, "app-green")?) == generation(&read(shop, "plain")?),
        "flipguard caused a new generation"
    );
    let sets = shop.kubectl(&["get", "replicasets", "-l", "app=app-green", "-o", "name"])?;
    ensure!(sets.out.lines().count() == 1, "a rollout was started: {}", sets.out);
    Ok(())
}

fn stay_with_two_patches(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "app:1.0", ""))?.passes_silently()?;
    let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"app:2.0"}]"#;
    twice(shop, || shop.kubectl(&["patch", "deployment", "app-green", "--type=json", "-p", patch]))
}

fn move_with_the_image_and_come_back(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "app:1.0", ""))?.passes_silently()?;
    shop.rolled_out("deployment/app-green")?;
    shop.kubectl(&["set", "image", "deployment/app-green", "web=app:2.0"])?.passes_silently()?;
    shop.rolled_out("deployment/app-green")?;
    let moved = read(shop, "app-green")?;
    says(&moved, OF_OBJECT, "version", Some("2.0"))?;
    says(&moved, OF_TEMPLATE, "version", Some("2.0"))?;
    // kubectl itself warns that the last applied configuration is outdated.
    shop.kubectl(&["rollout", "undo", "deployment/app-green"])?.succeeds()?;
    let back = read(shop, "app-green")?;
    says(&back, OF_OBJECT, "version", Some("1.0"))?;
    says(&back, OF_TEMPLATE, "version", Some("1.0"))
}

/// Export a manifest, edit the image, apply twice. The exported label was added by flipguard, so it does not count as
/// the user's choice.
fn do_not_go_back_with_an_exported_file(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "app:1.0", ""))?.passes_silently()?;
    shop.rolled_out("deployment/app-green")?;
    let file = shop.kubectl(&["get", "deployment", "app-green", "-o", "json"])?.out.replace("app:1.0", "app:2.0");
    let mut file: Value = serde_json::from_str(&file)?;
    for key in ["resourceVersion", "uid", "generation", "creationTimestamp", "managedFields"] {
        file.pointer_mut("/metadata").and_then(Value::as_object_mut).and_then(|metadata| metadata.remove(key));
    }
    let mut generations = Vec::new();
    for _ in 0..3 {
        shop.apply_with(&file.to_string(), &["--server-side", "--force-conflicts"])?.passes_silently()?;
        shop.rolled_out("deployment/app-green")?;
        let now = read(shop, "app-green")?;
        says(&now, OF_TEMPLATE, "version", Some("2.0"))?;
        says(&now, OF_OBJECT, "version", Some("2.0"))?;
        let sets = shop.kubectl(&["get", "replicasets", "-l", "app=app-green", "-o", "name"])?;
        generations.push(sets.out.lines().count());
    }
    ensure!(generations == [2, 2, 2], "a rollout was started again: {generations:?}");
    Ok(())
}

/// A label that stayed because a Service selected it is updated once the Service selects another value.
fn left_for_a_service_move_on_later(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-blue", "app:1.0", ""))?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.route("live", &[("app", "app-blue"), ("version", "1.0")])?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=app:1.1"])?.succeeds()?;
    says(&read(shop, "app-blue")?, OF_TEMPLATE, "version", Some("1.0"))?;
    shop.kubectl(&["delete", "service", "live"])?.succeeds()?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=app:3.0"])?.succeeds()?;
    let moved = read(shop, "app-blue")?;
    says(&moved, OF_TEMPLATE, "version", Some("3.0"))?;
    says(&moved, OF_OBJECT, "version", Some("3.0"))
}

fn of_the_user_are_not_changed(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "app:2.0", ", version: mine"))?.passes_silently()?;
    let made = read(shop, "app-green")?;
    says(&made, OF_TEMPLATE, "version", Some("mine"))?;
    says(&made, OF_OBJECT, "version", Some("2.0"))?;
    // A label that flipguard added and the user changed belongs to the user from then on.
    shop.kubectl(&["label", "deployment", "app-green", "version=special", "--overwrite"])?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/app-green", "web=app:3.0"])?.passes_silently()?;
    let changed = read(shop, "app-green")?;
    says(&changed, OF_OBJECT, "version", Some("special"))?;
    says(&changed, OF_TEMPLATE, "version", Some("mine"))?;
    let mark = text(&changed, MARK).unwrap_or_default();
    ensure!(!mark.contains("version"), "{mark}");
    Ok(())
}

fn never_touch_what_a_service_selects(shop: &Shop) -> Result<()> {
    // A Service that would start to match.
    shop.route("live", &[("app", "app-green"), ("version", "2.0")])?.passes_silently()?;
    shop.apply(&deployment("app-green", "app:2.0", ""))?.passes_silently()?;
    let made = read(shop, "app-green")?;
    says(&made, OF_TEMPLATE, "version", None)?;
    says(&made, OF_TEMPLATE, "color", Some("green"))?;
    says(&made, OF_OBJECT, "version", Some("2.0"))?;
    // A Service that would lose its Pods by a label of flipguard.
    shop.apply(&deployment("app-blue", "app:1.0", ""))?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.route("held", &[("app", "app-blue"), ("version", "1.0")])?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=app:1.1"])?.succeeds()?;
    says(&read(shop, "app-blue")?, OF_TEMPLATE, "version", Some("1.0"))?;
    shop.rolled_out("deployment/app-blue")?;
    shop.replace(&deployment("app-blue", "app:1.2", ""))?.succeeds()?;
    says(&read(shop, "app-blue")?, OF_TEMPLATE, "version", Some("1.0"))
}

fn never_touch_a_selector_key(shop: &Shop) -> Result<()> {
    let by_expression = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app-green}, spec: {selector: \
         {matchLabels: {app: app-green}, matchExpressions: [{key: version, operator: DoesNotExist}]}, template: \
         {metadata: {labels: {app: app-green}}, spec: {containers: [{name: web, image: 'app:2.0'}]}}}}";
    shop.apply(by_expression)?.passes_silently()?;
    let made = read(shop, "app-green")?;
    says(&made, OF_TEMPLATE, "version", None)?;
    says(&made, OF_OBJECT, "version", Some("2.0"))
}

fn never_start_a_rollout(shop: &Shop) -> Result<()> {
    // A Deployment older than flipguard: created in a namespace that flipguard does not watch.
    shop.apply(&deployment("app-green", "app:2.0", ""))?.passes_silently()?;
    let strip = r#"[{"op":"remove","path":"/metadata/annotations/flipguard.dev~1added-labels"},
        {"op":"remove","path":"/spec/template/metadata/labels/version"},
        {"op":"add","path":"/metadata/ownerReferences","value":[{"apiVersion":"v1","kind":"ConfigMap","name":"o",
        "uid":"00000000-0000-0000-0000-000000000000","controller":true}]}]"#;
    let owner = shop.kubectl(&["create", "configmap", "o"])?;
    owner.succeeds()?;
    let uid = shop.kubectl(&["get", "configmap", "o", "-o=jsonpath={.metadata.uid}"])?.out;
    let strip = strip.replace("00000000-0000-0000-0000-000000000000", &uid);
    // flipguard does not label objects that an operator controls, so this removes the labels permanently.
    shop.kubectl(&["patch", "deployment", "app-green", "--type=json", "-p", &strip])?.succeeds()?;
    says(&read(shop, "app-green")?, OF_TEMPLATE, "version", None)?;
    let free = r#"[{"op":"remove","path":"/metadata/ownerReferences"}]"#;
    shop.kubectl(&["patch", "deployment", "app-green", "--type=json", "-p", free])?.succeeds()?;
    let before = read(shop, "app-green")?;
    shop.kubectl(&["patch", "deployment", "app-green", "-p", r#"{"spec":{"replicas":2}}"#])?.passes_silently()?;
    let after = read(shop, "app-green")?;
    ensure!(before.pointer("/spec/template") == after.pointer("/spec/template"), "the template changed: {after:#}");
    says(&after, OF_OBJECT, "version", Some("2.0"))
}

fn leave_others_alone(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("plain", "app:2.0", ""))?.passes_silently()?;
    shop.apply(&deployment("versioned", "app:2.0", ", version: v1"))?.passes_silently()?;
    shop.apply(&deployment("evergreen", "app:2.0", ""))?.passes_silently()?;
    for name in ["plain", "versioned", "evergreen"] {
        let made = read(shop, name)?;
        ensure!(made.pointer("/metadata/labels").is_none() && text(&made, MARK).is_none(), "{made:#}");
    }
    let mut asked = shop.decisions()?;
    asked.retain(|line| line.get("endpoint").and_then(Value::as_str) == Some("mutate"));
    ensure!(asked.is_empty(), "flipguard was asked: {asked:?}");
    Ok(())
}

fn warn_of_an_image_without_a_tag(shop: &Shop) -> Result<()> {
    shop.apply(&deployment("app-green", "app", ""))?
        .passes_with_warning(&["image-untagged: image `app` has no tag, so its version label is latest"])?;
    says(&read(shop, "app-green")?, OF_OBJECT, "version", Some("latest"))
}

/// A policy chooses the keys, leaves the Pod template alone, or switches labels off.
fn are_as_a_policy_says(shop: &Shop) -> Result<()> {
    let image = "app:2.0";
    programmed(shop, "labels", "labels: {colourKey: slot, versionKey: release}")?;
    shop.apply(&deployment("app-green", image, ""))?.passes_silently()?;
    let made = read(shop, "app-green")?;
    for place in [OF_OBJECT, OF_TEMPLATE] {
        says(&made, place, "slot", Some("green"))?;
        says(&made, place, "release", Some("2.0"))?;
        says(&made, place, "color", None)?;
    }
    programmed(shop, "labels", "labels: {podTemplate: Never}")?;
    shop.apply(&deployment("cart-green", image, ""))?.passes_silently()?;
    let made = read(shop, "cart-green")?;
    says(&made, OF_OBJECT, "color", Some("green"))?;
    says(&made, OF_TEMPLATE, "color", None)?;
    programmed(shop, "labels", "labels: {mode: 'Off'}")?;
    shop.apply(&deployment("pay-green", image, ""))?.passes_silently()?;
    let made = read(shop, "pay-green")?;
    says(&made, OF_OBJECT, "color", None)?;
    says(&made, OF_OBJECT, "version", None)?;
    ensure!(text(&made, MARK).is_none(), "{made:#}");
    shop.plain_kubectl(&["delete", "bgpolicy", "labels"])?.succeeds()
}
