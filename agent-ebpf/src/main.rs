//! podrole's eBPF programs. Each entry function is a line; what it does stands in its module.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros pass contexts so")]
#![expect(clippy::inline_always, reason = "a BPF call passes registers, not arrays, and costs")]

mod audit;
mod context;
mod events;
mod guard;
mod modes;
mod packet;
mod record;
mod redirect;
mod settings;

use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, TcContext};

use crate::packet::Packet;

/// What a cgroup program returns to let a call or a packet go on; 0 refuses it.
const ALLOW: i32 = 1;
/// `TCX_NEXT`, and `TC_ACT_UNSPEC` of a clsact filter: whoever is next decides.
const NEXT: i32 = -1;
/// `TCX_DROP`, and `TC_ACT_SHOT` of a clsact filter.
const DROP: i32 = 2;

/// `BPF_CGROUP_INET4_CONNECT` of the pods' cgroup: sends IPv4 connections for the metadata service to
/// the proxy, and refuses its other ports and protocols.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    redirect::connect4(&ctx).into()
}

/// `BPF_CGROUP_INET6_CONNECT`: the same for IPv6, and for IPv4 through a dual-stack socket, which is
/// how the JVM connects.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    redirect::connect6(&ctx).into()
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

/// `BPF_CGROUP_UDP4_SENDMSG`: refuses datagrams to the metadata service.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    guard::sendmsg4(&ctx).into()
}

/// `BPF_CGROUP_UDP6_SENDMSG`: the same for IPv6 sockets.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    guard::sendmsg6(&ctx).into()
}

/// `BPF_CGROUP_INET4_BIND`: keeps pods in the node's network namespace off podrole's ports.
#[cgroup_sock_addr(bind4)]
fn bind4(ctx: SockAddrContext) -> i32 {
    guard::bind(&ctx).into()
}

/// `BPF_CGROUP_INET6_BIND`: the same for IPv6 sockets.
#[cgroup_sock_addr(bind6)]
fn bind6(ctx: SockAddrContext) -> i32 {
    guard::bind(&ctx).into()
}

/// `BPF_CGROUP_INET_EGRESS`: drops every packet of a pod's socket to the metadata service, and leaves
/// the record by which the proxy knows who connects. Of pods in audit it tells what they ask for.
#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    guard::egress(Packet(ctx.skb.skb)).into()
}

/// On the way out of each interface that is no pod's: drops what the node would forward to the
/// metadata service.
#[classifier]
fn forward(ctx: TcContext) -> i32 {
    if guard::forward(Packet(ctx.skb.skb)) { NEXT } else { DROP }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel offers some helpers only to programs under a licence that it takes for the GPL's kin.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
