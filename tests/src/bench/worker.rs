//! A process inside of a pod that does what it is told, so many times, and says how long each took: it is
//! started once, so that batches of several workers can follow each other within milliseconds.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::figure::wide;
use crate::http::Request;
use crate::place::Place;
use crate::process;

/// For each step: nothing takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of a transfer is written at once.
const PIECE: usize = 64 << 10;

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Connects and closes.
    Connect(SocketAddr),
    /// Connects, whatever comes of it, and closes.
    Try(SocketAddr),
    /// Connects, asks for a path, reads the whole answer, and closes.
    Get(SocketAddr, String),
    /// Asks for a path on one connection that stays.
    Ask(SocketAddr, String),
    /// Sends a datagram.
    Send(SocketAddr),
    /// Binds a socket to a port of the kernel's choosing.
    Bind(IpAddr),
    /// Asks a connected socket for its peer.
    Peer(SocketAddr),
    /// Sends so many bytes to a [`sink`] over one connection.
    Transfer(SocketAddr, u64),
}

#[derive(Serialize, Deserialize)]
struct Order {
    job: Job,
    times: usize,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    /// Nanoseconds each time.
    Took(Vec<u64>),
    Failed(String),
}

/// A worker, from outside.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one in `place`, on one processor.
    pub fn start(place: &Place, processor: usize) -> Result<Self> {
        let mut command = place.command(process::own_binary("podrole-bench")?)?;
        command.args(["worker", "--processor", &processor.to_string()]);
        let mut child = piped(&mut command).spawn().context("start a worker")?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().context("a worker's output is a pipe")?;
        Ok(Self { child, orders, replies: BufReader::new(replies) })
    }

    /// Has it do `job` so many times, and gives how many nanoseconds each took.
    ///
    /// # Errors
    /// What went wrong inside.
    pub fn run(&mut self, job: &Job, times: usize) -> Result<Vec<f64>> {
        let order = serde_json::to_string(&Order { job: job.clone(), times })?;
        let orders = self.orders.as_mut().context("a worker takes no more orders")?;
        writeln!(orders, "{order}").with_context(|| format!("order {order}"))?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        match serde_json::from_str(&line).with_context(|| format!("{order}: {line:?}"))? {
            Reply::Took(took) => Ok(took.into_iter().map(wide).collect()),
            Reply::Failed(why) => bail!("{order}: {why}"),
        }
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped())
}

impl Drop for Worker {
    fn drop(&mut self) {
        // At the end of its orders it ends; where it does not, nothing waits for it.
        drop(self.orders.take());
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("a worker could not be ended: {error}");
        }
    }
}

/// Keeps the calling thread, and those that it starts from now on, on one processor.
pub fn stay_on(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).with_context(|| format!("stay on processor {processor}"))
}

/// Takes orders from standard input until its end.
pub fn work(processor: usize) -> Result<()> {
    stay_on(processor)?;
    let mut kept = None;
    for line in io::stdin().lock().lines() {
        let Order { job, times } = serde_json::from_str(&line?)?;
        let reply = match repeat(&job, times, &mut kept) {
            Ok(took) => Reply::Took(took),
            Err(error) => Reply::Failed(format!("{error:#}")),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&reply)?)?;
        out.flush()?;
    }
    Ok(())
}

/// The connection of the job that keeps one.
type Kept = Option<(SocketAddr, TcpStream)>;

fn repeat(job: &Job, times: usize, kept: &mut Kept) -> Result<Vec<u64>> {
    match job {
        Job::Connect(address) => timed(times, || close(connect(*address)?)),
        Job::Try(address) => timed(times, || match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => close(stream),
            Err(_) => Ok(()),
        }),
        Job::Get(address, path) => {
            let request = Request::get(path).bytes();
            let mut answer = Vec::with_capacity(PIECE);
            timed(times, || {
                let mut stream = connect(*address)?;
                stream.write_all(&request)?;
                answer.clear();
                stream.read_to_end(&mut answer)?;
                ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", shown(&answer));
                Ok(())
            })
        }
        Job::Ask(address, path) => ask(*address, path, times, kept),
        Job::Send(address) => {
            let socket = UdpSocket::bind((any(address.ip()), 0))?;
            timed(times, || Ok(socket.send_to(b"x", address).map(drop)?))
        }
        Job::Bind(address) => timed(times, || {
            TcpListener::bind((*address, 0))?;
            Ok(())
        }),
        Job::Peer(address) => {
            let stream = connect(*address)?;
            timed(times, || Ok(stream.peer_addr().map(drop)?))
        }
        Job::Transfer(address, bytes) => {
            let mut stream = connect(*address)?;
            let piece = vec![7; PIECE];
            timed(times, || transfer(&mut stream, &piece, *bytes))
        }
    }
}

fn timed(times: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<u64>> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        took.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    Ok(took)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// By a reset, so that no port waits for latecomers (socket(7), `SO_LINGER`).
fn close(stream: TcpStream) -> Result<()> {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

fn ask(address: SocketAddr, path: &str, times: usize, kept: &mut Kept) -> Result<Vec<u64>> {
    if kept.as_ref().is_none_or(|(at, _)| *at != address) {
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        *kept = Some((address, stream));
    }
    let Some((_, stream)) = kept else { bail!("a connection was just made") };
    let request = format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
    let (mut answer, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    timed(times, || {
        stream.write_all(request.as_bytes())?;
        answer.clear();
        while !is_whole(&answer) {
            let read = stream.read(&mut piece)?;
            ensure!(read > 0, "the connection was closed after {:?}", shown(&answer));
            answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", shown(&answer));
        Ok(())
    })
}

fn is_whole(answer: &[u8]) -> bool {
    crate::http::Answer::read(answer, true).is_ok_and(|(_, rest)| rest.is_empty())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(300).collect()
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

/// The sink says a byte when it has all.
fn transfer(stream: &mut TcpStream, piece: &[u8], bytes: u64) -> Result<()> {
    stream.write_all(&bytes.to_be_bytes())?;
    let mut left = usize::try_from(bytes)?;
    while left > 0 {
        let part = piece.get(..left.min(piece.len())).unwrap_or_default();
        stream.write_all(part)?;
        left -= part.len();
    }
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// Takes all connections: those that close at once, and transfers. Says when it listens; runs until the
/// process ends. One thread for all of them: a client never waits for its place in the queue.
pub fn sink(addresses: &[SocketAddr], processor: usize, ready: impl Fn(SocketAddr)) -> Result<()> {
    stay_on(processor)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut listening = JoinSet::new();
        for &address in addresses {
            let listener = tokio::net::TcpListener::bind(address).await?;
            listening.spawn(take_all(listener));
            ready(address);
        }
        listening.join_all().await.into_iter().collect::<io::Result<()>>()?;
        anyhow::Ok(())
    })
}

async fn take_all(listener: tokio::net::TcpListener) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A client that goes away early is its own affair.
            Some(_gone) = connections.join_next() => {}
            taken = listener.accept() => drop(connections.spawn(take_in(taken?.0))),
        }
    }
}

async fn take_in(mut stream: tokio::net::TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let mut left = usize::try_from(stream.read_u64().await?).unwrap_or(usize::MAX);
        buffer.resize(PIECE, 0);
        while left > 0 {
            let most = left.min(buffer.len());
            let read = stream.read(buffer.get_mut(..most).unwrap_or_default()).await?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
        }
        stream.write_all(&[1]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_goes_over_a_line() {
        let job = Job::Get("169.254.169.254:80".parse().unwrap(), "/latest".to_owned());
        let line = serde_json::to_string(&Order { job: job.clone(), times: 3 }).unwrap();
        assert!(!line.contains('\n'));
        let order: Order = serde_json::from_str(&line).unwrap();
        assert_eq!((order.job, order.times), (job, 3));
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
        assert!(is_whole(answer));
        assert!(!is_whole(&answer[..answer.len() - 1]));
    }
}
