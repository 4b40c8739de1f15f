//! Every agent is asked on its own node, by `kubectl exec`.

use futures_util::StreamExt as _;
use futures_util::stream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use super::{NodeReport, Report, Unanswered};
use crate::app::inspect::remote::{LABEL, RemoteError, carry, within};
use crate::report::Chain;

/// So many at a time: each is a process here and a connection of the API server's.
const AT_ONCE: usize = 8;

/// Asks all agents in the namespace `agents`; `again` has them try roles once more that AWS refused.
///
/// # Errors
/// Where they cannot be listed, or there are none. One that does not tell is in the report.
pub async fn gather(agents: &str, again: bool) -> Result<Report, RemoteError> {
    let client =
        Client::try_default().await.map_err(|error| RemoteError::NoCluster(Box::new(error)))?;
    let api: Api<Pod> = Api::namespaced(client, agents);
    let labelled = ListParams::default().labels(LABEL);
    let found = within("the agents' pods", api.list(&labelled)).await?.items;
    if found.is_empty() {
        return Err(RemoteError::NoAgents { namespace: agents.to_owned() });
    }
    let asked =
        stream::iter(found).map(|agent| ask(agents, agent, again)).buffer_unordered(AT_ONCE);
    let all: Vec<_> = asked.collect().await;
    let (mut told, mut unanswered) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(report) => told.push(report),
            Err(missing) => unanswered.push(missing),
        }
    }
    unanswered.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(Report::of(told, unanswered))
}

async fn ask(namespace: &str, agent: Pod, again: bool) -> Result<NodeReport, Unanswered> {
    let node = agent.spec.and_then(|spec| spec.node_name).unwrap_or_default();
    let name = agent.metadata.name.unwrap_or_default();
    let missing = |error: String| Unanswered { node: node.clone(), error };
    let phase = agent.status.and_then(|status| status.phase).unwrap_or_default();
    if phase != "Running" {
        return Err(missing(format!("its agent {namespace}/{name} is {phase}")));
    }
    let mut words = vec!["report", "--on-node", "--output", "json"];
    words.extend(again.then_some("--again"));
    match carry(namespace, &name, &words).await {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err(missing(format!("exec in {namespace}/{name} is not allowed (pods/exec)"))),
        Err(error) => Err(missing(Chain(&error).to_string())),
    }
}
