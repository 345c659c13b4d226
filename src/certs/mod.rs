//! flipguard's TLS identity: an authority of its own, a leaf for its names, and the token in its paths.

pub mod authority;
pub mod keeper;

pub use authority::Identity;
pub use keeper::IdentityError;
