//! The table for people, and `report.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// A figure that has to hold.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// The most that it may be.
    pub bar: f64,
    /// Whether it is no more.
    pub holds: bool,
    /// About the least that it can be on this machine: what was measured without flipguard in the same run, added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    bars: Vec<Bar>,
}

impl Report {
    /// A figure with the most that it may be.
    pub fn bar(&mut self, name: impl Into<String>, value: f64, bar: f64) {
        self.add(name.into(), value, bar, None);
    }

    /// The same, where much less than so much cannot be had.
    pub fn bar_over_floor(&mut self, name: impl Into<String>, value: f64, bar: f64, floor: f64) {
        self.add(name.into(), value, bar, Some(thousandths(floor)));
    }

    fn add(&mut self, name: String, value: f64, bar: f64, floor: Option<f64>) {
        let value = thousandths(value);
        let bar = Bar { name, value, bar, holds: value <= bar, floor };
        println!("{}", line(&bar));
        self.bars.push(bar);
    }

    /// Prints all bars once more, and writes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(&self, folder: &Path) -> Result<()> {
        println!("\nbars");
        self.bars.iter().for_each(|bar| println!("{}", line(bar)));
        let broken = self.bars.iter().filter(|bar| !bar.holds).count();
        let beyond =
            self.bars.iter().filter(|bar| !bar.holds && bar.floor.is_some_and(|floor| floor > bar.bar)).count();
        println!("\n{} of {} bars hold", self.bars.len() - broken, self.bars.len());
        if beyond > 0 {
            println!("{beyond} of the others are beyond reach here: what was measured without flipguard comes to more");
        }
        let file = folder.join("report.json");
        std::fs::write(&file, serde_json::to_string_pretty(&self.bars)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
        Ok(())
    }

    /// Whether all bars hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.bars.iter().all(|bar| bar.holds)
    }
}

fn line(bar: &Bar) -> String {
    let Bar { name, value, bar, holds, floor } = bar;
    let floor = floor.map(|floor| format!(", without flipguard {floor:.2}")).unwrap_or_default();
    format!("  {} {name:<66} {value:>8.3}   at most {bar}{floor}", if *holds { "ok    " } else { "BROKEN" })
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n{text}");
}
