//! The programs' own log lines (aya-log), handed on to `tracing`.

use std::io;

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use super::KernelError;

/// Reads the ring buffer that the programs write their lines to.
pub struct Log(AsyncFd<EbpfLogger<&'static dyn ::log::Log>>);

impl Log {
    pub(super) fn new(lines: EbpfLogger<&'static dyn ::log::Log>) -> Result<Self, KernelError> {
        // SAFETY: the logger owns the ring buffer's descriptor for as long as it lives, and `Log`
        // never replaces it.
        let registered =
            unsafe { AsyncFd::register_with_interest(lines, tokio::io::Interest::READABLE) };
        let lines = registered.map_err(|error| KernelError::Syscall {
            call: "epoll_ctl",
            object: "the programs' log".into(),
            mend: "",
            source: error.into(),
        })?;
        Ok(Self(lines))
    }

    /// Hands on lines as they come; ends only by failing.
    ///
    /// # Errors
    /// Where the kernel no longer tells of new lines.
    pub async fn run(mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
