//! Heap allocations for each decision, held at a committed baseline. They are exact: the same on every machine.
//!
//! In a binary of its own, since the counter takes the place of the global allocator.

use anyhow::{Result, ensure};
use bench::baseline::{Baseline, Figures};
use bench::decision::Decisions;
use bench::recorded;

#[test]
fn a_decision_allocates_no_more_than_the_baseline() -> Result<()> {
    let decisions = Decisions::new()?;
    let mut figures = Figures::new();
    for review in [recorded::reviews(&recorded::UNJUDGED)?, recorded::reviews(&recorded::JUDGED)?].concat() {
        // The first one makes what stays: the metrics' labels.
        ensure!(decisions.take(&review.body)? == 200, "{} is not answered", review.name);
        let mut taken = None;
        let counted = allocation_counter::measure(|| taken = decisions.take(&review.body).ok());
        ensure!(taken == Some(200), "{} is not answered", review.name);
        figures.insert(review.name, counted.count_total);
    }
    println!("{figures:?}");
    Baseline::new("allocations", "allocations").hold(&figures)
}
