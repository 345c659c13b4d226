//! The watchdog: one `sh` that ends the processes and removes the folders of this process after its end. It works after
//! Ctrl-C, SIGKILL, a panic or a normal end. It reads from a pipe that the kernel closes at that moment.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

const SCRIPT: &str = include_str!("watchdog.sh");

/// The watchdog. Dropping it is the normal end: the watchdog cleans up, and the drop waits for that.
#[derive(Debug)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shell: Child,
    orders: Option<ChildStdin>,
    kept: bool,
}

impl Watchdog {
    pub(crate) fn start() -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "controlplane-watchdog"])
            .current_dir("/")
            .stdin(Stdio::piped())
            // The watchdog outlives this process, so it must not hold an output pipe of this process open.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh, which watches over the control plane's processes")?;
        let orders = shell.stdin.take();
        let state = State { shell, orders, kept: false };
        Ok(Self { state: Mutex::new(state) })
    }

    pub(crate) fn started(&self, pid: u32) -> Result<()> {
        self.order("started", &pid.to_string())
    }

    pub(crate) fn ended(&self, pid: u32) -> Result<()> {
        self.order("ended", &pid.to_string())
    }

    pub(crate) fn remove(&self, folder: &Path) -> Result<()> {
        self.order("remove", line(folder)?)
    }

    /// Leaves all processes running after the end of this one, until the file `stop` exists or its folder is gone.
    pub(crate) fn keep(&self, stop: &Path) -> Result<()> {
        self.order("keep", line(stop)?)?;
        self.lock().kept = true;
        Ok(())
    }

    fn order(&self, order: &str, what: &str) -> Result<()> {
        let mut state = self.lock();
        let orders = state.orders.as_mut().context("the watchdog has no pipe")?;
        // The order is a single write. A line that is cut in half would name the wrong process.
        orders
            .write_all(format!("{order} {what}\n").as_bytes())
            .context("the watchdog (sh) has died, so nothing would end our processes")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.orders = None;
        if !state.kept {
            // An error would only say that the watchdog has ended already.
            drop(state.shell.wait());
        }
    }
}

fn line(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains('\n') => Ok(text),
        _ => bail!("the path {} must be absolute, in UTF-8 and on one line", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        thread::sleep,
        time::{Duration, Instant},
    };

    fn sleeper() -> Result<Child> {
        Ok(Command::new("sleep").arg("60").process_group(0).spawn()?)
    }

    #[test]
    fn the_end_of_the_pipe_ends_processes_and_removes_folders() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut started = sleeper()?;
        let mut ended = sleeper()?;
        let watchdog = Watchdog::start()?;
        watchdog.remove(folder.path())?;
        watchdog.started(started.id())?;
        watchdog.started(ended.id())?;
        watchdog.ended(ended.id())?;
        // The process is reaped here; otherwise the watchdog would wait for the zombie.
        let reaper = std::thread::spawn(move || started.wait());
        drop(watchdog);
        assert!(!folder.path().exists());
        assert!(ended.try_wait()?.is_none(), "what has been reported as ended is left alone");
        ended.kill()?;
        ended.wait()?;
        let status = reaper.join().map_err(|_| anyhow::anyhow!("the reaper panicked"))??;
        assert!(!status.success());
        Ok(())
    }

    #[test]
    fn kept_processes_run_until_the_stop_file_appears() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut kept = sleeper()?;
        let watchdog = Watchdog::start()?;
        watchdog.started(kept.id())?;
        watchdog.remove(folder.path())?;
        let stop = folder.path().join("stop");
        watchdog.keep(&stop)?;
        drop(watchdog);
        sleep(Duration::from_millis(300));
        assert!(kept.try_wait()?.is_none());
        std::fs::write(&stop, "")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while kept.try_wait()?.is_none() || folder.path().exists() {
            anyhow::ensure!(Instant::now() < deadline, "still running 10 s after the stop file");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    #[test]
    fn a_path_that_the_pipe_cannot_carry_is_refused() {
        assert!(line(Path::new("relative")).is_err());
        assert!(line(Path::new("/two\nlines")).is_err());
        assert!(line(Path::new("/with space")).is_ok());
    }
}
