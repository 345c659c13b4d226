//! GitOps controllers themselves, not replays of what they do: what `docs/workflows.md` claims about them.
//!
//! `controllers/argo_cd.rs` and `controllers/flux.rs` start them once, beside the control plane. Each test has a folder of
//! manifests, which stands for a Git repository, and changes it by [`Release`]s.

mod argo_cd;
mod flux;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::Test;
use super::shop::{BLUE, GREEN, Pods, Shop, workload};

/// All tests.
pub(crate) fn tests() -> Vec<Test> {
    [argo_cd::TESTS, flux::TESTS].concat()
}

/// What one commit has.
#[derive(Debug, Clone, Copy)]
struct Release<'a> {
    /// The colour of the Service, and its annotations as YAML.
    service: (&'a str, &'a str),
    /// The images of blue and green; `None` for a colour that is not in the commit.
    images: [Option<&'a str>; 2],
}

/// Both colours run version 1, and blue is live.
const FIRST: Release<'_> =
    Release { service: ("blue", "flipguard.dev/expect: 'web:1.0'"), images: [Some("web:1.0"), Some("web:1.0")] };
/// Green gets version 2, and is live.
const SECOND: Release<'_> =
    Release { service: ("green", "flipguard.dev/expect: 'web:2.0'"), images: [Some("web:1.0"), Some("web:2.0")] };
/// A mended version after that.
const MENDED: Release<'_> =
    Release { service: ("green", "flipguard.dev/expect: 'web:2.1'"), images: [Some("web:1.0"), Some("web:2.1")] };

impl Release<'_> {
    /// Writes the Service into one folder, and the colours into another, which may be the same.
    fn write(&self, traffic: &Path, colours: &Path) -> Result<()> {
        let (colour, annotations) = self.service;
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: app, annotations: {{{annotations}}}}}, \
             spec: {{selector: {{app: shop, color: {colour}}}, ports: [{{port: 80, targetPort: 8080}}]}}}}\n"
        );
        fs::write(traffic.join("service.yaml"), service)?;
        for ((name, labels), image) in [("app-blue", BLUE), ("app-green", GREEN)].into_iter().zip(self.images) {
            let file = colours.join(format!("{name}.yaml"));
            match image {
                Some(image) => fs::write(file, workload("Deployment", name, labels, 2, Pods::Ready, image))?,
                None => match fs::remove_file(&file) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

/// Somebody rolls back by hand.
fn roll_back(shop: &Shop) -> Result<()> {
    shop.kubectl(&["patch", "service", "app", "-p", r#"{"spec":{"selector":{"color":"blue"}}}"#])?.succeeds()
}

/// Whether the Service routes to a colour.
fn is_live(shop: &Shop, colour: &str) -> Result<bool> {
    Ok(shop.selector("app")?.get("color").is_some_and(|now| now == colour))
}
