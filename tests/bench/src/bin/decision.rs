//! Makes this many decisions on one recorded review; run under callgrind.

use anyhow::{Context, Result, ensure};
use bench::decision::Decisions;
use bench::recorded;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (name, times) = (arguments.next(), arguments.next());
    let name = name.context("usage: decision REVIEW TIMES")?;
    let times: u32 = times.context("usage: decision REVIEW TIMES")?.parse()?;
    let decisions = Decisions::new()?;
    for review in recorded::reviews(&[&name])? {
        for _ in 0..times {
            ensure!(decisions.take(&review.body)? == 200, "{name} is not answered");
        }
    }
    Ok(())
}
