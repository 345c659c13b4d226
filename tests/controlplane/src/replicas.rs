//! Several replicas of flipguard behind one address.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::balancer::{Backend, Balancer, Open};
use crate::guard::{install, local, own_kubeconfig};
use crate::{ControlPlane, Guard, free_port};

/// Replicas of flipguard behind a balancer.
#[derive(Debug)]
pub struct Replicas {
    guards: Mutex<Vec<Guard>>,
    balancer: Balancer,
    binary: PathBuf,
    kubeconfig: PathBuf,
    flags: Vec<String>,
}

impl Replicas {
    /// Starts so many, with `flags` besides those that each needs, and waits until the API server asks them.
    ///
    /// # Errors
    /// When something cannot be applied or started, or when they do not guard within a minute.
    pub fn start(control_plane: &ControlPlane, binary: &Path, count: usize, flags: &[&str]) -> Result<Self> {
        Self::start_behind(Open::Cut, control_plane, binary, count, flags)
    }

    /// The same behind a balancer that is as gentle as a Service of the cluster.
    ///
    /// # Errors
    /// As those of [`start`](Self::start).
    pub fn behind_a_service(control_plane: &ControlPlane, binary: &Path, count: usize, flags: &[&str]) -> Result<Self> {
        Self::start_behind(Open::Kept, control_plane, binary, count, flags)
    }

    fn start_behind(
        open: Open,
        control_plane: &ControlPlane,
        binary: &Path,
        count: usize,
        flags: &[&str],
    ) -> Result<Self> {
        let listen = local(free_port()?);
        let url = format!("https://{listen}");
        install(control_plane, binary, &url)?;
        let kubeconfig = own_kubeconfig(control_plane)?;
        let guards = (0..count)
            .map(|_| Guard::serve(control_plane, binary, &kubeconfig, local(free_port()?), &url, flags))
            .collect::<Result<Vec<Guard>>>()?;
        let backends: Vec<Backend> = guards.iter().map(Guard::backend).collect();
        let balancer = Balancer::start(control_plane, listen, &backends, open)?;
        guards.first().context("at least one replica")?.wait_until_it_guards(control_plane)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Self { guards: Mutex::new(guards), balancer, binary: binary.to_owned(), kubeconfig, flags })
    }

    /// Does something with the replica of this number, counted from 0.
    ///
    /// # Errors
    /// When there is no such replica, or the action fails.
    pub fn with<T>(&self, number: usize, what: impl FnOnce(&Guard) -> Result<T>) -> Result<T> {
        let guards = self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        what(guards.get(number).context("no such replica")?)
    }

    /// Starts the replica of this number anew, at its old address; the one before has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&self, control_plane: &ControlPlane, number: usize) -> Result<()> {
        let url = format!("https://{}", self.balancer.listen());
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let mut guards = self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let guard = guards.get_mut(number).context("no such replica")?;
        *guard = guard.serve_again(control_plane, &self.binary, &self.kubeconfig, &url, &flags)?;
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }
}
