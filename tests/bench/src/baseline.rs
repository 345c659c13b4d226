//! Exact figures, compared with a committed baseline.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Figures by the name of a review.
pub type Figures = BTreeMap<String, u64>;

/// A file of figures, with `NAME FIGURE` on each line.
#[derive(Debug)]
pub struct Baseline {
    path: PathBuf,
    /// The counted unit, for messages.
    of: &'static str,
}

impl Baseline {
    /// The file of this name in `tests/bench/baseline`.
    #[must_use]
    pub fn new(name: &str, of: &'static str) -> Self {
        Self { path: Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline").join(name), of }
    }

    /// Compares figures with the baseline: each may be at most 3 % higher. With `UPDATE=1` in the environment, the
    /// baseline is written instead.
    ///
    /// # Errors
    /// When a figure is too high or has no baseline. The message has all figures.
    pub fn hold(&self, figures: &Figures) -> Result<()> {
        if std::env::var_os("UPDATE").is_some() {
            let lines: String = figures.iter().fold(String::new(), |mut text, (name, figure)| {
                let _ = writeln!(text, "{name} {figure}");
                text
            });
            return std::fs::write(&self.path, lines).with_context(|| format!("cannot write {}", self.path.display()));
        }
        let text = std::fs::read_to_string(&self.path)
            .with_context(|| format!("cannot read {}; `make baseline` writes it", self.path.display()))?;
        let committed = parse(&text)?;
        let mut broken = String::new();
        for (name, figure) in figures {
            let bar = committed.get(name).copied();
            match bar {
                Some(bar) if *figure <= most(bar) => {}
                Some(bar) => {
                    let _ = writeln!(broken, "  {name}: {figure} {}, at most {} (3 % over {bar})", self.of, most(bar));
                }
                None => {
                    let _ = writeln!(broken, "  {name}: {figure} {}, and no baseline", self.of);
                }
            }
        }
        if !broken.is_empty() {
            bail!(
                "a decision costs more than the committed baseline:\n{broken}find out why; if it has to be so, \
                 `make baseline` writes the new one"
            );
        }
        Ok(())
    }
}

fn most(baseline: u64) -> u64 {
    baseline + baseline * 3 / 100
}

fn parse(text: &str) -> Result<Figures> {
    let line = |line: &str| {
        let (name, figure) = line.split_once(' ').context("a line of a baseline is `NAME FIGURE`")?;
        Ok((name.to_owned(), figure.trim().parse()?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_per_cent_more_pass_and_no_more() {
        assert_eq!(most(100), 103);
        assert_eq!(most(10), 10);
        assert!(parse("a 1\nb 2\n").is_ok_and(|figures| figures.len() == 2));
        assert!(parse("a").is_err());
    }
}
