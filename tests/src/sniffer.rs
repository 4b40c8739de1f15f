//! Sees every packet that arrives outside of the node for the metadata service, whatever it is: a
//! leak is a number, not a guess.

use std::fmt;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::vectors::{self, fence, packet};
use crate::wait;

/// The addresses of the real metadata service.
pub const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Room for all packets between two looks.
const BUFFER: i32 = 8 << 20;
/// `uapi/linux/if_packet.h`
const ETH_P_ALL: u16 = 3;
const PACKET_STATISTICS: i32 = 6;
/// Of `tpacket_stats`.
const STATISTICS_LENGTH: u32 = 8;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// A packet socket on the outside's end of the wire.
#[derive(Debug)]
pub struct Sniffer {
    socket: Socket,
}

/// A packet for a metadata address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it says it comes from.
    pub from: IpAddr,
    /// The metadata address.
    pub to: IpAddr,
    /// The IP protocol, of a first fragment's or whole packet's payload.
    pub protocol: u8,
}

impl Sniffer {
    /// Listens to all interfaces of the calling thread's network namespace.
    pub(crate) fn new() -> io::Result<Self> {
        let all = i32::from(ETH_P_ALL.to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all)))?;
        vectors::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)?;
        vectors::set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// All packets for the metadata service that arrived before the last of `fences` fences of this
    /// number.
    ///
    /// # Errors
    /// Where the fences do not arrive, or packets were missed.
    pub fn until_fence(&self, number: u32, fences: usize) -> Result<Vec<Packet>> {
        let (mut packets, mut seen) = (Vec::new(), 0);
        wait::until_true(&format!("fence {number}"), || {
            while let Some(bytes) = self.next()? {
                if is_fence(&bytes, number) {
                    seen += 1;
                }
                packets.extend(Packet::for_metadata(&bytes));
            }
            Ok(seen == fences)
        })?;
        ensure!(self.missed()? == 0, "packets were missed outside of the node");
        Ok(packets)
    }

    fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; 2048];
        match (&self.socket).read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many packets found no room since the last call.
    fn missed(&self) -> io::Result<u32> {
        let mut statistics = MaybeUninit::<libc::tpacket_stats>::zeroed();
        let mut length = STATISTICS_LENGTH;
        // SAFETY: the kernel writes at most `length` bytes, which is the size of the statistics.
        let got = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if got != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: plain numbers, zeroed before the kernel wrote them.
        Ok(unsafe { statistics.assume_init() }.tp_drops)
    }
}

impl Packet {
    fn for_metadata(bytes: &[u8]) -> Option<Self> {
        let packet = Self::parse(bytes)?;
        METADATA.contains(&packet.to).then_some(packet)
    }

    /// RFC 791, 3.1; RFC 8200, 3.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let octets = |at: usize, length| bytes.get(at..at + length);
        let v4 = |at| Some(IpAddr::from(<[u8; 4]>::try_from(octets(at, 4)?).ok()?));
        let v6 = |at| Some(IpAddr::from(<[u8; 16]>::try_from(octets(at, 16)?).ok()?));
        match bytes.first()? >> 4 {
            4 => Some(Self { from: v4(12)?, to: v4(16)?, protocol: *bytes.get(9)? }),
            6 => Some(Self { from: v6(8)?, to: v6(24)?, protocol: *bytes.get(6)? }),
            _ => None,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} protocol {}", self.from, self.to, self.protocol)
    }
}

/// Whether this is fence `number`: an IPv4 datagram without IP options.
fn is_fence(bytes: &[u8], number: u32) -> bool {
    let protocol = Packet::parse(bytes).map(|packet| packet.protocol);
    protocol == Some(packet::UDP) && bytes.get(28..).and_then(fence::number) == Some(number)
}
