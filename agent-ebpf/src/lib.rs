//! The contract between podrole's agent and its eBPF programs: program names, the variables that the
//! agent sets before it loads them, and the version of both together.
//!
//! Addresses and ports stand in network byte order, laid out in memory as `struct bpf_sock_addr` has
//! them, so that a program compares and copies without swapping.
#![no_std]

/// The version of everything in this file. It names the directory of the pins, so an agent never
/// takes up maps or links whose layout it does not know.
pub const ABI: u32 = 2;

/// The port that is redirected: the metadata service's own (Amazon EC2 User Guide, "Use the Instance
/// Metadata Service to access instance metadata").
pub const METADATA_PORT: u16 = 80;

/// Where SDKs look for container credentials, IPv4: of ECS, and of EKS Pod Identity (AWS SDKs and Tools
/// Reference Guide, "Container credential provider").
pub const CONTAINER_V4: [u32; 2] = [wire_v4([169, 254, 170, 2]), wire_v4([169, 254, 170, 23])];

/// The same, IPv6: `fd00:ec2::23`.
pub const CONTAINER_V6: [u32; 4] = wire_v6(0xfd00_0ec2_0000_0000_0000_0000_0000_0023);

/// Programs on the hooks of the pods' cgroup, each named as its hook, in the order in which they are
/// attached: what refuses comes before what redirects.
pub const CGROUP_PROGRAMS: [&str; 9] = [
    "egress",
    "sendmsg4",
    "sendmsg6",
    "bind4",
    "bind6",
    "getpeername4",
    "getpeername6",
    "connect4",
    "connect6",
];

/// The program on the way out of each interface that is no pod's.
pub const FORWARD_PROGRAM: &str = "forward";

/// Maps, by symbol name. They are pinned, so that they outlive the agent with the programs.
pub mod map {
    /// [`PodMode`](super::PodMode) by the id of a pod's cgroup, and by those of [`subject`](super::subject).
    /// A pod that is not in it has the node's mode.
    pub const MODES: &str = "MODES";
    /// [`Record`](super::Record) by [`Connection`](super::Connection).
    pub const RECORDS: &str = "RECORDS";
    /// `u64` for each CPU, by [`Event`](super::Event): what was done, and then what would have been done
    /// to pods in audit.
    pub const EVENTS: &str = "EVENTS";
    /// `u64`: packets that came in by the interface of this index and were dropped on the way out.
    pub const FORWARDED: &str = "FORWARDED";
    /// The inner source address, as in [`Connection`](super::Connection), by [`Port`](super::Port): for
    /// connections whose source address the pod itself rewrites on their way.
    pub const PORTS: &str = "PORTS";
    /// The node's own addresses, as in [`Connection`](super::Connection). Asked only on kernels whose
    /// packet programs cannot tell a network namespace (before 6.15).
    pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";
    /// Indexes of interfaces whose packets pass the forward guard.
    pub const EXEMPT_INTERFACES: &str = "EXEMPT_INTERFACES";
    /// What each pod may still send in SYNs to the proxy: [`Bucket`](super::Bucket).
    pub const BUCKETS: &str = "BUCKETS";
    /// Packets of pods in audit on their way to the metadata service, by [`Numbers`](super::Numbers): so
    /// that the forward guard knows them on a node where others are enforced.
    pub const PASSING: &str = "PASSING";
    /// Ring buffer of [`RequestLine`](super::RequestLine)s of pods in audit.
    pub const REQUEST_LINES: &str = "REQUEST_LINES";
}

/// What [`map::MODES`] has an entry of beside pods. No cgroup has such an id; 0 is none of them, since that is
/// what the kernel says where a cgroup lies less deep than was asked.
pub mod subject {
    /// Every pod of which nothing is said: [`ENFORCE`](super::PodMode::ENFORCE) (the same as no entry),
    /// [`AUDIT`](super::PodMode::AUDIT) or [`CHANGING`](super::PodMode::CHANGING).
    pub const NODE: u64 = u64::MAX - 2;
    /// The proxy's port: [`REFUSE`](super::PodMode::REFUSE) where somebody else answers there.
    pub const PROXY: u64 = u64::MAX;
    /// What no pod's own socket tells whose it is: forwarded frames, and podrole's ports.
    /// [`AUDIT`](super::PodMode::AUDIT) where no pod of the node is enforced.
    pub const WIRE: u64 = u64::MAX - 1;
}

/// How many pods' modes there is room for.
pub const MODES_MAX: usize = 16_384;
/// How many connections may be on their way to the proxy; the oldest give way.
pub const RECORDS_MAX: usize = 65_536;
/// SYNs to the proxy that a pod may send in a second.
pub const SYNS_PER_SECOND: u64 = 200;
/// SYNs to the proxy that a pod may send at once.
pub const SYNS_AT_ONCE: u64 = 400;

/// What a pod's entry in [`map::MODES`] says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodMode {
    /// One of [`PodMode`]'s constants.
    pub mode: u32,
    /// 1 for a pod in the node's network namespace.
    pub host_network: u32,
}

impl PodMode {
    /// Redirected and guarded.
    pub const ENFORCE: u32 = 0;
    /// Left alone: the agent itself.
    pub const EXEMPT: u32 = 1;
    /// Refused: of [`subject::PROXY`], since somebody else answers there; of a pod in the node's network
    /// namespace, since nobody knows yet what it is.
    pub const REFUSE: u32 = 2;
    /// Of a pod in the node's network namespace, where [`variable::HOLDS_HOST_NETWORK`] is set: it is
    /// the node. [`Self::ENFORCE`] is said of those that are not; where nothing is said, it is refused.
    pub const NODE: u32 = 3;
    /// Of the cgroup of all pods: that it is this one.
    pub const PODS: u32 = 4;
    /// Let go on with everything, and counted.
    pub const AUDIT: u32 = 5;
    /// From audit to enforced: as enforced, but that TCP connections that are open may end.
    pub const CHANGING: u32 = 6;
    /// Of the self-test's cgroup: enforced, whatever holds for the node.
    pub const TEST: u32 = 7;
}

/// Who is on the way to the proxy: the address and port that it will see.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The source address in network order; IPv4 as an IPv4-mapped one.
    pub address: [u32; 4],
    /// The source port, in host order.
    pub port: u32,
}

/// What the kernel saw of a connection when its SYN left.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The id of the cgroup that the *socket* was made in (`bpf_sk_cgroup_id`).
    pub cgroup: u64,
    /// [`Port::pod`] of the same socket.
    pub pod: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
}

/// A source port of a pod.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The id of the cgroup two levels below that of all pods, or where the socket's is no deeper than
    /// one level, of that one: the pod's, or of a guaranteed pod its container's.
    pub pod: u64,
    /// In host order.
    pub port: u32,
    /// 0: the kernel compares keys by all of their bytes.
    pub zero: u32,
}

/// A token bucket of SYNs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Nanoseconds of credit: one SYN costs a second's share.
    pub credit: u64,
    /// When it was last filled: `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
}

/// What tells a TCP packet from others, whatever is rewritten on its way through the node (RFC 9293,
/// section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Its sequence number, in network order.
    pub sequence: u32,
    /// Its acknowledgment number, in network order.
    pub acknowledgment: u32,
}

/// So many bytes of a request line are kept.
pub const LINE_MAX: usize = 96;

/// The request line that a pod in audit sent to the metadata service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// The id of the cgroup of the socket.
    pub cgroup: u64,
    /// The line (RFC 9112, section 3) up to its end or to [`LINE_MAX`] bytes, as it lies in memory; zeros
    /// follow. Nothing of what comes after the line.
    pub line: [u64; LINE_MAX / 8],
}

/// What is counted.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was sent to the proxy.
    Redirected = 0,
    /// A connect to another port or protocol of a metadata address was refused.
    ConnectRefused = 1,
    /// A datagram to a metadata address was refused.
    DatagramRefused = 2,
    /// A packet of a pod's socket to a metadata address was dropped.
    PacketDropped = 3,
    /// A packet that the node would have forwarded to a metadata address was dropped.
    ForwardDropped = 4,
    /// A pod in the node's network namespace was refused one of podrole's ports.
    BindRefused = 5,
    /// A SYN to the proxy was dropped because its pod sends too many.
    SynDropped = 6,
}

impl Event {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Redirected,
        Self::ConnectRefused,
        Self::DatagramRefused,
        Self::PacketDropped,
        Self::ForwardDropped,
        Self::BindRefused,
        Self::SynDropped,
    ];
}

const _: () = assert!(size_of::<PodMode>() == 8);
const _: () = assert!(size_of::<Connection>() == 20);
const _: () = assert!(size_of::<Record>() == 24);
const _: () = assert!(size_of::<Port>() == 16);
const _: () = assert!(size_of::<Bucket>() == 16);
const _: () = assert!(size_of::<Numbers>() == 8);
const _: () = assert!(size_of::<RequestLine>() == 8 + LINE_MAX);

/// Variables that the agent sets before it loads the programs, by symbol name.
pub mod variable {
    /// `u32`: the metadata service's IPv4 address; 0 (nobody's address) for none.
    pub const METADATA_V4: &str = "METADATA_V4";
    /// `[u32; 4]`: the metadata service's IPv6 address; all 0 for none.
    pub const METADATA_V6: &str = "METADATA_V6";
    /// `u8`: 1 where port 80 of [`CONTAINER_V4`](super::CONTAINER_V4) and
    /// [`CONTAINER_V6`](super::CONTAINER_V6) is redirected too.
    pub const CONTAINER: &str = "CONTAINER";
    /// `u32`: the proxy's IPv4 address.
    pub const PROXY_V4: &str = "PROXY_V4";
    /// `u32`: the proxy's port at [`PROXY_V4`], in network order in the low half.
    pub const PROXY_V4_PORT: &str = "PROXY_V4_PORT";
    /// `[u32; 4]`: the proxy's IPv6 address; all 0 where it has none, and then IPv6 connections go to
    /// [`PROXY_V4`] as IPv4-mapped ones.
    pub const PROXY_V6: &str = "PROXY_V6";
    /// `u32`: the proxy's port at [`PROXY_V6`], in network order in the low half.
    pub const PROXY_V6_PORT: &str = "PROXY_V6_PORT";
    /// `u32`: the admin endpoint's port, in network order in the low half.
    pub const ADMIN_PORT: &str = "ADMIN_PORT";
    /// `u64`: the cookie of the node's network namespace (`SO_NETNS_COOKIE`), 0 for the kernel's
    /// first. Sockets in it are the node's or a hostNetwork pod's and are left alone.
    pub const NODE_NETNS_COOKIE: &str = "NODE_NETNS_COOKIE";
    /// `u8`: 1 where pods in the node's network namespace are held too, each as its mode says.
    pub const HOLDS_HOST_NETWORK: &str = "HOLDS_HOST_NETWORK";
    /// `u32`: how deep the pods' cgroup lies below the root, which is at 0.
    pub const PODS_LEVEL: &str = "PODS_LEVEL";
    /// `u8`: 1 where `bpf_set_retval` may be called in connect and sendmsg programs (Linux 5.18).
    pub const HAS_SET_RETVAL: &str = "HAS_SET_RETVAL";
    /// `u8`: 1 where `bpf_get_netns_cookie` may be called in the forward program (Linux 6.13).
    pub const HAS_FORWARD_NETNS: &str = "HAS_FORWARD_NETNS";
    /// `u8`: 1 where `bpf_get_netns_cookie` may be called in the egress program (Linux 6.15).
    pub const HAS_PACKET_NETNS: &str = "HAS_PACKET_NETNS";
}

/// An IPv4 address as it stands in `bpf_sock_addr.user_ip4`.
#[must_use]
pub const fn wire_v4(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

/// An IPv6 address as it stands in `bpf_sock_addr.user_ip6`.
#[must_use]
pub const fn wire_v6(address: u128) -> [u32; 4] {
    [word(address, 96), word(address, 64), word(address, 32), word(address, 0)]
}

/// The 32 bits of `address` from `bit` up, in network order.
#[expect(clippy::cast_possible_truncation, reason = "the other words are cut off on purpose")]
const fn word(address: u128, bit: u32) -> u32 {
    ((address >> bit) as u32).to_be()
}

/// A port as it stands in `bpf_sock_addr.user_port`: network order in the low half.
#[must_use]
pub const fn wire_port(port: u16) -> u32 {
    port.to_be() as u32
}

/// `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2) of an address that stands as in `user_ip4`.
#[must_use]
pub const fn mapped(v4: u32) -> [u32; 4] {
    [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4]
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn addresses_keep_their_bytes_in_memory_order() {
        let v4 = Ipv4Addr::new(169, 254, 169, 254);
        assert_eq!(wire_v4(v4.octets()).to_ne_bytes(), [169, 254, 169, 254]);
        let v6: Ipv6Addr = "fd00:ec2::254".parse().unwrap();
        let words = wire_v6(v6.to_bits());
        assert_eq!(words[0].to_ne_bytes(), [0xfd, 0, 0x0e, 0xc2]);
        assert_eq!(words[3].to_ne_bytes(), [0, 0, 0x02, 0x54]);
    }

    #[test]
    fn the_addresses_of_container_credentials_are_those_of_the_sdks() {
        for (address, wire) in ["169.254.170.2", "169.254.170.23"].iter().zip(CONTAINER_V4) {
            let address: Ipv4Addr = address.parse().unwrap();
            assert_eq!(wire_v4(address.octets()), wire);
        }
        let v6: Ipv6Addr = "fd00:ec2::23".parse().unwrap();
        assert_eq!(wire_v6(v6.to_bits()), CONTAINER_V6);
    }

    #[test]
    fn ports_are_in_network_order() {
        assert_eq!(wire_port(80).to_ne_bytes()[..2], [0, 80]);
    }

    #[test]
    fn mapped_addresses_are_those_of_rfc_4291() {
        let v4 = Ipv4Addr::new(10, 0, 0, 10);
        assert_eq!(mapped(wire_v4(v4.octets())), wire_v6(v4.to_ipv6_mapped().to_bits()));
    }
}
