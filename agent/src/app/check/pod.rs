//! `podrole check --pod`: goes the way of a pod to the metadata service, from inside of the pod's
//! network, and says where it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustix::io::Errno;

use super::super::inspect::Ready;
use super::Finding;
use crate::callers::cgroup_path::pod_of;
use crate::callers::pod_key::PodKey;
use crate::callers::watch::mirrored;
use crate::kernel::self_test::as_pod::{self, Heard, Opened};
use crate::kernel::{PodCgroup, processes, sockets};
use crate::operate::control::Question;
use crate::operate::control::client::{AskError, ask};
use crate::report::Chain;
use crate::settings::CheckArguments;

/// Where pods ask.
const PORT: u16 = 80;

/// What the agent says of itself.
type Agent = Result<Ready, AskError>;

/// Goes the way; the last finding says where it ended.
pub(super) async fn way(arguments: &CheckArguments, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(end) = follow(arguments, name, &mut findings).await {
        findings.push(end);
    }
    findings
}

async fn follow(
    arguments: &CheckArguments,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    const CHECK: &str = "pod";
    let (namespace, pod) = name.split_once('/').ok_or_else(|| {
        Finding::bad(CHECK, format!("{name:?} names none"), "write --pod NAMESPACE/POD")
    })?;
    let pod = find(namespace, pod).await?;
    findings.push(Finding::good(CHECK, format!("{name} is there ({})", pod.uid)));
    let pods = PodCgroup::open(arguments.kernel.pod_cgroup.as_deref())
        .map_err(|error| Finding::of_error("cgroup", &error))?;
    let cgroup = cgroup_of(&pods, &pod)?;
    findings.push(Finding::good("cgroup", cgroup.display().to_string()));
    let network = network_of(&cgroup)?;
    let agent = ask::<Ready>(&arguments.socket.socket, &Question::Ready).await;
    let metadata = metadata_of(arguments)?;
    let (opened, arrived, heard) = as_pod::go(&cgroup, &network, metadata, arrival)
        .await
        .map_err(|error| Finding::of_error("connection", &error))?;
    findings.push(connection(&opened, metadata, &agent, pod.host_network)?);
    findings.push(arrival_at(&opened, arrived)?);
    findings.push(answer(heard)?);
    Ok(())
}

/// What has to be known of the pod.
struct Found {
    uid: String,
    key: Option<PodKey>,
    node: String,
    host_network: bool,
}

async fn find(namespace: &str, name: &str) -> Result<Found, Finding> {
    const CHECK: &str = "pod";
    let failed = |error: kube::Error| {
        let mend = "is the API server reachable, and may this user get pods?";
        Finding::bad(CHECK, Chain(&error).to_string(), mend)
    };
    let client = crate::app::api_server::connect().await.map_err(failed)?;
    let pod = Api::<Pod>::namespaced(client, namespace).get_opt(name).await.map_err(failed)?;
    let Some(Pod { metadata, spec, .. }) = pod else {
        let mend = format!("see `kubectl get pods --namespace {namespace}`");
        return Err(Finding::bad(CHECK, format!("there is no {namespace}/{name}"), mend));
    };
    let (uid, spec) = (metadata.uid.unwrap_or_default(), spec.unwrap_or_default());
    let key = mirrored(metadata.annotations.as_ref()).or_else(|| PodKey::of_uid(&uid));
    let host_network = spec.host_network.unwrap_or_default();
    Ok(Found { uid, key, node: spec.node_name.unwrap_or_default(), host_network })
}

fn cgroup_of(pods: &PodCgroup, pod: &Found) -> Result<PathBuf, Finding> {
    const CHECK: &str = "cgroup";
    let all = pods.each().map_err(|error| Finding::of_error(CHECK, &error))?;
    let name = pods.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_its = |path: &PathBuf| {
        let below = path.strip_prefix(pods.path()).ok();
        pod.key.is_some() && below.and_then(|below| pod_of(name, below)) == pod.key
    };
    all.into_iter().find(is_its).ok_or_else(|| {
        let found = format!("the pod has none below {}", pods.path().display());
        let node = if pod.node.is_empty() { "no node yet" } else { &pod.node };
        Finding::bad(CHECK, found, format!("run this on the pod's node ({node}) while it runs"))
    })
}

fn network_of(cgroup: &Path) -> Result<PathBuf, Finding> {
    processes::first_of(cgroup)
        .map(|id| PathBuf::from(format!("/proc/{id}/ns/net")))
        .filter(|network| network.exists())
        .ok_or_else(|| {
            let mend =
                "run this while the pod runs, on the node itself or in a container with hostPID";
            Finding::bad("network", "no process of the pod can be seen", mend)
        })
}

fn metadata_of(arguments: &CheckArguments) -> Result<SocketAddr, Finding> {
    let given = arguments.kernel.metadata_address.iter();
    let mut addresses = given.filter_map(|address| address.parse().ok());
    let address = addresses.next().map(|ip| SocketAddr::new(ip, PORT));
    address.ok_or_else(|| {
        Finding::bad("metadata service", "it has no address", "give --metadata-address one")
    })
}

/// The connection's end on this node. An earlier one from the same port may have ended elsewhere.
fn arrival(opened: &Opened) -> Option<SocketAddr> {
    let sockets = sockets::of_this_namespace().into_iter();
    let came = sockets.filter(|socket| Some(socket.remote) == opened.from);
    let ends: Vec<_> = came.map(|socket| socket.local).collect();
    let right = ends.iter().find(|end| Some(**end) == opened.sent_to);
    right.or(ends.first()).copied()
}

/// Whether the connection was opened, and to where.
fn connection(
    opened: &Opened,
    metadata: SocketAddr,
    agent: &Agent,
    host_network: bool,
) -> Result<Finding, Finding> {
    const CHECK: &str = "connection";
    if let Some(errno) = opened.failed {
        return Err(refusal(Errno::from_raw_os_error(errno), opened, agent));
    }
    match opened.sent_to {
        Some(to) if to == metadata && host_network => Err(Finding::unsure(
            CHECK,
            "it reaches the real metadata service: the pod is in the node's network",
            "it has the node's role unless --host-network-pods says otherwise",
        )),
        Some(to) if to == metadata => Err(Finding::bad(
            CHECK,
            "it is not redirected, and ends at the real metadata service",
            "podrole's programs are not on the pod's cgroup: see `podrole check` and the agent's log",
        )),
        Some(to) => Ok(Finding::good(
            CHECK,
            format!("{metadata} is {to} for the pod, opened after {} ms", opened.took_ms),
        )),
        None => Err(Finding::unsure(
            CHECK,
            "it is opened, but the kernel does not show where it goes",
            "see that /proc is the node's",
        )),
    }
}

/// Who may have refused, by how it was refused.
fn refusal(errno: Errno, opened: &Opened, agent: &Agent) -> Finding {
    const CHECK: &str = "connection";
    let to = opened.sent_to.map_or("podrole's port on the node".to_owned(), |to| to.to_string());
    match (errno, agent) {
        (Errno::CONNREFUSED, _) if !opened.left => Finding::bad(
            CHECK,
            "refused before any packet left",
            "podrole's programs refuse while somebody else answers on the proxy's port: see the agent's log",
        ),
        (Errno::CONNREFUSED, Err(AskError::NoAgent { .. })) => Finding::bad(
            CHECK,
            format!("refused at {to}: no agent runs on this node"),
            "start the agent; until one runs, podrole's programs let no pod through",
        ),
        (Errno::CONNREFUSED, Ok(ready)) if !ready.ready => Finding::bad(
            CHECK,
            format!("refused at {to}; the agent is {ready}"),
            "see the agent's log",
        ),
        (Errno::CONNREFUSED, _) => Finding::bad(
            CHECK,
            format!("refused on the way to {to}, and not by the agent, which is ready"),
            format!("let the pod's NetworkPolicy, mesh or firewall permit TCP to {to}"),
        ),
        (Errno::TIMEDOUT, _) => Finding::bad(
            CHECK,
            format!("no answer from {to}"),
            format!(
                "something drops it: let the pod's NetworkPolicy, mesh or firewall permit TCP to {to}"
            ),
        ),
        (Errno::NETUNREACH | Errno::HOSTUNREACH, _) => Finding::bad(
            CHECK,
            format!("the pod has no route to {to} ({errno})"),
            "let the pod's network have a route to its own node",
        ),
        (Errno::PERM | Errno::ACCESS, _) => Finding::bad(
            CHECK,
            format!("a program on the pod's cgroup forbids it ({errno})"),
            "see `bpftool cgroup tree` for who else is there",
        ),
        (errno, _) => Finding::bad(CHECK, format!("{to}: {errno}"), "see the agent's log"),
    }
}

/// Whether the connection ended where it was sent to.
fn arrival_at(opened: &Opened, arrived: Option<SocketAddr>) -> Result<Finding, Finding> {
    const CHECK: &str = "arrival";
    match (opened.sent_to, arrived) {
        (Some(to), Some(at)) if at == to => Ok(Finding::good(CHECK, format!("it arrives at {at}"))),
        (Some(to), Some(at)) => Err(Finding::bad(
            CHECK,
            format!("it was sent to {to} and arrives at {at}"),
            "a hostPort or a Service's externalIPs takes the proxy's port: remove it",
        )),
        (Some(to), None) => Ok(Finding::unsure(
            CHECK,
            format!("{to} does not see it come from the pod's own address"),
            "something between rewrites the source or answers itself: a mesh's sidecar, or NAT",
        )),
        (None, _) => {
            Ok(Finding::unsure(CHECK, "it cannot be told", "see that /proc is the node's"))
        }
    }
}

/// What was answered to the question for the pod's role.
fn answer(heard: Result<Heard, String>) -> Result<Finding, Finding> {
    const CHECK: &str = "answer";
    let heard = heard.map_err(|error| Finding::bad(CHECK, error, "see the agent's log"))?;
    let Heard { status, server, body } = heard;
    if server.as_deref() != Some("EC2ws") {
        let server = server.unwrap_or_else(|| "somebody without a name".into());
        let mend = "something answers in podrole's place: a mesh's sidecar or a proxy in the pod";
        return Err(Finding::bad(CHECK, format!("{status} from {server}"), mend));
    }
    match status {
        200 => Ok(Finding::good(CHECK, format!("the pod has the role {}", body.trim()))),
        404 => Ok(Finding::unsure(
            CHECK,
            "no role (404)",
            "nothing gives the pod one: see `podrole explain`",
        )),
        _ => Err(Finding::bad(
            CHECK,
            message(&body).map_or(format!("{status}"), |message| format!("{status}: {message}")),
            "see `podrole explain` and the agent's log",
        )),
    }
}

/// What an error document says.
fn message(body: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    document.get("Message")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> SocketAddr {
        "10.0.0.10:16925".parse().unwrap()
    }

    fn opened() -> Opened {
        Opened { left: true, sent_to: Some(proxy()), from: None, failed: None, took_ms: 0 }
    }

    fn ready() -> Ready {
        Ready { ready: true, missing: Vec::new() }
    }

    fn absent() -> Agent {
        Err(AskError::NoAgent { path: "/x".into(), source: std::io::ErrorKind::NotFound.into() })
    }

    #[test]
    fn who_refused_is_told_by_how_it_was_refused() {
        for (errno, left, agent, said) in [
            (Errno::CONNREFUSED, true, absent(), "no agent runs"),
            (Errno::CONNREFUSED, true, Ok(ready()), "not by the agent"),
            (Errno::CONNREFUSED, false, Ok(ready()), "before any packet left"),
            (Errno::TIMEDOUT, true, Ok(ready()), "no answer from 10.0.0.10:16925"),
            (Errno::HOSTUNREACH, true, Ok(ready()), "no route"),
            (Errno::PERM, false, Ok(ready()), "forbids"),
        ] {
            let finding = refusal(errno, &Opened { left, ..opened() }, &agent);
            assert!(finding.found.contains(said), "{finding:?}");
            assert!(finding.mend.is_some(), "{finding:?}");
        }
    }

    #[test]
    fn a_connection_that_ends_elsewhere_is_told() {
        assert!(arrival_at(&opened(), Some(proxy())).is_ok());
        let elsewhere = arrival_at(&opened(), Some("10.0.0.10:9999".parse().unwrap())).unwrap_err();
        assert!(elsewhere.found.contains("10.0.0.10:9999"), "{elsewhere:?}");
    }

    #[test]
    fn an_answer_of_somebody_else_is_told() {
        let heard = |status, server: &str, body: &str| {
            Ok(Heard { status, server: Some(server.to_owned()), body: body.to_owned() })
        };
        assert!(answer(heard(200, "EC2ws", "web")).unwrap().found.contains("web"));
        assert!(answer(heard(200, "envoy", "web")).unwrap_err().found.contains("envoy"));
        let refused = answer(heard(403, "EC2ws", r#"{"Message":"not permitted"}"#)).unwrap_err();
        assert_eq!(refused.found, "403: not permitted");
    }
}
