//! The contract between podrole's agent and its eBPF programs: program names, the variables that the
//! agent sets before it loads them, and the version of both together.
//!
//! Addresses and ports stand in network byte order, laid out in memory as `struct bpf_sock_addr` has
//! them, so that a program compares and copies without swapping.
#![no_std]

/// The version of everything in this file. It names the directory of the pins, so an agent never
/// takes up maps or links whose layout it does not know.
pub const ABI: u32 = 1;

/// The port that is redirected: the metadata service's own (Amazon EC2 User Guide, "Use the Instance
/// Metadata Service to access instance metadata").
pub const METADATA_PORT: u16 = 80;

/// Programs on the hooks of the pods' cgroup; each is named as its hook.
pub const PROGRAMS: [&str; 4] = ["connect4", "connect6", "getpeername4", "getpeername6"];

/// Variables that the agent sets before it loads the programs, by symbol name.
pub mod variable {
    /// `u32`: the metadata service's IPv4 address; 0 (nobody's address) redirects none.
    pub const METADATA_V4: &str = "METADATA_V4";
    /// `[u32; 4]`: the metadata service's IPv6 address; all 0 redirects none.
    pub const METADATA_V6: &str = "METADATA_V6";
    /// `u32`: the proxy's IPv4 address.
    pub const PROXY_V4: &str = "PROXY_V4";
    /// `u32`: the proxy's port at [`PROXY_V4`], in network order in the low half.
    pub const PROXY_V4_PORT: &str = "PROXY_V4_PORT";
    /// `[u32; 4]`: the proxy's IPv6 address; all 0 where it has none, and then IPv6 connections go to
    /// [`PROXY_V4`] as IPv4-mapped ones.
    pub const PROXY_V6: &str = "PROXY_V6";
    /// `u32`: the proxy's port at [`PROXY_V6`], in network order in the low half.
    pub const PROXY_V6_PORT: &str = "PROXY_V6_PORT";
    /// `u64`: the cookie of the node's network namespace (`SO_NETNS_COOKIE`). Sockets in it are the
    /// node's or a hostNetwork pod's and are left alone. 0 stands for the first network namespace.
    pub const NODE_NETNS_COOKIE: &str = "NODE_NETNS_COOKIE";
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
    fn ports_are_in_network_order() {
        assert_eq!(wire_port(80).to_ne_bytes()[..2], [0, 80]);
    }

    #[test]
    fn mapped_addresses_are_those_of_rfc_4291() {
        let v4 = Ipv4Addr::new(10, 0, 0, 10);
        assert_eq!(mapped(wire_v4(v4.octets())), wire_v6(v4.to_ipv6_mapped().to_bits()));
    }
}
