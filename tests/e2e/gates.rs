//! Gates: proofs by Jobs and by people, and forged ones.

mod jobs;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Test;
use super::policies::programmed;
use super::seeing::flipguard;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, attempt, workload};

pub(crate) use jobs::{ALONE, TESTS as OF_JOBS};

pub(crate) const TESTS: &[Test] = &[
    ("gates::a_job_proves_what_it_tested", a_job_proves_what_it_tested),
    ("gates::a_proof_outlives_its_job", a_proof_outlives_its_job),
    ("gates::a_later_failure_voids_it", a_later_failure_voids_it),
    ("gates::a_failure_that_finalizers_hold_is_kept", a_failure_that_finalizers_hold_is_kept),
    ("gates::a_service_that_is_created_again_is_asked", a_service_that_is_created_again_is_asked),
    ("gates::a_job_that_ran_nothing_proves_nothing", a_job_that_ran_nothing_proves_nothing),
    ("gates::what_was_tested_is_what_runs", what_was_tested_is_what_runs),
    ("gates::two_gates_under_a_controller", two_gates_under_a_controller),
    ("gates::forged_jobs_prove_nothing", forged_jobs_prove_nothing),
    ("gates::forged_statements_prove_nothing", forged_statements_prove_nothing),
    ("gates::a_template_that_is_swapped_later", a_template_that_is_swapped_later),
];

const IMAGE: &str = "registry.example/smoke:1";
const SMOKE: &str = "{name: smoke, kind: Job, images: ['registry.example/smoke:*']}";
/// The reads of a flip without a gate, where the ledger is remembered: the Service, four kinds of workloads, Pods.
const WITHOUT_GATE: u64 = 6;

/// Applies a policy with these gates. `ci` may pass smoke, `bob` may approve release, and both may edit; so may `mallory`,
/// who is an admin of the namespace.
fn gated(shop: &Shop, gates: &str) -> Result<()> {
    programmed(shop, &shop.namespace, &format!("flip: {{gates: [{gates}]}}"))?;
    for (user, verb, gate) in [("ci", "pass", "smoke"), ("bob", "approve", "release")] {
        shop.apply(&format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {verb}}}, rules: [{{apiGroups: \
             [flipguard.dev], resources: [bluegreenpolicies/gates], resourceNames: [{gate}], verbs: [{verb}]}}]}}"
        ))?
        .succeeds()?;
        let (role, user) = (format!("--role={verb}"), format!("--user={user}"));
        shop.kubectl(&["create", "rolebinding", verb, &role, &user])?.succeeds()?;
    }
    for (role, user) in [("edit", "ci"), ("edit", "bob"), ("admin", "mallory"), ("edit", "controller")] {
        let name = format!("{user}-{role}");
        shop.kubectl(&["create", "rolebinding", &name, &format!("--clusterrole={role}"), &format!("--user={user}")])?
            .succeeds()?;
    }
    shop.blue_is_live()
}

/// The audit log and the history have the gate with its proof.
fn is_told(shop: &Shop) -> Result<()> {
    let uid = shop.kubectl(&["get", "job/smoke-1", "-o=jsonpath={.metadata.uid}"])?.out;
    let words = format!("smoke: deployment/app-green passed by job {uid}");
    let events = || -> Result<bool> {
        let log = std::fs::read_to_string(shop.control_plane.dir().join("audit.log"))?;
        let quoted = format!("\"guard.flipguard.dev/gates\":\"{words}\"");
        let denied = "\"guard.flipguard.dev/gates\":\"smoke: deployment/app-green not passed\"";
        let mut own = log.lines().filter(|line| line.contains(&format!("\"namespace\":\"{}\"", shop.namespace)));
        let is_denied = own.clone().any(|line| line.contains(denied));
        Ok(is_denied && own.any(|line| line.contains(&quoted)))
    };
    shop.until("the audit log has the gate", events)?;
    shop.until("the history has the gate", || {
        Ok(flipguard(shop, &["history", "-n", &shop.namespace, "-o", "json"])?.out.contains(&words))
    })
}

fn ended(shop: &Shop) -> Result<()> {
    shop.plain_kubectl(&["delete", "bgpolicy", &shop.namespace])?.succeeds()
}

/// A Job that is a test of green for smoke. `more` are further fields of its spec, and `pod` the behaviour of its Pod.
fn job(name: &str, image: &str, more: &str, pod: &str) -> String {
    format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}, labels: {{flipguard.dev/gate: smoke}}, \
         annotations: {{flipguard.dev/target: deployment/app-green}}}}, spec: {{{more}template: {{metadata: {{annotations: \
         {{kwok.flipguard.dev/pod: {pod}}}}}, spec: {{restartPolicy: Never, containers: [{{name: test, image: \
         '{image}'}}]}}}}}}}}\n"
    )
}

fn run(shop: &Shop, name: &str) -> Result<()> {
    shop.apply_with(&job(name, IMAGE, "", "ready"), &["--as=ci"])?.succeeds()?;
    shop.kubectl(&["wait", "--for=condition=Complete", "--timeout=60s", &format!("job/{name}")])?.succeeds()
}

fn flip(shop: &Shop) -> Result<Attempt> {
    shop.apply_with(&super::shop::service("app", GREEN), &["--dry-run=server", "--as=mallory"])
}

/// The flip must not pass. In a dry run, a gate only warns.
fn would_be_denied(shop: &Shop, words: &str) -> Result<()> {
    let flip = flip(shop)?;
    flip.succeeds()?;
    ensure!(unwrapped(&flip).contains("would be denied now"), "{}", flip.err);
    ensure!(unwrapped(&flip).contains(words), "it should say `{words}`:\n{}", flip.err);
    Ok(())
}

/// The warnings without the code at the beginning of each line.
fn unwrapped(attempt: &Attempt) -> String {
    let lines = attempt.err.lines().map(|line| line.trim_start_matches("Warning: "));
    lines.map(|line| line.split_once(": ").map_or(line, |(_, rest)| rest)).collect::<Vec<_>>().join(" ")
}

fn a_job_proves_what_it_tested(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    let refused = shop.route("app", GREEN)?;
    refused.is_refused("gate-not-passed", &["smoke has no proof", &format!("Policy {} says so", shop.namespace)])?;
    would_be_denied(shop, "smoke has no proof for Deployment app-green")?;
    run(shop, "smoke-1")?;
    let tested = shop.kubectl(&["get", "job/smoke-1", r"-o=jsonpath={.metadata.annotations.flipguard\.dev/tested}"])?;
    let hashes: Vec<&str> = tested.out.split(' ').collect();
    ensure!(hashes.len() == 2 && hashes.iter().all(|hash| hash.len() == 64), "{}", tested.out);
    shop.route("app", GREEN)?.passes_silently()?;
    is_told(shop)?;
    // The way back is not asked.
    shop.route("app", BLUE)?.succeeds()?;
    ended(shop)?;
    // A gate costs one list, and only where there is one.
    let reads = || -> Result<Vec<u64>> {
        let is_to_green = |line: &Value| {
            let act = line.get("act").and_then(Value::as_str);
            act.is_some_and(|act| act.ends_with("-> green"))
        };
        let flips = shop.decisions()?.into_iter().filter(is_to_green);
        Ok(flips.filter_map(|line| line.get("reads")?.as_u64()).collect())
    };
    let least = reads()?.into_iter().min().context("no flip was logged")?;
    ensure!(least > WITHOUT_GATE, "{least}");
    shop.until("the policy is gone", || {
        shop.route("app", GREEN)?.succeeds()?;
        shop.route("app", BLUE)?.succeeds()?;
        Ok(reads()?.last().is_some_and(|last| *last == WITHOUT_GATE))
    })
}

/// A Job is deleted by its TTL, by a user, and by a hook of Helm, which is a user too. Its proof stays.
fn a_proof_outlives_its_job(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    shop.apply_with(&job("smoke-ttl", IMAGE, "ttlSecondsAfterFinished: 0, ", "ready"), &["--as=ci"])?.succeeds()?;
    shop.until("the TTL controller has deleted the Job", || Ok(!shop.kubectl(&["get", "job/smoke-ttl"])?.ok))?;
    shop.kubectl(&["get", "jobs", "-o", "name"])?.succeeds()?;
    ensure!(unwrapped(&flip(shop)?).is_empty(), "the proof is lost: {}", flip(shop)?.err);
    // A new template needs a new test, which is deleted by hand.
    let two = workload("Deployment", "app-green", GREEN, 3, Pods::Ready, "web:2");
    shop.apply(&two)?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    would_be_denied(shop, "smoke was proved for another Pod template of Deployment app-green")?;
    run(shop, "smoke-2")?;
    shop.kubectl(&["delete", "job/smoke-2", "--as=ci"])?.passes_silently()?;
    shop.route("app", GREEN)?.succeeds()?;
    shop.route("app", BLUE)?.succeeds()?;
    ended(shop)
}

fn a_later_failure_voids_it(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    run(shop, "smoke-1")?;
    ensure!(unwrapped(&flip(shop)?).is_empty(), "{}", flip(shop)?.err);
    // Its Pod does not start in time.
    shop.apply_with(&job("smoke-2", IMAGE, "activeDeadlineSeconds: 2, ", "pending"), &["--as=ci"])?.succeeds()?;
    shop.kubectl(&["wait", "--for=condition=Failed", "--timeout=60s", "job/smoke-2"])?.succeeds()?;
    would_be_denied(shop, "smoke failed for Deployment app-green")?;
    shop.kubectl(&["delete", "job/smoke-2"])?.succeeds()?;
    would_be_denied(shop, "smoke failed for Deployment app-green")?;
    run(shop, "smoke-3")?;
    shop.route("app", GREEN)?.succeeds()?;
    ended(shop)
}

/// A Job is deleted before it fails, and a finalizer holds it until then.
fn a_failure_that_finalizers_hold_is_kept(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    run(shop, "smoke-1")?;
    shop.apply_with(&job("smoke-2", IMAGE, "activeDeadlineSeconds: 2, ", "pending"), &["--as=ci"])?.succeeds()?;
    let finalizers = |all: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{all}}}}}"#);
        shop.kubectl(&["patch", "job/smoke-2", "--type=merge", "-p", &patch, "--as=mallory"])
    };
    finalizers(r#"["example.com/hold"]"#)?.succeeds()?;
    shop.kubectl(&["delete", "job/smoke-2", "--wait=false", "--as=mallory"])?.succeeds()?;
    shop.kubectl(&["wait", "--for=condition=Failed", "--timeout=60s", "job/smoke-2"])?.succeeds()?;
    would_be_denied(shop, "smoke failed for Deployment app-green")?;
    finalizers("null")?.succeeds()?;
    shop.until("the Job is gone", || Ok(!shop.kubectl(&["get", "job/smoke-2"])?.ok))?;
    would_be_denied(shop, "smoke failed for Deployment app-green")?;
    ended(shop)
}

/// A user deletes the Service and creates it for the other colour.
fn a_service_that_is_created_again_is_asked(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    shop.kubectl(&["delete", "service", "app", "--as=mallory"])?.succeeds()?;
    let refused = shop.apply_with(&super::shop::service("app", GREEN), &["--as=mallory"])?;
    refused.is_refused("gate-not-passed", &["smoke has no proof", "To serve at once, select color=blue"])?;
    run(shop, "smoke-1")?;
    shop.route("app", GREEN)?.passes_silently()?;
    ended(shop)
}

/// An indexed Job is complete as soon as somebody sets its completions to 0.
fn a_job_that_ran_nothing_proves_nothing(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    let indexed = "completionMode: Indexed, completions: 2, parallelism: 2, ";
    shop.apply_with(&job("smoke-1", IMAGE, indexed, "pending"), &["--as=ci"])?.succeeds()?;
    let none = r#"{"spec":{"completions":0,"parallelism":0}}"#;
    shop.kubectl(&["patch", "job/smoke-1", "--type=merge", "-p", none, "--as=mallory"])?.succeeds()?;
    shop.kubectl(&["wait", "--for=condition=Complete", "--timeout=60s", "job/smoke-1"])?.succeeds()?;
    would_be_denied(shop, "smoke failed for Deployment app-green")?;
    ended(shop)
}

/// A change of the template voids a proof, an undo finds it again, and a restart is no change. A tag that moves is one.
fn what_was_tested_is_what_runs(shop: &Shop) -> Result<()> {
    gated(shop, &format!("{SMOKE}, {{name: release, kind: Approval}}"))?;
    run(shop, "smoke-1")?;
    gate(shop, "bob", &["approve", "release", "deployment/app-green"])?.succeeds()?;
    shop.kubectl(&["rollout", "restart", "deployment/app-green"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    ensure!(unwrapped(&flip(shop)?).is_empty(), "a restart is no change: {}", flip(shop)?.err);
    let two = workload("Deployment", "app-green", GREEN, 3, Pods::Ready, "web:2");
    shop.apply(&two)?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    would_be_denied(shop, "release was proved for another Pod template of Deployment app-green")?;
    // kubectl writes the annotations of the older revision as well: bob's words, and mallory writes them.
    shop.kubectl(&["rollout", "undo", "deployment/app-green", "--as=mallory"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    ensure!(unwrapped(&flip(shop)?).is_empty(), "an undo finds the older proofs: {}", flip(shop)?.err);
    // The same template, and other images: a tag has moved, and the Pods were replaced.
    let pods = shop.kubectl(&["get", "pods", "-l", "color=green", "-o=jsonpath={.items[*].metadata.name}"])?.out;
    for pod in pods.split_whitespace() {
        let patch = r#"{"status":{"containerStatuses":[{"name":"web","imageID":"images.example/web@sha256:moved"}]}}"#;
        shop.kubectl(&["patch", "pod", pod, "--subresource=status", "--type=strategic", "-p", patch])?.succeeds()?;
    }
    would_be_denied(shop, "smoke was proved with other images of Deployment app-green")?;
    ended(shop)
}

/// Two gates, and a controller that flips.
fn two_gates_under_a_controller(shop: &Shop) -> Result<()> {
    gated(shop, &format!("{SMOKE}, {{name: release, kind: Approval}}"))?;
    let flip = || {
        shop.apply_with(&super::shop::service("app", GREEN), &["--as=controller", "--field-manager=argocd-controller"])
    };
    let refused = flip()?;
    ensure!(!refused.ok, "it passed without a proof");
    refused.says("smoke has no proof")?;
    refused.says("release has no proof")?;
    run(shop, "smoke-1")?;
    gate(shop, "controller", &["approve", "release", "deployment/app-green"])?.says("may not approve gate release")?;
    gate(shop, "bob", &["approve", "release", "deployment/app-green", "--url", "https://ci.example/run/8812"])?
        .says("release approved for deployment/app-green by bob")?;
    // Who approved does not flip.
    let own = shop.apply_with(&super::shop::service("app", GREEN), &["--as=bob"])?;
    ensure!(!own.ok, "bob has approved and flipped");
    own.says("by bob alone, and somebody else has to flip")?;
    flip()?.succeeds()?;
    ended(shop)
}

/// By an admin of the namespace without the verb, and by the user with the verb.
fn forged_jobs_prove_nothing(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    let refused = |attempt: &Attempt, words: &str| {
        ensure!(!attempt.ok, "it passed");
        attempt.says("(gate-not-permitted")?;
        attempt.says(words)
    };
    // A Job of one's own, and one with another image.
    refused(
        &shop.apply_with(&job("own", IMAGE, "", "ready"), &["--as=mallory"])?,
        "user mallory may not pass gate smoke",
    )?;
    refused(&shop.apply_with(&job("other", "busybox", "", "ready"), &["--as=ci"])?, "may not run image busybox")?;
    let managed = job("managed", IMAGE, "managedBy: example.com/mine, ", "ready");
    let answer = shop.apply_with(&managed, &["--as=ci"])?;
    if answer.ok {
        // Older API servers drop the field, so Kubernetes manages the Job.
        let kept = shop.kubectl(&["get", "job/managed", "-o=jsonpath={.spec.managedBy}"])?.out;
        ensure!(kept.is_empty(), "it passed, and is managed by {kept}");
        shop.kubectl(&["delete", "job/managed", "--as=ci"])?.succeeds()?;
    } else {
        refused(&answer, "example.com/mine would say how the Job ends")?;
    }
    // The label comes later.
    let plain = job("plain", "busybox", "", "ready").replace("labels: {flipguard.dev/gate: smoke}, ", "");
    shop.apply_with(&plain, &["--as=mallory"])?.succeeds()?;
    let late = shop.kubectl(&["label", "job/plain", "flipguard.dev/gate=smoke", "--as=mallory"])?;
    refused(&late, "never change")?;
    // The annotation by hand, on a Job that ci made for the older template.
    run(shop, "smoke-1")?;
    let two = workload("Deployment", "app-green", GREEN, 3, Pods::Ready, "web:2");
    shop.apply(&two)?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    let zeros = format!("flipguard.dev/tested={0} {0}", "0".repeat(64));
    let by_hand = shop.kubectl(&["annotate", "--overwrite", "job/smoke-1", &zeros, "--as=mallory"])?;
    refused(&by_hand, "never change")?;
    let target = shop.kubectl(&[
        "annotate",
        "--overwrite",
        "job/smoke-1",
        "flipguard.dev/target=deployment/app-blue",
        "--as=ci",
    ])?;
    refused(&target, "never change")?;
    // A status by hand: the roles of Kubernetes do not have it.
    let status = r#"{"status":{"conditions":[{"type":"Complete","status":"True"}]}}"#;
    let patched =
        shop.kubectl(&["patch", "job/plain", "--subresource=status", "--type=merge", "-p", status, "--as=mallory"])?;
    ensure!(!patched.ok && patched.err.contains("Forbidden"), "{}{}", patched.out, patched.err);
    would_be_denied(shop, "smoke was proved for another Pod template")?;
    // Whoever may write it is named.
    shop.kubectl(&["create", "role", "forges", "--verb=patch", "--resource=jobs.batch/status"])?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "forges", "--role=forges", "--user=eve"])?.succeeds()?;
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    doctor.args(["doctor", "--kubeconfig"]).arg(shop.control_plane.kubeconfig());
    attempt(doctor, None)?.says(&format!("so forge the result of a gate: User eve in {}", shop.namespace))?;
    // A CronJob of mallory's: its controller creates the Job, and has no verb either.
    shop.apply_with(
        &format!(
            "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: cron}}, spec: {{schedule: '* * * * *', suspend: true, \
             jobTemplate: {}}}}}",
            job("x", IMAGE, "", "ready").trim_end().replace("apiVersion: batch/v1, kind: Job, ", "").replace("name: x, ", "")
        ),
        &["--as=mallory"],
    )?
    .succeeds()?;
    refused(
        &shop.kubectl(&["create", "job", "by-hand", "--from=cronjob/cron", "--as=mallory"])?,
        "user mallory may not pass gate smoke",
    )?;
    let controller = "--as=system:serviceaccount:kube-system:cronjob-controller";
    let of_cron = job("by-cron", IMAGE, "", "ready");
    refused(&shop.apply_with(&of_cron, &[controller])?, "cronjob-controller may not pass")?;
    ended(shop)
}

fn forged_statements_prove_nothing(shop: &Shop) -> Result<()> {
    gated(shop, &format!("{SMOKE}, {{name: release, kind: Approval}}"))?;
    let value = || -> Result<String> {
        let path = r"-o=jsonpath={.metadata.annotations.flipguard\.dev/gate\.release}";
        Ok(shop.kubectl(&["get", "deployment/app-green", path])?.out)
    };
    let write = |user: &str, value: &str| {
        let annotation = format!("flipguard.dev/gate.release={value}");
        shop.kubectl(&["annotate", "--overwrite", "deployment/app-green", &annotation, &format!("--as={user}")])
    };
    let refused = |attempt: &Attempt, words: &str| {
        ensure!(!attempt.ok, "it passed");
        attempt.says("(gate-not-permitted")?;
        attempt.says(words)
    };
    refused(&write("mallory", "approved")?, "cannot be read")?;
    gate(shop, "mallory", &["approve", "release", "deployment/app-green"])?
        .says("user mallory may not approve gate release")?;
    gate(shop, "bob", &["approve", "release", "deployment/app-green"])?.succeeds()?;
    let bobs = value()?;
    ensure!(bobs.ends_with(" bob"), "{bobs}");
    // In bob's name, for what runs now: his words at another time.
    let (first, _) = bobs.rsplit_once(' ').context("no user")?;
    let (hashes, _) = first.rsplit_once(' ').context("no time")?;
    let later = format!("{hashes} 2099-01-01T00:00:00Z bob");
    refused(&write("mallory", &later)?, "speaks for bob, and mallory writes it")?;
    refused(&write("bob", &later)?, "has the time 2099-01-01T00:00:00Z")?;
    // By way of the status, with the right to write it.
    shop.kubectl(&["create", "role", "status", "--verb=patch", "--resource=deployments/status"])?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "status", "--role=status", "--user=mallory"])?.succeeds()?;
    let patch = format!(r#"{{"metadata":{{"annotations":{{"flipguard.dev/gate.release":"{later}"}}}}}}"#);
    refused(
        &shop.kubectl(&["patch", "deployment/app-green", "--subresource=status", "-p", &patch, "--as=mallory"])?,
        "speaks for bob",
    )?;
    // A new version, and a copy of the annotation from Git.
    let two = workload("Deployment", "app-green", GREEN, 3, Pods::Ready, "web:2");
    let copied = two.replacen(
        "metadata: {name: app-green}",
        &format!("metadata: {{name: app-green, annotations: {{flipguard.dev/gate.release: '{bobs}'}}}}"),
        1,
    );
    ensure!(copied != two, "the manifest has another form");
    shop.apply_with(&copied, &["--as=controller"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    run(shop, "smoke-2")?;
    would_be_denied(shop, "release was proved for another Pod template")?;
    shop.kubectl(&["annotate", "deployment/app-green", "flipguard.dev/gate.release-", "--as=controller"])?
        .succeeds()?;
    refused(&write("controller", &bobs)?, "speaks for bob, and controller writes it")?;
    // A new workload that brings its own annotation, for its own template.
    let tested = r"-o=jsonpath={.metadata.annotations.flipguard\.dev/tested}";
    let hashes = shop.kubectl(&["get", "job/smoke-2", tested])?.out;
    let own = format!("{hashes} 2030-01-01T00:00:00Z bob");
    shop.kubectl(&["delete", "deployment/app-green"])?.succeeds()?;
    let brought = two.replacen(
        "metadata: {name: app-green}",
        &format!("metadata: {{name: app-green, annotations: {{flipguard.dev/gate.release: '{own}'}}}}"),
        1,
    );
    shop.apply_with(&brought, &["--as=mallory"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    would_be_denied(shop, "release was proved for another Pod template")?;
    ended(shop)
}

/// A policy of the API server that swaps the image of a Job once flipguard has written down what it tests.
fn a_template_that_is_swapped_later(shop: &Shop) -> Result<()> {
    let served = shop.plain_kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"])?;
    served.succeeds()?;
    if !served.out.contains("mutatingadmissionpolicies") {
        // Only a webhook could swap the image, and flipguard sees its result in the same way.
        eprintln!("not tested: this version of Kubernetes has no MutatingAdmissionPolicy");
        return Ok(());
    }
    gated(shop, SMOKE)?;
    let name = format!("swap-{}", shop.namespace);
    shop.apply(&format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {{name: {name}}}, spec: {{\
         failurePolicy: Fail, reinvocationPolicy: IfNeeded, matchConstraints: {{namespaceSelector: {{matchLabels: \
         {{kubernetes.io/metadata.name: {0}}}}}, resourceRules: [{{apiGroups: [batch], apiVersions: [v1], operations: \
         [CREATE], resources: [jobs]}}]}}, mutations: [{{patchType: JSONPatch, jsonPatch: {{expression: \"has(object.metadata.annotations) && \
         'flipguard.dev/tested' in object.metadata.annotations ? [JSONPatch{{op: 'replace', path: \
         '/spec/template/spec/containers/0/image', value: 'busybox'}}] : []\"}}}}]}}}}\n---\n\
         {{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {{name: {name}}}, \
         spec: {{policyName: {name}}}}}\n",
        shop.namespace
    ))?
    .succeeds()?;
    let swapped = || shop.apply_with(&job("smoke-1", IMAGE, "", "ready"), &["--as=ci", "--dry-run=server"]);
    shop.until("the policy swaps the image", || Ok(!swapped()?.ok))?;
    swapped()?.says("(gate-not-permitted")?;
    swapped()?.says("a Job for smoke may not run image busybox")?;
    shop.plain_kubectl(&["delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", &name])?.succeeds()?;
    ended(shop)
}

/// Runs `flipguard gate` as a user.
fn gate(shop: &Shop, user: &str, args: &[&str]) -> Result<Attempt> {
    let kubeconfig = shop.control_plane.client_kubeconfig(user, &[])?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.arg("gate").args(args).args(["-n", &shop.namespace, "--kubeconfig"]).arg(kubeconfig);
    attempt(command, None)
}
