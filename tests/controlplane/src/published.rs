//! Files that other projects publish in their Go modules, such as schemas and CRDs. The Go module proxy has them, and the
//! checksum of the module is compared.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A Go module of which one file is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The module with its version: `example.org/module@v1.0.0`.
    pub module: &'static str,
    /// Its checksum, as in a `go.sum`.
    pub sum: &'static str,
    /// The path of the file in the module.
    pub file: &'static str,
}

/// The CRD of `Report`, by the OpenReports project.
pub const OPEN_REPORTS: Published = Published {
    module: "github.com/openreports/reports-api@v0.2.1",
    sum: "h1:g9KS3yle9Y1elmww4TK9EkD1rl6inIaiIJPX6e+u680=",
    file: "config/crd/openreports.io_reports.yaml",
};

/// The schema of SARIF 2.1.0 by OASIS, as a constant of Go.
pub const SARIF: Published = Published {
    module: "github.com/owenrumney/go-sarif/v3@v3.3.1",
    sum: "h1:bKY8YnWcY8zYTiGVObC5wZLlfEvMkCxK9XMGXBbzEtQ=",
    file: "pkg/report/v210/sarif/schema.go",
};

impl Published {
    /// The text of the file. The module is downloaded once, into Go's module cache.
    ///
    /// # Errors
    /// When the module cannot be downloaded, or is another one.
    pub fn text(&self) -> Result<String> {
        let mut go = Command::new("go");
        go.args(["mod", "download", "-json", self.module]).env("GOWORK", "off").stdin(Stdio::null());
        let output = go.current_dir(std::env::temp_dir()).output().context("cannot run go")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "cannot download {}: {said}", self.module);
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{name}\": \"")));
            line.and_then(|rest| rest.split('"').next()).with_context(|| format!("no {name} in {said}"))
        };
        ensure!(field("Sum")? == self.sum, "{} has another checksum: {}", self.module, field("Sum")?);
        let file = PathBuf::from(field("Dir")?).join(self.file);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}
