//! The pods of this node, by UID and by address. Pure: events go in, changes come out.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Unidentified;
use super::pod_key::PodKey;
use super::workload::Workload;

/// A pod's UID: the one name of a pod that is never used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Box<str>", into = "Box<str>")]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// As the API server gave it (`metadata.uid`).
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self(uid.into())
    }

    /// As the API server gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Box<str>> for PodUid {
    fn from(uid: Box<str>) -> Self {
        Self(uid.into())
    }
}

impl From<PodUid> for Box<str> {
    fn from(uid: PodUid) -> Self {
        uid.as_str().into()
    }
}

impl Borrow<str> for PodUid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What podrole keeps of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`
    pub uid: PodUid,
    /// `metadata.namespace`
    pub namespace: Box<str>,
    /// `metadata.name`
    pub name: Box<str>,
    /// `spec.serviceAccountName`
    pub service_account: Box<str>,
    /// `metadata.creationTimestamp`, by the API server's clock.
    pub created: SystemTime,
    /// `status.podIPs`, canonical; none for a pod in the node's network namespace.
    pub addresses: Vec<IpAddr>,
    /// `spec.hostNetwork`: whether it lives in the node's network namespace.
    pub host_network: bool,
    /// Whether it has ended for good (phase Succeeded or Failed): its addresses are free for others.
    pub finished: bool,
    /// Of `metadata.annotations`, those that roles are decided by.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// Of `metadata.labels`, those that session tags are made of.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// The ServiceAccount tokens that kubelet projects into it.
    pub tokens: Vec<ProjectedToken>,
    /// Whether a container's environment names credentials of its own, so that it asks for none here.
    pub has_credentials: bool,
    /// Of what claims to be the mirror of a static pod, the hash of that pod's configuration.
    pub mirrors: Option<PodKey>,
    /// What it is one of.
    pub workload: Workload,
}

/// A ServiceAccount token that kubelet keeps fresh in a volume of the pod
/// (`spec.volumes[].projected.sources[].serviceAccountToken`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProjectedToken {
    /// The volume's name.
    pub volume: Box<str>,
    /// The file within the volume.
    pub path: Box<str>,
    /// Who the token is for; the API server itself if none is named.
    pub audience: Option<Box<str>>,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the API server tells of this node's pods.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and it becomes the index's own")]
pub enum Event {
    /// The whole list: what is not in it is gone.
    Listed(Vec<Pod>),
    /// A pod is new or changed.
    Applied(Pod),
    /// A pod is gone.
    Deleted(PodUid),
    /// Several at once.
    Several(Vec<Event>),
}

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pod is there that was not there before.
    Appeared(Arc<Pod>),
    /// A pod's recorded facts are others than before.
    Changed {
        /// What they were.
        before: Arc<Pod>,
        /// What they are.
        now: Arc<Pod>,
    },
    /// A pod ended or was deleted.
    Gone(Arc<Pod>),
}

/// The running pods of this node.
#[derive(Debug, Default)]
pub struct Index {
    pods: HashMap<PodUid, Arc<Pod>>,
    owners: HashMap<IpAddr, Vec<PodUid>>,
    mirrors: HashMap<PodKey, Vec<PodUid>>,
    listed: bool,
}

impl Index {
    /// Takes in one event.
    pub fn apply(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::Applied(pod) => self.put(pod).into_iter().collect(),
            Event::Deleted(uid) => self.remove(&uid).into_iter().collect(),
            Event::Listed(pods) => self.replace(pods),
            Event::Several(events) => {
                events.into_iter().flat_map(|event| self.apply(event)).collect()
            }
        }
    }

    /// Whether the whole list was ever received.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// How many pods there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// The running pod with this UID.
    #[must_use]
    pub fn get(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        self.pods.get(uid)
    }

    /// The one running pod that owns `address`.
    ///
    /// # Errors
    /// [`Unidentified::Unknown`] or [`Unidentified::Ambiguous`].
    pub fn owner(&self, address: IpAddr) -> Result<Arc<Pod>, Unidentified> {
        self.only(self.owners.get(&address))
    }

    /// The pod that kubelet's name for its cgroup stands for. A static pod is the mirror that bears
    /// its hash. That annotation is anyone's to write, so it never stands against a UID, and two who
    /// bear it get nothing.
    ///
    /// # Errors
    /// [`Unidentified::Unknown`] or [`Unidentified::Ambiguous`].
    pub fn pod(&self, key: &PodKey) -> Result<Arc<Pod>, Unidentified> {
        if let Some(pod) = self.pods.get(key.as_str()) {
            return Ok(Arc::clone(pod));
        }
        self.only(self.mirrors.get(key))
    }

    /// The running pods that claim `address`.
    #[must_use]
    pub fn claimants(&self, address: IpAddr) -> &[PodUid] {
        self.owners.get(&address).map_or(&[], Vec::as_slice)
    }

    /// The UIDs of all pods.
    pub fn uids(&self) -> impl Iterator<Item = &PodUid> {
        self.pods.keys()
    }

    fn only(&self, claimants: Option<&Vec<PodUid>>) -> Result<Arc<Pod>, Unidentified> {
        match claimants.map(Vec::as_slice) {
            None | Some([]) => Err(Unidentified::Unknown),
            Some([uid]) => self.pods.get(uid).cloned().ok_or(Unidentified::Unknown),
            Some(_) => Err(Unidentified::Ambiguous),
        }
    }

    fn replace(&mut self, pods: Vec<Pod>) -> Vec<Change> {
        self.listed = true;
        let kept: HashSet<PodUid> = pods.iter().map(|pod| pod.uid.clone()).collect();
        let gone: Vec<PodUid> =
            self.pods.keys().filter(|uid| !kept.contains(*uid)).cloned().collect();
        // First those that left: an address may have gone from one of them to a new pod.
        let left = gone.iter().filter_map(|uid| self.remove(uid)).collect::<Vec<_>>();
        left.into_iter().chain(pods.into_iter().filter_map(|pod| self.put(pod))).collect()
    }

    fn put(&mut self, pod: Pod) -> Option<Change> {
        if pod.finished {
            return self.remove(&pod.uid);
        }
        let before = self.pods.get(&pod.uid).cloned();
        if before.as_deref() == Some(&pod) {
            return None;
        }
        if let Some(before) = &before {
            self.disown(before);
        }
        for address in &pod.addresses {
            self.owners.entry(*address).or_default().push(pod.uid.clone());
        }
        if let Some(mirrored) = pod.mirrors {
            self.mirrors.entry(mirrored).or_default().push(pod.uid.clone());
        }
        let pod = Arc::new(pod);
        self.pods.insert(pod.uid.clone(), Arc::clone(&pod));
        Some(match before {
            Some(before) => Change::Changed { before, now: pod },
            None => Change::Appeared(pod),
        })
    }

    fn remove(&mut self, uid: &PodUid) -> Option<Change> {
        let pod = self.pods.remove(uid)?;
        self.disown(&pod);
        Some(Change::Gone(pod))
    }

    fn disown(&mut self, pod: &Pod) {
        for address in &pod.addresses {
            withdraw(&mut self.owners, address, &pod.uid);
        }
        if let Some(mirrored) = &pod.mirrors {
            withdraw(&mut self.mirrors, mirrored, &pod.uid);
        }
    }
}

fn withdraw<K: Eq + Hash>(claims: &mut HashMap<K, Vec<PodUid>>, what: &K, who: &PodUid) {
    if let Some(claimants) = claims.get_mut(what) {
        claimants.retain(|uid| uid != who);
        if claimants.is_empty() {
            claims.remove(what);
        }
    }
}

#[cfg(test)]
impl Pod {
    pub(crate) fn fixture(uid: &str, addresses: &[&str]) -> Self {
        Self {
            uid: PodUid::new(uid),
            namespace: "default".into(),
            name: uid.into(),
            service_account: "default".into(),
            created: SystemTime::UNIX_EPOCH,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            host_network: false,
            finished: false,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            tokens: Vec::new(),
            has_credentials: false,
            mirrors: None,
            workload: Workload::of(uid, None, |_| None),
        }
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }
}

#[cfg(test)]
mod size;
#[cfg(test)]
mod tests;
