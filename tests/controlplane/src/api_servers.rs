//! Two API servers over one etcd, behind HAProxy, as in a highly available cluster.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::balancer::Balancer;
use crate::guard::local;
use crate::{ControlPlane, Process, free_port};

/// A second API server, and the balancer in front of both.
#[derive(Debug)]
pub struct ApiServers {
    second: Process,
    port: u16,
    admin: PathBuf,
    balancer: Balancer,
}

impl ApiServers {
    /// Starts a second API server and the balancer. Controllers stay with the first one.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let port = free_port()?;
        let (second, admin) = control_plane.another_api_server(port)?;
        let listen = local(free_port()?);
        let servers = [control_plane.api_address(), local(port)];
        let balancer = Balancer::of_api_servers(control_plane, listen, &servers)?;
        Ok(Self { second, port, admin, balancer })
    }

    /// The kubeconfig of a cluster admin who asks the second API server.
    #[must_use]
    pub fn second_kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// The process of the second API server.
    #[must_use]
    pub fn second(&self) -> &Process {
        &self.second
    }

    /// Kills the second API server and starts it again, as after a change below it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_second(&mut self, control_plane: &ControlPlane) -> Result<()> {
        self.second.kill()?;
        (self.second, self.admin) = control_plane.another_api_server(self.port)?;
        Ok(())
    }

    /// The same credentials, with the balancer as the API server.
    ///
    /// # Errors
    /// When a kubeconfig cannot be read or written.
    pub fn behind(&self, control_plane: &ControlPlane, kubeconfig: &Path) -> Result<PathBuf> {
        control_plane.kubeconfig_at(kubeconfig, "behind-the-balancer", &format!("https://{}", self.balancer.listen()))
    }
}
