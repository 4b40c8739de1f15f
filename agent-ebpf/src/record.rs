//! Who is on the way to the proxy: the kernel's own word for it, written before the SYN leaves.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_sk_cgroup_id, bpf_skb_ancestor_cgroup_id};
use aya_ebpf::macros::btf_map;
use podrole_ebpf::{
    Bucket, Connection, Event, Port, RECORDS_MAX, Record, SYNS_AT_ONCE, SYNS_PER_SECOND,
};

use crate::events::count;
use crate::packet::{Address, Packet, Tcp};
use crate::settings::PODS_LEVEL;

#[btf_map]
static RECORDS: LruHashMap<Connection, Record, RECORDS_MAX> = LruHashMap::new();

#[btf_map]
static PORTS: LruHashMap<Port, [u32; 4], RECORDS_MAX> = LruHashMap::new();

/// As many as pods fit on a node, several times over.
const PODS: usize = 4096;

#[btf_map]
static BUCKETS: LruHashMap<u64, Bucket, PODS> = LruHashMap::new();

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
/// What one SYN costs, in nanoseconds of credit.
const PRICE: u64 = 1_000_000_000 / SYNS_PER_SECOND;
const FULL: u64 = PRICE * SYNS_AT_ONCE;

/// Leaves a record of a connection that opens towards the proxy; false where its pod sends too many.
///
/// A raw socket could write any address and port into its packet, so only a TCP socket that itself has
/// the packet's address and port leaves one.
#[inline(always)]
pub(crate) fn leave(packet: Packet, tcp: &Tcp) -> bool {
    let (Some(source), Some(socket)) = (packet.source(), packet.socket()) else { return true };
    let connection = Connection { address: source.wide(), port: u32::from(tcp.source) };
    if !is_own(socket, connection) {
        return true;
    }
    // SAFETY: the helper reads the clock only.
    let now = unsafe { bpf_ktime_get_ns() };
    let pod = pod_of(packet);
    if !may_open(pod, now) {
        count(Event::SynDropped);
        return false;
    }
    // SAFETY: `socket` is a whole socket of the kernel's.
    let cgroup = unsafe { bpf_sk_cgroup_id(socket.cast()) };
    // Without a record the proxy refuses the connection.
    let _ = RECORDS.insert(connection, Record { cgroup, pod, at: now }, 0);
    // Where the pod masquerades its own containers, the proxy sees another address, and only the port
    // tells which of the pod's records it is. Ports are the pod's own, so that no other displaces it.
    let _ = PORTS.insert(Port { pod, port: connection.port, zero: 0 }, connection.address, 0);
    true
}

/// Whether a TCP socket sends the packet that itself has the packet's address and port.
#[inline(always)]
pub(crate) fn is_of_own_socket(packet: Packet, tcp: &Tcp) -> bool {
    let Some(socket) = packet.socket() else { return false };
    let port = u32::from(tcp.source);
    // Each family by itself: put together, half of an IPv4 address is read that nobody has written, which
    // the verifier takes from agents with CAP_PERFMON only.
    match packet.source() {
        Some(Address::V4(address)) => {
            is_own(socket, Connection { address: podrole_ebpf::mapped(address), port })
        }
        Some(Address::V6(address)) => is_own(socket, Connection { address, port }),
        None => false,
    }
}

#[inline(always)]
fn is_own(socket: *mut bpf_sock, connection: Connection) -> bool {
    // SAFETY: `socket` is a whole socket of the kernel's.
    let socket = unsafe { &*socket };
    let v4 = podrole_ebpf::mapped(socket.src_ip4);
    let v6 = socket.src_ip6;
    socket.type_ == SOCK_STREAM
        && socket.protocol == IPPROTO_TCP
        && socket.src_port == connection.port
        && (v4 == connection.address || v6 == connection.address)
}

/// A token bucket for each pod, so that none evicts another's records.
#[inline(always)]
fn may_open(pod: u64, now: u64) -> bool {
    let Some(bucket) = BUCKETS.get_ptr_mut(pod) else {
        let _ = BUCKETS.insert(pod, Bucket { credit: FULL - PRICE, at: now }, 0);
        return true;
    };
    // SAFETY: the value is live while the program runs. Two CPUs at once may give a SYN too many.
    let bucket = unsafe { &mut *bucket };
    let earned = bucket.credit + now.saturating_sub(bucket.at);
    let credit = if earned > FULL { FULL } else { earned };
    bucket.at = now;
    if credit < PRICE {
        bucket.credit = credit;
        return false;
    }
    bucket.credit = credit - PRICE;
    true
}

/// The pod's cgroup, or of a guaranteed pod the container's: at a fixed depth, so that nothing a
/// container makes below its own gives it another bucket.
#[inline(always)]
fn pod_of(packet: Packet) -> u64 {
    let level = PODS_LEVEL.load().cast_signed();
    // SAFETY: the helper takes the program's own context.
    let below = unsafe { bpf_skb_ancestor_cgroup_id(packet.0, level + 2) };
    if below != 0 {
        return below;
    }
    // SAFETY: as above.
    unsafe { bpf_skb_ancestor_cgroup_id(packet.0, level + 1) }
}
