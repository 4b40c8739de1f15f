//! Sockets used by `io_uring`: the kernel connects and sends on behalf of the process, and another
//! task of the kernel may be the one that does it.

use std::io;
use std::iter;
use std::mem;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use socket2::{SockAddr, Socket};

use super::attack::{RingManner, RingTask};

const ENTRIES: u32 = 4;
/// Milliseconds after which the polling thread sleeps.
const POLLING_IDLE: u32 = 100;

/// A ring of this manner.
pub(super) fn new(manner: RingManner) -> io::Result<IoUring> {
    match manner {
        RingManner::Polling => IoUring::builder().setup_sqpoll(POLLING_IDLE).build(ENTRIES),
        RingManner::Plain | RingManner::Async => IoUring::new(ENTRIES),
    }
}

/// Lets a ring do one thing.
pub(super) fn run(
    manner: RingManner,
    task: RingTask,
    socket: &Socket,
    to: &SockAddr,
    bytes: &[u8],
    patience: Duration,
) -> io::Result<()> {
    let ring = new(manner)?;
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message header is plain numbers and pointers; all zero, it is empty.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    let fd = Fd(socket.as_raw_fd());
    let send = opcode::SendMsg::new(fd, &raw const message);
    let entry = match task {
        RingTask::Connect => opcode::Connect::new(fd, to.as_ptr().cast(), to.len()).build(),
        RingTask::Send => send.build(),
        RingTask::FastOpen => send.flags(libc::MSG_FASTOPEN.cast_unsigned()).build(),
    };
    let flags = if manner == RingManner::Async { Flags::ASYNC } else { Flags::empty() };
    submit(ring, &entry.flags(flags), patience)
}

/// Waits for the one entry; what it points to must stay until then. An entry that takes too long is
/// cancelled with its ring.
fn submit(mut ring: IoUring, entry: &Entry, patience: Duration) -> io::Result<()> {
    // SAFETY: the caller keeps what the entry points to until this returns, and the kernel has copied
    // it when the entry is submitted (io_uring_submit(3), IORING_FEAT_SUBMIT_STABLE).
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    let within = Timespec::from(patience);
    let submitted = ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&within));
    if let Err(error) = submitted {
        let late = error.raw_os_error() == Some(libc::ETIME);
        return Err(if late { io::ErrorKind::TimedOut.into() } else { error });
    }
    let completed = iter::from_fn(|| ring.completion().next()).next();
    match completed.map(|completed| completed.result()) {
        Some(result) if result < 0 => Err(io::Error::from_raw_os_error(-result)),
        Some(_) => Ok(()),
        None => Err(io::Error::other("the ring completed nothing")),
    }
}
