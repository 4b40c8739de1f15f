//! podrole's eBPF programs. Each entry function is a line; what it does stands in its module.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros pass contexts so")]

mod context;
mod redirect;

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

/// What a `bpf_sock_addr` program returns to let the call go on (0 would be EPERM).
const ALLOW: i32 = 1;

/// `BPF_CGROUP_INET4_CONNECT` of the pods' cgroup: sends IPv4 connections for the metadata service to
/// the proxy.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    redirect::connect4(&ctx);
    ALLOW
}

/// `BPF_CGROUP_INET6_CONNECT`: the same for IPv6, and for IPv4 through a dual-stack socket, which is
/// how the JVM connects.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    redirect::connect6(&ctx);
    ALLOW
}

/// `BPF_CGROUP_INET4_GETPEERNAME`: a client that looks sees the address that it asked for.
#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    redirect::getpeername4(&ctx);
    ALLOW
}

/// `BPF_CGROUP_INET6_GETPEERNAME`: the same for IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    redirect::getpeername6(&ctx);
    ALLOW
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel offers some helpers only to programs under a licence that it takes for the GPL's kin.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
