//! What the agent set before it loaded the programs: see `podrole_ebpf::variable`. The verifier knows
//! the values, and drops the branches that they close.

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_get_netns_cookie;
use podrole_ebpf::{CONTAINER_V4, CONTAINER_V6, mapped};

#[unsafe(no_mangle)]
pub(crate) static METADATA_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static METADATA_V6: Global<[u32; 4]> = Global::new([0; 4]);
#[unsafe(no_mangle)]
static CONTAINER: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static PROXY_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static PROXY_V4_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static PROXY_V6: Global<[u32; 4]> = Global::new([0; 4]);
#[unsafe(no_mangle)]
pub(crate) static PROXY_V6_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static ADMIN_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NODE_NETNS_COOKIE: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static HOLDS_HOST_NETWORK: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static PODS_LEVEL: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static HAS_SET_RETVAL: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static HAS_FORWARD_NETNS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static HAS_PACKET_NETNS: Global<u8> = Global::new(0);

/// Whether pods in the node's network namespace are held too.
#[inline(always)]
pub(crate) fn holds_host_network() -> bool {
    HOLDS_HOST_NETWORK.load() == 1
}

/// No address.
pub(crate) const NOBODY: [u32; 4] = [0; 4];

/// Whether this is the metadata service's IPv4 address.
#[inline(always)]
pub(crate) fn is_metadata_v4(address: u32) -> bool {
    address != 0 && address == METADATA_V4.load()
}

/// Whether this is the metadata service's IPv6 address.
#[inline(always)]
pub(crate) fn is_metadata_v6(address: [u32; 4]) -> bool {
    address != NOBODY && address == METADATA_V6.load()
}

/// Whether this is the metadata service's IPv4 address as a dual-stack socket writes it.
#[inline(always)]
pub(crate) fn is_metadata_mapped(address: [u32; 4]) -> bool {
    let v4 = METADATA_V4.load();
    v4 != 0 && address == mapped(v4)
}

/// Whether this is an IPv4 address of container credentials, and those are answered here.
#[inline(always)]
pub(crate) fn is_container_v4(address: u32) -> bool {
    CONTAINER.load() == 1 && (address == CONTAINER_V4[0] || address == CONTAINER_V4[1])
}

/// The same, of the IPv6 address.
#[inline(always)]
pub(crate) fn is_container_v6(address: [u32; 4]) -> bool {
    CONTAINER.load() == 1 && address == CONTAINER_V6
}

/// The same, of an IPv4 address as a dual-stack socket writes it.
#[inline(always)]
pub(crate) fn is_container_mapped(address: [u32; 4]) -> bool {
    is_container_v4(address[3]) && address == mapped(address[3])
}

/// The cookie of the node's network namespace.
#[inline(always)]
pub(crate) fn node_netns() -> u64 {
    match NODE_NETNS_COOKIE.load() {
        // SAFETY: the helper takes null for the kernel's first network namespace.
        0 => unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) },
        cookie => cookie,
    }
}
