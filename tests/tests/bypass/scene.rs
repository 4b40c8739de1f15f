//! The pretend node with everybody who tries: pods of every kind, processes of the node, and a
//! sniffer at the metadata service.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use podrole_tests::cluster::Cluster;
use podrole_tests::netns::Namespace;
use podrole_tests::place::Place;
use podrole_tests::pod::{Address, Pod};
use podrole_tests::process::{self, Process};
use podrole_tests::sniffer::Sniffer;
use podrole_tests::vectors::attack::{Attack, Kind, Report};
use podrole_tests::vectors::fence;
use podrole_tests::wait::PATIENCE;

use crate::networks;
use crate::vector::{Seen, Vector, View};

/// The role of every pod that has one.
pub(crate) const OWN_ROLE: &str = "own-role-of-the-pod";

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spot {
    /// An ordinary pod.
    Pod,
    /// A process of the node's cgroup in the pod's network namespace.
    SystemInPod,
    /// A process of the pod's cgroup, in the pod's network namespace, that is fed by the node: the
    /// socket's maker is in the node's cgroup.
    FedBySystem,
    /// A process of the node's cgroup that a pod's process passes its socket to.
    FedByPod,
    /// A pod in the node's network namespace.
    HostPod,
    /// A process of the node.
    Node,
    /// A pod that rewrites destinations in its own network namespace.
    OwnDnat,
    /// A pod that rewrites its frames as they leave.
    OwnRewrite,
    /// A pod that a Service with an unusual endpoint is there for.
    Service,
    /// A pod on a node with an overlay network.
    Vxlan,
    /// A pod with a mesh's sidecar.
    Sidecar,
    /// A pod whose CNI forwards past the node's routing and netfilter.
    HostRouted,
    /// A pod on a macvlan interface.
    Macvlan,
    /// A network namespace that a pod made inside its own, and forwards for.
    Nested,
}

/// What the cases run on.
pub(crate) struct Scene<'c> {
    pub(crate) cluster: &'c Cluster,
    /// An ordinary pod.
    pub(crate) pod: Pod<'c>,
    /// Its neighbour, which does nothing.
    pub(crate) other: Pod<'c>,
    host: Pod<'c>,
    special: BTreeMap<Spot, Result<Special<'c>, String>>,
    sniffer: Sniffer,
    number: Cell<u32>,
}

/// A pod with an unusual network, and what runs in it.
pub(crate) struct Special<'c> {
    pub(crate) pod: Pod<'c>,
    pub(crate) inner: Option<Namespace>,
    pub(crate) _helper: Option<Process>,
}

/// An open connection that waits for its turn.
pub(crate) struct Held {
    path: PathBuf,
    _process: Process,
}

impl<'c> Special<'c> {
    /// With nothing else in it.
    pub(crate) fn new(pod: Pod<'c>) -> Self {
        Self { pod, inner: None, _helper: None }
    }

    fn place(&self) -> Place {
        let place = Place::clone(&self.pod);
        match &self.inner {
            Some(inner) => Place { namespace: inner.path(), ..place },
            None => place,
        }
    }
}

impl<'c> Scene<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Result<Self> {
        let pod = |name: &str| cluster.pod(name).role(OWN_ROLE);
        let special = networks::SPECIAL.map(|(spot, make)| {
            let made = pod(&format!("{spot:?}").to_lowercase())
                .start()
                .and_then(|pod| make(cluster, pod))
                .map_err(|error| format!("{error:#}"));
            (spot, made)
        });
        let scene = Self {
            pod: pod("attacker").start()?,
            other: cluster.pod("other").role("other").start()?,
            host: pod("host").host_network().start()?,
            special: special.into(),
            sniffer: cluster.sniff()?,
            number: Cell::new(0),
            cluster,
        };
        scene.loosen()?;
        Ok(scene)
    }

    /// Takes away what Linux's defaults would stop, so that podrole has to.
    fn loosen(&self) -> Result<()> {
        let (node, outside) = (self.cluster.node_place(), self.cluster.outside_place());
        for place in [&node, &outside, &*self.pod] {
            networks::sysctl(place, &["net.ipv4.conf.all.accept_source_route=1"])?;
            networks::sysctl_of_interfaces(place, "ipv4", "accept_source_route=1")?;
        }
        networks::sysctl(&node, &["net.ipv6.conf.all.seg6_enabled=1"])?;
        networks::sysctl_of_interfaces(&node, "ipv6", "seg6_enabled=1")?;
        for place in [&*self.pod, &node] {
            // 1: as a client; 4: with data in the SYN although there is no cookie.
            networks::sysctl(
                place,
                &["net.ipv4.ping_group_range=0 2147483647", "net.ipv4.tcp_fastopen=5"],
            )?;
        }
        Ok(())
    }

    /// A number that no other attack has.
    pub(crate) fn next_number(&self) -> u32 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    pub(crate) fn own(&self) -> Result<Address> {
        self.pod.address().context("the pod has addresses")
    }

    /// The address of the pod that an attack comes from.
    pub(crate) fn address_of(&self, spot: Spot) -> Result<Ipv4Addr> {
        match self.special.get(&spot) {
            Some(Ok(special)) => Ok(special.pod.address().context("no address")?.v4()),
            _ => Ok(self.own()?.v4()),
        }
    }

    /// Opens the connection of a vector now, to be used later.
    pub(crate) fn hold(&self, vector: &Vector, patience: Duration) -> Result<Held> {
        let path = self.cluster.directory().join(format!("held-{}", self.next_number()));
        let mut attack = (vector.attack)(self)?;
        attack.patience_ms = u64::try_from(patience.as_millis())?;
        let place = self.place(vector.spot).map_err(|reason| anyhow!(reason))?;
        let mut command = place.command(process::own_binary("podrole-vectors")?)?;
        command.arg("hold").arg(serde_json::to_string(&attack)?).arg(&path);
        let mut process = self.spawn("a held connection", &mut command)?;
        process.wait_for_lines("opened", 1)?;
        // What it took to open is not what is asked.
        self.arrived()?;
        Ok(Held { path, _process: process })
    }

    /// Carries a vector out and counts what arrives.
    ///
    /// # Errors
    /// The inner one says why it cannot be carried out here.
    pub(crate) fn run(
        &self,
        vector: &Vector,
        held: Option<Held>,
        patience: Duration,
    ) -> Result<Result<Seen, String>> {
        let place = match self.place(vector.spot) {
            Ok(place) => place,
            Err(reason) => return Ok(Err(reason)),
        };
        let report = match held {
            Some(held) => held.report()?,
            None => self.attack(&place, vector, patience)?,
        };
        let arrived = self.arrived()?;
        Ok(match report {
            Report::Ran(exchange) => Ok(Seen { arrived, view: View::of(&exchange) }),
            Report::Missing(reason) => Err(reason),
        })
    }

    fn attack(&self, place: &Place, vector: &Vector, patience: Duration) -> Result<Report> {
        let mut attack = (vector.attack)(self)?;
        attack.patience_ms = u64::try_from(patience.as_millis())?;
        let pod = self.place(Spot::Pod).map_err(|reason| anyhow!(reason))?;
        let system = self.place(Spot::SystemInPod).map_err(|reason| anyhow!(reason))?;
        let giver = match vector.spot {
            Spot::FedBySystem => Some(self.give(&system, &mut attack)?),
            Spot::FedByPod => Some(self.give(&pod, &mut attack)?),
            _ => None,
        };
        let mut command = place.command(process::own_binary("podrole-vectors")?)?;
        command.arg("attack").arg(serde_json::to_string(&attack)?);
        let finished = process::run(&mut command, b"", PATIENCE)?;
        drop(giver);
        Ok(serde_json::from_str(&finished.ok()?)?)
    }

    /// Lets a process at `place` make the socket.
    fn give(&self, place: &Place, attack: &mut Attack) -> Result<Process> {
        use podrole_tests::vectors::attack::Origin;
        let path = self.cluster.directory().join(format!("passed-{}", self.next_number()));
        let made = std::mem::replace(&mut attack.origin, Origin::PassedAt(path.clone()));
        let Origin::Made(kind) = made else { bail!("it is passed already") };
        let mut command = place.command(process::own_binary("podrole-vectors")?)?;
        command.arg("give").arg(serde_json::to_string::<Kind>(&kind)?).arg(path);
        let mut process = self.spawn("the maker of a socket", &mut command)?;
        process.wait_for_lines("listening at", 1)?;
        Ok(process)
    }

    fn spawn(&self, name: &str, command: &mut std::process::Command) -> Result<Process> {
        let log = self.cluster.directory().join(format!("helper-{}.log", self.next_number()));
        Process::spawn(name, command, &log)
    }

    /// How many packets have arrived at the metadata service since the last call, whatever source they
    /// bear.
    pub(crate) fn arrived(&self) -> Result<usize> {
        let number = self.next_number();
        let mut command = self.other.command(process::own_binary("podrole-vectors")?)?;
        command.args(["fence", &format!("10.0.0.1:{}", fence::PORT), &number.to_string()]);
        let fences = process::run(&mut command, b"", PATIENCE)?.ok()?.trim().parse()?;
        Ok(self.sniffer.until_fence(number, fences)?.len())
    }

    /// Where a vector's process runs.
    fn place(&self, spot: Spot) -> Result<Place, String> {
        let node = self.cluster.node_place();
        match spot {
            Spot::Pod | Spot::FedBySystem => Ok(Place::clone(&self.pod)),
            Spot::SystemInPod => Ok(Place { cgroup: node.cgroup, ..Place::clone(&self.pod) }),
            Spot::FedByPod | Spot::Node => Ok(node),
            Spot::HostPod => Ok(Place::clone(&self.host)),
            special => match self.special.get(&special) {
                Some(Ok(special)) => Ok(special.place()),
                Some(Err(reason)) => Err(reason.clone()),
                None => Err("there is no such pod".to_owned()),
            },
        }
    }
}

/// The node.
pub(crate) const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 0x10);

impl Held {
    fn report(self) -> Result<Report> {
        let mut process = UnixStream::connect(&self.path)?;
        process.set_read_timeout(Some(PATIENCE))?;
        let mut report = String::new();
        process.read_to_string(&mut report)?;
        Ok(serde_json::from_str(&report)?)
    }
}
