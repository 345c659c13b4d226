//! The report as one HTML page: pure.
//!
//! - `document`: the whole page, its policy of contents, and what is embedded
//! - `sections`: the parts from top to bottom; `service`: one Service; `picture`: its colours and Pods as a drawing
//! - `style.css`, `script.js`: embedded, and allowed by their hashes
//!
//! The page loads nothing and asks nobody. It is readable without style and without script; the script only filters.

mod document;
mod picture;
mod sections;
mod service;

pub use document::{Live, page};
