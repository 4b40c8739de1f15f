//! The guard: what must never leave a pod for the metadata service, whatever the socket, protocol,
//! port or trick. The redirect takes what it can serve; this refuses the rest.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_set_retval};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use podrole_ebpf::{Event, METADATA_PORT, PodMode};

use crate::audit;
use crate::context::{address4, address6, port};
use crate::events::{count, count_audited, count_forwarded};
use crate::modes;
use crate::packet::{Address, Packet};
use crate::record;
use crate::settings::{
    ADMIN_PORT, HAS_FORWARD_NETNS, HAS_PACKET_NETNS, HAS_SET_RETVAL, PROXY_V4, PROXY_V4_PORT,
    PROXY_V6, PROXY_V6_PORT, holds_host_network, is_metadata_mapped, is_metadata_v4,
    is_metadata_v6, node_netns,
};

const ADDRESSES: usize = 256;

#[btf_map]
static NODE_ADDRESSES: HashMap<[u32; 4], u8, ADDRESSES> = HashMap::new();

#[btf_map]
static EXEMPT_INTERFACES: HashMap<u32, u8, 64> = HashMap::new();

const ECONNREFUSED: i32 = 111;

/// What podrole has to say over a task of the pods' cgroup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing: it is the agent, or a pod in the node's network namespace that is the node.
    Free,
    /// It is in audit: let go on with everything.
    Audited,
    /// It is redirected and guarded.
    Guarded,
    /// It is in the node's network namespace, and nobody has said yet what it is.
    Undecided,
}

#[inline(always)]
pub(crate) fn hold(ctx: &SockAddrContext) -> Hold {
    let in_node = is_in_node_netns(ctx);
    if in_node && !holds_host_network() {
        let is_tested = modes::of_task() == Some(PodMode::TEST);
        return if is_tested { Hold::Guarded } else { Hold::Free };
    }
    match modes::of_task() {
        Some(PodMode::EXEMPT) => Hold::Free,
        Some(PodMode::AUDIT) => Hold::Audited,
        None if modes::of_node() == PodMode::AUDIT => Hold::Audited,
        _ if !in_node => Hold::Guarded,
        Some(PodMode::NODE) => Hold::Free,
        Some(PodMode::REFUSE) | None => Hold::Undecided,
        Some(_) => Hold::Guarded,
    }
}

#[inline(always)]
fn is_in_node_netns(ctx: &SockAddrContext) -> bool {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) == node_netns() }
}

/// Refuses a call as a closed port would, where the kernel lets a program choose (else EPERM).
#[inline(always)]
pub(crate) fn refuse(event: Event) -> bool {
    count(event);
    if HAS_SET_RETVAL.load() == 1 {
        // SAFETY: the helper changes the errno of the refused call only.
        unsafe { bpf_set_retval(-ECONNREFUSED) };
    }
    false
}

/// Datagrams to a metadata address: connect is not called for each of them.
pub(crate) fn sendmsg4(ctx: &SockAddrContext) -> bool {
    !is_metadata_v4(address4(ctx)) || may_send(ctx)
}

pub(crate) fn sendmsg6(ctx: &SockAddrContext) -> bool {
    let address = address6(ctx);
    !(is_metadata_mapped(address) || is_metadata_v6(address)) || may_send(ctx)
}

#[inline(always)]
fn may_send(ctx: &SockAddrContext) -> bool {
    match hold(ctx) {
        Hold::Free => true,
        Hold::Audited => {
            count_audited(Event::DatagramRefused);
            true
        }
        Hold::Guarded | Hold::Undecided => refuse(Event::DatagramRefused),
    }
}

/// Whoever answers on the proxy's port hands out credentials, so no pod may take it, agent or not: one in
/// audit neither, as long as others are sent there.
pub(crate) fn bind(ctx: &SockAddrContext) -> bool {
    let port = port(ctx);
    let ours = port != 0
        && (port == PROXY_V4_PORT.load()
            || port == PROXY_V6_PORT.load()
            || port == ADMIN_PORT.load());
    if ours && is_in_node_netns(ctx) && modes::of_task() != Some(PodMode::EXEMPT) {
        if modes::is_wire_audited() {
            count_audited(Event::BindRefused);
            return true;
        }
        count(Event::BindRefused);
        return false;
    }
    true
}

/// Every packet of every pod's socket: raw sockets, connections from before the attach, and whatever
/// the pod's own netfilter rules made of the address.
pub(crate) fn egress(packet: Packet) -> bool {
    let Some(destination) = packet.destination_in_place() else { return true };
    if is_metadata(destination) {
        return may_reach_metadata(packet);
    }
    let port = match destination {
        Address::V4(address) if address == PROXY_V4.load() => PROXY_V4_PORT.load(),
        Address::V6(address) if address == PROXY_V6.load() => PROXY_V6_PORT.load(),
        _ => return true,
    };
    match packet.tcp() {
        Some(tcp) if tcp.is_opening && podrole_ebpf::wire_port(tcp.destination) == port => {
            record::leave(packet, &tcp)
        }
        _ => true,
    }
}

#[inline(never)]
fn may_reach_metadata(packet: Packet) -> bool {
    match of_sender(packet) {
        PodMode::EXEMPT | PodMode::NODE => true,
        PodMode::AUDIT => {
            count_audited(Event::PacketDropped);
            audit::tell(packet);
            audit::let_pass(packet);
            true
        }
        PodMode::CHANGING if is_of_open_connection(packet) => {
            audit::let_pass(packet);
            true
        }
        _ => {
            count(Event::PacketDropped);
            false
        }
    }
}

/// What holds for whoever sends the packet: [`PodMode::NODE`] only of what is the node.
#[inline(always)]
fn of_sender(packet: Packet) -> u32 {
    let in_node = sends_from_node_netns(packet);
    if in_node && !holds_host_network() {
        return PodMode::NODE;
    }
    match modes::of_sender(packet.0) {
        Some(PodMode::NODE) if !in_node => PodMode::ENFORCE,
        Some(mode) => mode,
        None => modes::of_node(),
    }
}

/// Whether it is of a TCP connection to the metadata service that its socket has open, or began before the
/// pod was enforced: nothing begins by it.
#[inline(always)]
fn is_of_open_connection(packet: Packet) -> bool {
    packet.tcp().is_some_and(|tcp| {
        tcp.destination == METADATA_PORT
            && (!tcp.is_opening || audit::is_remembered(packet))
            && record::is_of_own_socket(packet, &tcp)
    })
}

/// hostNetwork pods keep the real service. Where the kernel cannot tell the network namespace of a
/// packet, its source address stands in: a pod that forges the node's is stopped by [`forward`].
#[inline(always)]
fn sends_from_node_netns(packet: Packet) -> bool {
    if HAS_PACKET_NETNS.load() == 1 {
        // SAFETY: the helper takes the program's own context.
        return unsafe { bpf_get_netns_cookie(packet.0.cast()) == node_netns() };
    }
    // SAFETY: the agent writes an entry whole.
    packet.source().is_some_and(|source| unsafe { NODE_ADDRESSES.get(source.wide()) }.is_some())
}

/// What the node would forward to the metadata service: frames that no socket of a pod's cgroup sent
/// (`AF_PACKET`, sockets made elsewhere), and the last hop of source routes. The node's own packets
/// came in by no interface; nor did those of a macvlan pod, whose sockets tell them from the node's.
pub(crate) fn forward(packet: Packet) -> bool {
    let came_in_by = packet.came_in_by();
    let is_nodes = came_in_by == 0 && !may_be_anothers(packet);
    if is_nodes && !holds_host_network() {
        return true;
    }
    if !packet.destination().is_some_and(is_metadata) {
        return true;
    }
    if is_nodes && (!modes::is_sender_in_pods(packet.0) || is_let_go(packet)) {
        return true;
    }
    // SAFETY: the agent writes an entry whole.
    if unsafe { EXEMPT_INTERFACES.get(came_in_by) }.is_some() {
        return true;
    }
    // Whose it is, nothing here can tell. Where some pods are enforced, pods in audit pass by what their
    // own sockets have sent.
    if modes::is_wire_audited() {
        count_audited(Event::ForwardDropped);
        return true;
    }
    if audit::passes(packet) {
        return true;
    }
    count_forwarded(came_in_by);
    false
}

/// Whether the pod in the node's network namespace that sends it is the node, or in audit.
#[inline(always)]
fn is_let_go(packet: Packet) -> bool {
    let mode = modes::of_sender(packet.0).unwrap_or_else(modes::of_node);
    matches!(mode, PodMode::EXEMPT | PodMode::NODE | PodMode::AUDIT)
}

/// Whether the socket that sends it is in another network namespace than the node's. Without a socket,
/// the helper would speak of the kernel's first namespace.
#[inline(always)]
fn may_be_anothers(packet: Packet) -> bool {
    HAS_FORWARD_NETNS.load() == 1
        && packet.has_socket()
        // SAFETY: the helper takes the program's own context.
        && unsafe { bpf_get_netns_cookie(packet.0.cast()) != node_netns() }
}

#[inline(always)]
fn is_metadata(destination: Address) -> bool {
    match destination {
        Address::V4(address) => is_metadata_v4(address),
        Address::V6(address) => is_metadata_v6(address),
    }
}
