//! An attack as data: which socket, what is done to it, and how the first packet is made to leave.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::packet;
use crate::probe::Exchange;

/// One attempt to make a packet arrive somewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attack {
    /// The socket.
    pub origin: Origin,
    /// What is done to it before it is used, in this order.
    pub quirks: Vec<Quirk>,
    /// How it is used.
    pub way: Way,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How long each step may take, in milliseconds.
    pub patience_ms: u64,
}

/// Where the socket comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Origin {
    /// The process makes it.
    Made(Kind),
    /// Another process made it, and passes it by this Unix socket.
    PassedAt(PathBuf),
}

/// A kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// `AF_INET6` instead of `AF_INET`.
    pub v6: bool,
    /// Type and protocol.
    pub transport: Transport,
}

/// Type and protocol of an internet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// Multipath TCP (RFC 8684).
    Mptcp,
    /// UDP.
    Udp,
    /// UDP-Lite (RFC 3828).
    UdpLite,
    /// A ping socket: ICMP echo requests without `CAP_NET_RAW` (icmp(7)).
    Ping,
    /// A raw socket of this protocol (raw(7)).
    Raw(u8),
    /// A packet socket, which bypasses the whole of the internet protocols (packet(7)).
    Packet,
}

/// Something unusual about the socket or the process that uses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Quirk {
    /// `IPV6_V6ONLY`
    OnlyV6,
    /// `SO_BINDTODEVICE`
    Device(String),
    /// bind(2) to this address
    From(SocketAddr),
    /// `IP_OPTIONS` with a loose source route by this hop (RFC 791)
    SourceRoute(Ipv4Addr),
    /// `IP_HDRINCL`: the bytes begin with the IP header.
    HeaderIncluded,
    /// `PACKET_QDISC_BYPASS`
    QdiscBypass,
    /// unshare(2) with `CLONE_NEWUSER`
    UserNamespace,
    /// The process moves to this cgroup.
    MoveTo(PathBuf),
}

/// How the first packet is made to leave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Way {
    /// connect(2), then send(2)
    Connect(To),
    /// sendto(2)
    SendTo(To),
    /// sendto(2) in two pieces, the first with `MSG_MORE`
    Cork(To),
    /// sendto(2) with `MSG_FASTOPEN` (RFC 7413)
    FastOpen(To),
    /// connect(2) after `TCP_FASTOPEN_CONNECT`: the SYN leaves with the first send(2)
    FastOpenConnect(To),
    /// By `io_uring`
    Ring {
        /// What is asked of the ring.
        task: RingTask,
        /// How the ring shall do it.
        manner: RingManner,
        /// Where to.
        to: To,
    },
    /// Each of these in a frame to the neighbour on this interface
    Frames {
        /// The interface, which has one neighbour.
        device: String,
        /// What the frames hold.
        contents: Vec<Content>,
    },
}

/// What is in a frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Content {
    /// What it says it is (`ETH_P_IP` and so on).
    pub ethertype: u16,
    /// The bytes behind the frame's header.
    pub bytes: Vec<u8>,
}

/// What is asked of a ring.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum RingTask {
    /// `IORING_OP_CONNECT`
    Connect,
    /// `IORING_OP_SENDMSG`
    Send,
    /// `IORING_OP_SENDMSG` with `MSG_FASTOPEN`
    FastOpen,
}

/// Who does the work of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RingManner {
    /// The process that submits it.
    Plain,
    /// A worker thread of the kernel (`IOSQE_ASYNC`).
    Async,
    /// The kernel's polling thread (`IORING_SETUP_SQPOLL`).
    Polling,
}

/// An address, and how it is written down for the kernel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct To {
    /// The address.
    pub address: SocketAddr,
    /// The `sockaddr`.
    pub spelling: Spelling,
}

/// How an address can be written as a `sockaddr`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Spelling {
    /// As it should be.
    Plain,
    /// With zeros behind it, as long as the longest: an IPv6 socket looks at the length first.
    Padded,
    /// With the family `AF_UNSPEC`, although an address follows.
    Unspecified,
}

/// What came of an attack.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// It was carried out.
    Ran(Exchange),
    /// It cannot be, here, for this reason.
    Missing(String),
}

impl Attack {
    /// A socket of the address's family, used in this way.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, way: fn(To) -> Way) -> Self {
        let to = To { address, spelling: Spelling::Plain };
        Self::made(Kind { v6: address.is_ipv6(), transport }, way(to))
    }

    /// A socket of this kind, used in this way.
    #[must_use]
    pub fn made(kind: Kind, way: Way) -> Self {
        let origin = Origin::Made(kind);
        Self { origin, quirks: Vec::new(), way, bytes: b"hello".into(), patience_ms: 5000 }
    }

    /// IP packets of our own making, on a packet socket.
    #[must_use]
    pub fn packets(device: &str, packets: Vec<Vec<u8>>) -> Self {
        Self::frames(device, packets.into_iter().map(Content::ip).collect())
    }

    /// Frames of our own making.
    #[must_use]
    pub fn frames(device: &str, contents: Vec<Content>) -> Self {
        let kind = Kind { v6: false, transport: Transport::Packet };
        Self::made(kind, Way::Frames { device: device.to_owned(), contents })
    }

    /// With one more quirk.
    #[must_use]
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    /// With other bytes to send.
    #[must_use]
    pub fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = bytes;
        self
    }

    /// Bound to an address of its own, any port.
    #[must_use]
    pub fn from(self, ip: impl Into<IpAddr>) -> Self {
        self.quirk(Quirk::From((ip.into(), 0).into()))
    }
}

impl Content {
    /// An IP packet.
    #[must_use]
    pub fn ip(bytes: Vec<u8>) -> Self {
        let is_v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
        let ethertype = if is_v6 { packet::ETH_IPV6 } else { packet::ETH_IPV4 };
        Self { ethertype, bytes }
    }

    /// The same with a tag of VLAN 0 in front, which says only a priority (IEEE 802.1Q, 9.6).
    #[must_use]
    pub fn tagged(self) -> Self {
        let bytes = [&[0, 0], self.ethertype.to_be_bytes().as_slice(), &self.bytes].concat();
        Self { ethertype: packet::ETH_VLAN, bytes }
    }
}
