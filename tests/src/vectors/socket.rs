//! Sockets of every kind, and the options that the standard library does not know.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::attack::{Kind, Spelling, To, Transport};

/// `uapi/linux/in.h`
const UDP_LITE: i32 = 136;
const MPTCP: i32 = 262;
/// `uapi/linux/tcp.h`
const TCP_FASTOPEN_CONNECT: i32 = 30;
/// `uapi/linux/if_packet.h`
const PACKET_QDISC_BYPASS: i32 = 20;
/// The lengths of `sockaddr_in6` and `sockaddr_ll`.
const LONGEST: u32 = 28;
const LINK_ADDRESS: u32 = 20;
const AF_UNSPEC: u16 = 0;
const AF_PACKET: u16 = 17;
/// RFC 791, 3.1: loose source and record route.
const LOOSE_SOURCE_ROUTE: u8 = 0x83;

/// socket(2)
pub(super) fn make(kind: Kind) -> io::Result<Socket> {
    let domain = if kind.v6 { Domain::IPV6 } else { Domain::IPV4 };
    let new = |ty, protocol| Socket::new(domain, ty, Some(Protocol::from(protocol)));
    let icmp = if kind.v6 { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP };
    match kind.transport {
        Transport::Tcp => new(Type::STREAM, libc::IPPROTO_TCP),
        Transport::Mptcp => new(Type::STREAM, MPTCP),
        Transport::Udp => new(Type::DGRAM, libc::IPPROTO_UDP),
        Transport::UdpLite => new(Type::DGRAM, UDP_LITE),
        Transport::Ping => new(Type::DGRAM, icmp),
        Transport::Raw(protocol) => new(Type::RAW, protocol.into()),
        // Without a protocol it receives nothing, which is right for one that only sends.
        Transport::Packet => Socket::new(Domain::PACKET, Type::DGRAM, None),
    }
}

/// The address as the kernel shall read it.
pub(super) fn sockaddr(to: To) -> SockAddr {
    let plain = SockAddr::from(to.address);
    let length = match to.spelling {
        Spelling::Plain => return plain,
        Spelling::Padded => LONGEST,
        Spelling::Unspecified => plain.len(),
    };
    let mut storage = plain.as_storage();
    if matches!(to.spelling, Spelling::Unspecified) {
        // SAFETY: every sockaddr begins with its family.
        unsafe { storage.view_as::<libc::sockaddr>() }.sa_family = AF_UNSPEC;
    }
    // SAFETY: a storage is longer than any address, and zero behind the one in it.
    unsafe { SockAddr::new(storage, length) }
}

/// The address of a neighbour on an interface (packet(7)).
pub(super) fn link_address(interface: u32, ethertype: u16, mac: [u8; 6]) -> io::Result<SockAddr> {
    let mut storage = socket2::SockAddrStorage::zeroed();
    // SAFETY: a sockaddr_ll is plain numbers, and a storage is larger.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = i32::try_from(interface).map_err(io::Error::other)?;
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&mac);
    // SAFETY: the storage holds a sockaddr_ll.
    Ok(unsafe { SockAddr::new(storage, LINK_ADDRESS) })
}

/// `if_nametoindex(3)`
pub(super) fn interface(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: the name is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Asks for a way by `hop`: the kernel puts the true destination behind it (RFC 791, 3.1).
pub(super) fn set_source_route(socket: &Socket, hop: Ipv4Addr) -> io::Result<()> {
    let [a, b, c, d] = hop.octets();
    set(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &[LOOSE_SOURCE_ROUTE, 7, 4, a, b, c, d, 0])
}

/// Lets connect(2) only note the address.
pub(super) fn set_fast_open_connect(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
}

/// Sends past the queueing of the interface, and with it past tc.
pub(super) fn set_qdisc_bypass(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)
}

/// setsockopt(2) with a number.
pub(crate) fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    set(socket, level, name, &value.to_ne_bytes())
}

fn set(socket: &Socket, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = u32::try_from(value.len()).map_err(io::Error::other)?;
    let value = value.as_ptr().cast();
    // SAFETY: the value is that many bytes, which the kernel only reads.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// bind(2)
pub(super) fn bind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.bind(&address.into())
}
