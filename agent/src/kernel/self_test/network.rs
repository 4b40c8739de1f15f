//! The network namespace that a process of the self-test makes for itself.

use std::io;

use rtnetlink::LinkUnspec;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::way::with_netlink;

/// The first interface of every network namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Leaves for a network namespace of its own. The agent has given up the right to make one; then one is
/// made inside of a user namespace, which needs none.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where this process may do neither, as in a container of a runtime's own
/// seccomp profile.
pub(super) fn leave() -> io::Result<()> {
    // SAFETY: this process has one thread yet, and no descriptor of the namespace that it leaves.
    if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok() {
        return Ok(());
    }
    let unsupported = |error: io::Error| io::Error::new(io::ErrorKind::Unsupported, error);
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }
        .map_err(|error| unsupported(error.into()))?;
    // AppArmor may let it be made, and nothing be done in it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let up = with_netlink(async |netlink| {
        netlink.link().set(LinkUnspec::new_with_index(LOOPBACK).up().build()).execute().await
    });
    runtime.block_on(up).map_err(unsupported)
}
