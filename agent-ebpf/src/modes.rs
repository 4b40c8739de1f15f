//! What is to be done with a pod: the map that every program asks before it acts.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id};
use aya_ebpf::macros::btf_map;
use podrole_ebpf::{MODES_MAX, PodMode, subject};

use crate::settings::PODS_LEVEL;

#[btf_map]
static MODES: HashMap<u64, PodMode, MODES_MAX> = HashMap::new();

/// kubelet puts a guaranteed pod's cgroup right below the pods' cgroup, any other's one deeper, below
/// the cgroup of its class.
const DEPTHS: [u32; 2] = [2, 1];

/// Whether nobody is to be sent to the proxy.
pub(crate) fn is_proxy_taken() -> bool {
    of_cgroup(subject::PROXY) == Some(PodMode::REFUSE)
}

/// What holds for a pod of which nothing is said.
#[inline(always)]
pub(crate) fn of_node() -> u32 {
    of_cgroup(subject::NODE).unwrap_or(PodMode::ENFORCE)
}

/// Whether no pod of this node is enforced.
#[inline(always)]
pub(crate) fn is_wire_audited() -> bool {
    of_cgroup(subject::WIRE) == Some(PodMode::AUDIT)
}

/// What is said of the pod that the current task is in.
#[inline(always)]
pub(crate) fn of_task() -> Option<u32> {
    // SAFETY: the helper reads the current task only.
    of_pod(|level| unsafe { bpf_get_current_ancestor_cgroup_id(level) })
}

/// What is said of the pod whose socket sends the packet.
#[inline(always)]
pub(crate) fn of_sender(skb: *mut __sk_buff) -> Option<u32> {
    // SAFETY: `skb` is the program's own context.
    of_pod(|level| unsafe { bpf_skb_ancestor_cgroup_id(skb, level) })
}

/// Whether the socket that sends the packet is of a pod. Without a socket it is not.
#[inline(always)]
pub(crate) fn is_sender_in_pods(skb: *mut __sk_buff) -> bool {
    // SAFETY: `skb` is the program's own context.
    let pods = unsafe { bpf_skb_ancestor_cgroup_id(skb, PODS_LEVEL.load().cast_signed()) };
    of_cgroup(pods) == Some(PodMode::PODS)
}

#[inline(always)]
fn of_pod(ancestor: impl Fn(i32) -> u64) -> Option<u32> {
    DEPTHS.iter().find_map(|depth| of_cgroup(ancestor((PODS_LEVEL.load() + depth).cast_signed())))
}

#[inline(always)]
fn of_cgroup(id: u64) -> Option<u32> {
    // SAFETY: the agent writes an entry whole; a reader sees the one before or the one after.
    unsafe { MODES.get(id) }.map(|mode| mode.mode)
}
