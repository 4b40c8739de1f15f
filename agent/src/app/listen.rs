//! The sockets that pods and probes come to.

use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::operate::control::hand_over::Use;
use crate::operate::control::server::Socket;
use crate::operate::duty::Duty;
use crate::report::Chain;
use crate::settings::{ADMIN_PORT, Listen, PROXY_PORT, Settings};

use super::Error;
use super::upgrade::take;

/// How long an address that is named may take to be the node's: a new IPv6 address is checked for its
/// like first (RFC 4862, section 5.4).
const ADDRESS_COMES_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not the node's, or its port is taken.
    #[error(
        "cannot listen on {address}; see who has the port (`ss -ltnp sport = :{port}`) and whether the address is this node's, or name another by {flag}",
        port = address.port()
    )]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// The flag that names it.
        flag: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process has no room for the descriptors by which they are handed over.
    #[error("the agent's sockets cannot be shared with an agent that comes after it")]
    Share(#[source] io::Error),
    /// The node has no route that would tell its address.
    #[error("this node's primary IPv4 address cannot be told; name it by --listen")]
    NoPrimary(#[source] io::Error),
}

/// Sockets on their way from one agent to the next.
pub(super) type Handed = Vec<(Use, OwnedFd)>;

/// All that others come to.
pub(super) struct Sockets {
    /// For pods.
    pub(super) proxies: Vec<TcpListener>,
    /// For probes.
    pub(super) admin: TcpListener,
    /// For the commands that ask the agent of this node.
    pub(super) control: Socket,
    /// For those in the same container, which ask this very agent.
    pub(super) own: Option<Socket>,
}

impl Sockets {
    /// Takes up those that an agent before this one handed over, and binds the others.
    pub(super) async fn bind(
        settings: &Settings,
        listen: Listen,
        mut handed: Handed,
        duty: &Duty,
    ) -> Result<Self, Error> {
        let proxies = proxies(listen, &mut handed).await?;
        let admin = admin(settings.kernel.admin_listen, &mut handed).await?;
        let path = &settings.socket;
        let control = handed.iter().position(|(its_use, _)| *its_use == Use::Control);
        // After the ports, which tell better that another agent runs.
        let control = match control.map(|at| handed.swap_remove(at)) {
            Some((_, socket)) => Socket::inherited(socket, path, duty.clone())?,
            None => Socket::bind(path, duty.clone())?,
        };
        Ok(Self { proxies, admin, control, own: Socket::bind_own(path)? })
    }

    /// All but this agent's own, to be handed over.
    pub(super) fn share(&self) -> io::Result<Handed> {
        let proxies = self.proxies.iter().map(|proxy| (Use::Proxy, proxy.as_fd()));
        let others = [(Use::Admin, self.admin.as_fd()), (Use::Control, self.control.as_fd())];
        let shared = proxies.chain(others);
        shared.map(|(its_use, socket)| Ok((its_use, socket.try_clone_to_owned()?))).collect()
    }
}

/// The sockets for pods; those of the agent before at other addresses too, since pods may wait there.
async fn proxies(listen: Listen, handed: &mut Handed) -> Result<Vec<TcpListener>, ListenError> {
    const FLAG: &str = "--listen";
    let mut sockets = Vec::new();
    for address in listen.addresses() {
        sockets.push(match take(handed, Use::Proxy, Some(address)) {
            Some(socket) => socket,
            None => bind(address, FLAG).await?,
        });
    }
    sockets.extend(iter::from_fn(|| take(handed, Use::Proxy, None)));
    Ok(sockets)
}

/// The socket for probes: as told, else for both families, or for IPv4 where IPv6 is off.
async fn admin(given: Option<SocketAddr>, handed: &mut Handed) -> Result<TcpListener, ListenError> {
    const FLAG: &str = "--admin-listen";
    if let Some(socket) = take(handed, Use::Admin, given) {
        return Ok(socket);
    }
    if let Some(address) = given {
        return bind(address, FLAG).await;
    }
    match bind((Ipv6Addr::UNSPECIFIED, ADMIN_PORT).into(), FLAG).await {
        Err(ListenError::Bind { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, ADMIN_PORT).into(), FLAG).await
        }
        bound => bound,
    }
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    let given_up = Instant::now() + ADDRESS_COMES_WITHIN;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source)
                if source.kind() != io::ErrorKind::AddrNotAvailable
                    || Instant::now() >= given_up =>
            {
                return Err(ListenError::Bind { address, flag, source });
            }
            Err(_) => sleep(LOOK_AGAIN_AFTER).await,
        }
    }
}

/// As told, else the node's primary addresses.
pub(super) fn or_primary(given: Option<Listen>) -> Result<Listen, ListenError> {
    given.map_or_else(primary_addresses, Ok)
}

/// The same, as soon as it can be told: the agent may be there before the network.
pub(super) async fn once_there(given: Option<Listen>) -> Listen {
    let mut is_told = false;
    loop {
        match or_primary(given) {
            Ok(listen) => return listen,
            Err(error) if !is_told => {
                warn!(error = %Chain(&error), "waiting for the network");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// The addresses that the node would send from to elsewhere. Connecting a datagram socket asks the
/// kernel's routes and sends nothing; the addresses asked for are nobody's (RFC 5737, RFC 3849).
fn primary_addresses() -> Result<Listen, ListenError> {
    const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v4 = match source_to(Ipv4Addr::UNSPECIFIED.into(), NOBODY_V4.into()) {
        Ok(IpAddr::V4(v4)) => SocketAddrV4::new(v4, PROXY_PORT),
        Ok(IpAddr::V6(_)) => {
            return Err(ListenError::NoPrimary(io::ErrorKind::AddrNotAvailable.into()));
        }
        Err(error) => return Err(ListenError::NoPrimary(error)),
    };
    let v6 = match source_to(Ipv6Addr::UNSPECIFIED.into(), NOBODY_V6.into()) {
        Ok(IpAddr::V6(v6)) if !v6.is_unicast_link_local() => {
            Some(SocketAddrV6::new(v6, PROXY_PORT, 0, 0))
        }
        _ => None,
    };
    Ok(Listen { v4, v6 })
}

fn source_to(unspecified: IpAddr, destination: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect((destination, 9))?;
    Ok(socket.local_addr()?.ip())
}
