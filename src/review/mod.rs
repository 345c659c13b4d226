//! The admission protocol: `admission.k8s.io/v1` in and out.
//!
//! The types are our own and borrow from the request body: the envelope is read first, with the parts of the objects left
//! as raw JSON, so that the uid is there to answer with even where an object cannot be understood, and a request that no
//! rule speaks on costs no more than its envelope. Written against the checks of the API server
//! (`staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/request/admissionreview.go`).

pub mod answer;
pub mod change;
pub mod message;
pub mod wire;

pub use change::change_of;
pub use wire::{Request, Unreadable};
