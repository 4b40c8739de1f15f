//! Pods: an object in the Kubernetes API, a network namespace behind a veth, and a cgroup.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::aws::role_arn;
use crate::cgroup::Cgroup;
use crate::cluster::{Cluster, NODE, NODE_ADDRESSES};
use crate::netns::Namespace;
use crate::place::Place;

/// The annotation with a pod's role.
pub const ROLE_ANNOTATION: &str = "iam.amazonaws.com/role";

/// A pod that is not there yet.
#[derive(Debug)]
#[must_use]
pub struct PodBuilder<'c> {
    cluster: &'c Cluster,
    name: String,
    namespace: String,
    service_account: String,
    annotations: Map<String, Value>,
    quality: &'static str,
    host_network: bool,
    address: Option<Address>,
}

/// The addresses of a pod, IPv4 and IPv6, by the one number in which they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(u8);

impl Address {
    /// The addresses of the pod that `ip` belongs to, if it is a pod's.
    #[must_use]
    pub fn of(ip: IpAddr) -> Option<Self> {
        let last = match ip {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        let address = Self(last);
        (ip == address.v4() || ip == address.v6()).then_some(address)
    }

    /// `10.0.1.x`
    #[must_use]
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 1, self.0)
    }

    /// `fd00:a:1::x`, the same digits as in [`Address::v4`].
    #[must_use]
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0xa, 1, 0, 0, 0, 0, u16::from(self.0))
    }
}

impl<'c> PodBuilder<'c> {
    pub(crate) fn new(cluster: &'c Cluster, name: &str) -> Self {
        Self {
            cluster,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            service_account: "default".to_owned(),
            annotations: Map::new(),
            quality: "burstable",
            host_network: false,
            address: None,
        }
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

    /// Of the quality-of-service class `BestEffort` instead of Burstable: another parent cgroup.
    pub fn best_effort(mut self) -> Self {
        self.quality = "besteffort";
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

    /// Creates the object, then the pod on the node, then reports it running.
    pub fn start(self) -> Result<Pod<'c>> {
        let uid = self.create(NODE)?;
        let number = self.cluster.next_pod();
        let directory = format!("{}/pod{uid}/container-1", self.quality);
        let cgroup = self.cluster.pod_cgroup().join(directory);
        let container = Cgroup::new(cgroup)?;
        let cluster = self.cluster;
        let network = match self.address {
            _ if self.host_network => None,
            Some(address) => Some(Network::new(cluster, number, address)?),
            None => Some(Network::new(cluster, number, Address(u8::try_from(10 + number)?))?),
        };
        let namespace = network.as_ref().map_or(cluster.node(), |own| &own.namespace).path();
        let place = Place { namespace, cgroup: container.path().to_owned() };
        let pod = Pod {
            cluster,
            namespace: self.namespace,
            name: self.name,
            uid,
            place,
            _container: container,
            network,
        };
        pod.report("Running")?;
        Ok(pod)
    }

    fn create(&self, node: &str) -> Result<String> {
        self.cluster.kubernetes.ensure_namespace(&self.namespace)?;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": self.name, "annotations": self.annotations },
            "spec": {
                "nodeName": node,
                "hostNetwork": self.host_network,
                "serviceAccountName": self.service_account,
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
    /// The UID that the API server chose.
    pub uid: String,
    place: Place,
    _container: Cgroup,
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

    /// The node's end of its veth; none with the node's network.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.interface.as_str())
    }

    /// Sets an annotation in the API, or removes it.
    pub fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.cluster.kubernetes.patch_pod(&self.namespace, &self.name, &patch)
    }

    /// Reports a phase in the API, the addresses as they are.
    pub fn report(&self, phase: &str) -> Result<()> {
        let addresses = match self.address() {
            Some(address) => [address.v4().to_string(), address.v6().to_string()],
            None => NODE_ADDRESSES.map(str::to_owned),
        };
        let status = status(phase, &addresses.each_ref().map(String::as_str), NODE_ADDRESSES[0]);
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

fn status(phase: &str, addresses: &[&str], node: &str) -> Value {
    let all: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({ "phase": phase, "podIP": addresses.first(), "podIPs": all, "hostIP": node })
}

/// A network namespace of a pod's own, wired as the VPC CNI does: a host address (/32), a default
/// route to a link-local gateway with a fixed neighbour, a host route on the node.
#[derive(Debug)]
struct Network<'c> {
    node: &'c Namespace,
    interface: String,
    namespace: Namespace,
    address: Address,
}

impl<'c> Network<'c> {
    fn new(cluster: &'c Cluster, number: u32, address: Address) -> Result<Self> {
        let node = cluster.node();
        let namespace = Namespace::new(&format!("{}-pod{number}", cluster.name()))?;
        let (v4, v6, interface) = (address.v4(), address.v6(), format!("vpod{number}"));
        let (here, there) =
            (format!("02:00:00:00:01:{number:02x}"), format!("02:00:00:00:02:{number:02x}"));
        node.ip(&format!(
            "\
            link add {interface} address {here} type veth \
                peer name eth0 address {there} netns {}\n\
            link set {interface} up\n\
            route replace {v4}/32 dev {interface}\n\
            route replace {v6}/128 dev {interface}\n\
            neighbour replace {v4} lladdr {there} dev {interface}\n\
            neighbour replace {v6} lladdr {there} dev {interface}\n",
            namespace.name()
        ))?;
        let network = Self { node, interface, namespace, address };
        network.namespace.ip(&format!(
            "\
            address add {v4}/32 dev eth0\n\
            address add {v6}/128 dev eth0 nodad\n\
            link set eth0 up\n\
            neighbour replace 169.254.1.1 lladdr {here} dev eth0\n\
            neighbour replace fe80::1 lladdr {here} dev eth0\n\
            route add 169.254.1.1 dev eth0 scope link\n\
            route add default via 169.254.1.1 dev eth0\n\
            route add default via fe80::1 dev eth0\n"
        ))?;
        Ok(network)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        // At once, with its routes: the kernel takes its time over the namespace.
        if let Err(error) = self.node.ip(&format!("link delete {}", self.interface)) {
            eprintln!("{error:#}");
        }
    }
}
