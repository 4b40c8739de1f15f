//! What a pod does to a socket: the part that runs inside it (`podrole-probe`), and what it reports.
//!
//! A connect hook belongs to the cgroup of a whole process, so a thread of the test cannot stand in
//! for a pod; each probe is a process of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What came of one connection or datagram.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exchange {
    /// The ends of the socket, where it was connected.
    pub ends: Option<Ends>,
    /// What failed, and nothing where nothing did.
    pub failure: Option<Failure>,
    /// From the connect to the end, in milliseconds.
    pub took_ms: u64,
    answer: String,
}

/// What getsockname(2) and getpeername(2) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// The own end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// Its `errno`; `ETIMEDOUT` where the patience ended.
    pub errno: i32,
}

/// The steps of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// connect(2)
    Connect,
    /// write(2)
    Send,
    /// read(2), up to the other side's end
    Receive,
}

/// How the probe uses its socket.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How long the whole may take.
    pub patience: Duration,
    /// Whether to close as soon as the request is sent, without reading.
    pub hang_up: bool,
}

impl Exchange {
    /// The bytes that came back.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.answer).unwrap_or_default()
    }

    /// The `errno` of a refused connect.
    #[must_use]
    pub fn refused(&self) -> Option<i32> {
        self.failure.filter(|failure| failure.step == Step::Connect).map(|failure| failure.errno)
    }
}

/// Connects by TCP, sends `request` and reads to the end. The socket's family is the address's:
/// `[::ffff:1.2.3.4]:80` makes an IPv6 socket, as Java does.
#[must_use]
pub fn tcp(address: SocketAddr, request: &[u8], manner: Manner) -> Exchange {
    exchange(|progress| {
        let stream = TcpStream::connect_timeout(&address, manner.patience)
            .map_err(|error| failed(Step::Connect, &error))?;
        let ends =
            stream.local_addr().and_then(|local| Ok(Ends { local, peer: stream.peer_addr()? }));
        progress.ends = Some(ends.map_err(|error| failed(Step::Connect, &error))?);
        send(&stream, request, manner.patience).map_err(|error| failed(Step::Send, &error))?;
        if manner.hang_up {
            return Ok(());
        }
        receive(&stream, &mut progress.answer).map_err(|error| failed(Step::Receive, &error))
    })
}

fn send(mut stream: &TcpStream, request: &[u8], patience: Duration) -> io::Result<()> {
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request)
}

fn receive(mut stream: &TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    stream.read_to_end(answer).map(|_| ())
}

/// Sends `request` as one datagram and waits for one in return.
#[must_use]
pub fn udp(address: SocketAddr, request: &[u8], manner: Manner) -> Exchange {
    exchange(|progress| {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).map_err(|error| failed(Step::Connect, &error))?;
        socket.send_to(request, address).map_err(|error| failed(Step::Send, &error))?;
        let mut datagram = [0; 1500];
        let received = socket
            .set_read_timeout(Some(manner.patience))
            .and_then(|()| socket.recv_from(&mut datagram))
            .map_err(|error| failed(Step::Receive, &error))?;
        progress.answer.extend(datagram.iter().take(received.0));
        Ok(())
    })
}

/// `times` TCP exchanges at once, each on a thread of its own.
#[must_use]
pub fn tcp_at_once(
    address: SocketAddr,
    request: &[u8],
    manner: Manner,
    times: u32,
) -> Vec<Exchange> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..times).map(|_| scope.spawn(move || tcp(address, request, manner))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// What an exchange has come to so far.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) ends: Option<Ends>,
    pub(crate) answer: Vec<u8>,
}

pub(crate) fn exchange(steps: impl FnOnce(&mut Progress) -> Result<(), Failure>) -> Exchange {
    let mut progress = Progress::default();
    let start = Instant::now();
    let failure = steps(&mut progress).err();
    Exchange {
        ends: progress.ends,
        failure,
        took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        answer: BASE64_STANDARD.encode(progress.answer),
    }
}

pub(crate) fn failed(step: Step, error: &io::Error) -> Failure {
    // The standard library's own timeouts carry no number; a socket's timeout is EAGAIN.
    let errno = match error.raw_os_error() {
        None | Some(libc::EAGAIN) => libc::ETIMEDOUT,
        Some(errno) => errno,
    };
    Failure { step, errno }
}

/// Answers everything on TCP and UDP with [`echo_text`], until the process ends.
pub fn echo(tcp: &[SocketAddr], udp: &[SocketAddr], ready: impl Fn(SocketAddr)) -> io::Result<()> {
    thread::scope(|scope| {
        for &address in tcp {
            let listener = TcpListener::bind(address)?;
            ready(address);
            scope.spawn(move || listener.incoming().flatten().for_each(|s| greet(s, address)));
        }
        for &address in udp {
            let socket = UdpSocket::bind(address)?;
            ready(address);
            scope.spawn(move || greet_datagrams(&socket, address));
        }
        Ok(())
    })
}

/// What the echo server at `address` says to `peer`.
#[must_use]
pub fn echo_text(address: SocketAddr, peer: SocketAddr) -> String {
    format!("{address} sees {}", peer.ip())
}

fn greet(mut stream: TcpStream, address: SocketAddr) {
    // A client that goes away early is its own affair.
    let _gone = stream
        .peer_addr()
        .and_then(|peer| stream.write_all(echo_text(address, peer).as_bytes()))
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
        // Reading what it sent keeps the close from becoming a reset.
        .and_then(|()| io::copy(&mut stream, &mut io::sink()));
}

fn greet_datagrams(socket: &UdpSocket, address: SocketAddr) {
    let mut datagram = [0; 1500];
    while let Ok((_, peer)) = socket.recv_from(&mut datagram) {
        let _gone = socket.send_to(echo_text(address, peer).as_bytes(), peer);
    }
}
