//! While an agent runs its programs stay where they belong: on the pods' cgroup even if it is made anew,
//! on every interface, and before every other program there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use podrole_tests::bpf::{self, BEFORE, Does};
use podrole_tests::cgroup;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::METADATA;
use podrole_tests::leaks::Leaks;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::wait;

/// Every program of the pods' cgroup.
const LINKS: [&str; 9] = [
    "egress",
    "sendmsg4",
    "sendmsg6",
    "bind4",
    "bind6",
    "getpeername4",
    "getpeername6",
    "connect4",
    "connect6",
];

/// A way to the metadata service that nothing redirects.
const DATAGRAMS: &str = "169.254.169.254:80";

/// `TCX_PASS`: the packet leaves, and no other program sees it.
const PASS: i32 = 0;
/// `TCX_NEXT`
const NEXT: i32 = -1;

/// A process in the pod's network whose socket no program of a cgroup sees: the node forwards for it.
fn stranger(cluster: &Cluster, pod: &Pod<'_>) -> Place {
    Place { cgroup: cluster.node_place().cgroup, ..Place::clone(pod) }
}

/// How many packets of a try arrive at the metadata service.
fn arriving(leaks: &Leaks, place: &Place) -> Result<usize> {
    place.udp(DATAGRAMS, b"hello")?;
    Ok(leaks.seen(place)?.len())
}

#[test]
fn a_pods_cgroup_that_is_made_anew_gets_the_programs() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.pod("first").role("first").start()?;
        assert!(first.node_credentials()?.is_some());
        let pods = cluster.pod_cgroup();
        let _agent = cluster.agent().start()?;
        first.wait_for_role("first")?;
        let leaks = cluster.leaks()?;
        let is_on_new = || -> Result<bool> {
            let now = fs::metadata(&pods)?.ino();
            for name in LINKS {
                if bpf::cgroup_of_link(&cluster.bpf_fs.pin(name)?)? != now {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        assert!(is_on_new()?);

        cgroup::remove(&pods)?;
        let second = cluster.pod("second").role("second").start()?;
        // Not yet redirected perhaps, but the node forwards nothing to the real service, as is seen below.
        second.tcp(METADATA, b"GET / HTTP/1.0\r\n\r\n")?;
        wait::until_true("the programs on the new cgroup", is_on_new)?;
        second.wait_for_role("second")?;
        assert_eq!(leaks.seen(&second)?, []);
        let forward = |name: &str| name.starts_with("forward-");
        let names = cluster.bpf_fs.pins()?;
        let names = names.iter().filter_map(|pin| pin.file_name()?.to_str());
        let links = names.filter(|name| LINKS.contains(name) || forward(name)).count();
        assert_eq!(links, LINKS.len() + 1, "one for each hook, and one uplink");
        Ok(())
    })
}

#[test]
fn an_interface_that_comes_later_is_guarded_and_until_then_the_cgroup_holds() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let stranger = stranger(cluster, &pod);
        let leaks = cluster.leaks()?;
        assert_eq!(arriving(&leaks, &pod)?, 1, "without podrole");
        let mut agent = cluster.agent().start()?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "by the first interface");

        agent.pause()?;
        cluster.second_uplink()?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "nobody guards the second one yet");
        assert_eq!(arriving(&leaks, &pod)?, 0, "by a pod's own socket");
        let refused = pod.hang_up_on("169.254.169.254:8080", b"")?.refused();
        assert_eq!(refused, Some(libc::ECONNREFUSED));
        agent.resume()?;
        agent.wait_for_log("forward guard attached interface=\"eni1\"")?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "by the second interface");
        pod.wait_for_role("web")?;
        Ok(())
    })
}

#[test]
fn a_program_that_comes_before_the_forward_guard_is_overtaken() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "without podrole");
        let mut agent = cluster.agent().start()?;
        let _later = bpf::attach_to_interface(&node, "up0", Does::Return(PASS), 0)?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with another program behind it");

        agent.pause()?;
        let _before = bpf::attach_to_interface(&node, "up0", Does::Return(PASS), BEFORE)?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "the other program ends the chain");
        agent.resume()?;
        agent.wait_for_log("first again")?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "first again");

        let _again = bpf::attach_to_interface(&node, "up0", Does::Return(NEXT), BEFORE)?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "the other program passes packets on");
        Ok(())
    })
}

#[test]
fn the_forward_guard_comes_before_programs_that_were_there() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        let _first = bpf::attach_to_interface(&node, "up0", Does::Return(PASS), BEFORE)?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "without podrole");
        let agent = cluster.agent().start()?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with podrole");

        agent.kill()?;
        let _second = bpf::attach_to_interface(&node, "up0", Does::Return(PASS), BEFORE)?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "overtaken while no agent runs");
        let _agent = cluster.agent().start().context("an agent that finds itself behind")?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with the next agent");
        Ok(())
    })
}
