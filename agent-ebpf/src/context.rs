//! The fields of the kernel's `struct bpf_sock_addr`.
//!
//! Each is read and written by one volatile access of its own width: LLVM would merge neighbours, or
//! the same field of two branches, into accesses that the verifier refuses ("dereference of modified
//! ctx ptr").

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::SockAddrContext;

/// The IPv4 address, in network order.
pub(crate) fn address4(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel's context is valid for the whole run of the program.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).user_ip4) }
}

pub(crate) fn set_address4(ctx: &SockAddrContext, address: u32) {
    // SAFETY: as in `address4`; the kernel lets this field be written.
    unsafe { write_volatile(&raw mut (*ctx.sock_addr).user_ip4, address) }
}

/// The IPv6 address, in network order.
#[inline(always)]
pub(crate) fn address6(ctx: &SockAddrContext) -> [u32; 4] {
    // SAFETY: as in `address4`.
    unsafe {
        [
            read_volatile(&raw const (*ctx.sock_addr).user_ip6[0]),
            read_volatile(&raw const (*ctx.sock_addr).user_ip6[1]),
            read_volatile(&raw const (*ctx.sock_addr).user_ip6[2]),
            read_volatile(&raw const (*ctx.sock_addr).user_ip6[3]),
        ]
    }
}

#[inline(always)]
pub(crate) fn set_address6(ctx: &SockAddrContext, [a, b, c, d]: [u32; 4]) {
    // SAFETY: as in `set_address4`.
    unsafe {
        write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], a);
        write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], b);
        write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], c);
        write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], d);
    }
}

/// The port, in network order in the low half.
pub(crate) fn port(ctx: &SockAddrContext) -> u32 {
    // SAFETY: as in `address4`.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).user_port) }
}

pub(crate) fn set_port(ctx: &SockAddrContext, port: u32) {
    // SAFETY: as in `set_address4`.
    unsafe { write_volatile(&raw mut (*ctx.sock_addr).user_port, port) }
}

/// The socket's type, `SOCK_STREAM` and so on.
pub(crate) fn kind(ctx: &SockAddrContext) -> u32 {
    // SAFETY: as in `address4`.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).type_) }
}

/// The socket's protocol, `IPPROTO_TCP` and so on.
pub(crate) fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: as in `address4`.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).protocol) }
}
