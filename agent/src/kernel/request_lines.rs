//! The request lines of pods in audit, as the programs tell them.

use std::io;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use podrole_ebpf::{LINE_MAX, RequestLine, map};
use tokio::io::unix::AsyncFd;

use super::{CgroupId, KernelError, maps};

/// Reads the ring buffer that the programs write lines to.
pub struct RequestLines(AsyncFd<RingBuf<MapData>>);

impl RequestLines {
    pub(super) fn new(programs: &mut Ebpf) -> Result<Self, KernelError> {
        let lines: RingBuf<MapData> = maps::open(programs, map::REQUEST_LINES)?;
        // SAFETY: the ring buffer owns its descriptor for as long as it lives, and is never replaced.
        let registered =
            unsafe { AsyncFd::register_with_interest(lines, tokio::io::Interest::READABLE) };
        let lines = registered.map_err(|error| KernelError::Syscall {
            call: "epoll_ctl",
            object: "the ring buffer of request lines".into(),
            mend: "",
            source: error.into(),
        })?;
        Ok(Self(lines))
    }

    /// Hands on lines as they come, with the cgroup of the socket that sent each; ends only by failing.
    ///
    /// # Errors
    /// Where the kernel no longer tells of new lines.
    pub async fn run(mut self, mut heard: impl FnMut(CgroupId, &[u8])) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let lines = ready.get_inner_mut();
            while let Some(line) = lines.next() {
                if let Some((cgroup, line)) = read(&line) {
                    heard(cgroup, &line);
                }
            }
            ready.clear_ready();
        }
    }
}

/// A [`RequestLine`] as it lies in memory: the cgroup, and the line with zeros behind it.
fn read(told: &[u8]) -> Option<(CgroupId, Vec<u8>)> {
    let (cgroup, line) = told.split_at_checked(8)?;
    let cgroup = u64::from_ne_bytes(cgroup.try_into().ok()?);
    let line = line.get(..LINE_MAX)?;
    let line = line.iter().copied().take_while(|byte| *byte != 0).collect();
    Some((CgroupId(cgroup), line))
}

const _: () = assert!(std::mem::offset_of!(RequestLine, line) == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_zeros_begin() {
        let mut told = [0; 8 + LINE_MAX];
        told[..8].copy_from_slice(&7_u64.to_ne_bytes());
        told[8..21].copy_from_slice(b"GET / HTTP/1.");
        assert_eq!(read(&told), Some((CgroupId(7), b"GET / HTTP/1.".to_vec())));
        assert_eq!(read(&told[..20]), None);
    }
}
