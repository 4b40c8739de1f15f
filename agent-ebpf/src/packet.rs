//! The fields of the kernel's `struct __sk_buff`, and of the IP packet in it.

use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::{bpf_sk_fullsock, bpf_skb_load_bytes, bpf_skb_load_bytes_relative};
use podrole_ebpf::{Numbers, mapped};

/// `BPF_HDR_START_NET`: offsets count from the network header.
const FROM_NETWORK_HEADER: u32 = 1;
const ETH_P_IP: u32 = 0x0800u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86ddu16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;

/// A packet on its way out.
#[derive(Clone, Copy)]
pub(crate) struct Packet(pub(crate) *mut __sk_buff);

/// An address of an IP packet, in network order.
#[derive(Clone, Copy)]
pub(crate) enum Address {
    V4(u32),
    V6([u32; 4]),
}

impl Address {
    /// IPv4 as an IPv4-mapped address.
    #[inline(always)]
    pub(crate) fn wide(self) -> [u32; 4] {
        match self {
            Self::V4(address) => mapped(address),
            Self::V6(address) => address,
        }
    }
}

/// What of a TCP header decides.
pub(crate) struct Tcp {
    /// In host order.
    pub(crate) source: u16,
    /// In host order.
    pub(crate) destination: u16,
    /// Whether this is the first packet of a connection.
    pub(crate) is_opening: bool,
}

impl Packet {
    /// Where it goes (RFC 791, RFC 8200), unless it is no IP packet.
    #[inline(always)]
    pub(crate) fn destination(self) -> Option<Address> {
        match self.protocol() {
            ETH_P_IP => self.load(16).map(Address::V4),
            ETH_P_IPV6 => self.load(24).map(Address::V6),
            _ => None,
        }
    }

    /// The same, for programs whose packets begin with the IP header: read in place, which costs every
    /// packet of every pod less than a call does.
    #[inline(always)]
    pub(crate) fn destination_in_place(self) -> Option<Address> {
        let found = match self.protocol() {
            ETH_P_IP => self.in_place(16).map(Address::V4),
            ETH_P_IPV6 => self.in_place(24).map(Address::V6),
            _ => return None,
        };
        // Of a header that is not in one piece the kernel makes one.
        found.or_else(|| self.destination())
    }

    /// Where it says that it comes from.
    #[inline(always)]
    pub(crate) fn source(self) -> Option<Address> {
        match self.protocol() {
            ETH_P_IP => self.load(12).map(Address::V4),
            ETH_P_IPV6 => self.load(8).map(Address::V6),
            _ => None,
        }
    }

    /// Its TCP header (RFC 9293), if it has one.
    #[inline(always)]
    pub(crate) fn tcp(self) -> Option<Tcp> {
        let offset = self.tcp_offset()?;
        let [source, destination]: [u16; 2] = self.load(offset)?;
        let flags: u8 = self.load(offset + 13)?;
        Some(Tcp {
            source: u16::from_be(source),
            destination: u16::from_be(destination),
            is_opening: flags & 0x12 == 0x02,
        })
    }

    /// The numbers of its TCP header.
    #[inline(always)]
    pub(crate) fn numbers(self) -> Option<Numbers> {
        let offset = self.tcp_offset()?;
        let [sequence, acknowledgment]: [u32; 2] = self.load(offset + 4)?;
        Some(Numbers { sequence, acknowledgment })
    }

    /// Where what it carries for TCP begins, from the network header.
    #[inline(always)]
    pub(crate) fn tcp_payload(self) -> Option<u32> {
        let offset = self.tcp_offset()?;
        let words: u8 = self.load(offset + 12)?;
        Some(offset + u32::from(words >> 4) * 4)
    }

    /// Where its TCP header begins, from the network header. One behind IPv6 extension headers is not
    /// looked for: no SYN of ours needs them, and what is not found gets no record.
    #[inline(always)]
    fn tcp_offset(self) -> Option<u32> {
        let (protocol, offset): (u8, u32) = match self.protocol() {
            ETH_P_IP => {
                let version_and_length: u8 = self.load(0)?;
                (self.load(9)?, u32::from(version_and_length & 0xf) * 4)
            }
            ETH_P_IPV6 => (self.load(6)?, 40),
            _ => return None,
        };
        (protocol == IPPROTO_TCP).then_some(offset)
    }

    /// How long it is from its network header on, in a program of a cgroup.
    #[inline(always)]
    pub(crate) fn length(self) -> u32 {
        // SAFETY: as in `came_in_by`.
        unsafe { read_volatile(&raw const (*self.0).len) }
    }

    /// The first four bytes at `offset` from the network header, in a program of a cgroup.
    #[inline(always)]
    pub(crate) fn word(self, offset: u32) -> Option<u32> {
        let mut word = MaybeUninit::<u32>::uninit();
        // SAFETY: there is room for four bytes, and all of them are written.
        unsafe { self.copy(offset, word.as_mut_ptr().cast(), 4).then(|| word.assume_init()) }
    }

    /// Copies `length` bytes from `offset`, counted from the network header, in a program of a cgroup: there
    /// the packet begins with that. What a TCP packet carries lies elsewhere than its headers, and no call
    /// that counts from a header reads it.
    ///
    /// # Safety
    /// There is room for them at `to`.
    #[inline(always)]
    pub(crate) unsafe fn copy(self, offset: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: the kernel writes at most `length` bytes.
        unsafe { bpf_skb_load_bytes(self.0.cast(), offset, to.cast(), length) == 0 }
    }

    /// The interface that it came in by; 0 for what the node itself sends.
    #[inline(always)]
    pub(crate) fn came_in_by(self) -> u32 {
        // SAFETY: the kernel's context is valid for the whole run of the program.
        unsafe { read_volatile(&raw const (*self.0).ingress_ifindex) }
    }

    /// Whether a socket of any kind sends it.
    #[inline(always)]
    pub(crate) fn has_socket(self) -> bool {
        // SAFETY: as in `came_in_by`.
        !unsafe { (*self.0).__bindgen_anon_2.sk }.is_null()
    }

    /// The socket that sends it, if it is a whole one.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<*mut bpf_sock> {
        // SAFETY: as in `came_in_by`.
        let socket = unsafe { (*self.0).__bindgen_anon_2.sk };
        if socket.is_null() {
            return None;
        }
        // SAFETY: `socket` is not null and the kernel's.
        let socket = unsafe { bpf_sk_fullsock(socket) };
        (!socket.is_null()).then_some(socket)
    }

    /// The protocol (`ETH_P_…`), in network order in the low half.
    #[inline(always)]
    fn protocol(self) -> u32 {
        // SAFETY: as in `came_in_by`.
        unsafe { read_volatile(&raw const (*self.0).protocol) }
    }

    /// What lies so many bytes from the beginning, if that much is there.
    #[inline(always)]
    fn in_place<T: Copy>(self, offset: usize) -> Option<T> {
        // SAFETY: as in `came_in_by`.
        let (start, end) = unsafe {
            (read_volatile(&raw const (*self.0).data), read_volatile(&raw const (*self.0).data_end))
        };
        let (start, end) = (start as usize, end as usize);
        if start + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: it lies before the end, and the kernel aligns IP headers to 4 bytes.
        Some(unsafe { *((start + offset) as *const T) })
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a few bytes at most are loaded")]
    fn load<T: Copy>(self, offset: u32) -> Option<T> {
        // Not zeroed first: that is a loop for the larger ones, which the verifier takes from agents
        // with CAP_PERFMON only.
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the kernel writes at most `size_of::<T>()` bytes.
        let failed = unsafe {
            bpf_skb_load_bytes_relative(
                self.0.cast(),
                offset,
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                FROM_NETWORK_HEADER,
            )
        };
        // SAFETY: the kernel has written all of it, and only numbers are loaded.
        (failed == 0).then(|| unsafe { value.assume_init() })
    }
}
