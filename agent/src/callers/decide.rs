//! Whose a connection is, by what is known now. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use super::attest::Origin;
use super::host_network::HostNetwork;
use super::pods::{Index, Pod};
use super::{Caller, Unidentified};

/// A pod, and how its connection fits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    /// Whether the API server says that the source address is its own. Else it is no pod's: not
    /// reported yet, or one that `status.podIPs` never shows (a second interface, the IPv4 address
    /// of a pod of an IPv6 cluster).
    pub(super) is_own_address: bool,
}

/// Says whose the connection is. The kernel's word is the proof, the address the cross-check.
pub(super) fn decide(
    index: &Index,
    host_network: &HostNetwork,
    caller: &Caller,
) -> Result<Known, Unidentified> {
    let (pod, is_own_address) = match caller.origin {
        Origin::Unseen => return Err(Unidentified::Unseen),
        Origin::NoPod(_) | Origin::Gone(_) => return Err(Unidentified::NoPod),
        Origin::Node => return Err(Unidentified::Node),
        Origin::Unasked => (index.owner(caller.address)?, true),
        Origin::Pod(key) => {
            let pod = index.pod(&key)?;
            let is_own_address = is_own(index, &pod, caller.address)?;
            (pod, is_own_address)
        }
    };
    if pod.host_network && host_network.is_node(&pod) {
        return Err(Unidentified::Node);
    }
    Ok(Known { pod, is_own_address })
}

/// Where two pods claim the address, one of them has ended and the watch has not told yet: the
/// kernel's word decides.
fn is_own(index: &Index, pod: &Pod, address: IpAddr) -> Result<bool, Unidentified> {
    match index.claimants(address) {
        [] => Ok(false),
        claimants if claimants.contains(&pod.uid) => Ok(true),
        _ => Err(Unidentified::Spoofed),
    }
}
