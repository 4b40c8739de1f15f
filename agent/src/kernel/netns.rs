//! The network namespace that the agent is in, which is the node's.

use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use super::KernelError;

/// The kernel's never-reused number of a network namespace (`SO_NETNS_COOKIE`, Linux 5.14). Older
/// kernels do not tell it; there the programs take the first network namespace for the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetnsCookie(Option<u64>);

impl NetnsCookie {
    /// The cookie of this process's network namespace.
    ///
    /// # Errors
    /// Where no socket can be made, or it cannot be asked.
    pub fn own() -> Result<Self, KernelError> {
        let failed = |call, source| KernelError::Syscall {
            call,
            object: "the node's network namespace".into(),
            mend: "",
            source,
        };
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| failed("socket", error))?;
        let mut cookie = 0_u64;
        let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
        // SAFETY: both pointers are to live locals, and `length` is the size of `cookie`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        if result == 0 {
            return Ok(Self(Some(cookie)));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ENOPROTOOPT) {
            return Ok(Self(None));
        }
        Err(failed("getsockopt(SO_NETNS_COOKIE)", error))
    }

    /// As the programs take it.
    pub(super) fn wire(self) -> u64 {
        self.0.unwrap_or(0)
    }
}
