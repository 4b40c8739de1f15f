//! Packets made by hand, checksums and all: what a raw or packet socket is fed with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IEEE 802 numbers: IPv4.
pub const ETH_IPV4: u16 = 0x0800;
/// A VLAN's tag.
pub const ETH_VLAN: u16 = 0x8100;
/// IPv6.
pub const ETH_IPV6: u16 = 0x86dd;

/// IANA protocol numbers: ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// `ICMPv6`.
pub const ICMPV6: u8 = 58;

/// An IP packet from an address to another.
#[must_use]
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => V4::new(from, to, protocol).packet(payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => v6(from, to, protocol, payload),
        _ => Vec::new(),
    }
}

/// A TCP segment that asks for a connection (RFC 9293, 3.1).
#[must_use]
pub fn syn(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    const OFFSET_AND_SYN: [u8; 2] = [5 << 4, 0x02];
    let mut segment = Vec::new();
    segment.extend(40_000_u16.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    segment.extend(OFFSET_AND_SYN);
    segment.extend(64_240_u16.to_be_bytes());
    segment.extend([0; 4]);
    checked(segment, 16, &pseudo_header(from, to, TCP, 20))
}

/// A UDP datagram (RFC 768). The checksum is left out, which only IPv4 permits.
#[must_use]
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(40_000_u16.to_be_bytes());
    datagram.extend(port.to_be_bytes());
    datagram.extend(short(8 + payload.len()).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An ICMP echo request (RFC 792).
#[must_use]
pub fn echo_request() -> Vec<u8> {
    checked(vec![8, 0, 0, 0, 0x16, 0x25, 0, 1], 2, &[])
}

/// An `ICMPv6` echo request (RFC 4443); raw and ping sockets fill its checksum in.
#[must_use]
pub fn echo_request_v6() -> Vec<u8> {
    vec![128, 0, 0, 0, 0x16, 0x25, 0, 1]
}

/// The header of an IPv4 packet (RFC 791, 3.1), yet to be given its payload.
#[derive(Debug, Clone)]
#[must_use]
pub struct V4 {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    options: Vec<u8>,
    fragment: u16,
}

impl V4 {
    /// A header without options.
    pub fn new(from: Ipv4Addr, to: Ipv4Addr, protocol: u8) -> Self {
        Self { from, to, protocol, options: Vec::new(), fragment: 0 }
    }

    /// By way of `hop`: loose source and record route.
    pub fn by(mut self, hop: Ipv4Addr) -> Self {
        self.options = [[0x83, 7, 4].as_slice(), &self.to.octets(), &[0]].concat();
        self.to = hop;
        self
    }

    /// As two fragments, of which the first has `first` bytes, a multiple of eight.
    #[must_use]
    pub fn fragments(&self, payload: &[u8], first: u16) -> Vec<Vec<u8>> {
        const MORE_FRAGMENTS: u16 = 0x2000;
        let (head, tail) = payload.split_at(usize::from(first));
        let piece = |fragment, payload| Self { fragment, ..self.clone() }.packet(payload);
        vec![piece(MORE_FRAGMENTS, head), piece(first / 8, tail)]
    }

    /// The whole packet.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let [_, words] = short(header_length / 4).to_be_bytes();
        let mut header = vec![0x40 | words, 0];
        header.extend(short(header_length + payload.len()).to_be_bytes());
        header.extend([0x16, 0x25]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([64, self.protocol, 0, 0]);
        header.extend(self.from.octets());
        header.extend(self.to.octets());
        header.extend(&self.options);
        [checked(header, 10, &[]).as_slice(), payload].concat()
    }
}

/// RFC 8200, 3
fn v6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(short(payload.len()).to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// An IPv4 packet in a frame to 02:00:00:00:04:01 in an overlay network (RFC 7348, 5), as the payload of
/// a UDP datagram.
#[must_use]
pub fn vxlan(network: u32, packet: &[u8]) -> Vec<u8> {
    let header = [[8, 0, 0, 0], (network << 8).to_be_bytes()].concat();
    let frame = [[2, 0, 0, 0, 4, 1], [2, 0, 0, 0, 4, 2]].concat();
    [header.as_slice(), &frame, &[8, 0], packet].concat()
}

/// By way of `hop`: a segment routing header (RFC 8754, 2) in front of the payload.
#[must_use]
pub fn v6_by(from: Ipv6Addr, hop: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    const ROUTING: u8 = 43;
    const SEGMENT_ROUTING: u8 = 4;
    // Two addresses of sixteen bytes, counted in eights; the last of the way comes first.
    let mut header = vec![protocol, 4, SEGMENT_ROUTING, 1, 1, 0, 0, 0];
    header.extend(to.octets());
    header.extend(hop.octets());
    v6(from, hop, ROUTING, &[header.as_slice(), payload].concat())
}

/// As two fragments (RFC 8200, 4.5), of which the first has `first` bytes, a multiple of eight.
#[must_use]
pub fn v6_fragments(
    from: Ipv6Addr,
    to: Ipv6Addr,
    protocol: u8,
    payload: &[u8],
    first: u16,
) -> Vec<Vec<u8>> {
    const FRAGMENT: u8 = 44;
    const MORE: u16 = 1;
    let (head, tail) = payload.split_at(usize::from(first));
    let piece = |place: u16, payload: &[u8]| {
        let header = [[protocol, 0].as_slice(), &place.to_be_bytes(), &[0, 0, 0x16, 0x25]].concat();
        v6(from, to, FRAGMENT, &[header.as_slice(), payload].concat())
    };
    vec![piece(MORE, head), piece(first, tail)]
}

/// A length in a header; no packet here comes near its end.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// What TCP's checksum covers besides the segment (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut header = [octets(from), octets(to)].concat();
    header.extend([0, protocol]);
    header.extend(length.to_be_bytes());
    header
}

/// With the internet checksum (RFC 1071) of all and of `besides` put in at `place`.
fn checked(mut bytes: Vec<u8>, place: usize, besides: &[u8]) -> Vec<u8> {
    let sum = !one_s_complement_sum(&[besides, &bytes].concat());
    if let Some(checksum) = bytes.get_mut(place..place + 2) {
        checksum.copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn one_s_complement_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from(high) << 8,
        _ => 0,
    });
    // A carry comes in again at the other end.
    words.fold(0, |sum: u16, word| {
        let (sum, carried) = sum.overflowing_add(word);
        sum + u16::from(carried)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_up_to_all_ones() {
        let (from, to) = (Ipv4Addr::new(10, 0, 1, 11), Ipv4Addr::new(169, 254, 169, 254));
        let packet = V4::new(from, to, TCP).by(Ipv4Addr::new(10, 0, 0, 10)).packet(&[]);
        assert_eq!(packet.len(), 28);
        assert_eq!(one_s_complement_sum(&packet), 0xffff);
    }

    #[test]
    fn the_example_of_the_checksums_description_is_met() {
        // RFC 1071, 3: the sum of these bytes is ddf2.
        assert_eq!(one_s_complement_sum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn fragments_hold_the_whole_between_them() {
        let header = V4::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, UDP);
        let fragments = header.fragments(&[7; 20], 8);
        let lengths: Vec<_> = fragments.iter().map(Vec::len).collect();
        assert_eq!(lengths, [28, 32]);
        assert_eq!((fragments[0][6], fragments[1][7]), (0x20, 1));
    }
}
