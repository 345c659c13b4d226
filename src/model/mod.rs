//! Plain data: the state of a cluster, parsed once.
//!
//! Every type here is reduced to the fields that rules read. So decoding a list is cheap, and no secret value can leak.
//! The types deserialise directly from Kubernetes' JSON. Nothing here does I/O, reads a clock or names a client
//! library.

mod change;
mod colour;
mod container;
mod gate;
mod guarding;
mod history;
mod kind;
mod meta;
mod overriding;
mod pod;
mod policy;
mod revision;
mod selector;
mod service;
mod template_spec;
mod text;
mod time;
mod view;
mod workload;
mod workload_manifest;
mod write;

pub use change::{Change, Tool, User};
pub use colour::{ColourScheme, Pin, PinKind};
pub use container::{Container, ContainerPort, Containers, Protocol};
pub use gate::{
    GATE_LABEL, GATE_PREFIX, Gate, GateJob, GateKind, GateRight, JobEnd, JobSpec, JobStatus, Proof, Proofs, Tested,
};
pub use guarding::Guarding;
pub use history::{Flip, Records, Tombstone};
pub use kind::Kind;
pub use meta::{Labels, Meta, MetaManifest, Owner, annotation};
pub use overriding::Override;
pub use pod::Pod;
pub use policy::{Action, Enforcement, ExemptSubject, Exemption, Labelling, Policy, ReadinessBasis, setting};
pub use revision::Revision;
pub use selector::Selector;
pub use service::{Because, LocalTraffic, Role, Service, ServicePort, ServiceSpec, TargetPort, Unguarded, has_word};
pub use template_spec::TemplateSpec;
pub use text::{json_with_escapes, markdown_text, printable, sha256, shortened, without_registry};
pub use time::Timestamp;
pub use view::{ClusterView, ReadFailure, ReadRequest};
pub use workload::{Counts, Rollout, Share, Strategy, Template, Workload, WorkloadKind};
pub use workload_manifest::{ShareManifest, WorkloadManifest, WorkloadSpec, WorkloadStatus};
pub use write::{Subject, Write};
