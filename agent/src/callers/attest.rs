//! The kernel's word for a connection: the cgroup of the socket that it left from, and whose that is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::kernel::{CgroupId, CgroupPaths, NoPath, Records};
use crate::report::Chain;

use super::cgroup_path::{places_of, pod_of};
use super::pod_key::PodKey;
use super::pods::Pod;
use super::throttle::Throttle;

/// How many cgroups are remembered: those of the containers of a full node, several times over.
const REMEMBERED: usize = 4096;

/// How long a connection may take from its SYN to the proxy, which is on the same node.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// Says what the kernel saw of connections.
pub trait Witness: Send + Sync + 'static {
    /// The cgroup whose socket the connection from `peer` is, if the kernel saw it leave. Taken: a
    /// record counts for one connection.
    fn take(&self, peer: SocketAddr) -> Option<CgroupId>;
}

/// Says what the kernel knows of cgroups, too.
pub trait Attest: Witness {
    /// The cgroup whose socket the connection from `port` is, if it is of the pod at one of these
    /// places below the cgroup of all pods, which has rewritten its source address. Taken, too.
    fn take_rewritten(
        &self,
        places: &mut dyn Iterator<Item = PathBuf>,
        port: u16,
    ) -> Option<CgroupId>;

    /// Where the cgroup lies below the cgroup of all pods.
    ///
    /// # Errors
    /// [`NoPath`]
    fn below_pods(&self, cgroup: CgroupId) -> Result<PathBuf, NoPath>;

    /// The name of the cgroup of all pods.
    fn name_of_pods(&self) -> &str;
}

/// The running kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Who is on the way to the proxy.
    pub records: Arc<Records>,
    /// Where cgroups lie.
    pub paths: CgroupPaths,
}

impl Witness for Records {
    fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        Self::take(self, peer)
    }
}

impl Witness for Kernel {
    fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        self.records.take(peer)
    }
}

impl Attest for Kernel {
    fn take_rewritten(
        &self,
        places: &mut dyn Iterator<Item = PathBuf>,
        port: u16,
    ) -> Option<CgroupId> {
        let pod = places.map(|place| self.paths.at(&place)).find(|found| !found.is_empty())?;
        self.records.take_rewritten(&pod, port, ARRIVES_WITHIN)
    }

    fn below_pods(&self, cgroup: CgroupId) -> Result<PathBuf, NoPath> {
        self.paths.below_pods(cgroup)
    }

    fn name_of_pods(&self) -> &str {
        self.paths.name_of_pods()
    }
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A socket of this pod.
    Pod(PodKey),
    /// A socket of a cgroup below that of all pods which is no pod's, as the self-test's.
    NoPod(CgroupId),
    /// A socket of a cgroup that is gone: of a pod that has ended.
    Gone(CgroupId),
    /// The kernel did not see it leave a pod's own socket: it comes from another node, from a
    /// process of this one, or from a raw socket.
    Unseen,
    /// The node itself, by its address, where the kernel is not asked.
    Node,
    /// The kernel is not asked (`--identity source-ip`).
    Unasked,
}

impl Origin {
    /// What kubelet calls the pod in its cgroup's name, where the kernel said which it is.
    #[must_use]
    pub fn key(&self) -> Option<&PodKey> {
        match self {
            Self::Pod(key) => Some(key),
            Self::NoPod(_) | Self::Gone(_) | Self::Unseen | Self::Node | Self::Unasked => None,
        }
    }
}

/// Tells pods by their connections. A cgroup's place is asked for once: its id is never given to
/// another, and cgroups cannot be moved.
pub struct Attestor {
    kernel: Arc<dyn Attest>,
    known: Mutex<HashMap<CgroupId, Option<PodKey>>>,
    told: Throttle,
}

impl Attestor {
    /// Asks this kernel.
    #[must_use]
    pub fn new(kernel: Arc<dyn Attest>) -> Self {
        Self { kernel, known: Mutex::default(), told: Throttle::default() }
    }

    /// Where the connection that was just accepted from `peer` came from.
    #[must_use]
    pub fn origin(&self, peer: SocketAddr) -> Origin {
        self.kernel.take(peer).map_or(Origin::Unseen, |cgroup| self.of_cgroup(cgroup))
    }

    /// Whose the sockets of a cgroup are.
    #[must_use]
    pub fn of_cgroup(&self, cgroup: CgroupId) -> Origin {
        match self.pod(cgroup) {
            Ok(Some(pod)) => Origin::Pod(pod),
            Ok(None) => Origin::NoPod(cgroup),
            Err(NoPath::Gone) => Origin::Gone(cgroup),
            Err(error) => {
                if let Some(held_back) = self.told.pass() {
                    warn!(cgroup = cgroup.0, held_back, error = %Chain(&error), "whose cgroup it is cannot be told; its connections are refused");
                }
                Origin::NoPod(cgroup)
            }
        }
    }

    /// Where the connection from `peer` came from that left no record under its address, if `owner` is
    /// the pod that has this address: one that masquerades its own containers, as a container engine
    /// in a pod does. Only its own sockets count, by the same source port.
    #[must_use]
    pub fn origin_behind(&self, owner: &Pod, peer: SocketAddr) -> Option<Origin> {
        let owner = owner.mirrors.or_else(|| PodKey::of_uid(owner.uid.as_str()))?;
        let mut places = places_of(self.kernel.name_of_pods(), &owner);
        let cgroup = self.kernel.take_rewritten(&mut places, peer.port())?;
        (self.pod(cgroup).ok()? == Some(owner)).then_some(Origin::Pod(owner))
    }

    /// Forgets the cgroups of a pod that has ended.
    pub fn forget(&self, pod: &Pod) {
        let is_its =
            |key: &PodKey| key.as_str() == pod.uid.as_str() || pod.mirrors.as_ref() == Some(key);
        self.known().retain(|_, known| !known.as_ref().is_some_and(is_its));
    }

    /// The pod that the cgroup is of, if it is one's.
    fn pod(&self, cgroup: CgroupId) -> Result<Option<PodKey>, NoPath> {
        if let Some(known) = self.known().get(&cgroup) {
            return Ok(*known);
        }
        let pod = pod_of(self.kernel.name_of_pods(), &self.kernel.below_pods(cgroup)?);
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            // A pod that makes many cgroups costs others one more question each.
            known.clear();
        }
        known.insert(cgroup, pod);
        Ok(pod)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<CgroupId, Option<PodKey>>> {
        // Each change is whole before anything can panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kernel that a test speaks for: connections by their source, and paths by cgroup.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) records: Mutex<HashMap<SocketAddr, CgroupId>>,
    pub(crate) paths: Mutex<HashMap<CgroupId, PathBuf>>,
    pub(crate) asked: std::sync::atomic::AtomicUsize,
}

#[cfg(test)]
impl Witness for Seen {
    fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        self.records.lock().unwrap().remove(&peer)
    }
}

#[cfg(test)]
impl Attest for Seen {
    fn take_rewritten(
        &self,
        places: &mut dyn Iterator<Item = PathBuf>,
        port: u16,
    ) -> Option<CgroupId> {
        let places: Vec<_> = places.collect();
        let paths = self.paths.lock().unwrap();
        let is_its = |cgroup: &CgroupId| {
            paths.get(cgroup).is_some_and(|path| places.iter().any(|place| path.starts_with(place)))
        };
        let mut records = self.records.lock().unwrap();
        let found = records.iter().find(|(peer, cgroup)| peer.port() == port && is_its(cgroup));
        let peer = *found?.0;
        records.remove(&peer)
    }

    fn below_pods(&self, cgroup: CgroupId) -> Result<PathBuf, NoPath> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.paths.lock().unwrap().get(&cgroup).cloned().ok_or(NoPath::Gone)
    }

    fn name_of_pods(&self) -> &'static str {
        "kubepods"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    const UID: &str = "f2a1c3d4-0011-4abc-8def-0123456789ab";
    const PEER: &str = "10.0.1.11:40000";

    fn seen(path: &str) -> (Arc<Seen>, Attestor) {
        let kernel = Arc::new(Seen::default());
        kernel.paths.lock().unwrap().insert(CgroupId(7), path.into());
        (Arc::clone(&kernel), Attestor::new(kernel))
    }

    fn connect(kernel: &Seen, attestor: &Attestor, cgroup: u64) -> Origin {
        let peer = PEER.parse().unwrap();
        kernel.records.lock().unwrap().insert(peer, CgroupId(cgroup));
        attestor.origin(peer)
    }

    #[test]
    fn a_connection_is_the_pods_whose_socket_it_left() {
        let (kernel, attestor) = seen(&format!("burstable/pod{UID}/c"));
        let origin = connect(&kernel, &attestor, 7);
        assert_eq!(origin, Origin::Pod(PodKey::of_uid(UID).unwrap()));
        assert_eq!(attestor.origin(PEER.parse().unwrap()), Origin::Unseen, "a record counts once");
    }

    #[test]
    fn behind_a_pods_address_only_its_own_sockets_count() {
        const OTHER: &str = "00000000-0000-4000-8000-000000000000";
        let (kernel, attestor) = seen(&format!("burstable/pod{UID}/c/docker/d"));
        kernel.paths.lock().unwrap().insert(CgroupId(8), format!("pod{OTHER}/c").into());
        let inner = |number: u8| SocketAddr::from(([172, 17, 0, number], 40000));
        kernel.records.lock().unwrap().insert(inner(3), CgroupId(8));
        let (owner, peer) = (Pod::fixture(UID, &["10.0.1.11"]), PEER.parse().unwrap());
        assert_eq!(attestor.origin(peer), Origin::Unseen);
        assert_eq!(attestor.origin_behind(&owner, peer), None, "another pod's port");
        kernel.records.lock().unwrap().insert(inner(2), CgroupId(7));
        let origin = Origin::Pod(PodKey::of_uid(UID).unwrap());
        assert_eq!(attestor.origin_behind(&owner, peer), Some(origin));
        assert_eq!(attestor.origin_behind(&owner, peer), None, "a record counts once");
        assert_eq!(kernel.records.lock().unwrap().len(), 1, "the other pod keeps its own");
    }

    #[test]
    fn a_cgroup_that_is_gone_or_no_pods_is_nobodys() {
        let (kernel, attestor) = seen("self-test");
        assert_eq!(connect(&kernel, &attestor, 7), Origin::NoPod(CgroupId(7)));
        assert_eq!(connect(&kernel, &attestor, 8), Origin::Gone(CgroupId(8)));
    }

    #[test]
    fn a_cgroup_is_asked_for_once_until_its_pod_is_gone() {
        let (kernel, attestor) = seen(&format!("pod{UID}"));
        for asked in [1, 1] {
            connect(&kernel, &attestor, 7);
            assert_eq!(kernel.asked.load(Ordering::SeqCst), asked);
        }
        attestor.forget(&Pod::fixture("another", &[]));
        connect(&kernel, &attestor, 7);
        assert_eq!(kernel.asked.load(Ordering::SeqCst), 1);
        attestor.forget(&Pod::fixture(UID, &[]));
        connect(&kernel, &attestor, 7);
        assert_eq!(kernel.asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (kernel, attestor) = seen("x");
        for id in 0..3 * REMEMBERED as u64 {
            kernel.paths.lock().unwrap().insert(CgroupId(id), "x".into());
            connect(&kernel, &attestor, id);
        }
        assert!(attestor.known().len() <= REMEMBERED);
    }
}
