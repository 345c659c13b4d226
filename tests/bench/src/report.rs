//! The printed table, and `report.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// A figure with a limit.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    /// The name of the figure.
    pub name: String,
    /// The measured value.
    pub value: f64,
    /// The largest allowed value.
    pub bar: f64,
    /// Whether the value is within the limit.
    pub holds: bool,
}

/// All measured figures.
#[derive(Debug, Default)]
pub struct Report {
    bars: Vec<Bar>,
}

impl Report {
    /// Adds a figure with its limit.
    pub fn bar(&mut self, name: impl Into<String>, value: f64, bar: f64) {
        let value = thousandths(value);
        let bar = Bar { name: name.into(), value, bar, holds: value <= bar };
        println!("{}", line(&bar));
        self.bars.push(bar);
    }

    /// Prints all figures with a limit again, and writes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(&self, folder: &Path) -> Result<()> {
        println!("\nbars");
        self.bars.iter().for_each(|bar| println!("{}", line(bar)));
        let broken = self.bars.iter().filter(|bar| !bar.holds).count();
        println!("\n{} of {} bars hold", self.bars.len() - broken, self.bars.len());
        let file = folder.join("report.json");
        std::fs::write(&file, serde_json::to_string_pretty(&self.bars)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
        Ok(())
    }

    /// Whether all figures are within their limits.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.bars.iter().all(|bar| bar.holds)
    }
}

fn line(bar: &Bar) -> String {
    let Bar { name, value, bar, holds } = bar;
    format!("  {} {name:<66} {value:>8.3}   at most {bar}", if *holds { "ok    " } else { "BROKEN" })
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Prints a heading.
pub fn heading(text: &str) {
    println!("\n{text}");
}
