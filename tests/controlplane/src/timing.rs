//! The duration of each stage of the start.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The stages of a start, one per line, with their total: see
/// [`ControlPlane::stage_table`](crate::ControlPlane::stage_table).
#[derive(Debug)]
pub struct StageTable<'a>(pub(crate) &'a [(String, Duration)]);

impl fmt::Display for StageTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.iter().map(|(_, took)| *took).sum();
        let rows = self.0.iter().map(|(stage, took)| (stage.as_str(), *took)).chain([("ready after", total)]);
        for (stage, took) in rows {
            writeln!(f, "{stage:<42}{:>6.2} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// Measures the time between two laps.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    last: Instant,
    laps: Vec<(String, Duration)>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    pub(crate) fn lap(&mut self, stage: &str) {
        let now = Instant::now();
        self.laps.push((stage.to_owned(), now.duration_since(self.last)));
        self.last = now;
    }

    pub(crate) fn into_laps(self) -> Vec<(String, Duration)> {
        self.laps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_with_the_total() {
        let stages = [("one".to_owned(), Duration::from_millis(1500)), ("two".to_owned(), Duration::from_millis(250))];
        let table = StageTable(&stages).to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(table.contains("ready after") && table.trim_end().ends_with("1.75 s"), "{table}");
    }
}
