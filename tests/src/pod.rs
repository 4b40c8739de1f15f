//! Pods: an object in the Kubernetes API, a network namespace behind a veth, and a cgroup.

mod address;
mod network;
pub mod token;

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

pub use self::address::Address;
use self::network::Network;
use self::token::Projection;
use crate::aws::role_arn;
use crate::cgroup::Cgroup;
use crate::cluster::{Cluster, NODE, NODE_ADDRESSES};
use crate::kubelet::{Quality, Runtime};
use crate::place::Place;
use crate::pretend::random;

/// The annotation with a pod's role.
pub const ROLE_ANNOTATION: &str = "iam.amazonaws.com/role";
/// How many threads work where many pods are started or stopped.
const AT_ONCE: usize = 4;

/// A pod that is not there yet.
#[derive(Debug)]
#[must_use]
pub struct PodBuilder<'c> {
    cluster: &'c Cluster,
    name: String,
    namespace: String,
    service_account: String,
    annotations: Map<String, Value>,
    quality: Quality,
    runtime: Runtime,
    inner: Option<String>,
    host_network: bool,
    only_v6: bool,
    unreported: bool,
    hash: Option<String>,
    tokens: Vec<Projection>,
    address: Option<Address>,
    owner: Option<(String, String)>,
}

/// The hash that stands in the name of a `ReplicaSet` and on its pods.
const TEMPLATE_HASH: &str = "5d9c7b6f4";

impl<'c> PodBuilder<'c> {
    pub(crate) fn new(cluster: &'c Cluster, name: &str) -> Self {
        Self {
            cluster,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            service_account: "default".to_owned(),
            annotations: Map::new(),
            quality: Quality::Burstable,
            runtime: Runtime::Containerd,
            inner: None,
            host_network: false,
            only_v6: false,
            unreported: false,
            hash: None,
            address: None,
            tokens: Vec::new(),
            owner: None,
        }
    }

    /// One of a `Deployment`, `StatefulSet`, … of this name.
    pub fn of(mut self, kind: &str, name: &str) -> Self {
        self.owner = Some(match kind {
            "Deployment" => ("ReplicaSet".to_owned(), format!("{name}-{TEMPLATE_HASH}")),
            "CronJob" => ("Job".to_owned(), format!("{name}-29400120")),
            kind => (kind.to_owned(), name.to_owned()),
        });
        self
    }

    /// In another namespace than `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// With another ServiceAccount than `default`.
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    /// With the role of this name in the test account.
    pub fn role(self, name: &str) -> Self {
        self.annotation(ROLE_ANNOTATION, &role_arn(name))
    }

    /// With an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// Of another quality-of-service class than Burstable: another parent cgroup.
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// With a container of another runtime than containerd.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// With its processes in this cgroup below the container's, as systemd and container engines in a
    /// container make them.
    pub fn inner(mut self, cgroup: &str) -> Self {
        self.inner = Some(cgroup.to_owned());
        self
    }

    /// Read by kubelet from a file: its cgroup is named by the file's hash, and what the API server
    /// has is a mirror with a UID of its own.
    pub fn from_file(self) -> Result<Self> {
        let hash = random::uuid()?.replace('-', "");
        let marked = self.mirror_of(&hash).annotation("kubernetes.io/config.source", "file");
        Ok(Self { hash: Some(hash), ..marked })
    }

    /// Marked as the mirror of the static pod with this hash, which anybody can write.
    pub fn mirror_of(self, hash: &str) -> Self {
        self.annotation("kubernetes.io/config.hash", hash)
            .annotation("kubernetes.io/config.mirror", hash)
    }

    /// The hash that a static pod's cgroup is named by.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// Known by its IPv6 address alone, as in an IPv6 cluster; it has a link-local IPv4 address too,
    /// which the API server is never told of.
    pub fn only_v6(mut self) -> Self {
        self.only_v6 = true;
        self
    }

    /// Started, and the API server not told of it yet: no phase and no address.
    pub fn unreported(mut self) -> Self {
        self.unreported = true;
        self
    }

    /// In the node's network namespace.
    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// With the addresses of a pod that is gone.
    pub fn address(mut self, address: Address) -> Self {
        self.address = Some(address);
        self
    }

    /// Creates the object only, bound to `node`, with no process anywhere.
    pub fn elsewhere(self, node: &str) -> Result<()> {
        self.create(node)?;
        let status = status("Running", &["10.0.9.9"], "10.0.0.99");
        self.cluster.kubernetes.patch_pod_status(&self.namespace, &self.name, &status)
    }

    /// Creates the object only, and reports it running with these addresses.
    pub fn announce(self, address: Address) -> Result<()> {
        self.create(NODE)?;
        let addresses = [address.v4().to_string(), address.v6().to_string()];
        let status =
            status("Running", &addresses.each_ref().map(String::as_str), NODE_ADDRESSES[0]);
        self.cluster.kubernetes.patch_pod_status(&self.namespace, &self.name, &status)
    }

    /// Creates the object, then the pod on the node, then reports it running.
    pub fn start(self) -> Result<Pod<'c>> {
        let uid = self.create(NODE)?;
        let (cluster, number) = (self.cluster, self.cluster.next_pod());
        let driver = cluster.driver();
        let id = self.hash.as_deref().unwrap_or(&uid);
        let cgroup = Cgroup::new(cluster.pod_cgroup().join(driver.pod(self.quality, id)))?;
        let container = driver.container(self.runtime, &container_id(number));
        let own = cgroup.path().join(container).join(self.inner.as_deref().unwrap_or_default());
        fs::create_dir_all(&own).with_context(|| format!("make cgroup {}", own.display()))?;
        let address = self.address.map_or_else(|| Address::numbered(number), Ok)?;
        let v4 = if self.only_v6 { address.egress_v4() } else { address.v4() };
        let network = if self.host_network {
            None
        } else {
            Some(Network::new(cluster, number, address, v4)?)
        };
        let namespace = network.as_ref().map_or(cluster.node(), |own| &own.namespace).path();
        let pod = Pod {
            cluster,
            namespace: self.namespace,
            name: self.name,
            service_account: self.service_account,
            uid,
            place: Place { namespace, cgroup: own },
            whole: cgroup,
            only_v6: self.only_v6,
            network,
        };
        for projection in self.tokens {
            pod.project(projection, SignedDuration::from_hours(24))?;
        }
        if !self.unreported {
            pod.report("Running")?;
        }
        Ok(pod)
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "annotations": self.annotations });
        if let Some((kind, name)) = &self.owner {
            metadata["ownerReferences"] = json!([{
                "apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true,
                "uid": "00000000-0000-4000-8000-000000000009"
            }]);
            metadata["labels"] = json!({ "pod-template-hash": TEMPLATE_HASH });
        }
        metadata
    }

    fn create(&self, node: &str) -> Result<String> {
        if self.namespace != "default" {
            self.cluster.kubernetes.ensure_namespace(&self.namespace)?;
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self.metadata(),
            "spec": {
                "nodeName": node,
                "hostNetwork": self.host_network,
                "serviceAccountName": self.service_account,
                "volumes": self.tokens.iter().map(Projection::object).collect::<Vec<_>>(),
                "containers": [{ "name": "main", "image": "example.org/app:1" }]
            }
        });
        self.cluster.kubernetes.create_pod(&self.namespace, &pod)
    }
}

/// A pod on the node. Its processes, cgroup and network go with the handle, its object stays.
#[derive(Debug)]
pub struct Pod<'c> {
    cluster: &'c Cluster,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of its ServiceAccount.
    pub service_account: String,
    /// The UID that the API server chose.
    pub uid: String,
    place: Place,
    whole: Cgroup,
    only_v6: bool,
    network: Option<Network<'c>>,
}

impl Deref for Pod<'_> {
    type Target = Place;

    /// A pod is where its container's processes run.
    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Pod<'_> {
    /// Its own addresses; none with the node's network.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.network.as_ref().map(|network| network.address)
    }

    /// The directory of the cgroup that kubelet made for it; its containers' are below.
    #[must_use]
    pub fn whole_cgroup(&self) -> &Path {
        self.whole.path()
    }

    /// The node's end of its veth; none with the node's network.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.interface.as_str())
    }

    /// The name of its network namespace, as `ip netns` shows it.
    pub fn namespace_file(&self) -> Result<String> {
        let name = self.place.namespace.file_name().context("a namespace has a name")?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// Sets an annotation in the API, or removes it.
    pub fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.cluster.kubernetes.patch_pod(&self.namespace, &self.name, &patch)
    }

    /// Reports a phase in the API, the addresses as they are.
    pub fn report(&self, phase: &str) -> Result<()> {
        let addresses = match self.address() {
            Some(address) if self.only_v6 => vec![address.v6().to_string()],
            Some(address) => vec![address.v4().to_string(), address.v6().to_string()],
            None => NODE_ADDRESSES.map(str::to_owned).into(),
        };
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let status = status(phase, &addresses, NODE_ADDRESSES[0]);
        self.cluster.kubernetes.patch_pod_status(&self.namespace, &self.name, &status)
    }

    /// Ends its processes and network and reports `phase` (`Succeeded`, `Failed`); the object stays, with
    /// its addresses, as a finished Job's does.
    pub fn finish(self, phase: &str) -> Result<()> {
        let (cluster, namespace, name) = (self.cluster, self.namespace.clone(), self.name.clone());
        drop(self);
        let status = json!({ "phase": phase });
        cluster.kubernetes.patch_pod_status(&namespace, &name, &status)
    }

    /// Ends its processes and network and deletes it from the API.
    pub fn delete(self) -> Result<()> {
        let (cluster, namespace, name) = (self.cluster, self.namespace.clone(), self.name.clone());
        drop(self);
        cluster.kubernetes.delete_pod(&namespace, &name)
    }
}

/// Starts all of them, several at a time.
pub fn start_all(builders: Vec<PodBuilder<'_>>) -> Result<Vec<Pod<'_>>> {
    let started = several(builders, PodBuilder::start)?;
    started.into_iter().collect()
}

/// Ends the processes and networks of all of them, several at a time; their objects stay.
pub fn stop_all(pods: Vec<Pod<'_>>) -> Result<()> {
    several(pods, drop).map(|_| ())
}

/// Does the same to each, on a few threads. The order is kept.
fn several<T: Send, R: Send>(all: Vec<T>, work: fn(T) -> R) -> Result<Vec<R>> {
    let mut lots: [Vec<T>; AT_ONCE] = Default::default();
    let size = all.len().div_ceil(AT_ONCE).max(1);
    for (index, one) in all.into_iter().enumerate() {
        lots[index / size].push(one);
    }
    thread::scope(|scope| {
        let threads =
            lots.map(|lot| scope.spawn(move || lot.into_iter().map(work).collect::<Vec<_>>()));
        let done = threads.into_iter().map(|thread| {
            thread.join().map_err(|_| anyhow!("a thread that starts or stops pods panicked"))
        });
        Ok(done.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

/// A container's id, as runtimes choose them: 64 hexadecimal digits.
fn container_id(number: u32) -> String {
    format!("{number:064x}")
}

fn status(phase: &str, addresses: &[&str], node: &str) -> Value {
    let all: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({ "phase": phase, "podIP": addresses.first(), "podIPs": all, "hostIP": node })
}
