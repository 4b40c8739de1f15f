//! The way of one pod to the metadata service, gone by a process in the pod's network and in a cgroup
//! inside of the pod's, so that all that concerns the pod concerns it too.

use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::task::Poll;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, Lines,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{DEADLINE, Place, SelfTestError};
use crate::kernel::sockets;

/// Its cgroup, inside of the pod's.
const CGROUP: &str = "podrole-check";
/// For the connection: SDKs give up after one second.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// For each answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How often is looked where the kernel sends the connection.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// As much of an answer as is read.
const ANSWER_MAX: u64 = 16 * 1024;

/// How far the connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Whether the call was let through, so that a packet left.
    pub left: bool,
    /// Where the kernel sends it, which is not what it shows the pod; `None` where it was over before
    /// anybody could look.
    pub sent_to: Option<SocketAddr>,
    /// The pod's end, if it was opened.
    pub from: Option<SocketAddr>,
    /// The `errno` of what failed.
    pub failed: Option<i32>,
    /// Milliseconds until either.
    pub took_ms: u64,
}

/// What the metadata service answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The status.
    pub status: u16,
    /// The header `Server`.
    pub server: Option<String>,
    /// The body.
    pub body: String,
}

/// Goes the way of the pod whose cgroup is at `cgroup` and whose network is `network`. `arrived` is told
/// of the connection while that is open; what it gives comes back with the answer to the question for the
/// pod's role.
///
/// # Errors
/// Where the process cannot be made, or does not end in time.
pub async fn go<T>(
    cgroup: &Path,
    network: &Path,
    metadata: SocketAddr,
    arrived: impl FnOnce(&Opened) -> T,
) -> Result<(Opened, T, Result<Heard, String>), SelfTestError> {
    let place = Place::make(cgroup, CGROUP)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("self-test").arg("--cgroup").arg(&place.path);
    command.arg("--network").arg(network).arg("--proxy").arg(metadata.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let not_run = |what| move |error| SelfTestError::NotRun(what, error);
    let mut child = command.spawn().map_err(not_run("start"))?;
    let talked = async {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut input = child.stdin.take().ok_or_else(gone)?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(gone)?).lines();
        let opened: Opened = line(&mut output).await?;
        let seen = arrived(&opened);
        input.write_all(b"\n").await?;
        let heard = line(&mut output).await?;
        child.wait().await?;
        Ok((opened, seen, heard))
    };
    let talked = timeout(DEADLINE, talked).await.map_err(|_| SelfTestError::Late)?;
    talked.map_err(not_run("go the pod's way"))
}

async fn line<T: DeserializeOwned>(output: &mut Lines<BufReader<ChildStdout>>) -> io::Result<T> {
    let line = output.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_str(&line)?)
}

/// The process: moves to its place, connects, waits for a line and asks.
///
/// # Errors
/// Where the place cannot be entered.
pub fn run(cgroup: &Path, network: &Path, metadata: SocketAddr) -> io::Result<()> {
    let network = File::open(network)?;
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (opened, stream) = connect(metadata).await?;
        say(&opened)?;
        io::stdin().read_line(&mut String::new())?;
        let heard = match stream {
            Some(stream) => ask(stream, metadata).await.map_err(|error| error.to_string()),
            None => Err("it could not be asked".to_owned()),
        };
        say(&heard)
    })
}

fn say(what: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{}", serde_json::to_string(what)?)?;
    output.flush()
}

async fn connect(to: SocketAddr) -> io::Result<(Opened, Option<TcpStream>)> {
    let (socket, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
    };
    // By its port the socket is found in the kernel's list while it connects.
    socket.bind((any, 0).into())?;
    let port = socket.local_addr()?.port();
    let look = || sockets::of_this_namespace().into_iter().find(|it| it.local.port() == port);
    let (start, mut sent_to) = (Instant::now(), None);
    let mut connecting = pin!(timeout(CONNECT_WITHIN, socket.connect(to)));
    // What a program forbids fails in the call itself, and what the other end says comes later.
    let first = poll_fn(|context| Poll::Ready(connecting.as_mut().poll(context))).await;
    let left = !matches!(first, Poll::Ready(Ok(Err(_))));
    let connected = match first {
        Poll::Ready(connected) => connected,
        Poll::Pending => loop {
            sent_to = look().map(|socket| socket.remote).or(sent_to);
            tokio::select! {
                connected = &mut connecting => break connected,
                () = sleep(LOOK_EVERY) => {}
            }
        },
    };
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (stream, failed) = match connected {
        Ok(Ok(stream)) => (Some(stream), None),
        Ok(Err(error)) => (None, Some(error.raw_os_error().unwrap_or_default())),
        Err(_) => (None, Some(libc::ETIMEDOUT)),
    };
    let from = stream.as_ref().map(TcpStream::local_addr).transpose()?;
    if stream.is_some() {
        sent_to = look().map(|socket| socket.remote).or(sent_to);
    }
    Ok((Opened { left, sent_to, from, failed, took_ms }, stream))
}

/// Gets a token, and asks for the role with it on a connection of its own.
async fn ask(stream: TcpStream, metadata: SocketAddr) -> io::Result<Heard> {
    const TOKEN: &str =
        "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    const ROLE: &str = "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\n";
    let within = async {
        let token = exchange(stream, TOKEN, metadata).await?;
        if token.status != 200 || token.body.contains(char::is_control) {
            return Ok(token);
        }
        let head = format!("{ROLE}X-aws-ec2-metadata-token: {}\r\n", token.body);
        exchange(TcpStream::connect(metadata).await?, &head, metadata).await
    };
    timeout(ANSWER_WITHIN, within).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn exchange(mut stream: TcpStream, head: &str, host: SocketAddr) -> io::Result<Heard> {
    let host = host.ip();
    let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    send(&mut stream, &format!("{head}Host: {host}\r\nConnection: close\r\n\r\n")).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    heard(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes()).await
}

/// Status, server and body of an answer (RFC 9112, section 4).
fn heard(answer: &str) -> Option<Heard> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let server = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("server").then(|| value.trim().to_owned())
    });
    Some(Heard { status, server, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = "HTTP/1.1 404 Not Found\r\nDate: x\r\nserver: EC2ws\r\n\r\nbody";
        let said = heard(answer).unwrap();
        assert_eq!((said.status, said.server.as_deref()), (404, Some("EC2ws")));
        assert_eq!(said.body, "body");
    }

    #[test]
    fn what_is_no_http_is_no_answer() {
        for answer in ["", "hello", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n"] {
            assert_eq!(heard(answer), None, "{answer:?}");
        }
    }
}
