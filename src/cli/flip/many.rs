//! Several Services flip, or none of them.

use std::process::ExitCode;

use tokio::sync::watch;

use super::one::{Flight, INTERRUPTED, Outcome, stopped};
use super::printed::Report;
use crate::cli::process::stop_signal;
use crate::plugin::next::Ending;
use crate::plugin::series::{Series, State, Step};

/// Tries all as a dry run first. Then they flip one by one. After a failure or Ctrl-C, those that have flipped go back.
pub(super) async fn fly(flights: &mut [Flight<'_>], report: &mut Report) -> anyhow::Result<ExitCode> {
    let (tell_of_it, interrupted) = watch::channel(false);
    let stop = stop_signal()?;
    tokio::spawn(async move {
        stop.await;
        // Nobody listens once all is done.
        let _ = tell_of_it.send(true);
    });
    for flight in flights.iter_mut() {
        flight.interrupted = Some(interrupted.clone());
    }
    Ok(tried_and_flipped(flights, &interrupted, report).await)
}

async fn tried_and_flipped(
    flights: &[Flight<'_>],
    interrupted: &watch::Receiver<bool>,
    report: &mut Report,
) -> ExitCode {
    for flight in flights {
        let outcome = flight.trial().fly().await;
        if let Outcome::Stopped { .. } = outcome {
            report.add(flight, &outcome);
            eprintln!("No Service was flipped: {} cannot be flipped now.", flight.name);
            return outcome.code();
        }
        if flight.dry_run {
            report.add(flight, &outcome);
        }
    }
    if flights.iter().any(|flight| flight.dry_run) {
        return ExitCode::SUCCESS;
    }
    let mut series = Series::new(flights.len());
    let mut code = ExitCode::SUCCESS;
    loop {
        match series.next() {
            Step::End => break,
            Step::Flip(index) => {
                let Some(flight) = flights.get(index) else { break };
                let outcome = if *interrupted.borrow() {
                    stopped(Ending::Interrupted, INTERRUPTED.to_owned())
                } else {
                    flight.fly().await
                };
                let state = match &outcome {
                    Outcome::Flipped { .. } => State::Flipped,
                    // Somebody else's flip is not taken back.
                    Outcome::Already { .. } => State::Theirs,
                    Outcome::Stopped { words, .. } => {
                        code = outcome.code();
                        State::Failed(words.clone())
                    }
                };
                report.add(flight, &outcome);
                series.set(index, state);
            }
            Step::Back(index) => {
                let Some(flight) = flights.get(index) else { break };
                let state = match flight.way_back().fly().await {
                    Outcome::Flipped { .. } | Outcome::Already { .. } => State::Back,
                    Outcome::Stopped { words, .. } => State::Stuck(words),
                };
                series.set(index, state);
            }
        }
    }
    if series.has_failed() {
        tell(flights, &series, report).await;
        return code;
    }
    ExitCode::SUCCESS
}

/// Says in what state everything is now, as it is read once more.
async fn tell(flights: &[Flight<'_>], series: &Series, report: &mut Report) {
    eprintln!("Not all Services could be flipped. This is how they are now:");
    for (flight, state) in flights.iter().zip(series.states()) {
        let now = match flight.read().await {
            Ok((service, _)) if *service.routed() == flight.planned.from => flight.planned.from_colour.clone(),
            Ok((service, _)) if *service.routed() == flight.planned.to => flight.planned.to_colour.clone(),
            Ok((service, _)) => format!("another selector, {}", service.routed()),
            Err(_) => "unknown, since it cannot be read".to_owned(),
        };
        report.ends(flight, state, &now);
        eprintln!("  {}: {now}: {}", flight.name, words(flight, state));
    }
    if series.states().iter().any(|state| matches!(state, State::Stuck(_))) {
        eprintln!("What is stuck needs you: flipguard flip SERVICE --to COLOUR -n {}", namespace(flights));
    }
}

fn words(flight: &Flight<'_>, state: &State) -> String {
    let to = &flight.planned.to_colour;
    match state {
        State::Open => "it was not tried".to_owned(),
        State::Flipped => format!("it was flipped to {to}"),
        State::Theirs => format!("somebody else has flipped it to {to}"),
        State::Back => format!("it was flipped to {to}, and has gone back"),
        State::Stuck(why) => format!("it was flipped to {to}, and could not go back: {why}"),
        State::Failed(_) => "its flip failed, see above".to_owned(),
    }
}

fn namespace<'a>(flights: &'a [Flight<'_>]) -> &'a str {
    flights.first().map(|flight| flight.namespace).unwrap_or_default()
}
