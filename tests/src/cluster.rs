//! One pretend node with everything around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::agent::AgentBuilder;
use crate::aws::{Metadata, Sts};
use crate::bpffs::BpfFs;
use crate::cgroup::{self, Cgroup};
use crate::kubelet::Driver;
use crate::kubernetes::Kubernetes;
use crate::leftovers;
use crate::netns::Namespace;
use crate::place::Place;
use crate::pod::PodBuilder;
use crate::process::{self, Process};
use crate::sniffer::Sniffer;
use crate::volumes::Volumes;
use crate::wait;

/// Where this is set the node has the network of the machine, which must be the test's own: a virtual one.
const MACHINE: &str = "PODROLE_TEST_MACHINE";
/// The name of the node.
pub const NODE: &str = "node-1";
/// The node's addresses.
pub const NODE_ADDRESSES: [&str; 2] = ["10.0.0.10", "fd00:a::10"];

/// Echo servers that podrole has no business with: the EKS Pod Identity agent's address, the VPC's DNS
/// resolver and its clock, a server beyond the node. True marks UDP.
pub const BYSTANDERS: [(&str, bool); 9] = [
    ("169.254.170.23:80", false),
    ("[fd00:ec2::23]:80", false),
    ("169.254.169.253:53", false),
    ("169.254.169.253:53", true),
    ("169.254.169.123:123", true),
    ("10.0.0.1:80", false),
    ("10.0.0.1:53", true),
    ("[fd00:a::1]:80", false),
    ("[fd00:a::1]:53", true),
];

/// Echo servers at the metadata service's addresses, where pods have no business. True marks UDP.
pub const OTHER_PORTS: [(&str, bool); 4] = [
    ("169.254.169.254:8080", false),
    ("169.254.169.254:80", true),
    ("[fd00:ec2::254]:8080", false),
    ("[fd00:ec2::254]:53", true),
];

/// A node with a Kubernetes API server on it, and AWS outside of it. Fields go in this order.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub kubernetes: Kubernetes,
    /// STS.
    pub sts: Sts,
    /// The real metadata service.
    pub metadata: Metadata,
    /// Where the agent pins.
    pub bpf_fs: BpfFs,
    /// What kubelet keeps of pods.
    pub volumes: Volumes,
    _bystanders: Process,
    cgroup: Cgroup,
    driver: Driver,
    node: Namespace,
    outside: Namespace,
    directory: TempDir,
    name: String,
    pods: AtomicU32,
    agents: AtomicU32,
}

impl Cluster {
    /// Runs a test on a cluster of its own, and shows all logs where it fails.
    pub fn with(test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::with_driver(Driver::Cgroupfs, test)
    }

    /// The same, where pods' cgroups are made so.
    pub fn with_driver(driver: Driver, test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let cluster = Self::start_with(driver)?;
        let outcome = test(&cluster);
        if outcome.is_err() {
            cluster.show_logs();
        }
        outcome
    }

    /// Makes the node and starts the servers.
    ///
    /// # Errors
    /// Without root, cgroup2 or `ip`, each named.
    pub fn start() -> Result<Self> {
        Self::start_with(Driver::Cgroupfs)
    }

    fn start_with(driver: Driver) -> Result<Self> {
        // SAFETY: geteuid cannot fail and touches nothing.
        anyhow::ensure!(unsafe { libc::geteuid() } == 0, "the kernel tests need root");
        leftovers::sweep();
        let name = leftovers::name();
        let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir()?;
        let outside = outside(&name)?;
        let node = node(&name, &outside)?;
        let cgroup = Cgroup::new(cgroup::mount_point()?.join(&name))?;
        fs::create_dir_all(cgroup.path().join(driver.root()))?;
        fs::create_dir(cgroup.path().join("system"))?;
        let bpf_fs = BpfFs::new(directory.path())?;
        bpf_fs.mount()?;
        let at = |namespace: &Namespace| Place {
            namespace: namespace.path(),
            cgroup: cgroup.path().join("system"),
        };
        Ok(Self {
            kubernetes: Kubernetes::start(&at(&node), directory.path())?,
            sts: Sts::start(&at(&outside), directory.path())?,
            metadata: Metadata::start(&at(&outside), directory.path())?,
            _bystanders: bystanders(&at(&outside), directory.path())?,
            bpf_fs,
            volumes: Volumes::new(directory.path().join("kubelet")),
            cgroup,
            driver,
            node,
            outside,
            directory,
            name,
            pods: AtomicU32::new(1),
            agents: AtomicU32::new(1),
        })
    }

    /// A pod, yet to be configured and started.
    pub fn pod(&self, name: &str) -> PodBuilder<'_> {
        PodBuilder::new(self, name)
    }

    /// An agent with the settings of an ordinary installation, yet to be changed and started.
    pub fn agent(&self) -> AgentBuilder<'_> {
        AgentBuilder::new(self)
    }

    /// Occupies a TCP address of the node, for as long as the handle lives.
    pub fn squat(&self, address: &str) -> Result<Process> {
        self.echo_at(&self.node_place(), &[(address, false)])
    }

    /// Echo servers (UDP where it says true) in a place, for as long as the handle lives.
    pub fn echo_at(&self, place: &Place, addresses: &[(&str, bool)]) -> Result<Process> {
        echo(place, addresses, &self.fresh_file("echo")?)
    }

    /// A server that sends everything back, for as long as the handle lives.
    pub fn mirror_at(&self, place: &Place, address: &str) -> Result<Process> {
        let mut command = place.command(process::own_binary("podrole-probe")?)?;
        let command = command.args(["mirror", address]);
        let mut process = Process::spawn("a mirror", command, &self.fresh_file("mirror")?)?;
        process.wait_for_lines("listening on", 1)?;
        Ok(process)
    }

    /// Where the node's own processes run.
    #[must_use]
    pub fn node_place(&self) -> Place {
        Place { namespace: self.node.path(), cgroup: self.cgroup.path().join("system") }
    }

    /// Beyond the node: where the metadata service and the other servers run.
    #[must_use]
    pub fn outside_place(&self) -> Place {
        Place { namespace: self.outside.path(), cgroup: self.cgroup.path().join("system") }
    }

    /// Begins to watch what arrives outside of the node.
    pub fn sniff(&self) -> Result<Sniffer> {
        self.outside.inside(|| Ok(Sniffer::new()?))
    }

    /// The cgroup that all pods live in.
    #[must_use]
    pub fn pod_cgroup(&self) -> PathBuf {
        self.cgroup.path().join(self.driver.root())
    }

    /// Who makes the cgroups of pods.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// A directory of this cluster's own, for files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Prints what every process wrote.
    pub fn show_logs(&self) {
        if let Err(error) = show_logs(self.directory.path()) {
            eprintln!("the logs cannot be shown: {error:#}");
        }
    }

    pub(crate) fn fresh_file(&self, name: &str) -> Result<PathBuf> {
        let mut file = tempfile::Builder::new();
        let (_, path) = file.prefix(name).suffix(".out").tempfile_in(self.directory())?.keep()?;
        Ok(path)
    }

    pub(crate) fn node(&self) -> &Namespace {
        &self.node
    }

    /// Of its cgroup and its directory; no other cluster on the machine has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn next_pod(&self) -> u32 {
        self.pods.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_agent(&self) -> u32 {
        self.agents.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

/// The world beyond the node: the VPC's router, with the link-local services behind it.
fn outside(name: &str) -> Result<Namespace> {
    let outside = Namespace::new(&format!("{name}-outside"))?;
    outside.ip("\
        address add 169.254.169.254/32 dev lo\n\
        address add 169.254.169.253/32 dev lo\n\
        address add 169.254.169.123/32 dev lo\n\
        address add 169.254.170.23/32 dev lo\n\
        address add fd00:ec2::254/128 dev lo nodad\n\
        address add fd00:ec2::23/128 dev lo nodad\n")?;
    Ok(outside)
}

/// The node: a router between its pods and the outside. Neighbours are permanent so that no first
/// packet waits for their discovery.
fn node(name: &str, outside: &Namespace) -> Result<Namespace> {
    let id = format!("{name}-node");
    let node = if std::env::var_os(MACHINE).is_some() {
        let node = Namespace::of_machine(&id)?;
        // Of the cluster before, whose end the kernel may not have come to yet.
        wait::until_true("the end of the cluster before", || {
            Ok(node.ip("link show up0").is_err())
        })?;
        let mut flush = Command::new("nft");
        process::run(flush.args(["flush", "ruleset"]), b"", wait::PATIENCE)?.ok()?;
        node
    } else {
        Namespace::new(&id)?
    };
    node.set(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])?;
    node.ip(&format!(
        "\
        link add up0 address 02:00:00:00:00:10 type veth \
            peer name eth0 address 02:00:00:00:00:01 netns {}\n\
        address add 10.0.0.10/24 dev up0\n\
        address add fd00:a::10/64 dev up0 nodad\n\
        link set up0 up\n",
        outside.name()
    ))?;
    outside.ip("\
        address add 10.0.0.1/24 dev eth0\n\
        address add fd00:a::1/64 dev eth0 nodad\n\
        link set eth0 up\n\
        neighbour replace 10.0.0.10 lladdr 02:00:00:00:00:10 dev eth0\n\
        neighbour replace fd00:a::10 lladdr 02:00:00:00:00:10 dev eth0\n\
        route add 10.0.1.0/24 via 10.0.0.10\n\
        route add 10.0.2.0/23 via 10.0.0.10\n\
        route add fd00:a:1::/64 via fd00:a::10\n")?;
    node.ip("\
        neighbour replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev up0\n\
        neighbour replace fd00:a::1 lladdr 02:00:00:00:00:01 dev up0\n\
        route add default via 10.0.0.1\n\
        route add default via fd00:a::1\n")?;
    Ok(node)
}

fn bystanders(place: &Place, directory: &Path) -> Result<Process> {
    let all = [BYSTANDERS.as_slice(), &OTHER_PORTS].concat();
    echo(place, &all, &directory.join("bystanders.log"))
}

fn echo(place: &Place, addresses: &[(&str, bool)], log: &Path) -> Result<Process> {
    let mut command = place.command(process::own_binary("podrole-probe")?)?;
    command.arg("echo");
    for (address, udp) in addresses {
        command.args([if *udp { "--udp" } else { "--tcp" }, address]);
    }
    let mut process = Process::spawn("an echo server", &mut command, log)?;
    process.wait_for_lines("listening on", addresses.len())?;
    Ok(process)
}

fn show_logs(directory: &Path) -> Result<()> {
    const LINES: usize = 150;
    let mut logs: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    logs.retain(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    logs.sort_by_key(std::fs::DirEntry::file_name);
    for entry in logs {
        let text = fs::read(entry.path()).with_context(|| entry.path().display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let (before, last) = lines.split_at(lines.len().saturating_sub(LINES));
        let loud = before.iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        let shown: Vec<&str> = loud.chain(last).copied().collect();
        eprintln!("--- {}\n{}", entry.file_name().to_string_lossy(), shown.join("\n"));
    }
    Ok(())
}
