//! The guard over an API server in memory, whose answers take time.

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake::FakeApi;
use crate::model::Policy;
use crate::review::{change_of, wire};
use crate::rules::Outcome;

const LEDGER: &str = "/api/v1/namespaces/own/configmaps/ledger-shop";
const SERVICE: &str = "/api/v1/namespaces/shop/services/app";
const WORKLOADS: &str = "/apis/apps/v1/namespaces/shop";

/// A namespace with a Service, a ledger, and a ready Pod of the colour blue.
struct Shop {
    api: FakeApi,
    guard: Guard,
}

impl Shop {
    async fn new() -> Self {
        let api = FakeApi::default();
        let ledgers = Arc::new(LedgerStore::new(api.client(), "own", Duration::from_secs(90)));
        ledgers.begin(false, soon()).await.unwrap();
        ledgers.create("shop", soon()).await.unwrap();
        // From now on, this replica knows the ledger.
        ledgers.read("shop", soon()).await.unwrap();
        let spec = json!({ "selector": { "color": "blue" }, "ports": [{ "port": 80 }] });
        api.put(SERVICE, json!({ "metadata": { "name": "app", "namespace": "shop" }, "spec": spec }));
        let (events, _) = Events::new(api.client());
        let policies = Arc::new(PolicyStore::new(api.client(), Policy::default(), Duration::from_secs(2)));
        policies.current(soon()).await.unwrap();
        let guard = Guard::new(api.client(), policies, ledgers, Concurrency::Strict, events, None);
        let shop = Self { api, guard };
        shop.deploy("blue");
        shop
    }

    /// Puts a ReplicaSet of this colour there, with one ready Pod.
    fn deploy(&self, color: &str) {
        let (name, labels) = (format!("app-{color}"), json!({ "color": color }));
        let path = format!("{WORKLOADS}/replicasets/{name}");
        let template = json!({ "metadata": { "labels": labels }, "spec": {} });
        self.api.put(
            &path,
            json!({
                "metadata": { "name": name, "namespace": "shop", "generation": 1 },
                "spec": { "replicas": 1, "template": template },
                "status": { "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1 },
            }),
        );
        let uid = self.api.get(&path).unwrap()["metadata"]["uid"].clone();
        let owner =
            json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": true });
        let metadata = json!({ "name": name, "namespace": "shop", "labels": labels, "ownerReferences": [owner] });
        let ready = json!({ "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] });
        let pod = json!({ "metadata": metadata, "status": ready });
        self.api.put(&format!("/api/v1/namespaces/shop/pods/{name}"), pod);
    }

    /// The flip of the Service to green.
    fn flip(&self) -> Change {
        let old = self.api.get(SERVICE).unwrap();
        let mut new = old.clone();
        new["spec"]["selector"]["color"] = json!("green");
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "r", "operation": "UPDATE", "name": "app", "namespace": "shop", "dryRun": false,
                "kind": { "group": "", "version": "v1", "kind": "Service" },
                "resource": { "group": "", "version": "v1", "resource": "services" },
                "userInfo": { "username": "alice" }, "object": new, "oldObject": old,
            },
        });
        change_of(&mut wire::Request::parse(body.to_string().as_bytes()).unwrap()).unwrap()
    }

    async fn judge(&self, change: &Change) -> Judgement {
        self.guard.judge(change, soon()).await
    }

    /// The number of intents in the ledger.
    fn intents(&self) -> usize {
        let data = self.api.get(LEDGER).unwrap()["data"].clone();
        data.as_object().unwrap().keys().filter(|key| key.starts_with("intent.")).count()
    }
}

/// The deadline of a webhook with a timeout of five seconds.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(4750)
}

fn reasons(judgement: &Judgement) -> Vec<&str> {
    judgement.verdict.findings.iter().map(|(finding, _)| finding.reason.code()).collect()
}

/// The write of the intent is sent, and its answer comes too late.
#[tokio::test(start_paused = true)]
async fn an_intent_whose_write_has_no_answer_is_withdrawn() {
    let shop = Shop::new().await;
    shop.deploy("green");
    shop.api.delay(Duration::from_millis(1600));
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!(reasons(&judgement), ["cluster-unreadable"]);
    assert_eq!(shop.intents(), 1, "the write had its effect");
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 0);
}

/// The change is denied, and no time is left to withdraw its intent.
#[tokio::test(start_paused = true)]
async fn the_intent_of_a_denied_change_is_withdrawn_however_late() {
    let shop = Shop::new().await;
    shop.api.delay(Duration::from_millis(1200));
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!(reasons(&judgement), ["target-missing"]);
    assert_eq!(shop.intents(), 1);
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_intent_of_an_allowed_change_stays() {
    let shop = Shop::new().await;
    shop.deploy("green");
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!(judgement.verdict.outcome(), Outcome::Allowed, "{:?}", reasons(&judgement));
    sleep(WITHDRAWAL * 2).await;
    assert_eq!(shop.intents(), 1);
    // It is not committed, so the flip is tried again. Nobody waits for the answer.
    let change = shop.flip();
    shop.api.delay(Duration::from_millis(100));
    let judged = tokio::time::timeout(Duration::from_millis(150), shop.judge(&change)).await;
    assert!(judged.is_err());
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 1, "only that of the answered request stays");
    let intents = shop.api.get(LEDGER).unwrap()["data"].to_string();
    assert_eq!(intents.matches("alice").count(), 1);
}

/// A key of the ledger's data that is no intent.
#[tokio::test(start_paused = true)]
async fn a_ledger_of_tomorrow_is_used() {
    let shop = Shop::new().await;
    shop.deploy("green");
    let mut ledger: Value = shop.api.get(LEDGER).unwrap();
    ledger["data"]["lane.app"] = json!("reserved");
    shop.api.put(LEDGER, ledger);
    assert_eq!(shop.judge(&shop.flip()).await.verdict.outcome(), Outcome::Allowed);
    assert_eq!((shop.api.get(LEDGER).unwrap()["data"]["lane.app"].as_str(), shop.intents()), (Some("reserved"), 1));
}

const POLICIES: &str = "/apis/flipguard.dev/v1alpha1/bluegreenpolicies";

impl Shop {
    fn policy(&self, spec: &str) {
        let spec: Value = serde_saphyr::from_str(spec).unwrap();
        let policy = json!({ "metadata": { "name": "production", "generation": 1 }, "spec": spec });
        self.api.put(&format!("{POLICIES}/production"), policy);
    }

    /// Waits until the policies that were read are too old.
    async fn later(&self) {
        sleep(Duration::from_secs(3)).await;
    }
}

/// The reads begin by the old policies, and the verdict is by the new ones.
#[tokio::test(start_paused = true)]
async fn a_change_is_judged_by_the_latest_policies() {
    let shop = Shop::new().await;
    shop.deploy("green");
    shop.policy(
        "{namespaceSelector: {}, flip: {parityPercent: 200}, rules: [{rule: capacity-below-live, action: Deny}]}",
    );
    shop.later().await;
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!(reasons(&judgement)[0], "capacity-below-live");
    assert_eq!(judgement.verdict.denying().next().unwrap().policy.as_deref(), Some("production"));
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 0);
}

/// The policies arrive late: the rest does not wait for them.
#[tokio::test(start_paused = true)]
async fn policies_are_read_beside_all_else() {
    let shop = Shop::new().await;
    shop.deploy("green");
    let change = shop.flip();
    let time_of_a_flip = async || {
        let started = Instant::now();
        assert_eq!(shop.judge(&change).await.verdict.outcome(), Outcome::Allowed);
        started.elapsed()
    };
    shop.api.delay(Duration::from_millis(100));
    shop.later().await;
    let asked = shop.api.asked(&http::Method::GET, POLICIES);
    let with_a_list = time_of_a_flip().await;
    assert_eq!(shop.api.asked(&http::Method::GET, POLICIES), asked + 1);
    shop.guard.0.policies.current(soon()).await.unwrap();
    assert_eq!(time_of_a_flip().await, with_a_list, "the list costs no time");
}

/// By the new policies, another label marks a colour. The ledger is asked from the beginning.
#[tokio::test(start_paused = true)]
async fn other_colours_are_judged_from_the_beginning() {
    let shop = Shop::new().await;
    shop.policy("{namespaceSelector: {}, colours: {keys: [tier], names: [red]}}");
    shop.later().await;
    // Blue and green are no colours any more, so this is a change of a plain Service. It loses all endpoints.
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!(reasons(&judgement), ["endpoints-lost"]);
    assert_eq!(judgement.verdict.outcome(), Outcome::Allowed);
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 0, "the intent of the first attempt is withdrawn");
    // And the other way round: what was no colour becomes one.
    shop.policy("{namespaceSelector: {}, colours: {keys: [color]}}");
    shop.later().await;
    assert_eq!(reasons(&shop.judge(&shop.flip()).await), ["target-missing"]);
}

#[tokio::test(start_paused = true)]
async fn policies_that_cannot_be_read_deny() {
    let shop = Shop::new().await;
    shop.deploy("green");
    shop.later().await;
    shop.api.fail(http::Method::GET, POLICIES, 500);
    let judgement = shop.judge(&shop.flip()).await;
    assert_eq!((reasons(&judgement), judgement.verdict.outcome()), (vec!["cluster-unreadable"], Outcome::CannotJudge));
    sleep(WITHDRAWAL).await;
    assert_eq!(shop.intents(), 0);
    assert_eq!(shop.judge(&shop.flip()).await.verdict.outcome(), Outcome::Allowed);
}

const PODS: &str = "/api/v1/namespaces/shop/pods";
const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";
const SMOKE: &str = "{namespaceSelector: {}, flip: {gates: [{name: smoke, kind: Job}]}}";

impl Shop {
    /// The deletion of a Job that has ended, and that was a test of green.
    fn job_is_deleted(dry_run: bool) -> Change {
        let tested = format!("{} -", "0".repeat(64));
        let ended = json!([{ "type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let job = json!({
            "metadata": { "name": "smoke-1", "namespace": "shop", "uid": "j", "labels": { "flipguard.dev/gate": "smoke" },
                "annotations": { "flipguard.dev/target": "replicaset/app-green", "flipguard.dev/tested": tested } },
            "spec": {}, "status": { "conditions": ended, "succeeded": 1 },
        });
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "r", "operation": "DELETE", "name": "smoke-1", "namespace": "shop", "dryRun": dry_run,
                "kind": { "group": "batch", "version": "v1", "kind": "Job" },
                "resource": { "group": "batch", "version": "v1", "resource": "jobs" },
                "userInfo": { "username": "system:serviceaccount:kube-system:ttl-after-finished-controller" },
                "oldObject": job,
            },
        });
        let body = body.to_string();
        change_of(&mut wire::Request::parse(body.as_bytes()).unwrap()).unwrap()
    }

    fn proof(&self) -> Option<Value> {
        let text = self.api.get(LEDGER)?["data"]["gate.smoke.replicaset.app-green"].as_str()?.to_owned();
        serde_json::from_str(&text).ok()
    }
}

#[tokio::test(start_paused = true)]
async fn the_proof_of_a_job_is_written_before_it_is_gone() {
    let shop = Shop::new().await;
    assert_eq!(shop.judge(&Shop::job_is_deleted(false)).await.verdict.outcome(), Outcome::Allowed);
    assert_eq!(shop.proof(), None, "no policy has the gate");
    shop.policy(SMOKE);
    shop.later().await;
    shop.judge(&Shop::job_is_deleted(true)).await;
    assert_eq!(shop.proof(), None, "a dry run");
    // Another replica writes at the same time.
    shop.api.fail(http::Method::PUT, LEDGER, 409);
    let judgement = shop.judge(&Shop::job_is_deleted(false)).await;
    assert_eq!((judgement.verdict.outcome(), judgement.verdict.findings.len()), (Outcome::Allowed, 0));
    let proof = shop.proof().unwrap();
    assert_eq!((&proof["proofs"][0]["evidence"], &proof["proofs"][0]["passed"]), (&json!("j"), &json!(true)));
    // The review is repeated: nothing is written again.
    let written = shop.api.asked(&http::Method::PUT, LEDGER);
    shop.judge(&Shop::job_is_deleted(false)).await;
    assert_eq!((shop.proof(), shop.api.asked(&http::Method::PUT, LEDGER)), (Some(proof), written));
}

/// The Job goes all the same, and its test runs again.
#[tokio::test(start_paused = true)]
async fn a_job_is_deleted_although_its_proof_cannot_be_kept() {
    let shop = Shop::new().await;
    shop.policy(SMOKE);
    shop.later().await;
    shop.api.fail(http::Method::PUT, LEDGER, 500);
    let judgement = shop.judge(&Shop::job_is_deleted(false)).await;
    assert_eq!((reasons(&judgement), judgement.verdict.outcome()), (vec!["cluster-unreadable"], Outcome::Allowed));
    assert_eq!(shop.proof(), None);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_only_where_a_gate_asks_for_them() {
    let shop = Shop::new().await;
    shop.deploy("green");
    let asked = || (shop.api.asked(&http::Method::GET, JOBS), shop.api.asked(&http::Method::GET, PODS));
    shop.judge(&shop.flip()).await;
    assert_eq!(asked(), (0, 1));
    shop.policy("{namespaceSelector: {}, flip: {gates: [{name: release, kind: Approval}]}}");
    shop.later().await;
    assert!(reasons(&shop.judge(&shop.flip()).await).contains(&"gate-not-passed"));
    assert_eq!(asked(), (0, 2), "the Pods show their images");
    shop.policy(SMOKE);
    shop.later().await;
    assert!(reasons(&shop.judge(&shop.flip()).await).contains(&"gate-not-passed"));
    assert_eq!(asked(), (1, 3));
}
