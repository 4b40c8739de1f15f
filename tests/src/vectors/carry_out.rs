//! Carries an attack out, step by step.

use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{SockAddr, Socket};

use super::attack::{Attack, Content, Origin, Quirk, Report, RingTask, Transport, Way};
use super::socket::{self, sockaddr};
use super::{hand_over, ring};
use crate::probe::{self, Ends, Failure, Progress, Step};

/// Makes the socket and uses it, and calls `opened` where that is connected and has sent nothing yet.
///
/// What cannot even be prepared, for want of a protocol or a right, is reported as missing.
#[must_use]
pub fn carry_out(attack: &Attack, opened: impl FnOnce() -> io::Result<()>) -> Report {
    match prepare(attack) {
        Ok(socket) => {
            Report::Ran(probe::exchange(|progress| run(attack, &socket, progress, opened)))
        }
        Err(error) => Report::Missing(format!("{error:#}")),
    }
}

fn prepare(attack: &Attack) -> Result<Socket> {
    let is_early = |quirk: &&Quirk| matches!(quirk, Quirk::UserNamespace);
    for quirk in attack.quirks.iter().filter(is_early) {
        apply(quirk, None).with_context(|| format!("{quirk:?}"))?;
    }
    let socket = match &attack.origin {
        Origin::Made(kind) => socket::make(*kind).with_context(|| format!("a socket, {kind:?}"))?,
        Origin::PassedAt(path) => hand_over::take(path)?,
    };
    for quirk in attack.quirks.iter().filter(|quirk| !is_early(quirk)) {
        apply(quirk, Some(&socket)).with_context(|| format!("{quirk:?}"))?;
    }
    if let Way::Ring { manner, .. } = attack.way {
        ring::new(manner).context("a ring (io_uring)")?;
    }
    // Closed at once: a FIN that is sent again and again would be counted as part of what follows.
    socket.set_linger(Some(Duration::ZERO))?;
    let patience = Some(attack.patience());
    socket.set_write_timeout(patience)?;
    socket.set_read_timeout(patience)?;
    Ok(socket)
}

fn apply(quirk: &Quirk, socket: Option<&Socket>) -> Result<()> {
    match (quirk, socket) {
        (Quirk::UserNamespace, None) => unshare_user()?,
        (Quirk::OnlyV6, Some(socket)) => socket.set_only_v6(true)?,
        (Quirk::Device(name), Some(socket)) => socket.bind_device(Some(name.as_bytes()))?,
        (Quirk::From(address), Some(socket)) => socket::bind(socket, *address)?,
        (Quirk::SourceRoute(hop), Some(socket)) => socket::set_source_route(socket, *hop)?,
        (Quirk::HeaderIncluded, Some(socket)) => socket.set_header_included_v4(true)?,
        (Quirk::QdiscBypass, Some(socket)) => socket::set_qdisc_bypass(socket)?,
        // "0" in cgroup.procs stands for the writer.
        (Quirk::MoveTo(cgroup), Some(_)) => fs::write(cgroup.join("cgroup.procs"), "0")?,
        _ => bail!("applied at the wrong time"),
    }
    Ok(())
}

fn unshare_user() -> io::Result<()> {
    // SAFETY: a plain system call; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn run(
    attack: &Attack,
    socket: &Socket,
    progress: &mut Progress,
    opened: impl FnOnce() -> io::Result<()>,
) -> Result<(), Failure> {
    let sent = open(attack, socket)?;
    progress.ends = ends(socket);
    if !sent {
        opened().map_err(|error| probe::failed(Step::Connect, &error))?;
        send(attack, socket)?;
    }
    if !attack.is_stream() {
        return Ok(());
    }
    let mut stream: &Socket = socket;
    let received = stream.read_to_end(&mut progress.answer);
    received.map(|_| ()).map_err(|error| probe::failed(Step::Receive, &error))
}

/// Gives whether the bytes are on their way already.
fn open(attack: &Attack, socket: &Socket) -> Result<bool, Failure> {
    let connecting: fn(io::Error) -> Failure = |error| probe::failed(Step::Connect, &error);
    let sending: fn(io::Error) -> Failure = |error| probe::failed(Step::Send, &error);
    let (bytes, patience) = (&attack.bytes, attack.patience());
    match &attack.way {
        Way::Connect(to) => {
            let connected = socket.connect_timeout(&sockaddr(*to), patience);
            connected.map(|()| false).map_err(connecting)
        }
        Way::FastOpenConnect(to) => {
            let connected =
                socket::set_fast_open_connect(socket).and_then(|()| socket.connect(&sockaddr(*to)));
            connected.map(|()| false).map_err(connecting)
        }
        Way::SendTo(to) => socket.send_to(bytes, &sockaddr(*to)).map(|_| true).map_err(sending),
        Way::Cork(to) => cork(socket, bytes, &sockaddr(*to)).map(|()| true).map_err(sending),
        Way::FastOpen(to) => {
            let sent = socket.send_to_with_flags(bytes, &sockaddr(*to), libc::MSG_FASTOPEN);
            sent.map(|_| true).map_err(connecting)
        }
        Way::Ring { task, manner, to } => {
            let done = ring::run(*manner, *task, socket, &sockaddr(*to), bytes, patience);
            done.map(|()| task.sends()).map_err(if task.connects() { connecting } else { sending })
        }
        Way::Frames { device, contents } => {
            frames(socket, device, contents).map(|()| true).map_err(sending)
        }
    }
}

fn send(attack: &Attack, socket: &Socket) -> Result<(), Failure> {
    let sent = socket.send(&attack.bytes);
    sent.map(|_| ()).map_err(|error| probe::failed(Step::Send, &error))
}

fn cork(socket: &Socket, bytes: &[u8], to: &SockAddr) -> io::Result<()> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    socket.send_to_with_flags(first, to, libc::MSG_MORE)?;
    socket.send_to(second, to)?;
    Ok(())
}

fn frames(socket: &Socket, device: &str, contents: &[Content]) -> io::Result<()> {
    let (interface, neighbour) = (socket::interface(device)?, neighbour(device)?);
    for Content { ethertype, bytes } in contents {
        socket.send_to(bytes, &socket::link_address(interface, *ethertype, neighbour)?)?;
    }
    Ok(())
}

/// The hardware address of the first neighbour on an interface (proc(5), `/proc/net/arp`).
fn neighbour(device: &str) -> io::Result<[u8; 6]> {
    let table = fs::read_to_string("/proc/net/arp")?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mac = lines.find_map(|fields| match fields.as_slice() {
        [_, _, _, mac, .., on] if *on == device => {
            let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
            bytes.collect::<Result<Vec<_>, _>>().ok()?.try_into().ok()
        }
        _ => None,
    });
    mac.ok_or_else(|| io::Error::other(format!("{device} has no neighbour")))
}

fn ends(socket: &Socket) -> Option<Ends> {
    let plain = |address: io::Result<SockAddr>| -> Option<SocketAddr> { address.ok()?.as_socket() };
    Some(Ends { local: plain(socket.local_addr())?, peer: plain(socket.peer_addr())? })
}

impl RingTask {
    fn connects(self) -> bool {
        matches!(self, Self::Connect | Self::FastOpen)
    }

    fn sends(self) -> bool {
        matches!(self, Self::Send | Self::FastOpen)
    }
}

impl Attack {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    /// Passed sockets are TCP's.
    fn is_stream(&self) -> bool {
        match self.origin {
            Origin::Made(kind) => matches!(kind.transport, Transport::Tcp | Transport::Mptcp),
            Origin::PassedAt(_) => true,
        }
    }
}
