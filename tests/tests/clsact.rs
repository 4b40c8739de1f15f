//! The forward guard on kernels without tcx: a filter of `clsact`, which no pin holds.

use std::net::UdpSocket;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use podrole_tests::agent::{Agent, AgentBuilder};
use podrole_tests::bpf::{self, Does, Hook};
use podrole_tests::cluster::Cluster;
use podrole_tests::leaks::Leaks;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::wait::{self, PATIENCE};
use podrole_tests::{netns, process};

/// A way to the metadata service that nothing redirects.
const DATAGRAMS: &str = "169.254.169.254:80";
const GRACE: Duration = Duration::from_secs(15);
const RESTARTS: usize = 15;
/// Between two datagrams.
const BETWEEN: Duration = Duration::from_micros(200);

/// `TC_ACT_OK`: the packet leaves, and no other filter sees it.
const OK: i32 = 0;
/// `TC_ACT_SHOT`
const SHOT: i32 = 2;

fn agent(cluster: &Cluster) -> AgentBuilder<'_> {
    cluster.agent().set("--forward-hook", "clsact")
}

/// A process in the pod's network whose socket no program of a cgroup sees: the node forwards for it.
fn stranger(cluster: &Cluster, pod: &Pod<'_>) -> Place {
    Place { cgroup: cluster.node_place().cgroup, ..Place::clone(pod) }
}

/// How many packets of a try arrive at the metadata service.
fn arriving(leaks: &Leaks, place: &Place) -> Result<usize> {
    place.udp(DATAGRAMS, b"hello")?;
    Ok(leaks.seen(place)?.len())
}

fn tc(place: &Place, line: &str) -> Result<String> {
    let mut command = place.command("tc")?;
    process::run(command.args(line.split(' ')), b"", PATIENCE)?
        .ok()
        .with_context(|| line.to_owned())
}

/// The handles of the filters on the way out, in their order.
fn filters(place: &Place, interface: &str) -> Result<Vec<String>> {
    let shown = tc(place, &format!("filter show dev {interface} egress"))?;
    let handles = shown.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "handle").skip(1);
        words.next().map(str::to_owned)
    });
    Ok(handles.collect())
}

fn is_ours(handle: &str) -> bool {
    ["0x706f0001", "0x706f0002"].contains(&handle)
}

/// podrole's filter, and no second one, stands first among so many.
fn is_first_of(place: &Place, interface: &str, count: usize) -> Result<bool> {
    let filters = filters(place, interface)?;
    let ours = filters.iter().filter(|handle| is_ours(handle)).count();
    let first = filters.first().is_some_and(|handle| is_ours(handle));
    Ok(first && ours == 1 && filters.len() == count)
}

/// Another tool's filter on the way out, as Cilium's is at priority 1.
fn add_anothers(cluster: &Cluster, priority: u16, does: Does) -> Result<()> {
    let pin = cluster.bpf_fs.path().join(format!("another-{priority}"));
    bpf::pin_program(&pin, Hook::TCX_EGRESS, does)?;
    let pin = pin.display();
    tc(
        &cluster.node_place(),
        &format!(
            "filter add dev up0 egress protocol all prio {priority} handle 1 bpf da pinned {pin}"
        ),
    )?;
    Ok(())
}

fn stop(mut agent: Agent) -> Result<()> {
    agent.terminate()?;
    ensure!(agent.wait(GRACE)?.success());
    Ok(())
}

#[test]
fn what_the_node_forwards_is_dropped_and_stays_dropped_without_an_agent() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "without podrole");
        let running = agent(cluster).start()?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with an agent");
        assert!(node.reaches_bystander(DATAGRAMS.parse()?, true)?, "the node itself");
        pod.wait_for_role("web")?;
        let pins = cluster.bpf_fs.pins()?;
        assert!(!pins.iter().any(|pin| pin.to_string_lossy().contains("/forward-")), "{pins:?}");
        assert!(is_first_of(&node, "up0", 1)?);

        running.kill()?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with the agent killed");
        stop(agent(cluster).start()?)?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "with the agent stopped");
        assert!(is_first_of(&node, "up0", 1)?);
        Ok(())
    })
}

/// Sends to the metadata service from the pod's network until told to end, and gives how often.
fn send(pod: &Place, end: Receiver<()>) -> Result<usize> {
    netns::inside(&pod.namespace, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let mut sent = 0;
        while end.recv_timeout(BETWEEN) == Err(RecvTimeoutError::Timeout) {
            socket.send_to(b"hello", DATAGRAMS)?;
            sent += 1;
        }
        Ok(sent)
    })
}

#[test]
fn a_restarted_agent_replaces_the_filter_and_no_moment_is_open() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "without podrole");
        let running = agent(cluster).start()?;
        let filters_shown = || tc(&node, "filter show dev up0 egress");
        let (end, ended) = mpsc::channel();
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| send(&pod, ended));
            let restarts = (0..RESTARTS).try_fold(running, |before, round| {
                let program = filters_shown()?;
                if round % 2 == 0 {
                    before.kill()?;
                } else {
                    stop(before)?;
                }
                let mut next = agent(cluster).spawn()?;
                // Every third one gets this far only.
                if round % 3 == 0 {
                    next.wait_for_log("starting")?;
                    next.kill()?;
                    next = agent(cluster).spawn()?;
                }
                next.wait_for_log("attached to the pods' cgroup")?;
                ensure!(filters_shown()? != program, "the program is the old one");
                ensure!(is_first_of(&node, "up0", 1)?, "{}", filters_shown()?);
                Ok(next)
            });
            drop(end);
            let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
            restarts.and(sent)
        })?;
        println!("{sent} datagrams sent over {RESTARTS} restarts");
        ensure!(sent > 1000, "only {sent} datagrams were sent");
        assert_eq!(leaks.seen(&stranger)?, []);
        Ok(())
    })
}

#[test]
fn an_interface_that_comes_later_is_guarded_and_one_that_no_longer_is_loses_the_filter()
-> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        let mut running = agent(cluster).start()?;
        running.pause()?;
        cluster.second_uplink()?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "nobody guards the second one yet");
        running.resume()?;
        running.wait_for_log("forward guard attached interface=\"eni1\"")?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "by the second interface");

        running.kill()?;
        let _next = agent(cluster).set("--guard-interface", "eni1").start()?;
        assert!(is_first_of(&node, "eni1", 1)?);
        assert!(filters(&node, "up0")?.is_empty());
        Ok(())
    })
}

#[test]
fn detach_removes_the_filters_of_podrole_and_no_others() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        cluster.second_uplink()?;
        agent(cluster).start()?.kill()?;
        add_anothers(cluster, 1, Does::Return(OK))?;
        add_anothers(cluster, 7, Does::Return(OK))?;
        assert!(is_first_of(&node, "eni1", 1)?);
        assert_eq!(filters(&node, "up0")?.len(), 3);
        assert_eq!(arriving(&leaks, &stranger)?, 0);

        cluster.detach()?;
        assert_eq!(filters(&node, "up0")?, ["0x1", "0x1"]);
        assert!(filters(&node, "eni1")?.is_empty());
        assert_eq!(arriving(&leaks, &stranger)?, 1, "as before podrole");
        cluster.detach().context("once more, with nothing there")
    })
}

#[test]
fn another_tools_filter_beside_it_still_runs() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let reaches = || node.reaches_bystander(DATAGRAMS.parse()?, true);
        let _running = agent(cluster).start()?;
        assert!(reaches()?);
        add_anothers(cluster, 2, Does::Return(SHOT))?;
        assert!(!reaches()?, "the other filter drops what podrole's passes on");
        Ok(())
    })
}

#[test]
fn filters_that_were_there_and_that_come_later_are_overtaken() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        tc(&node, "qdisc add dev up0 clsact")?;
        add_anothers(cluster, 1, Does::Return(OK))?;
        let mut running = agent(cluster).start()?;
        assert!(is_first_of(&node, "up0", 2)?);
        assert_eq!(arriving(&leaks, &stranger)?, 0, "before one that was there");

        running.pause()?;
        tc(&node, "filter del dev up0 egress protocol all prio 1 handle 1 bpf")?;
        tc(
            &node,
            &format!(
                "filter add dev up0 egress protocol all prio 1 handle 1 bpf da pinned {}",
                cluster.bpf_fs.path().join("another-1").display()
            ),
        )?;
        assert_eq!(arriving(&leaks, &stranger)?, 1, "the other filter ends the chain");
        running.resume()?;
        running.wait_for_log("first again")?;
        assert!(is_first_of(&node, "up0", 2)?);
        assert_eq!(arriving(&leaks, &stranger)?, 0, "first again");
        Ok(())
    })
}

#[test]
fn a_filter_that_is_removed_is_put_back() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let _running = agent(cluster).start()?;
        for removal in ["filter del dev up0 egress", "qdisc del dev up0 clsact"] {
            tc(&node, removal)?;
            wait::until_true("the filter", || is_first_of(&node, "up0", 1))?;
        }
        Ok(())
    })
}

#[test]
fn where_it_does_not_fit_the_start_fails_and_leaves_nothing() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let node = cluster.node_place();
        cluster.second_uplink()?;
        let refused = |said: &[&str]| -> Result<()> {
            let finished = agent(cluster).run()?;
            assert_eq!(finished.status.code(), Some(1), "{finished:?}");
            for words in said {
                assert!(finished.stderr.contains(words), "{words} is missing in {finished:?}");
            }
            assert!(!filters(&node, "up0")?.iter().any(|handle| is_ours(handle)));
            assert!(!filters(&node, "eni1")?.iter().any(|handle| is_ours(handle)));
            assert!(cluster.bpf_fs.pins()?.is_empty());
            assert!(pod.node_credentials()?.is_some(), "nothing is attached");
            Ok(())
        };
        tc(&node, "qdisc add dev eni1 ingress")?;
        refused(&["eni1", "discipline ingress", "clsact"])?;
        tc(&node, "qdisc del dev eni1 ingress")?;
        tc(&node, "qdisc add dev eni1 clsact")?;
        tc(&node, "filter add dev eni1 egress protocol ip prio 1 u32 match u32 0 0 flowid 1:1")?;
        refused(&["eni1", "at priority 1 must be of the kind bpf"])
    })
}

#[test]
fn attach_and_the_agent_share_the_filter() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let (node, stranger) = (cluster.node_place(), stranger(cluster, &pod));
        let leaks = cluster.leaks()?;
        let (pods, bpf_fs) = (cluster.pod_cgroup(), cluster.bpf_fs.path().to_owned());
        let (pods, bpf_fs) = (pods.display().to_string(), bpf_fs.display().to_string());
        let attach = ["attach", "--forward-hook", "clsact", "--listen", "10.0.0.10"];
        let attach = [&attach[..], &["--pod-cgroup", &pods, "--bpf-fs", &bpf_fs]].concat();
        cluster.podrole(&attach)?.ok()?;
        assert_eq!(arriving(&leaks, &stranger)?, 0, "before any agent");
        let _running = agent(cluster).start()?;
        assert!(is_first_of(&node, "up0", 1)?);
        pod.wait_for_role("web")
    })
}
