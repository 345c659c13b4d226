//! Medians, spreads, and slices measured in turn.

use std::fmt;
use std::time::Duration;

/// The number of rounds. Each round gives one pair for every comparison.
pub const ROUNDS: usize = 11;

/// The median of some figures, with the quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// The spread of these figures; all 0 if there are none.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |part| quantile(&figures, part);
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// Writes the spread as a ratio.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{:.2} [{:.2}-{:.2}]", self.median, self.low, self.high)
    }
}

/// The quantile: the smallest of the sorted figures that this part of them does not exceed.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into what fits into memory"
    )]
    let index = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(index).or(sorted.last()).copied().unwrap_or_default()
}

/// The order of the slices of a round: forwards, and backwards in the next round (ABBA). So a machine that slows down
/// does not favour the first server.
#[must_use]
pub fn order(round: usize, servers: usize) -> Vec<usize> {
    let there = 0..servers;
    if round.is_multiple_of(2) { there.collect() } else { there.rev().collect() }
}

/// The spread of the ratios, pair by pair.
#[must_use]
pub fn ratios(of: &[f64], to: &[f64]) -> Spread {
    Spread::of(of.iter().zip(to).filter(|(_, to)| **to > 0.0).map(|(of, to)| of / to).collect())
}

/// The duration in microseconds.
#[must_use]
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_quarters() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        assert_eq!(order(1, 3), [2, 1, 0]);
        assert_eq!(ratios(&[2.0, 4.0, 9.0], &[1.0, 2.0, 3.0]), Spread { median: 2.0, low: 2.0, high: 3.0 });
    }
}
