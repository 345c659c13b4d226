//! How much may be read at the same time, in bytes. Without a limit, a few changes in one very large namespace would end
//! the process, and with it the guard of all others.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The bytes that the reads of all changes may hold at the same time. The rest of the memory limit in the manifests (256
/// MiB) is for the copies of scenarios, for decoding, and for the process itself.
pub const MAX_BYTES: usize = 112 * MIB;
const MIB: usize = 1024 * 1024;
/// The size of one permit.
const UNIT: usize = 16 * 1024;

/// The bytes that all reads share.
#[derive(Debug, Clone)]
pub struct ReadMemory {
    free: Arc<Semaphore>,
    units: usize,
}

/// The bytes of the reads for one change. They are free again when it is dropped.
#[derive(Debug)]
pub struct Allowance {
    memory: ReadMemory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    most: usize,
    was_refused: bool,
    held: Option<OwnedSemaphorePermit>,
}

impl Default for ReadMemory {
    fn default() -> Self {
        Self::of(MAX_BYTES)
    }
}

impl ReadMemory {
    /// A memory of this many bytes.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        let units = bytes / UNIT;
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// An allowance with as many bytes as the reads are expected to need; `None` where they are not free by the deadline.
    /// The changes wait in the order of their arrival.
    pub async fn reserve(&self, expected: usize, deadline: Instant) -> Option<Allowance> {
        let units = u32::try_from(expected.div_ceil(UNIT).min(self.units)).ok()?;
        let held = timeout_at(deadline, self.free.clone().acquire_many_owned(units)).await.ok()?.ok()?;
        let state = State { held: Some(held), ..State::default() };
        Some(Allowance { memory: self.clone(), state: Mutex::new(state) })
    }
}

impl Allowance {
    /// Takes bytes for what has been read.
    ///
    /// # Errors
    /// When so many are not free; the message says why.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used += bytes;
        state.most = state.most.max(state.used);
        let units = state.used.div_ceil(UNIT);
        let lacking = units.saturating_sub(state.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if lacking == 0 {
            return Ok(());
        }
        let mib = self.memory.units * UNIT / MIB;
        if units > self.memory.units {
            return Err(format!("they take more than {mib} MiB, which is all that flipguard may use"));
        }
        let more = u32::try_from(lacking).ok().and_then(|lacking| {
            let more = self.memory.free.clone().try_acquire_many_owned(lacking);
            more.ok()
        });
        let Some(more) = more else {
            state.was_refused = true;
            return Err(format!("the reads of other changes hold the {mib} MiB for reads"));
        };
        match &mut state.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// Gives bytes back that are needed no more. The next ones are taken from them.
    pub(super) fn give_back(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used = state.used.saturating_sub(bytes);
    }

    /// The bytes that were needed; more than the most that were in use, if more were refused.
    #[must_use]
    pub fn needed(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.was_refused { state.most * 2 } else { state.most }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_free_is_waited_for_or_refused() {
        let memory = ReadMemory::of(10 * UNIT);
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = memory.reserve(6 * UNIT, soon()).await.unwrap();
        assert_eq!(first.take(6 * UNIT), Ok(()));
        assert!(memory.reserve(6 * UNIT, soon()).await.is_none(), "too much for both");
        let second = memory.reserve(2 * UNIT, soon()).await.unwrap();
        assert_eq!(second.take(4 * UNIT), Ok(()), "as much as is free");
        assert!(second.take(1).is_err_and(|why| why.contains("other changes hold")));
        second.give_back(2 * UNIT);
        assert_eq!(second.take(UNIT), Ok(()), "from what was given back");
        let waits = tokio::spawn({
            let memory = memory.clone();
            async move { memory.reserve(100 * UNIT, Instant::now() + Duration::from_secs(5)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop((first, second));
        let all = waits.await.unwrap().unwrap();
        assert_eq!(all.take(10 * UNIT), Ok(()));
        assert!(all.take(1).is_err_and(|why| why.contains("all that flipguard may use")));
    }
}
