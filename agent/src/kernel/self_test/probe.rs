//! The process that the self-test runs: `podrole self-test`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::{LinkUnspec, new_connection};
use tokio::time::{sleep, timeout};

use super::network::{self, LOOPBACK};

/// On a loopback interface nothing takes time.
const DEADLINE: Duration = Duration::from_secs(2);
/// A port of the metadata service that nobody redirects.
const OTHER_PORT: u16 = 81;

/// Moves this process into `cgroup` and a network namespace of its own, gives that the proxy's
/// addresses, and does there what pods do. Returns each check that failed.
///
/// # Errors
/// Where the place cannot be made.
pub fn run(cgroup: &Path, metadata: &[IpAddr], proxies: &[SocketAddr]) -> io::Result<Vec<String>> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    network::leave()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = proxies
        .iter()
        .filter_map(|proxy| match runtime.block_on(own(proxy.ip())) {
            // A node without IPv6 has none here either.
            Err(_) if proxy.is_ipv6() => None,
            owned => Some(owned.and_then(|()| TcpListener::bind(proxy))),
        })
        .collect::<io::Result<Vec<_>>>()?;
    for listener in &listeners {
        runtime.block_on(reach(listener))?;
    }
    let has_all = listeners.len() == proxies.len();
    let targets = metadata.iter().flat_map(|address| spellings(*address));
    // Where the proxy's IPv6 address cannot be had here, nothing can arrive at it.
    let targets = targets.filter(|target| has_all || target.to_canonical().is_ipv4());
    Ok(targets.flat_map(|target| check(target, &listeners)).collect())
}

/// IPv4 addresses also as dual-stack sockets write them.
pub(super) fn spellings(address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V4(v4) => vec![address, v4.to_ipv6_mapped().into()],
        IpAddr::V6(_) => vec![address],
    }
}

async fn own(address: IpAddr) -> io::Result<()> {
    let (connection, netlink, _) = new_connection()?;
    let length = if address.is_ipv4() { 32 } else { 128 };
    let work = async {
        netlink.link().set(LinkUnspec::new_with_index(LOOPBACK).up().build()).execute().await?;
        let mut add = netlink.address().add(LOOPBACK, address, length);
        // Else an IPv6 address is tentative for a moment, in which it cannot be bound.
        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
        add.message_mut().attributes.push(flags);
        add.execute().await
    };
    tokio::select! {
        done = work => done.map_err(io::Error::other),
        () = connection => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Waits until the kernel has made the route to an address that was just added, which for IPv6 it does
/// in its own time.
async fn reach(listener: &TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    let reached = async {
        while TcpStream::connect_timeout(&address, DEADLINE).is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached).await.map_err(|_| io::ErrorKind::TimedOut)?;
    listener.accept().map(|_| ())
}

fn check(metadata: IpAddr, listeners: &[TcpListener]) -> Vec<String> {
    let redirected = redirected((metadata, 80).into(), listeners);
    let redirected = redirected.err();
    let failed = redirected.map(|error| format!("a connection to {metadata} port 80: {error}"));
    failed.into_iter().chain(refused(metadata)).collect()
}

/// What must be refused and was not.
pub(super) fn refused(metadata: IpAddr) -> impl Iterator<Item = String> {
    let connect = TcpStream::connect_timeout(&(metadata, OTHER_PORT).into(), DEADLINE);
    let datagram = send((metadata, OTHER_PORT).into());
    [
        allowed(connect).map(|how| format!("a connection to {metadata} port {OTHER_PORT}: {how}")),
        allowed(datagram).map(|how| format!("a datagram to {metadata}: {how}")),
    ]
    .into_iter()
    .flatten()
}

/// The connection must end at one of our listeners, and show the address that was asked for.
fn redirected(metadata: SocketAddr, listeners: &[TcpListener]) -> io::Result<()> {
    let client = shown(metadata)?;
    let own = canonical(client.local_addr()?);
    for listener in listeners {
        listener.set_nonblocking(true)?;
        if listener.accept().is_ok_and(|(_, peer)| canonical(peer) == own) {
            return Ok(());
        }
    }
    Err(io::Error::other("somebody else answered"))
}

/// A connection that shows the address that was asked for.
pub(super) fn shown(metadata: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect_timeout(&metadata, DEADLINE)?;
    if client.peer_addr()? != metadata {
        return Err(io::Error::other("the socket shows another address than was asked for"));
    }
    Ok(client)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn send(metadata: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match metadata {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.send_to(b"x", metadata).map(|_| ())
}

/// How a call that must be refused was not: it succeeded, or failed for want of a route.
fn allowed<T>(call: io::Result<T>) -> Option<String> {
    match call {
        Ok(_) => Some("was not refused".into()),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied => None,
            _ => Some(format!("was not refused ({error})")),
        },
    }
}
