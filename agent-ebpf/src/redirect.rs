//! The redirect: a pod's TCP connection to the metadata service becomes one to the proxy, before any
//! packet exists. Nothing else is touched.

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use podrole_ebpf::{Event, METADATA_PORT, mapped, wire_port};

use crate::audit;
use crate::context::{
    address4, address6, kind, port, protocol, set_address4, set_address6, set_port,
};
use crate::events::{count, count_audited};
use crate::guard::{Hold, hold, refuse};
use crate::modes::is_proxy_taken;
use crate::settings::{
    METADATA_V4, METADATA_V6, NOBODY, PROXY_V4, PROXY_V4_PORT, PROXY_V6, PROXY_V6_PORT,
    is_container_mapped, is_container_v4, is_container_v6, is_metadata_mapped, is_metadata_v4,
    is_metadata_v6,
};

/// Marks the sockets that asked for the IPv6 address and were sent to the proxy's IPv4 address: their
/// peer alone no longer tells which address they asked for.
#[btf_map]
static ASKED_FOR_V6: SkStorage<u8> = SkStorage::new();

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

/// False where the call is to be refused: another port or protocol of a metadata address, or any while
/// somebody else has the proxy's port.
pub(crate) fn connect4(ctx: &SockAddrContext) -> bool {
    let address = address4(ctx);
    // Of container credentials port 80 is all that is known here; the rest goes where it would.
    let is_container = is_container_v4(address) && is_served(ctx);
    if !(is_metadata_v4(address) || is_container) {
        return true;
    }
    match hold(ctx) {
        Hold::Free => return true,
        Hold::Audited => return let_go(ctx),
        Hold::Guarded if is_served(ctx) && !is_proxy_taken() => {}
        Hold::Guarded | Hold::Undecided => return refuse(Event::ConnectRefused),
    }
    set_address4(ctx, PROXY_V4.load());
    set_port(ctx, PROXY_V4_PORT.load());
    tell(ctx);
    true
}

pub(crate) fn connect6(ctx: &SockAddrContext) -> bool {
    let address = address6(ctx);
    let is_container_v6 = is_container_v6(address);
    let is_container = (is_container_v6 || is_container_mapped(address)) && is_served(ctx);
    let asked_for_v6 = is_metadata_v6(address) || is_container_v6;
    let is_ours = is_metadata_v6(address) || is_metadata_mapped(address) || is_container;
    if !is_ours {
        return true;
    }
    match hold(ctx) {
        Hold::Free => return true,
        Hold::Audited => return let_go(ctx),
        Hold::Guarded if is_served(ctx) && !is_proxy_taken() => {}
        Hold::Guarded | Hold::Undecided => return refuse(Event::ConnectRefused),
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
    tell(ctx);
    true
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

/// Of a pod in audit: goes where it would without podrole.
#[inline(always)]
fn let_go(ctx: &SockAddrContext) -> bool {
    if is_served(ctx) {
        audit::remember(ctx);
        count_audited(Event::Redirected);
    } else {
        count_audited(Event::ConnectRefused);
    }
    true
}

/// TCP to port 80. Multipath TCP shows its subflows here, which are TCP.
fn is_served(ctx: &SockAddrContext) -> bool {
    kind(ctx) == SOCK_STREAM
        && protocol(ctx) == IPPROTO_TCP
        && port(ctx) == wire_port(METADATA_PORT)
}

fn tell(ctx: &SockAddrContext) {
    count(Event::Redirected);
    // SAFETY: the helper takes no argument and reads the current task only.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    // Compiled out by the verifier unless the agent asked for debug lines.
    debug!(ctx, "redirected a connection of cgroup {} to the proxy", cgroup);
}
