//! `podrole explain` from anywhere: the agent of the pod's node is asked, so that the settings are that
//! node's. The way into its container is `kubectl exec`: who runs `kubectl podrole` has kubectl, and with it
//! whatever it takes to log in to the cluster. Who may not exec there is told by the agents' settings.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

use super::by_settings::{self, may_exec};
use super::explain::Explanation;
use crate::settings::{ContainerError, PodName};

/// For each question to the API server.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// For the agent's answer: more than its own.
const EXEC_DEADLINE: Duration = Duration::from_secs(20);
/// What the agents' pods and their `DaemonSet` are labelled with.
pub(super) const LABEL: &str = "app.kubernetes.io/name=podrole";
/// Of what kubectl says of a failure, in characters.
const SHOWN: usize = 500;

/// Why the agent of the pod's node cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing says how to reach the API server.
    #[error("no agent answers on this machine, and no kubeconfig says where else; set KUBECONFIG")]
    NoCluster(#[source] Box<kube::Error>),
    /// The API server does not tell.
    #[error("cannot read {what} from the API server")]
    Unread {
        /// What.
        what: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// It does not answer.
    #[error("no answer within {} s to {what}", within.as_secs())]
    Late {
        /// What was asked.
        what: String,
        /// For how long.
        within: Duration,
    },
    /// The pod is on no node.
    #[error("the pod {0} is on no node yet: nothing is decided of it")]
    NotScheduled(String),
    /// There is no agent.
    #[error(
        "no pod labelled {LABEL} of the namespace {namespace} runs on {node}: the agent is not there, or in another namespace (--agent-namespace)"
    )]
    NoAgent {
        /// The pod's node.
        node: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// There are no agents.
    #[error(
        "no pod labelled {LABEL} is in the namespace {namespace}: the agents are not there, or in another namespace (--agent-namespace)"
    )]
    NoAgents {
        /// Where they were looked for.
        namespace: String,
    },
    /// There is no kubectl.
    #[error("cannot run kubectl, by which agents are asked on their nodes")]
    NoKubectl(#[source] io::Error),
    /// The agent gave no answer.
    #[error("kubectl exec in {agent} gave no answer: {said}; ask on the node itself")]
    Exec {
        /// The agent's pod.
        agent: String,
        /// What kubectl said.
        said: String,
    },
    /// Exec is not allowed, and there is no other way.
    #[error(
        "exec in the agents' pods is not allowed, and no DaemonSet labelled {LABEL} of the namespace {namespace} tells their settings: it is in another namespace (--agent-namespace), or ask on the node itself"
    )]
    NoDaemonSet {
        /// Where it was looked for.
        namespace: String,
    },
    /// Nothing says which of them is the node's.
    #[error(
        "exec in the agents' pods is not allowed, and the namespace {namespace} has several DaemonSets labelled {LABEL} ({names}), whose settings may differ; ask on the node itself"
    )]
    DaemonSets {
        /// Where they are.
        namespace: String,
        /// Their names.
        names: String,
    },
    /// No container is the agent.
    #[error("no container of the DaemonSet {daemon_set} has `agent` in its command or args")]
    NoContainer {
        /// Its namespace and name.
        daemon_set: String,
    },
    /// The `DaemonSet`'s flags and variables make no settings.
    #[error("the settings of the DaemonSet {daemon_set} cannot be told")]
    Settings {
        /// Its namespace and name.
        daemon_set: String,
        /// Why.
        source: ContainerError,
    },
    /// The API server's answer lacks what every pod has.
    #[error("the API server tells a pod without name or UID")]
    Unreadable,
}

/// Asks the agent of the node that the pod is on.
pub(super) async fn explain(pod: &PodName, agents: &str) -> Result<Explanation, RemoteError> {
    let client =
        Client::try_default().await.map_err(|error| RemoteError::NoCluster(Box::new(error)))?;
    let shown = format!("{}/{}", pod.namespace, pod.name);
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let found = within(&format!("the pod {shown}"), api.get(&pod.name)).await?;
    let node = found.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let node = node.filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| RemoteError::NotScheduled(shown.clone()))?;
    if may_exec(&client, agents).await {
        let agent = agent_on(&client, &node, agents).await?;
        let words = ["explain", &shown, "--on-node", "--output", "json"];
        if let Some(answer) = carry(agents, &agent, &words).await? {
            return Ok(answer);
        }
    }
    by_settings::explain(&client, &found, &node, agents).await
}

/// The name of the agent's pod on `node`.
async fn agent_on(client: &Client, node: &str, agents: &str) -> Result<String, RemoteError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), agents);
    let on_node = ListParams::default().labels(LABEL).fields(&format!("spec.nodeName={node}"));
    let found = within(&format!("the agents on {node}"), api.list(&on_node)).await?;
    let running = found.items.into_iter().find(|agent| {
        let status = agent.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Running")
    });
    running
        .and_then(|agent| agent.metadata.name)
        .ok_or_else(|| RemoteError::NoAgent { node: node.to_owned(), namespace: agents.to_owned() })
}

/// Waits for one answer of the API server.
pub(super) async fn within<T>(
    what: &str,
    asked: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RemoteError> {
    match timeout(DEADLINE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            Err(RemoteError::Unread { what: what.to_owned(), source: Box::new(error) })
        }
        Err(_) => Err(RemoteError::Late { what: what.to_owned(), within: DEADLINE }),
    }
}

/// Runs `podrole` with these words in the agent's pod and reads what it says; `None` where exec is not
/// allowed.
pub(super) async fn carry<T: DeserializeOwned>(
    namespace: &str,
    agent: &str,
    words: &[&str],
) -> Result<Option<T>, RemoteError> {
    let asked = Command::new("kubectl")
        .args(["exec", "-n", namespace, agent, "--", "podrole"])
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(answered) = timeout(EXEC_DEADLINE, asked).await else {
        return Err(RemoteError::Late { what: "kubectl exec".into(), within: EXEC_DEADLINE });
    };
    let Output { stdout, stderr, .. } = answered.map_err(RemoteError::NoKubectl)?;
    // It fails with an answer too, where all is not well.
    if let Ok(answer) = serde_json::from_slice(&stdout) {
        return Ok(Some(answer));
    }
    let said = String::from_utf8_lossy(&stderr);
    if said.contains("(Forbidden)") && said.contains("pods/exec") {
        return Ok(None);
    }
    Err(RemoteError::Exec {
        agent: format!("{namespace}/{agent}"),
        said: said.trim().chars().take(SHOWN).collect(),
    })
}
