//! Several replicas of flipguard behind one address.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::balancer::{Backend, Balancer, Open};
use crate::guard::{install, local, own_kubeconfig};
use crate::{ApiServers, ControlPlane, Guard, free_port};

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
    /// Starts this many replicas with `flags` in addition to the required ones. Waits until the API server calls them.
    ///
    /// # Errors
    /// When an object cannot be applied, a replica cannot be started, or they do not guard within a minute.
    pub fn start(control_plane: &ControlPlane, binary: &Path, count: usize, flags: &[&str]) -> Result<Self> {
        Self::start_behind(Open::Cut, None, control_plane, binary, count, flags)
    }

    /// As [`start`](Self::start), with these API servers behind their balancer.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn with_api_servers(
        control_plane: &ControlPlane,
        servers: &ApiServers,
        binary: &Path,
        count: usize,
        flags: &[&str],
    ) -> Result<Self> {
        Self::start_behind(Open::Cut, Some(servers), control_plane, binary, count, flags)
    }

    /// As [`start`](Self::start), behind a balancer that keeps open connections, like a Service of the cluster.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn behind_a_service(control_plane: &ControlPlane, binary: &Path, count: usize, flags: &[&str]) -> Result<Self> {
        Self::start_behind(Open::Kept, None, control_plane, binary, count, flags)
    }

    fn start_behind(
        open: Open,
        servers: Option<&ApiServers>,
        control_plane: &ControlPlane,
        binary: &Path,
        count: usize,
        flags: &[&str],
    ) -> Result<Self> {
        let listen = local(free_port()?);
        let url = format!("https://{listen}");
        install(control_plane, binary, &url)?;
        let own = own_kubeconfig(control_plane)?;
        let kubeconfig = servers.map_or(Ok(own.clone()), |servers| servers.behind(control_plane, &own))?;
        let guards = (0..count)
            .map(|_| Guard::serve(control_plane, binary, &kubeconfig, local(free_port()?), &url, flags))
            .collect::<Result<Vec<Guard>>>()?;
        let backends: Vec<Backend> = guards.iter().map(Guard::backend).collect();
        let balancer = Balancer::start(control_plane, listen, &backends, open)?;
        guards.first().context("at least one replica")?.wait_until_it_guards(control_plane)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Self { guards: Mutex::new(guards), balancer, binary: binary.to_owned(), kubeconfig, flags })
    }

    /// Calls a function with the replica of this number, counted from 0.
    ///
    /// # Errors
    /// When there is no such replica, or the function fails.
    pub fn with<T>(&self, number: usize, what: impl FnOnce(&Guard) -> Result<T>) -> Result<T> {
        let guards = self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        what(guards.get(number).context("no such replica")?)
    }

    /// Starts the replica of this number again, at its old address. The previous process must have ended.
    ///
    /// # Errors
    /// When the replica cannot be started.
    pub fn restart(&self, control_plane: &ControlPlane, number: usize) -> Result<()> {
        let url = format!("https://{}", self.balancer.listen());
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let mut guards = self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let guard = guards.get_mut(number).context("no such replica")?;
        *guard = guard.serve_again(control_plane, &self.binary, &self.kubeconfig, &url, &flags)?;
        Ok(())
    }

    /// The number of replicas.
    #[must_use]
    pub fn count(&self) -> usize {
        self.guards.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }
}
