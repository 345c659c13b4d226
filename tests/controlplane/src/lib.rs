//! A real Kubernetes control plane on one machine: etcd, kube-apiserver, kube-controller-manager and kube-scheduler,
//! with kwok in place of the kubelet. Tests, the demo and the bench use it.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use controlplane::{Binaries, ControlPlane};
//!
//! let binaries = Binaries::ensure()?;
//! let control_plane = ControlPlane::start(&binaries)?;
//! let nodes = control_plane.kubectl().args(["get", "nodes"]).output()?;
//! control_plane.stop()
//! # }
//! ```
//!
//! The annotations of a Pod set its behaviour, see `kwok/stages.yaml`:
//!
//! | `kwok.flipguard.dev/pod` | the Pod is |
//! |---|---|
//! | absent, or `ready` | Ready at once; the Pod of a Job completes (after `kwok.flipguard.dev/after`, if set) |
//! | `late` | running, and Ready after `kwok.flipguard.dev/after` (default `5s`) |
//! | `starting` | running, but not Ready |
//! | `failing` | waiting, with the reason in `kwok.flipguard.dev/reason` (default `ImagePullBackOff`) |
//! | `pending` | not changed by kwok |
//!
//! Set the annotation on a Pod template, or change it later with `kubectl annotate pod --overwrite`.

mod api_servers;
mod balancer;
mod binaries;
mod certificates;
mod components;
mod control_plane;
mod gate;
mod go_modules;
mod guard;
mod kubeconfig;
mod ports;
mod process;
pub mod published;
mod replicas;
mod timing;
mod watchdog;

pub use api_servers::ApiServers;
pub use balancer::{Backend, Balancer, Open};
pub use binaries::{Binaries, kubernetes_version};
pub use control_plane::ControlPlane;
pub use gate::Gate;
pub use guard::{Guard, Place, as_yaml, ask};
pub use ports::free_port;
pub use process::Process;
pub use replicas::Replicas;
pub use timing::StageTable;
