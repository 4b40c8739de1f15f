//! The redirect: a pod's TCP connection to the metadata service becomes one to the proxy, before any
//! packet exists. Nothing else is touched.

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use aya_ebpf::{EbpfContext as _, Global};
use aya_log_ebpf::debug;
use podrole_ebpf::{METADATA_PORT, mapped, wire_port};

use crate::context::{
    address4, address6, kind, port, protocol, set_address4, set_address6, set_port,
};

// The agent sets these before it loads the programs: see `podrole_ebpf::variable`.
#[unsafe(no_mangle)]
static METADATA_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static METADATA_V6: Global<[u32; 4]> = Global::new([0; 4]);
#[unsafe(no_mangle)]
static PROXY_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PROXY_V4_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PROXY_V6: Global<[u32; 4]> = Global::new([0; 4]);
#[unsafe(no_mangle)]
static PROXY_V6_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NODE_NETNS_COOKIE: Global<u64> = Global::new(0);

/// Marks the sockets that asked for the IPv6 address and were sent to the proxy's IPv4 address: their
/// peer alone no longer tells which address they asked for.
#[btf_map]
static ASKED_FOR_V6: SkStorage<u8> = SkStorage::new();

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const NOBODY: [u32; 4] = [0; 4];

pub(crate) fn connect4(ctx: &SockAddrContext) {
    let asked = METADATA_V4.load();
    if asked == 0 || address4(ctx) != asked || !is_metadata_port(ctx) || !is_pods_tcp(ctx) {
        return;
    }
    set_address4(ctx, PROXY_V4.load());
    set_port(ctx, PROXY_V4_PORT.load());
    log_redirect(ctx);
}

pub(crate) fn connect6(ctx: &SockAddrContext) {
    let address = address6(ctx);
    let v4 = METADATA_V4.load();
    let asked_for_v4 = v4 != 0 && address == mapped(v4);
    let v6 = METADATA_V6.load();
    let asked_for_v6 = v6 != NOBODY && address == v6;
    if !(asked_for_v4 || asked_for_v6) || !is_metadata_port(ctx) || !is_pods_tcp(ctx) {
        return;
    }
    let proxy_v6 = PROXY_V6.load();
    let (address, port) = if asked_for_v6 && proxy_v6 != NOBODY {
        (proxy_v6, PROXY_V6_PORT.load())
    } else {
        (mapped(PROXY_V4.load()), PROXY_V4_PORT.load())
    };
    if asked_for_v6 && proxy_v6 == NOBODY {
        // SAFETY: `ctx` is the kernel's, whose `sk` is a socket; a null answer only means that
        // getpeername shows the IPv4-mapped address.
        let _ = unsafe { ASKED_FOR_V6.get_or_insert_ptr_mut(ctx, None) };
    }
    set_address6(ctx, address);
    set_port(ctx, port);
    log_redirect(ctx);
}

pub(crate) fn getpeername4(ctx: &SockAddrContext) {
    let asked = METADATA_V4.load();
    let through = address4(ctx) == PROXY_V4.load() && port(ctx) == PROXY_V4_PORT.load();
    if through && asked != 0 {
        set_address4(ctx, asked);
        set_port(ctx, wire_port(METADATA_PORT));
    }
}

pub(crate) fn getpeername6(ctx: &SockAddrContext) {
    let address = address6(ctx);
    let port = port(ctx);
    let v4 = METADATA_V4.load();
    let v6 = METADATA_V6.load();
    let through_v6 = address == PROXY_V6.load() && port == PROXY_V6_PORT.load();
    let through_v4 = address == mapped(PROXY_V4.load()) && port == PROXY_V4_PORT.load();
    // SAFETY: as in `connect6`; a null answer means that the socket bears no mark.
    let native = through_v4 && !unsafe { ASKED_FOR_V6.get_ptr_mut(ctx) }.is_null();
    let asked = if (through_v6 || native) && v6 != NOBODY {
        v6
    } else if through_v4 && v4 != 0 {
        mapped(v4)
    } else {
        return;
    };
    set_address6(ctx, asked);
    set_port(ctx, wire_port(METADATA_PORT));
}

/// TCP (Multipath TCP shows its subflows here, which are TCP), and not from the node's own network
/// namespace: that is the node itself, the agent, or a hostNetwork pod.
fn is_pods_tcp(ctx: &SockAddrContext) -> bool {
    // SAFETY: the helper takes the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    kind(ctx) == SOCK_STREAM && protocol(ctx) == IPPROTO_TCP && netns != node_netns()
}

fn node_netns() -> u64 {
    match NODE_NETNS_COOKIE.load() {
        // SAFETY: the helper takes null for the kernel's first network namespace.
        0 => unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) },
        cookie => cookie,
    }
}

fn is_metadata_port(ctx: &SockAddrContext) -> bool {
    port(ctx) == wire_port(METADATA_PORT)
}

/// Compiled out by the verifier unless the agent asked for debug lines.
fn log_redirect(ctx: &SockAddrContext) {
    // SAFETY: the helper takes no argument and reads the current task only.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    debug!(ctx, "redirected a connection of cgroup {} to the proxy", cgroup);
}
