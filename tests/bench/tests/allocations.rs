//! Heap allocations for each decision, compared with a committed baseline. They are exact: the same on every machine.
//!
//! This test has a binary of its own, because the counter replaces the global allocator.

use anyhow::{Result, ensure};
use bench::baseline::{Baseline, Figures};
use bench::decision::Decisions;
use bench::recorded;

#[test]
fn a_decision_allocates_no_more_than_the_baseline() -> Result<()> {
    let decisions = Decisions::new()?;
    let mut figures = Figures::new();
    for review in [recorded::reviews(&recorded::UNJUDGED)?, recorded::reviews(&recorded::JUDGED)?].concat() {
        // The first decision allocates the labels of the metrics, which are kept.
        ensure!(decisions.take(&review.body)? == 200, "{} is not answered", review.name);
        let mut taken = None;
        let counted = allocation_counter::measure(|| taken = decisions.take(&review.body).ok());
        ensure!(taken == Some(200), "{} is not answered", review.name);
        figures.insert(review.name, counted.count_total);
    }
    println!("{figures:?}");
    Baseline::new("allocations", "allocations").hold(&figures)
}
