//! The kernel's word for a connection: it came from a pod's own socket.

use std::net::SocketAddr;

use crate::kernel::{CgroupId, Records};

/// Says what the kernel saw of a connection.
pub trait Attest: Send + Sync + 'static {
    /// The cgroup whose socket the connection from `peer` is, if the kernel saw it leave. Taken: a
    /// record counts for one connection.
    fn take(&self, peer: SocketAddr) -> Option<CgroupId>;
}

impl Attest for Records {
    fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        Self::take(self, peer)
    }
}

/// Connections that a test says were seen.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Seen(pub(crate) std::collections::HashMap<SocketAddr, CgroupId>);

#[cfg(test)]
impl Attest for Seen {
    fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        self.0.get(&peer).copied()
    }
}
