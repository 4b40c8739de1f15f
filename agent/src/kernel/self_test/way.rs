//! The second half of the self-test: the way from a pod to the proxy. A process in the pods' cgroup, in
//! a network namespace that leads to this node, asks the proxy for a token. Its packets pass
//! the node's rules for what comes from pods, which the node's own do not: so only here shows a `hostPort`
//! or a Service's `externalIPs` that takes the proxy's port.

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{DEADLINE, Forgets, Place, SelfTestError, WAY_CGROUP, network};
use crate::kernel::{Records, Rules};

/// The pair of interfaces, on the node and in the namespace; gone with the namespace.
const ENDS: [&str; 2] = ["podrole-test0", "podrole-test1"];
/// The address of the process: nobody's (RFC 5737), and so no pod's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// What the process says once it has left for its namespace.
const READY: &str = "ready\n";
/// The port of the metadata service.
pub(super) const METADATA_PORT: u16 = 80;
/// For the answer: the proxy is on this node.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A token, or what somebody who is not podrole gave for one.
    Token(String),
    /// Nothing, or no answer to the request.
    None(String),
}

/// Asks once.
///
/// # Errors
/// Where the process or its network cannot be made.
pub async fn ask(pods: &Path, rules: &Rules, records: &Records) -> Result<Answer, SelfTestError> {
    let place = Place::make(pods, WAY_CGROUP)?;
    let _forgets = Forgets { records, place: place.id };
    timeout(DEADLINE, ask_from(&place, rules)).await.map_err(|_| SelfTestError::Late)?
}

async fn ask_from(place: &Place, rules: &Rules) -> Result<Answer, SelfTestError> {
    let failed = |what| move |error| SelfTestError::NotRun(what, error);
    let mut command = Command::new("/proc/self/exe");
    command.arg("self-test").arg("--cgroup").arg(&place.path);
    command.arg("--proxy").arg(rules.proxy_v4.to_string()).arg("--way");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed("start"))?;
    let said = talk(&mut child).await.map_err(failed("make its network"))?;
    let ended = child.wait().await.map_err(failed("end"))?;
    let said = said.trim().to_owned();
    Ok(if ended.success() { Answer::Token(said) } else { Answer::None(said) })
}

/// Waits until the process has its namespace, gives it its interface and reads what it says.
async fn talk(child: &mut Child) -> io::Result<String> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let id = child.id().ok_or_else(gone)?;
    let mut output = BufReader::new(child.stdout.take().ok_or_else(gone)?);
    let mut input = child.stdin.take().ok_or_else(gone)?;
    let mut ready = String::new();
    output.read_line(&mut ready).await?;
    if ready != READY {
        // It says why it has no network.
        return Ok(ready);
    }
    with_netlink(async |netlink| connect(&netlink, id).await).await?;
    input.write_all(b"\n").await?;
    let mut said = String::new();
    output.read_to_string(&mut said).await?;
    Ok(said)
}

async fn connect(netlink: &Handle, process: u32) -> Result<(), rtnetlink::Error> {
    let [near, far] = ENDS;
    remove_stale(netlink, near).await;
    netlink.link().add(LinkVeth::new(near, far).build()).execute().await?;
    let moved = LinkUnspec::new_with_name(far).setns_by_pid(process).build();
    netlink.link().set(moved).execute().await?;
    let index = up(netlink, near).await?;
    netlink.route().add(route(ADDRESS, index)).execute().await
}

/// The kernel takes a namespace that nobody is in apart when it has time, and its interfaces with it.
async fn remove_stale(netlink: &Handle, name: &str) {
    let found = netlink.link().get().match_name(name.to_owned()).execute().try_next().await;
    if let Ok(Some(link)) = found {
        // Gone meanwhile is as good.
        let _ = netlink.link().del(link.header.index).execute().await;
    }
}

async fn up(netlink: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    netlink.link().set(LinkUnspec::new_with_name(name).up().build()).execute().await?;
    let found = netlink.link().get().match_name(name).execute().try_next().await?;
    Ok(found.map_or(0, |link| link.header.index))
}

fn route(to: Ipv4Addr, index: u32) -> rtnetlink::packet_route::route::RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build()
}

pub(super) async fn with_netlink<T>(
    work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
) -> io::Result<T> {
    let (connection, handle, _) = new_connection()?;
    tokio::select! {
        done = work(handle) => done.map_err(io::Error::other),
        () = connection => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// The process: moves to its place, waits for its interface and asks. Returns what came back.
///
/// # Errors
/// Where the place cannot be made, or nothing came back.
pub fn run(cgroup: &Path, proxy: SocketAddrV4) -> io::Result<String> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    network::leave()?;
    let mut output = io::stdout();
    output.write_all(READY.as_bytes())?;
    output.flush()?;
    io::stdin().lock().read_line(&mut String::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(with_netlink(async |netlink| {
        let index = up(&netlink, ENDS[1]).await?;
        netlink.address().add(index, ADDRESS.into(), 32).execute().await?;
        netlink.route().add(route(*proxy.ip(), index)).execute().await
    }))?;
    put_token(proxy.into()).map(|(_, token)| token)
}

/// Asks for a token at `proxy`; from where, and what was given.
pub(super) fn put_token(proxy: SocketAddr) -> io::Result<(SocketAddr, String)> {
    const REQUEST: &[u8] = b"PUT /latest/api/token HTTP/1.1\r\nHost: instance-data\r\n\
        X-aws-ec2-metadata-token-ttl-seconds: 60\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect_timeout(&proxy, ANSWER_WITHIN)?;
    let from = stream.local_addr()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(REQUEST)?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((from, body.trim().to_owned()))
}
