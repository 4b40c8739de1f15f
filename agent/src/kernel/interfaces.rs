//! The interfaces that packets leave the node by, followed by netlink: a VPC CNI adds some at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::time::timeout;

use super::KernelError;

/// For one question to the kernel.
const DEADLINE: Duration = Duration::from_secs(5);

/// Indexes and names.
pub type Interfaces = BTreeMap<u32, String>;

/// All interfaces of the node at one moment, by index.
pub type Links = BTreeMap<u32, Link>;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// As `ip link` shows it.
    pub name: String,
    /// Whose it is.
    pub kind: Kind,
}

/// Whose an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The node's own traffic to itself.
    Loopback,
    /// One pod's: a veth that the node itself does not send through.
    Pod,
    /// The node's, or of many pods.
    Other,
}

/// Knows the node's interfaces and is told of changes.
pub struct Watch {
    handle: Handle,
    changes: Pin<Box<dyn Stream<Item = ()> + Send + Sync>>,
    chosen: Chosen,
}

/// What an operator says about interfaces.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The forward guard sits on these, or where none is named, on every one that is no pod's.
    pub guarded: Vec<String>,
    /// Packets that came in by these pass it.
    pub exempt: Vec<String>,
}

impl Watch {
    /// Follows the interfaces of this network namespace. The future is the connection to the kernel,
    /// to be run beside.
    ///
    /// # Errors
    /// Where the kernel gives no netlink socket.
    pub fn new(chosen: Chosen) -> Result<(Self, impl Future<Output = ()> + Send), KernelError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
        let (connection, handle, changes) =
            new_multicast_connection(&groups).map_err(|source| failed("socket", source))?;
        let changes = Box::pin(changes.map(|_| ()));
        Ok((Self { handle, changes, chosen }, connection))
    }

    /// For other questions to the kernel.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The interfaces as they are now.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn look(&self) -> Result<Links, KernelError> {
        let mut links = self.links().await?;
        // The node itself sends through its uplinks, which are veths where it is a container.
        for uplink in self.uplinks().await? {
            if let Some(Link { kind: kind @ Kind::Pod, .. }) = links.get_mut(&uplink) {
                *kind = Kind::Other;
            }
        }
        Ok(links)
    }

    /// The interfaces that the forward guard sits on, as they are now.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn guarded(&self) -> Result<Interfaces, KernelError> {
        let is_guarded = |link: &Link| match link.kind {
            _ if !self.chosen.guarded.is_empty() => self.chosen.guarded.contains(&link.name),
            Kind::Loopback | Kind::Pod => false,
            Kind::Other => true,
        };
        let guarded = self.look().await?.into_iter().filter(|(_, link)| is_guarded(link));
        Ok(guarded.map(|(index, link)| (index, link.name)).collect())
    }

    /// The indexes of those whose packets pass the forward guard, leaving out what is not there.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn exempt(&self) -> Result<Vec<u32>, KernelError> {
        let links = self.links().await?;
        let those = links.into_iter().filter(|(_, link)| self.chosen.exempt.contains(&link.name));
        Ok(those.map(|(index, _)| index).collect())
    }

    /// Waits until something about interfaces or routes has changed. Several changes at once are one.
    pub async fn changed(&mut self) {
        if self.changes.next().await.is_none() {
            // The connection's task has ended, and with it soon the agent.
            std::future::pending::<()>().await;
        }
        while self.changes.next().now_or_never().flatten().is_some() {}
    }

    async fn links(&self) -> Result<Links, KernelError> {
        let all = self.handle.link().get().execute().try_collect::<Vec<_>>();
        let links = answered("RTM_GETLINK", all).await?;
        Ok(links.into_iter().map(|link| (link.header.index, Link::from(link))).collect())
    }

    /// Interfaces that carry a route through a gateway.
    async fn uplinks(&self) -> Result<BTreeSet<u32>, KernelError> {
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut uplinks = BTreeSet::new();
        for family in [v4, v6] {
            let all = self.handle.route().get(family).execute().try_collect::<Vec<_>>();
            let routes = answered("RTM_GETROUTE", all).await?;
            uplinks.extend(routes.iter().filter_map(by_gateway));
        }
        Ok(uplinks)
    }
}

impl From<LinkMessage> for Link {
    fn from(link: LinkMessage) -> Self {
        let mut name = String::new();
        let mut kind = Kind::Other;
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(given) => name = given,
                LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Veth)) => {
                    kind = Kind::Pod;
                }
                _ => {}
            }
        }
        if link.header.flags.contains(LinkFlags::Loopback) {
            kind = Kind::Loopback;
        }
        Self { name, kind }
    }
}

fn by_gateway(route: &RouteMessage) -> Option<u32> {
    let has_gateway = |attribute: &RouteAttribute| {
        matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_))
    };
    let interface = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    };
    let attributes = &route.attributes;
    attributes.iter().any(has_gateway).then(|| attributes.iter().find_map(interface)).flatten()
}

/// An answer of the kernel, which must come soon.
pub(super) async fn answered<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, KernelError> {
    match timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(|error| failed(call, io::Error::other(error))),
        Err(_) => Err(failed(call, io::ErrorKind::TimedOut.into())),
    }
}

fn failed(call: &'static str, source: io::Error) -> KernelError {
    KernelError::Syscall { call, object: "the node's interfaces".into(), mend: "", source }
}
