//! The image that `cargo xtask image` makes, unpacked: its agent serves a node from there, and finds STS by
//! its name. `cargo xtask image --check` runs these.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::{Agent, AgentBuilder};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::netns;
use podrole_tests::place::Place;
use serde_json::{Value, json};

/// The name that STS has here, and the URL of it. No file has it: it must be asked of a server.
const NAME: &str = "sts.podrole.test";
const URL: &str = "http://sts.podrole.test:8080";
/// Where STS is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn image() -> Result<PathBuf> {
    let root = std::env::var_os("PODROLE_IMAGE_ROOT").map(PathBuf::from);
    let root = root.context("PODROLE_IMAGE_ROOT is not set: run `cargo xtask image --check`")?;
    ensure!(root.join("usr/bin/podrole").is_file(), "no image in {}", root.display());
    Ok(root)
}

/// The image's files in a directory of the cluster's own, with the one that names the server of names.
fn root_of(cluster: &Cluster) -> Result<PathBuf> {
    let root = cluster.directory().join("image");
    for file in ["usr/bin/podrole", "etc/ssl/certs/ca-certificates.crt"] {
        let to = root.join(file);
        fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
        fs::copy(image()?.join(file), to).with_context(|| file.to_owned())?;
    }
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
    for directory in ["dev", "proc", "sys", "tmp"] {
        fs::create_dir(root.join(directory))?;
    }
    Ok(root)
}

/// A server of names in a place, which knows one (RFC 1035, section 4).
fn serve_names(place: &Place) -> Result<()> {
    let socket = netns::inside(&place.namespace, || Ok(UdpSocket::bind("127.0.0.1:53")?))?;
    socket.set_read_timeout(Some(Duration::from_mins(1)))?;
    // It ends with the test's process, or once nobody has asked for a while.
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = question.get(..length).and_then(answer) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

/// The address where it is asked for, no record where another type is, and no such name else.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const A: [u8; 2] = [0, 1];
    const HEADER: usize = 12;
    let name: Vec<u8> = NAME
        .split('.')
        .flat_map(|label| {
            [&[u8::try_from(label.len()).unwrap_or(0)][..], label.as_bytes()].concat()
        })
        .chain([0])
        .collect();
    let end = HEADER + question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let is_known = question.get(HEADER..end)?.eq_ignore_ascii_case(&name);
    let is_answered = is_known && question.get(end..end + 2)? == A;
    let mut answer = question.get(..2)?.to_vec();
    // An answer, recursion there; 3 is NXDOMAIN. One question, and an answer or none.
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(is_answered), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end + 4)?);
    if is_answered {
        // The name of the question, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some(answer)
}

/// Starts the agent as `wrapped` has it; a pod must get its role's credentials from STS by that.
fn serves<'c>(
    cluster: &'c Cluster,
    wrapped: impl FnOnce(AgentBuilder<'c>, &Path) -> Result<AgentBuilder<'c>>,
) -> Result<Agent> {
    let pod = cluster.pod("web").role("web").start()?;
    ensure!(pod.node_credentials()?.is_some(), "without podrole the node's role is reached");
    serve_names(&cluster.node_place())?;
    let root = root_of(cluster)?;
    let agent = cluster.agent().env("AWS_ENDPOINT_URL_STS", URL).binary("/usr/bin/podrole".into());
    let agent = wrapped(agent, &root)?.start()?;
    pod.wait_for_role("web")?;
    let session = pod.credentials_of("web")?.session()?;
    assert_eq!(session.role, role_arn("web"));
    assert_eq!(cluster.sts.asked_for("web")?.len(), 1);
    Ok(agent)
}

#[test]
#[ignore = "needs the image: cargo xtask image --check"]
fn in_a_chroot() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = serves(cluster, |agent, root| {
            let root = root.to_str().context("a plain path")?;
            // As kubelet mounts what the agent needs of the node. The cluster's own files lie in /tmp.
            let script = "for path in /dev /proc /sys /tmp; do mount --rbind $path $0$path; done; \
                          exec chroot $0 \"$@\"";
            Ok(agent.under(&["unshare", "--mount", "sh", "-c", script, root]))
        })?;
        Ok(())
    })
}

#[test]
#[ignore = "needs the image: cargo xtask image --check"]
fn by_runc_with_a_read_only_root() -> Result<()> {
    Cluster::with(|cluster| {
        let name = format!("{}-runc", cluster.name());
        let _agent = serves(cluster, |agent, root| {
            let bundle = cluster.directory().join("bundle");
            fs::create_dir(&bundle)?;
            let config = config(cluster, root, &agent)?;
            fs::write(bundle.join("config.json"), config.to_string())?;
            let state = cluster.directory().join("runc").display().to_string();
            let bundle = bundle.display().to_string();
            // runc takes the words from the bundle; those that follow here would be too many.
            let script = "exec runc --root \"$0\" run --bundle \"$1\" \"$2\"";
            Ok(agent.under(&["sh", "-c", script, &state, &bundle, &name]))
        })?;
        Ok(())
    })
}

/// A container as the chart's: its capabilities, the node's network, a root that cannot be written.
fn config(cluster: &Cluster, root: &Path, agent: &AgentBuilder<'_>) -> Result<Value> {
    let words = agent.words()?.into_iter().map(|word| word.to_string_lossy().into_owned());
    let environment = agent.environment().iter().map(|(name, value)| format!("{name}={value}"));
    let (words, environment): (Vec<_>, Vec<_>) = (words.collect(), environment.collect());
    let bind = |path: &str, options: &[&str]| {
        let options = [&["rbind"], options].concat();
        json!({"destination": path, "source": path, "type": "bind", "options": options})
    };
    let capabilities = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_PERFMON"];
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": words,
            "env": environment,
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities,
                             "permitted": capabilities},
            "noNewPrivileges": true,
        },
        "root": {"path": root, "readonly": true},
        "mounts": [
            {"destination": "/dev", "source": "tmpfs", "type": "tmpfs"},
            bind("/proc", &[]),
            bind("/sys", &[]),
            bind("/tmp", &["rshared"]),
        ],
        "linux": {
            "namespaces": [{"type": "mount"}],
            "cgroupsPath": format!("/{}/container", cluster.name()),
        },
    }))
}
