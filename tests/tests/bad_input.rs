//! Wrong settings end the agent with one message that names them and what to do, and leave nothing
//! attached.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Result, ensure};
use podrole_tests::agent::AgentBuilder;
use podrole_tests::cgroup;
use podrole_tests::cluster::Cluster;
use podrole_tests::pod::Pod;

/// A wrong setting: its name, how it is made, and what the message must contain.
type Mistake<'c> = (&'static str, AgentBuilder<'c>, Vec<String>);

/// Makes every mistake and reports all wrong ends together.
fn check(
    cluster: &Cluster,
    pod: &Pod<'_>,
    mistakes: Vec<Mistake<'_>>,
    codes: &[i32],
) -> Result<()> {
    let mut wrong = String::new();
    for (name, agent, words) in mistakes {
        let finished = agent.run()?;
        let said = message(&format!("{}{}", finished.text(), finished.stderr));
        let code = finished.status.code();
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(word.as_str())).collect();
        let pins = cluster.bpf_fs.pins()?;
        let is_open = pod.node_credentials()?.is_some();
        let is_right = code.is_some_and(|code| codes.contains(&code))
            && missing.is_empty()
            && !said.contains("panicked")
            && pins.is_empty()
            && is_open;
        if !is_right {
            let _ = writeln!(
                wrong,
                "{name}: ended with {code:?}, did not say {missing:?}, left {pins:?}, \
                 pods reach the real service: {is_open}; it said:\n{said}"
            );
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// What was said besides the log, which shows all settings and so contains every word.
fn message(output: &str) -> String {
    let is_logged = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    output.lines().filter(|line| !is_logged(line)).collect::<Vec<_>>().join("\n")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn wrong_usage_is_told_all_at_once() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let agent = || cluster.agent();
        let mistakes: Vec<Mistake<'_>> = vec![
            (
                "two settings are missing",
                agent().without("--node-name").without("--cluster-name"),
                words(&["--node-name", "--cluster-name"]),
            ),
            (
                "three values are wrong",
                agent()
                    .set("--session-duration", "5m")
                    .set("--session-tags", "sometimes")
                    .set("--host-network-pods", "never"),
                words(&["--session-duration", "--session-tags", "--host-network-pods"]),
            ),
            (
                "two IPv4 listeners",
                agent().set("--listen", "10.0.0.10").add("--listen", "10.0.0.11"),
                words(&["--listen"]),
            ),
            (
                "a listener that is no address",
                agent().set("--listen", "everywhere"),
                words(&["--listen", "everywhere"]),
            ),
            (
                "a metadata address with a port",
                agent().set("--metadata-address", "169.254.169.254:80"),
                words(&["--metadata-address"]),
            ),
            ("an unknown flag", agent().set("--colour", "red"), words(&["--colour"])),
        ];
        check(cluster, &pod, mistakes, &[2])
    })
}

#[test]
fn a_machine_that_does_not_fit_is_told_by_name() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let agent = || cluster.agent();
        let file = cluster.directory().join("a-file");
        fs::write(&file, "")?;
        let file = file.display().to_string();
        let below_file = format!("{file}/below");
        let elsewhere = cluster.directory().display().to_string();
        let mistakes: Vec<Mistake<'_>> = vec![
            (
                "no kubeconfig",
                agent().env("KUBECONFIG", "/nonexistent/kubeconfig"),
                words(&["/nonexistent/kubeconfig"]),
            ),
            (
                "a pod cgroup that is not there",
                agent().set("--pod-cgroup", "/nonexistent/kubepods"),
                words(&["/nonexistent/kubepods", "--pod-cgroup"]),
            ),
            (
                "a pod cgroup that is no cgroup",
                agent().set("--pod-cgroup", &elsewhere),
                words(&[&elsewhere, "--pod-cgroup"]),
            ),
            (
                "a BPF file system in a file",
                agent().set("--bpf-fs", &file),
                words(&[&file, "--bpf-fs"]),
            ),
            (
                "a state directory below a file",
                agent().set("--state-dir", &below_file),
                words(&[&below_file, "--state-dir"]),
            ),
            (
                "an address that is not the node's",
                agent().set("--listen", "10.99.99.99"),
                words(&["10.99.99.99"]),
            ),
        ];
        check(cluster, &pod, mistakes, &[1, 2])
    })
}

#[test]
fn a_kernel_that_does_not_do_its_part_is_told_by_name() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let mount = cgroup::mount_point()?.display().to_string();
        let without_cgroup2 = format!("umount --lazy {mount} && exec \"$0\" \"$@\"");
        let mistakes: Vec<Mistake<'_>> = vec![
            (
                "no right to load programs",
                cluster.agent().under(&["setpriv", "--bounding-set=-bpf,-sys_admin"]),
                words(&["eBPF", "CAP_BPF"]),
            ),
            (
                "no cgroup2",
                cluster.agent().without("--pod-cgroup").under(&[
                    "unshare",
                    "--mount",
                    "sh",
                    "-c",
                    &without_cgroup2,
                ]),
                words(&["cgroup2"]),
            ),
        ];
        check(cluster, &pod, mistakes, &[1])
    })
}

#[test]
fn a_port_in_use_is_told_by_name() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let both = ["10.0.0.10:16925", "10.0.0.10:16926"];
        let mistakes = both.map(|address| {
            let agent = cluster.agent().set("--admin-listen", "10.0.0.10:16926");
            ("a port in use", agent, words(&[address]))
        });
        for (mistake, address) in mistakes.into_iter().zip(both) {
            let _squatter = cluster.squat(address)?;
            check(cluster, &pod, vec![mistake], &[1])?;
        }
        Ok(())
    })
}
