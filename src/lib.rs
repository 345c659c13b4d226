//! flipguard: an admission webhook that makes blue-green by hand safe.
//!
//! ```text
//! bytes -> review::wire -> review::change -> [ rules::decide ] -> Verdict -> review::answer -> bytes
//!                               |                  ^
//!                               +-- what to read --+-- ClusterView <- cluster::namespace | offline::files
//! ```
//!
//! The middle is pure: [`rules::decide`] takes a [`model::Change`] and a [`model::ClusterView`] and does no I/O.
//!
//! | room | holds |
//! |---|---|
//! | [`server`], [`review`] | the listeners, and the admission protocol |
//! | [`guard`] | one request on its way: the ledger, the reads, the rules |
//! | [`model`], [`rules`], [`labels`] | plain data, the rules about it, and the labels that are added: all pure |
//! | [`policy`] | what administrators say by `BlueGreenPolicy`, and what counts for a namespace: pure |
//! | [`audit`] | namespaces at rest: imagined changes of them, and what another policy would change: pure |
//! | [`status`] | a namespace in a few lines: roles, colours, holds, and what a flip would meet: pure |
//! | [`report`], [`page`] | what an audit reports, as text, JSON, SARIF and so on, and as an HTML page: pure |
//! | [`plugin`] | what `flip` and `gate run` do next: the selector of a colour, the meaning of an answer, the way back: pure |
//! | [`ledger`] | the protocol that serialises concurrent changes: pure, and searched by an exhaustive model |
//! | [`history`] | who flipped what: a chain of entries, and how it agrees with logs: pure |
//! | [`cluster`], [`offline`] | reads of a namespace: from the API server, or from files and test cases |
//! | [`install`], [`registration`], [`certs`] | manifests and permissions, the webhooks, the TLS identity |
//! | [`auditor`], [`ui`] | the continuous audit: metrics of the last report; and the page on the loopback |
//! | [`telemetry`], [`doctor`], [`cli`] | log and metrics, diagnosis, one file per command |
//!
//! # Words
//!
//! | word | meaning | elsewhere |
//! |---|---|---|
//! | colour | one of the versions behind a Service, by a label such as `color: blue` | Argo Rollouts: a ReplicaSet with a pod-template-hash |
//! | pin | a pair of a selector that picks a colour | |
//! | traffic Service | a Service whose selector picks the live colour | Argo Rollouts: active Service |
//! | preview Service | a Service that shows another colour | the same |
//! | flip | a change of a traffic Service that drops a Pod which receives traffic | promote |
//! | rollback | a flip to the previous colour, unchanged | abort, undo |
//! | live, held, idle | the colour with traffic; the one before the last flip; any other | stable; canary |
//! | hold | the time that the previous colour is kept | `scaleDownDelaySeconds` |
//! | floor | the number of ready Pods that a traffic Service needs | PodDisruptionBudget: `minAvailable` |
//! | backends | the workloads and Pods that a selector matches | Kubernetes: endpoints |
//! | override | an annotation that allows denied changes for up to an hour | break glass |
//! | finding, verdict | the result of one rule; the judgement of a change | Kubernetes: admission response |
//! | intent, ledger | the change that a request would make; all of a namespace, in a ConfigMap | write-ahead log |
//! | record, tombstone | the last flip of a Service; a Service that was deleted a moment ago | |
//! | attempt, scenario | one run of a request through admission; one combination of pending intents | |

pub mod audit;
pub mod auditor;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod doctor;
pub mod guard;
pub mod history;
pub mod install;
pub mod labels;
pub mod ledger;
pub mod model;
pub mod offline;
pub mod page;
pub mod plugin;
pub mod policy;
pub mod registration;
pub mod report;
pub mod review;
pub mod rules;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod ui;
