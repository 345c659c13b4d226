//! The live colour: the writes that would take it away, and those that must be allowed.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Test;
use super::admission::{client, on_runtime, send};
use super::shop::{BLUE, GREEN, Pods, Shop, attempt, workload};

pub(crate) const TESTS: &[Test] = &[
    ("live::is_not_scaled_away", is_not_scaled_away),
    ("live::is_not_scaled_away_by_the_autoscaler", is_not_scaled_away_by_the_autoscaler),
    ("live::is_protected_by_each_of_two_services", is_protected_by_each_of_two_services),
    ("live::of_two_workloads_one_may_be_removed", of_two_workloads_one_may_be_removed),
    ("live::is_not_deleted", is_not_deleted),
    ("live::keeps_its_current_replica_set", keeps_its_current_replica_set),
    ("live::keeps_its_labels", keeps_its_labels),
    ("live::gets_no_new_version_in_place", gets_no_new_version_in_place),
    ("live::stateful_set_keeps_its_ready_ordinals", stateful_set_keeps_its_ready_ordinals),
    ("live::daemon_sets_and_bare_replica_sets_are_protected", daemon_sets_and_bare_replica_sets_are_protected),
    ("live::orphaned_pods_do_not_count", orphaned_pods_do_not_count),
    ("live::joining_workloads_cause_a_warning", joining_workloads_cause_a_warning),
    ("live::keeps_min_replicas", keeps_min_replicas),
    ("live::apps_are_taken_down_service_first", apps_are_taken_down_service_first),
    ("live::namespaces_can_be_deleted", namespaces_can_be_deleted),
    ("live::authorised_users_may_override", authorised_users_may_override),
    ("live::exempt_users_are_not_asked_about", exempt_users_are_not_asked_about),
    ("live::apps_without_blue_green_are_not_denied", apps_without_blue_green_are_not_denied),
    ("live::irrelevant_writes_are_not_sent", irrelevant_writes_are_not_sent),
];

fn blue(replicas: u32, image: &str) -> String {
    workload("Deployment", "app-blue", BLUE, replicas, Pods::Ready, image)
}

fn is_not_scaled_away(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let words = &["would keep 0 of 3 ready pods; it needs 1", "delete Service app first"];
    let refused = |args: &[&str]| shop.kubectl(args)?.is_refused("live-scaled-down", words);
    refused(&["scale", "deployment/app-blue", "--replicas=0"])?;
    refused(&["patch", "deployment", "app-blue", "-p", r#"{"spec":{"replicas":0}}"#])?;
    let json = r#"[{"op":"replace","path":"/spec/replicas","value":0}]"#;
    refused(&["patch", "deployment", "app-blue", "--type=json", "-p", json])?;
    let scale = r#"{"spec":{"replicas":0}}"#;
    refused(&["patch", "deployment", "app-blue", "--subresource=scale", "--type=merge", "-p", scale])?;
    shop.apply(&blue(0, "web:1"))?.is_refused("live-scaled-down", words)?;
    shop.apply_with(&blue(0, "web:1"), &["--server-side", "--force-conflicts"])?
        .is_refused("live-scaled-down", words)?;
    shop.replace(&blue(0, "web:1"))?.is_refused("live-scaled-down", words)?;
    refused(&["scale", &shop.replica_set_of("app-blue")?, "--replicas=0"])?;
    // Scaling down to the required number, scaling the idle colour, and scaling up.
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=2"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=4"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1"])?
        .passes_with_warning(&["live-shrunk: Service app drops from 4 to 1 ready pods"])?;
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.passes_silently()
}

/// The autoscaler runs under its own ServiceAccount, with no further permissions.
fn is_not_scaled_away_by_the_autoscaler(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/app-blue/scale", shop.namespace);
    let by_hpa = |replicas: u32| {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "spec": { "replicas": replicas },
            "metadata": { "name": "app-blue", "namespace": shop.namespace },
        });
        let mut replace = shop.control_plane.kubectl();
        replace.args(["--as=system:serviceaccount:kube-system:horizontal-pod-autoscaler"]);
        replace.args(["replace", "--raw", &path, "-f", "-"]);
        attempt(replace, Some(&scale.to_string()))
    };
    by_hpa(0)?.says("would keep 0 of 3 ready pods")?;
    shop.wait_for("deployment/app-blue", "{.spec.replicas}", "3")?;
    by_hpa(1)?.passes_silently()?;
    shop.wait_for("deployment/app-blue", "{.spec.replicas}", "1")
}

/// One Service is enough to protect the workload.
fn is_protected_by_each_of_two_services(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.route("api", BLUE)?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("live-deleted", &["Service api", "Service app"])?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?
        .is_refused("live-scaled-down", &["Service api gets traffic from here and would keep 0 of 3"])?;
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?
        .is_refused("live-scaled-down", &["Service app gets traffic from here and would keep 0 of 3"])?;
    shop.route("api", GREEN)?.passes_silently()?;
    // No Service needs the workload any more, except for a rollback.
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_with_warning(&["held-deleted: "])
}

/// The remaining Pods of the Service count, whichever workload owns them.
fn of_two_workloads_one_may_be_removed(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.apply(&workload("StatefulSet", "more-blue", BLUE, 2, Pods::Ready, "web:1"))?.succeeds()?;
    shop.rolled_out("statefulset/more-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?
        .passes_with_warning(&["live-shrunk: Service app drops from 5 to 2 ready pods"])?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "")?;
    shop.kubectl(&["delete", "statefulset", "more-blue"])?.is_refused("live-deleted", &["0 of 2 ready pods"])?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["delete", "statefulset", "more-blue"])?.passes_silently()
}

fn is_not_deleted(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let words = &["would keep 0 of 3 ready pods", "delete Service app first"];
    for cascade in ["background", "foreground", "orphan"] {
        shop.kubectl(&["delete", "deployment", "app-blue", &format!("--cascade={cascade}")])?
            .is_refused("live-deleted", words)?;
    }
    // A deletecollection request has no name.
    let path = format!("/apis/apps/v1/namespaces/{}/deployments?labelSelector=color%3Dblue", shop.namespace);
    shop.kubectl(&["label", "deployment", "app-blue", "color=blue", "--overwrite"])?.succeeds()?;
    shop.kubectl(&["delete", "--raw", &path])?.says("live-deleted")?;
    shop.kubectl(&["get", "deployment", "app-blue"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue", "--dry-run=server"])?.is_refused("live-deleted", &[])?;
    shop.kubectl(&["delete", "deployment", "app-green"])?.passes_silently()
}

fn keeps_its_current_replica_set(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["delete", &shop.replica_set_of("app-blue")?])?.is_refused("live-deleted", &[])
}

fn keeps_its_labels(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"color":"red"}}}}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", patch])?
        .is_refused("live-detached", &["its pods would lose color=blue"])?;
    let more = r#"{"spec":{"template":{"metadata":{"labels":{"team":"shop"}}}}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", more])?.passes_silently()
}

fn gets_no_new_version_in_place(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let words = &["image web:1 -> web:2", "Deploy it to Deployment app-green"];
    shop.apply(&blue(3, "web:2"))?.is_refused("live-redeployed", words)?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:2"])?.is_refused("live-redeployed", words)?;
    shop.kubectl(&["set", "env", "deployment/app-blue", "LEVEL=debug"])?
        .passes_with_warning(&["live-reconfigured: its pod template changes"])?;
    shop.rolled_out("deployment/app-blue")?;
    // The idle colour is where new versions go.
    shop.kubectl(&["set", "image", "deployment/app-green", "web=web:2"])?.passes_silently()?;
    shop.rolled_out("deployment/app-green")?;
    // Without another colour, a deployment replaces the version in place.
    shop.kubectl(&["delete", "deployment", "app-green"])?.passes_silently()?;
    shop.apply(&blue(3, "web:2"))?.passes_with_warning(&["live-redeployed: image web:1 -> web:2"])
}

fn stateful_set_keeps_its_ready_ordinals(shop: &Shop) -> Result<()> {
    shop.apply(&workload("StatefulSet", "db", BLUE, 2, Pods::Ready, "db:1"))?.succeeds()?;
    shop.rolled_out("statefulset/db")?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.kubectl(&["annotate", "pod", "db-0", "kwok.flipguard.dev/pod=starting", "--overwrite"])?.succeeds()?;
    shop.wait_for("statefulset/db", "{.status.readyReplicas}", "1")?;
    // The ready Pod would be the one to be deleted.
    shop.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
    let reads = shop.kubectl(&["get", "statefulset", "db", "-o=jsonpath={.spec.replicas}"])?;
    ensure!(reads.out == "2", "the ready pod was scaled away: {}", reads.out);
    shop.kubectl(&["delete", "statefulset", "db"])?.is_refused("live-deleted", &[])
}

fn daemon_sets_and_bare_replica_sets_are_protected(shop: &Shop) -> Result<()> {
    shop.apply(&workload("DaemonSet", "agent", BLUE, 0, Pods::Ready, "agent:1"))?.succeeds()?;
    shop.rolled_out("daemonset/agent")?;
    shop.apply(&workload("ReplicaSet", "rs", GREEN, 2, Pods::Ready, "web:1"))?.succeeds()?;
    shop.wait_for("replicaset/rs", "{.status.availableReplicas}", "2")?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("api", GREEN)?.passes_silently()?;
    shop.kubectl(&["delete", "daemonset", "agent"])?.is_refused("live-deleted", &["Service app"])?;
    shop.kubectl(&["delete", "replicaset", "rs"])?.is_refused("live-deleted", &["Service api"])?;
    shop.kubectl(&["scale", "replicaset/rs", "--replicas=0"])?.is_refused("live-scaled-down", &["Service api"])
}

fn orphaned_pods_do_not_count(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy_ready("more-blue", BLUE, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "more-blue", "--cascade=background", "--wait=false"])?.passes_silently()?;
    // Its Pods may exist for a moment longer.
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?
        .is_refused("live-scaled-down", &["would keep 0 of"])
}

fn joining_workloads_cause_a_warning(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.apply(&workload("Deployment", "app-green", BLUE, 1, Pods::Ready, "web:2"))?
        .passes_with_warning(&["joins-live: its pods match Service app"])
}

fn keeps_min_replicas(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/min-replicas=3"])?.passes_silently()?;
    let patch = r#"{"spec":{"replicas":2}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", patch])?
        .is_refused("live-scaled-down", &["2 of 3 ready pods; it needs 3"])
}

fn apps_are_taken_down_service_first(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["delete", "service", "app"])?
        .passes_with_warning(&["service-deleted: 3 pods got traffic through it"])?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue", "app-green"])?.passes_silently()
}

fn namespaces_can_be_deleted(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let started = Instant::now();
    shop.plain_kubectl(&["delete", "namespace", &shop.namespace, "--timeout=60s"])?.succeeds()?;
    eprintln!("the namespace ended after {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn authorised_users_may_override(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let namespace = &shop.namespace;
    let edit =
        ["create", "role", "editor", "--verb=get,list,patch,update,delete", "--resource=services,deployments.apps"];
    shop.kubectl(&edit)?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "editors", "--role=editor", "--user=alice", "--group=on-call"])?
        .succeeds()?;
    shop.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: override, namespace: {namespace}}}, \
         rules: [{{apiGroups: [flipguard.dev], resources: [bluegreenpolicies], verbs: [override]}}]}}"
    ))?
    .succeeds()?;
    shop.kubectl(&["create", "rolebinding", "override", "--role=override", "--group=on-call"])?.succeeds()?;
    let at = |ahead: i64| {
        let time = time::OffsetDateTime::now_utc() + time::Duration::seconds(ahead);
        let time = time.replace_nanosecond(0).unwrap_or(time);
        let time = time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        format!("flipguard.dev/override={time} the shop is on fire")
    };
    let alice = |object: &str, note: &str| shop.kubectl(&["--as=alice", "annotate", "--overwrite", object, note]);
    let bob = |object: &str, note: &str| {
        shop.kubectl(&["--as=bob", "--as-group=on-call", "annotate", "--overwrite", object, note])
    };
    alice("service/app", &at(600))?
        .is_refused("override-not-permitted", &["user alice may not override Service app"])?;
    alice("deployment/app-blue", &at(600))?.is_refused("override-not-permitted", &["may not override Service app"])?;
    bob("service/app", &at(7200))?.is_refused("override-not-permitted", &["is more than 1 h ahead"])?;
    bob("service/app", "flipguard.dev/override=soon please")?
        .is_refused("override-not-permitted", &["`soon` is no time"])?;
    // An override that has ended needs no permission and has no effect.
    alice("service/app", &at(-60))?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.is_refused("live-scaled-down", &[])?;
    // While the override lasts, it applies to the Service and to all its workloads.
    bob("service/app", &at(600))?.passes_silently()?;
    let by = "allowed by override until ";
    let events = || -> Result<Vec<String>> {
        let of_blue = "involvedObject.kind=Deployment,involvedObject.name=app-blue,reason=Overridden";
        let columns = r#"-o=jsonpath={range .items[*]}{.type} {.involvedObject.uid} {.message}{"\n"}{end}"#;
        let read = shop.kubectl(&["get", "events", "--field-selector", of_blue, columns])?;
        Ok(read.out.lines().map(str::to_owned).collect())
    };
    // A dry run writes no Event.
    let to_zero = &["scale", "deployment/app-blue", "--replicas=0"];
    shop.kubectl(&[to_zero.as_slice(), &["--dry-run=server"]].concat())?
        .passes_with_warning(&["live-scaled-down: ", by])?;
    shop.kubectl(to_zero)?.passes_with_warning(&["live-scaled-down: ", by])?;
    shop.until("the Event is there", || Ok(!events()?.is_empty()))?;
    let told = events()?;
    let [event] = told.as_slice() else { anyhow::bail!("{told:?}") };
    let uid = shop.kubectl(&["get", "deployment", "app-blue", "-o=jsonpath={.metadata.uid}"])?.out;
    let begins = format!("Warning {uid} scale 3 -> 0 by admin is allowed by the override until ");
    ensure!(event.starts_with(&begins) && event.contains("the shop is on fire"), "{event}");
    ensure!(
        event.contains("against live-scaled-down: Service app gets traffic from here and would keep 0 of 3"),
        "{event}"
    );
    shop.is_at_zero("app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    // A repeated change causes no second Event.
    shop.kubectl(to_zero)?.succeeds()?;
    shop.is_at_zero("app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.route("app", &[("app", "shop"), ("color", "red")])?.passes_with_warning(&["target-missing: ", by])?;
    shop.until("an Event of the Service is there", || {
        Ok(shop.kubectl(&["describe", "service", "app"])?.out.contains("Overridden"))
    })?;
    // Events are written in order, so the earlier one has been written.
    ensure!(events()?.len() == 1, "{:?}", events()?);
    shop.route("app", BLUE)?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_with_warning(&["live-deleted: ", by])
}

fn exempt_users_are_not_asked_about(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let asked = shop.decisions()?.len();
    let scale = |user: &str, replicas: &str| {
        shop.kubectl(&[&format!("--as={user}"), "--as-group=system:masters", "scale", "deployment/app-blue", replicas])
    };
    scale("system:serviceaccount:controllers:deployments", "--replicas=1")?.passes_silently()?;
    scale("the-controllers", "--replicas=0")?.passes_silently()?;
    ensure!(shop.decisions()?.len() == asked, "flipguard was asked: {:?}", shop.decisions()?.get(asked..));
    shop.is_at_zero("app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    scale("another", "--replicas=0")?.is_refused("live-scaled-down", &[])
}

fn apps_without_blue_green_are_not_denied(shop: &Shop) -> Result<()> {
    // An app with a constant version label, as service meshes require it.
    let istio = &[("app", "reviews"), ("version", "v1")];
    shop.deploy_ready("reviews", istio, 2)?;
    shop.route("reviews", istio)?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/reviews", "web=web:v1.1"])?.succeeds()?;
    shop.rolled_out("deployment/reviews")?;
    shop.kubectl(&["scale", "deployment/reviews", "--replicas=0"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "reviews"])?.succeeds()?;
    // A product name that ends in a colour.
    let product = &[("app", "shop-green")];
    shop.deploy_ready("shop-green", product, 2)?;
    shop.route("shop", product)?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "shop-green"])?.succeeds()?;
    // A preview Service makes no workload live.
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.route("app-blue", BLUE)?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_silently()
}

/// Writes that no rule and no label can apply to are not sent to flipguard: more than a thousand writes without one
/// call.
fn irrelevant_writes_are_not_sent(shop: &Shop) -> Result<()> {
    let app = &[("app", "plain")];
    shop.deploy_ready("plain", app, 1)?;
    shop.route("plain", app)?.passes_silently()?;
    shop.blue_is_live()?;
    let asked = shop.decisions()?.len();
    // Writes of a user.
    shop.apply(&super::shop::service("app", BLUE))?.succeeds()?;
    shop.apply(&super::shop::service("plain", app))?.succeeds()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=4"])?.succeeds()?;
    // Writes of a busy cluster.
    let namespace = &shop.namespace;
    let (core, apps) = (format!("/api/v1/namespaces/{namespace}"), format!("/apis/apps/v1/namespaces/{namespace}"));
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let mut writes = 0;
    on_runtime(async {
        let client = client(shop).await?;
        let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lease" } });
        send(&client, "POST", &leases, &lease).await?;
        for round in 0..120 {
            let label = json!({ "metadata": { "labels": { "round": round.to_string() } } });
            let note = json!({ "metadata": { "annotations": { "round": round.to_string() } } });
            let status = json!({ "status": { "conditions": [{ "type": "Round", "status": "True", "reason": "Round",
                "message": round.to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
            let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "web",
                "image": format!("web:{round}") }] } } } });
            let affinity = if round % 2 == 0 { "ClientIP" } else { "None" };
            let plain_affinity = json!({ "spec": { "sessionAffinity": affinity } });
            let holder = json!({ "spec": { "holderIdentity": round.to_string() } });
            for (path, patch) in [
                (format!("{core}/services/app"), &label),
                (format!("{core}/services/app"), &note),
                (format!("{core}/services/app/status"), &status),
                (format!("{core}/services/plain"), &plain_affinity),
                (format!("{apps}/deployments/app-blue"), &label),
                (format!("{apps}/deployments/app-blue"), &note),
                (format!("{apps}/deployments/plain"), &image),
                (format!("{apps}/deployments/plain/status"), &status),
                (format!("{leases}/lease"), &holder),
            ] {
                send(&client, "PATCH", &path, patch).await?;
                writes += 1;
            }
        }
        Ok(())
    })?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["delete", "deployment/plain", "service/plain"])?.succeeds()?;
    let now = shop.decisions()?;
    ensure!(writes > 1000, "{writes} writes");
    ensure!(now.len() == asked, "flipguard was asked: {:?}", now.get(asked..));
    Ok(())
}
