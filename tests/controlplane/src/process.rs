//! Processes that never outlive this one.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::watchdog::Watchdog;

/// A supervised process. It leads its own process group, so Ctrl-C does not reach it, and it writes to a log file. It
/// ends with this process at the latest. Dropping it kills and reaps the process; flipguard is asked to end first.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: u32,
    log: PathBuf,
    state: Mutex<State>,
    watchdog: Arc<Watchdog>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Set once the process is reaped. From then on, the id may belong to another process, so no signal is sent.
    ended: Option<ExitStatus>,
    released: bool,
    /// The time that a drop leaves the process to end by itself, after SIGTERM.
    grace: Duration,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`, so that a restart keeps the earlier lines.
    pub(crate) fn spawn(watchdog: &Arc<Watchdog>, name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone()?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({program})"))?;
        let id = child.id();
        let state = Mutex::new(State { child, ended: None, released: false, grace: Duration::ZERO });
        // Created before the watchdog is told. If telling it fails, the drop kills the process.
        let process = Self { name: name.to_owned(), id, log, state, watchdog: Arc::clone(watchdog) };
        watchdog.started(id)?;
        Ok(process)
    }

    /// The same process, which a drop asks to end, and kills only after `grace`.
    #[must_use]
    pub(crate) fn asked_to_end_first(self, grace: Duration) -> Self {
        self.lock().grace = grace;
        self
    }

    /// The name under which the process was started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file with both outputs of the process.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Asks the process to end, by SIGTERM to its group. Does nothing if it has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Asks the process to end as Ctrl-C does, by SIGINT to its group. Does nothing if it has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn interrupt(&self) -> Result<()> {
        self.signal("INT")
    }

    /// Kills the process, by SIGKILL to its group. Does nothing if it has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&self) -> Result<()> {
        self.signal("KILL")
    }

    /// Freezes the process by SIGSTOP: it keeps its ports, but answers nothing.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn suspend(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Resumes a suspended process by SIGCONT.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Waits up to `timeout` for the end of the process.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.reap(&mut self.lock());
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process runs; a suspended process does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.reap(&mut self.lock()).is_none()
    }

    /// Returns an error with the end of the log if the process has ended.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn ensure_running(&self) -> Result<()> {
        let ended = self.reap(&mut self.lock());
        ensure!(
            ended.is_none(),
            "{} has ended ({}); the end of {}:\n{}",
            self.name,
            ended.map(|status| status.to_string()).unwrap_or_default(),
            self.log.display(),
            self.log_tail()
        );
        Ok(())
    }

    /// The last 20 lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(cannot read the log: {error})"))
    }

    /// Asks the process to end, and kills it after `patience`.
    ///
    /// # Errors
    /// When the signals cannot be sent.
    pub fn stop(&self, patience: Duration) -> Result<()> {
        self.terminate()?;
        if self.wait(patience).is_none() {
            self.kill()?;
            // A killed process ends at once, unless the kernel blocks it. Then only the watchdog can end it later.
            ensure!(self.wait(Duration::from_secs(10)).is_some(), "{} survives SIGKILL", self.name);
        }
        Ok(())
    }

    /// Leaves the process to the watchdog: dropping this value no longer kills it.
    pub(crate) fn release(&self) {
        self.lock().released = true;
    }

    fn signal(&self, signal: &str) -> Result<()> {
        // The lock is held, so no other thread can reap the process, and free its id, between the check and the signal.
        let mut state = self.lock();
        if self.reap(&mut state).is_some() {
            return Ok(());
        }
        // The kill command of the shell is used, because a separate kill program is not installed everywhere.
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$0" -- "-$1""#, signal, &self.id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        ensure!(
            sent.success() || self.reap(&mut state).is_some(),
            "cannot send {signal} to {} ({})",
            self.name,
            self.id
        );
        Ok(())
    }

    fn reap(&self, state: &mut State) -> Option<ExitStatus> {
        if state.ended.is_none()
            && let Ok(Some(status)) = state.child.try_wait()
        {
            state.ended = Some(status);
            // If the watchdog has died, it need not be told.
            drop(self.watchdog.ended(self.id));
        }
        state.ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let State { released, grace, .. } = *self.lock();
        // A drop cannot report errors. The watchdog ends processes that survive it.
        match (released, grace) {
            (true, _) => {}
            (false, Duration::ZERO) => {
                drop(self.kill());
                let _ = self.wait(Duration::from_secs(10));
            }
            (false, grace) => drop(self.stop(grace)),
        }
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(fs::File::open(log)?).split(b'\n') {
        if last.len() == 20 {
            last.pop_front();
        }
        last.push_back(format!("  {}", String::from_utf8_lossy(&line?)));
    }
    Ok(Vec::from(last).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Result<Process> {
        let watchdog = Arc::new(Watchdog::start()?);
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(&watchdog, "shell", command, folder.join("shell.log"))
    }

    #[test]
    fn an_early_end_shows_the_end_of_the_log() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let process = shell(folder.path(), "seq 1 30; echo broken >&2; exit 3")?;
        assert_eq!(process.wait(Duration::from_secs(10)).and_then(|status| status.code()), Some(3));
        let Err(error) = process.ensure_running() else { anyhow::bail!("it should have ended") };
        let message = error.to_string();
        assert!(message.contains("broken") && message.contains("  30") && !message.contains("  11\n"), "{message}");
        process.terminate()?;
        Ok(())
    }

    #[test]
    fn stop_ends_a_suspended_process_and_its_children() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let process = shell(folder.path(), "trap '' TERM; sleep 60 & echo $!; wait")?;
        let child = loop {
            let log = fs::read_to_string(process.log_path())?;
            if let Some(child) = log.lines().next() {
                break child.to_owned();
            }
            sleep(Duration::from_millis(10));
        };
        process.suspend()?;
        assert!(process.is_running());
        process.stop(Duration::from_millis(100))?;
        assert!(!process.is_running());
        // The group of the process was killed too. On a loaded machine, its death becomes visible a moment later.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            ensure!(Instant::now() < deadline, "the child {child} lives: {state}");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
