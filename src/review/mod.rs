//! The admission protocol: requests and responses of `admission.k8s.io/v1`.
//!
//! The types are our own and borrow from the request body. The envelope is read first, and the parts of the objects
//! stay raw JSON. So the uid for the answer is known even if an object cannot be parsed. A request that no rule applies
//! to costs no more than its envelope.
//!
//! The code follows the checks of the API server
//! (`staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/request/admissionreview.go`).

pub mod answer;
pub mod change;
pub mod message;
pub mod probe;
pub mod wire;

pub use change::change_of;
pub use wire::{Request, Unreadable};
