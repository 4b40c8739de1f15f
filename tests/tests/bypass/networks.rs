//! Pods whose networks are not the usual one.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use podrole_tests::cluster::Cluster;
use podrole_tests::engine::{CONTAINER, Container};
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process::{self, Process};
use podrole_tests::wait::PATIENCE;

use crate::scene::{Special, Spot};

/// Makes a pod unusual.
type Make = for<'c> fn(&'c Cluster, Pod<'c>) -> Result<Special<'c>>;

/// The unusual pods.
pub(crate) const SPECIAL: [(Spot, Make); 8] = [
    (Spot::OwnDnat, own_dnat),
    (Spot::OwnRewrite, own_rewrite),
    (Spot::Sidecar, sidecar),
    (Spot::Service, service),
    (Spot::Vxlan, vxlan),
    (Spot::HostRouted, host_routed),
    (Spot::Macvlan, macvlan),
    (Spot::Nested, nested),
];

/// An address beyond the node, where a server listens on port 80.
pub(crate) const DECOY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The same address's other family.
pub(crate) const DECOY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 1);
/// The number of the node's overlay network.
pub(crate) const VXLAN: u32 = 42;
/// The address of [`macvlan`]'s pod on the node's network.
pub(crate) const MACVLAN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

/// The source port of connections that are rewritten on the interface, both ways.
pub(crate) const REWRITTEN_FROM: u16 = 40081;
/// The address inside of [`nested`].
pub(crate) const NESTED: Ipv4Addr = CONTAINER;

const SIDECAR_PORT: u16 = 15001;
const SIDECAR_UID: u32 = 1337;

/// The pod rewrites [`DECOY`]'s port 81 to the metadata service, after the connect hooks have seen it.
fn own_dnat<'c>(_: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    let rules = format!(
        "table ip own {{ chain output {{ type nat hook output priority -100; \
         ip daddr {DECOY} tcp dport 81 dnat to 169.254.169.254:80; \
         ip daddr {DECOY} udp dport 81 dnat to 169.254.169.254:53; }}\n}}\n"
    );
    nft(&pod, &rules)?;
    Ok(Special::new(pod))
}

/// The same behind cgroups and routing, as the frame leaves the pod, and the answers' way back.
fn own_rewrite<'c>(_: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    rewrite_at(&pod, "eth0")?;
    Ok(Special::new(pod))
}

fn rewrite_at(pod: &Place, interface: &str) -> Result<()> {
    let rules = format!(
        "table netdev own {{\n\
         chain out {{ type filter hook egress device \"{interface}\" priority 0; \
         ip daddr {DECOY} tcp dport 81 ip daddr set 169.254.169.254 tcp dport set 80; }}\n\
         chain in {{ type filter hook ingress device \"{interface}\" priority 0; \
         tcp dport {REWRITTEN_FROM} ip saddr 169.254.169.254 \
         ip saddr set {DECOY} tcp sport set 81; }}\n}}\n"
    );
    nft(pod, &rules)
}

/// A Kubernetes Service whose endpoint is the metadata service: the node rewrites the destination, and
/// the source too.
fn service<'c>(cluster: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    let address = pod.address().context("the pod has addresses")?;
    let (v4, v6) = (address.v4(), address.v6());
    let rules = format!(
        "table inet proxy {{\n\
         chain services {{ type nat hook prerouting priority -100; \
         ip saddr {v4} ip daddr {DECOY} tcp dport 81 dnat ip to 169.254.169.254:80; \
         ip6 saddr {v6} ip6 daddr {DECOY_V6} tcp dport 81 dnat ip6 to [fd00:ec2::254]:80; }}\n\
         chain post {{ type nat hook postrouting priority 100; \
         ip saddr {v4} masquerade; ip6 saddr {v6} masquerade; }}\n}}\n"
    );
    nft(&cluster.node_place(), &rules)?;
    Ok(Special::new(pod))
}

/// The node takes part in an overlay network, as with Flannel or Calico.
fn vxlan<'c>(cluster: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    ip(
        &cluster.node_place(),
        &format!(
            "\
            link add vxlan0 address 02:00:00:00:04:01 type vxlan id {VXLAN} dstport 4789 \
                local 10.0.0.10 nolearning\n\
            address add 10.244.0.1/24 dev vxlan0\n\
            link set vxlan0 up\n"
        ),
    )?;
    Ok(Special::new(pod))
}

/// All TCP of the pod goes to a proxy in the pod first, as Istio's rules have it.
fn sidecar<'c>(cluster: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    let rules = format!(
        "table ip mesh {{ chain output {{ type nat hook output priority -100; \
         meta skuid != {SIDECAR_UID} meta l4proto tcp redirect to :{SIDECAR_PORT}; }}\n}}\n"
    );
    nft(&pod, &rules)?;
    let mut command = pod.command(process::own_binary("podrole-vectors")?)?;
    command.args(["sidecar", &SIDECAR_PORT.to_string(), &SIDECAR_UID.to_string()]);
    let log = cluster.directory().join("sidecar.log");
    let mut helper = Process::spawn("the sidecar", &mut command, &log)?;
    helper.wait_for_lines("listening on", 1)?;
    Ok(Special { _helper: Some(helper), ..Special::new(pod) })
}

/// What comes from the pod for the metadata service goes straight from the ingress of its veth to the
/// uplink, with the socket still attached and past routing and netfilter: eBPF host routing, done with
/// tc's own redirect. The next hop's hardware address, which a CNI's program would write, is written by
/// the pod.
fn host_routed<'c>(cluster: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    const ROUTER: &str = "02:00:00:00:00:01";
    ip(
        &pod,
        &format!(
            "\
            neighbour replace 169.254.1.2 lladdr {ROUTER} dev eth0\n\
            neighbour replace fe80::2 lladdr {ROUTER} dev eth0\n\
            route add 169.254.169.254 via 169.254.1.2 dev eth0 onlink\n\
            route add fd00:ec2::254 via fe80::2 dev eth0\n"
        ),
    )?;
    let interface = pod.interface().context("the pod has a veth")?;
    let node = cluster.node_place();
    run(&node, "tc", &["qdisc", "add", "dev", interface, "clsact"])?;
    for (priority, protocol, version, address) in
        [("1", "ip", "ip", "169.254.169.254/32"), ("2", "ipv6", "ip6", "fd00:ec2::254/128")]
    {
        let filter = ["filter", "add", "dev", interface, "ingress", "prio", priority];
        let matching = ["protocol", protocol, "u32", "match", version, "dst", address];
        let redirect = ["action", "mirred", "egress", "redirect", "dev", "up0"];
        run(&node, "tc", &[filter.as_slice(), &matching, &redirect].concat())?;
    }
    Ok(Special::new(pod))
}

/// The pod has no veth but an interface on the node's uplink: its packets never cross the node's
/// routing.
fn macvlan<'c>(cluster: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    let namespace = Place::clone(&pod).namespace;
    let name = namespace.file_name().context("a namespace has a name")?.to_string_lossy();
    let add = format!("link add link up0 name mac0 netns {name} type macvlan mode bridge\n");
    ip(&cluster.node_place(), &add)?;
    ip(
        &pod,
        &format!(
            "\
            link set eth0 down\n\
            address add {MACVLAN}/24 dev mac0\n\
            address add fd00:a::50/64 dev mac0 nodad\n\
            link set mac0 up\n\
            neighbour replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev mac0\n\
            neighbour replace fd00:a::1 lladdr 02:00:00:00:00:01 dev mac0\n\
            route add default via 10.0.0.1 dev mac0\n\
            route add default via fd00:a::1 dev mac0\n"
        ),
    )?;
    rewrite_at(&pod, "mac0")?;
    Ok(Special::new(pod))
}

/// The pod has made a network namespace inside its own, and forwards and masquerades for it, as a
/// container engine in a pod does.
fn nested<'c>(_: &'c Cluster, pod: Pod<'c>) -> Result<Special<'c>> {
    let inner = Container::start(&pod)?.into_namespace();
    Ok(Special { inner: Some(inner), ..Special::new(pod) })
}

/// Sets kernel parameters of the place's network namespace.
pub(crate) fn sysctl(place: &Place, settings: &[&str]) -> Result<()> {
    run(place, "sysctl", &[&["-q", "-w"], settings].concat())
}

/// Sets a parameter of every interface there.
pub(crate) fn sysctl_of_interfaces(place: &Place, protocol: &str, setting: &str) -> Result<()> {
    let listed = run_for(place, "ip", &["-brief", "link"])?;
    for name in listed.lines().filter_map(|line| line.split([' ', '@']).next()) {
        sysctl(place, &[&format!("net.{protocol}.conf.{name}.{setting}")])?;
    }
    Ok(())
}

fn ip(place: &Place, batch: &str) -> Result<()> {
    let mut command = place.command("ip")?;
    let finished = process::run(command.args(["-batch", "-"]), batch.as_bytes(), PATIENCE)?;
    finished.ok().context("ip")?;
    Ok(())
}

fn nft(place: &Place, rules: &str) -> Result<()> {
    let mut command = place.command("nft")?;
    let finished = process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?;
    finished.ok().context("nft")?;
    Ok(())
}

fn run(place: &Place, program: &str, arguments: &[&str]) -> Result<()> {
    run_for(place, program, arguments).map(|_| ())
}

fn run_for(place: &Place, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = place.command(program)?;
    let finished = process::run(command.args(arguments), b"", PATIENCE)?;
    finished.ok().with_context(|| format!("{program} {}", arguments.join(" ")))
}
