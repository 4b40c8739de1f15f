//! Passing a socket from one process to another (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::Socket;

use super::attack::Kind;
use super::socket;

/// Makes a socket and gives it to the first process that connects to `path`.
///
/// # Errors
/// Where the socket cannot be made, or nobody can be served at that path.
pub fn give(kind: Kind, path: &Path, ready: impl FnOnce()) -> Result<()> {
    let socket = socket::make(kind).with_context(|| format!("a socket, {kind:?}"))?;
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    ready();
    let (taker, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    passed.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(&taker, &[IoSlice::new(b"!")], &mut passed, SendFlags::empty())?;
    Ok(())
}

/// Takes the socket that is given at `path`.
pub(super) fn take(path: &Path) -> Result<Socket> {
    let giver = UnixStream::connect(path).with_context(|| path.display().to_string())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&giver, &mut [IoSliceMut::new(&mut byte)], &mut passed, RecvFlags::empty())?;
    let sockets = passed.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.flatten().next().context("no socket was passed")?;
    Ok(Socket::from(socket))
}
