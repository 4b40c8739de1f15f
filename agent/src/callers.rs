//! Which pod is calling: the pods of this node as the API server tells of them, and the one that a
//! connection belongs to.

mod about;
pub mod attest;
pub mod cgroup_path;
mod decide;
pub mod fresh;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod host_network;
pub mod pod_key;
pub mod pods;
pub mod snapshot;
pub(crate) mod throttle;
mod unreachable;
pub mod watch;
pub mod workload;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use self::attest::{Attestor, Origin, Witness};
use self::decide::{Known, decide};
use self::fresh::Fresh;
use self::host_network::{HostNetwork, Mapped};
use self::pods::{Index, Pod};
use self::throttle::Throttle;
pub use self::unreachable::Unreachable;
use self::unreachable::Unreached;
use crate::kernel::HostPod;
use crate::operate::metrics::{Identified, Identities};

/// How long the watch may take to tell of a new pod before the API server is asked for a list: nearly
/// always it is quicker.
const WATCH_IS_QUICK: Duration = Duration::from_millis(100);

/// Turns connections into pods. Cheap to clone; reads the index that the watch keeps.
#[derive(Clone)]
pub struct Callers {
    index: channel::Receiver<Index>,
    identity: Arc<Identity>,
    host_network: Arc<HostNetwork>,
    fresh: Fresh,
    meters: Identities,
    spoofs: Arc<Throttle>,
    unreached: Arc<Unreached>,
}

/// By what pods are told apart.
pub enum Identity {
    /// By the cgroup of the socket that the kernel saw connect.
    Kernel(Attestor),
    /// By the source address alone, for nodes whose kernel cannot say more.
    SourceIp {
        /// Whose records are to be taken all the same, since what is left behind counts as lost.
        records: Arc<dyn Witness>,
        /// The node's own addresses: they are never a pod's.
        node: HashSet<IpAddr>,
    },
}

/// Whoever is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The source address.
    pub address: IpAddr,
    /// Where the connection came from.
    pub origin: Origin,
}

/// Why a connection is no pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// It comes from the node itself, or from a pod in the node's network namespace.
    #[error("the connection comes from the node itself")]
    Node,
    /// The API server has not told of the pod yet.
    #[error("no running pod of this node is known yet that this connection could be from")]
    Unknown,
    /// More than one running pod claims the address or the static pod, so it is neither's.
    #[error("more than one running pod of this node claims to be the one that connects")]
    Ambiguous,
    /// Its source address is another pod's.
    #[error("the connection's source address belongs to another pod")]
    Spoofed,
    /// The kernel did not see it leave a pod's own socket.
    #[error("the connection did not leave a pod's own socket")]
    Unseen,
    /// The socket is of a cgroup that is no pod's, or gone.
    #[error("the connection's cgroup is not that of a running pod")]
    NoPod,
}

impl Unidentified {
    /// Whether what the API server tells next can change it. A pod that has ended keeps its address in
    /// the index until the watch tells so, and another may have it by then.
    fn may_pass(self) -> bool {
        matches!(self, Self::Unknown | Self::Ambiguous | Self::Spoofed)
    }

    fn counted_as(self) -> Identified {
        match self {
            Self::Node => Identified::Node,
            Self::Unknown => Identified::Unknown,
            Self::Ambiguous => Identified::Ambiguous,
            Self::Spoofed => Identified::Spoofed,
            Self::Unseen => Identified::Unseen,
            Self::NoPod => Identified::NoPod,
        }
    }
}

impl Callers {
    /// Reads `index`, and asks by `fresh` for what is not in it yet.
    #[must_use]
    pub fn new(
        index: channel::Receiver<Index>,
        identity: Identity,
        host_network: HostNetwork,
        fresh: Fresh,
        meters: Identities,
    ) -> Self {
        let (identity, host_network) = (Arc::new(identity), Arc::new(host_network));
        let (spoofs, unreached) = (Arc::default(), Arc::default());
        Self { index, identity, host_network, fresh, meters, spoofs, unreached }
    }

    /// How pods in the node's network namespace are told apart.
    #[must_use]
    pub fn host_network(&self) -> &HostNetwork {
        &self.host_network
    }

    /// Whether a pod that no rule maps is the node, since it is in the node's network namespace.
    #[must_use]
    pub fn is_node_unless_mapped(&self, pod: &Pod) -> bool {
        pod.host_network && self.host_network.decide(pod, Mapped::No) == Some(HostPod::Node)
    }

    /// Says what is known of a connection that was just accepted, and stays so as long as it lives.
    #[must_use]
    pub fn open(&self, peer: SocketAddr) -> Caller {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let origin = match &*self.identity {
            Identity::Kernel(attestor) => match attestor.origin(peer) {
                Origin::Unseen => self.origin_behind(attestor, peer),
                seen => seen,
            },
            Identity::SourceIp { records, node } => {
                let _ = records.take(peer);
                if node.contains(&peer.ip()) { Origin::Node } else { Origin::Unasked }
            }
        };
        match origin {
            Origin::Unseen => self.meters.count(Identified::Unseen),
            Origin::NoPod(_) | Origin::Gone(_) => self.meters.count(Identified::NoPod),
            Origin::Node | Origin::Pod(_) | Origin::Unasked => {}
        }
        Caller { address: peer.ip(), origin }
    }

    fn origin_behind(&self, attestor: &Attestor, peer: SocketAddr) -> Origin {
        let owner = self.index.borrow().owner(peer.ip()).ok();
        let behind = owner.and_then(|owner| attestor.origin_behind(&owner, peer));
        if behind.is_some() {
            self.meters.count(Identified::Rewritten);
        }
        behind.unwrap_or(Origin::Unseen)
    }

    /// Waits until the whole list of this node's pods is known.
    pub async fn listed(&self) {
        let mut index = self.index.clone();
        // The watch ends only with the process.
        let _ = index.wait_for(Index::is_listed).await;
    }

    /// How many running pods of this node are known now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.index.borrow().len()
    }

    /// The running pods of this node that are known now, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        let mut pods: Vec<_> = self.index.borrow().all().cloned().collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        pods
    }

    /// Whether this very `pod` is among the running ones of this node.
    #[must_use]
    pub fn knows(&self, pod: &Arc<Pod>) -> bool {
        self.index.borrow().get(&pod.uid).is_some_and(|known| Arc::ptr_eq(known, pod))
    }

    /// Forgets what was kept of a pod that has ended.
    pub fn forget(&self, pod: &Pod) {
        self.unreached.forget(&pod.uid);
        if let Identity::Kernel(attestor) = &*self.identity {
            attestor.forget(pod);
        }
    }

    /// The pod that calls, by what is known now, without waiting.
    ///
    /// # Errors
    /// [`Unidentified`]
    pub fn find(&self, caller: &Caller) -> Result<Arc<Pod>, Unidentified> {
        self.decide(&self.index.borrow(), caller).map(|known| known.pod)
    }

    /// The pod that calls, waiting until `deadline` for the API server to tell of it: a new pod's first
    /// instruction can be quicker than the watch.
    ///
    /// # Errors
    /// [`Unidentified`], as it was at the deadline.
    pub async fn identify(
        &self,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Arc<Pod>, Unidentified> {
        let now = self.decide(&self.index.borrow(), caller);
        let decided = match now {
            Err(unidentified) if unidentified.may_pass() => {
                // Boxed, since it is rare and each request's future would have room for it.
                Box::pin(self.wait(caller, deadline)).await;
                self.decide(&self.index.borrow(), caller)
            }
            settled => settled,
        };
        self.tell(caller, decided.as_ref().map_err(|unidentified| *unidentified));
        decided.map(|known| known.pod)
    }

    fn decide(&self, index: &Index, caller: &Caller) -> Result<Known, Unidentified> {
        decide(index, &self.host_network, caller)
    }

    /// Until the decision is another, or the deadline.
    async fn wait(&self, caller: &Caller, deadline: Instant) {
        let mut index = self.index.clone();
        let passed = |index: &Index| !matches!(self.decide(index, caller), Err(u) if u.may_pass());
        let mut known = pin!(index.wait_for(|index| passed(index)));
        let asked = async {
            tokio::select! {
                _ = &mut known => return,
                () = sleep(WATCH_IS_QUICK) => self.fresh.ask(),
            }
            let _ = known.await;
        };
        // Both ends of the wait (known, or too late) are read from the index itself.
        let _ = timeout_at(deadline, asked).await;
    }

    fn tell(&self, caller: &Caller, decided: Result<&Known, Unidentified>) {
        self.meters.count(match decided {
            Ok(Known { is_own_address: true, .. }) => Identified::Pod,
            Ok(Known { is_own_address: false, .. }) => Identified::OtherAddress,
            Err(unidentified) => unidentified.counted_as(),
        });
        if decided.err() == Some(Unidentified::Spoofed)
            && let Some(held_back) = self.spoofs.pass()
        {
            self.tell_of_spoof(caller, held_back);
        }
    }

    fn tell_of_spoof(&self, caller: &Caller, held_back: u64) {
        let index = self.index.borrow();
        let name = |pod: Option<Arc<Pod>>| pod.map_or_else(String::new, |pod| pod.to_string());
        let by = caller.origin.key().and_then(|key| index.pod(key).ok());
        let uid = caller.origin.key().map(ToString::to_string);
        let owner = index.owner(caller.address).ok();
        warn!(
            address = %caller.address,
            pod = name(by),
            uid,
            owner = name(owner),
            held_back,
            "possible spoofing: a pod's connection bears the address of another pod; it is refused"
        );
    }
}

#[cfg(test)]
mod tests;
