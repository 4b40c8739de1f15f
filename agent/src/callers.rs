//! Which pod is calling: the pods of this node as the API server tells of them, and the one that a
//! connection belongs to.

mod about;
pub mod attest;
pub mod pods;
pub mod watch;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch as channel;
use tokio::time::{Instant, timeout_at};

use self::attest::Attest;
use self::pods::{Index, Pod};
use crate::kernel::CgroupId;

/// Turns connections into pods. Cheap to clone; reads the index that the watch keeps.
#[derive(Clone)]
pub struct Callers {
    index: channel::Receiver<Index>,
    kernel: Arc<dyn Attest>,
    node: Arc<HashSet<IpAddr>>,
}

/// Whoever is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The source address.
    pub address: IpAddr,
    /// The cgroup of the pod's socket that the connection left from, if the kernel saw it leave. No
    /// other node, no process of this node and no raw socket has one.
    pub socket: Option<CgroupId>,
}

/// Why a connection is no pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// It comes from the node itself, or from a pod in the node's network namespace.
    #[error("the connection comes from the node's own address")]
    Node,
    /// No running pod of this node owns the address, as far as the API server has told yet.
    #[error("no running pod of this node has this address yet")]
    Unknown,
    /// More than one running pod claims the address, so it is neither's.
    #[error("more than one running pod of this node claims this address")]
    Ambiguous,
}

impl Callers {
    /// `node` holds the node's own addresses: they are never a pod's.
    #[must_use]
    pub fn new(
        index: channel::Receiver<Index>,
        kernel: Arc<dyn Attest>,
        node: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self { index, kernel, node: Arc::new(node.into_iter().collect()) }
    }

    /// Says what is known of a connection that was just accepted, and stays so as long as it lives.
    #[must_use]
    pub fn open(&self, peer: SocketAddr) -> Caller {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Caller { address: peer.ip(), socket: self.kernel.take(peer) }
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

    /// The pod that owns `address` now, without waiting.
    ///
    /// # Errors
    /// [`Unidentified`], which may end by itself for all but the node's own addresses.
    pub fn find(&self, address: IpAddr) -> Result<Arc<Pod>, Unidentified> {
        let address = address.to_canonical();
        if self.node.contains(&address) {
            return Err(Unidentified::Node);
        }
        self.index.borrow().owner(address)
    }

    /// The pod that owns `address`, waiting until `deadline` for the API server to tell of it: a new
    /// pod's first instruction can be quicker than the watch.
    ///
    /// # Errors
    /// What [`Self::find`] said last.
    pub async fn identify(
        &self,
        address: IpAddr,
        deadline: Instant,
    ) -> Result<Arc<Pod>, Unidentified> {
        match self.find(address) {
            Err(Unidentified::Unknown | Unidentified::Ambiguous) => {}
            settled => return settled,
        }
        let mut index = self.index.clone();
        let known = index.wait_for(|index| index.owner(address.to_canonical()).is_ok());
        // Both ends of the wait (known, or too late) are read from the index itself.
        let _ = timeout_at(deadline, known).await;
        self.find(address)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pods::Event;
    use super::*;

    fn callers() -> (channel::Sender<Index>, Callers) {
        let (writer, reader) = channel::channel(Index::default());
        let kernel = Arc::new(attest::Seen::default());
        (writer, Callers::new(reader, kernel, ["10.0.0.10".parse().unwrap()]))
    }

    fn apply(writer: &channel::Sender<Index>, pod: Pod) {
        writer.send_modify(|index| {
            index.apply(Event::Applied(pod));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_the_watch_tells_of_later_is_waited_for() {
        let (writer, callers) = callers();
        let asked = Instant::now();
        let waiting =
            callers.identify("10.0.1.11".parse().unwrap(), asked + Duration::from_millis(900));
        let telling = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            apply(&writer, Pod::fixture("a", &["10.0.1.11"]));
        };
        let (found, ()) = tokio::join!(waiting, telling);
        assert_eq!(found.unwrap().uid.as_str(), "a");
        assert_eq!(asked.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_address_is_given_up_at_the_deadline() {
        let (_writer, callers) = callers();
        let asked = Instant::now();
        let found = callers
            .identify("10.0.1.11".parse().unwrap(), asked + Duration::from_millis(900))
            .await;
        assert_eq!(found.unwrap_err(), Unidentified::Unknown);
        assert_eq!(asked.elapsed(), Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn the_nodes_own_address_is_refused_at_once() {
        let (writer, callers) = callers();
        apply(&writer, Pod::fixture("a", &["10.0.0.10"]));
        let asked = Instant::now();
        let found =
            callers.identify("10.0.0.10".parse().unwrap(), asked + Duration::from_secs(9)).await;
        assert_eq!(found.unwrap_err(), Unidentified::Node);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    #[test]
    fn ipv4_mapped_addresses_are_the_ipv4_address() {
        let (writer, callers) = callers();
        apply(&writer, Pod::fixture("a", &["10.0.1.11"]));
        assert!(callers.find("::ffff:10.0.1.11".parse().unwrap()).is_ok());
    }
}
