//! Where the node is, as the labels of its own Node object say: for pods that ask, off EC2.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use tokio::sync::watch as channel;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::report::Chain;

/// "Well-Known Labels, Annotations and Taints" of Kubernetes.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// A cloud's controller sets the labels soon after the node has joined, if it does.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The labels of a node that has them hardly change.
const LOOK_EVERY: Duration = Duration::from_mins(10);
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a node is, as far as its labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// `topology.kubernetes.io/region`
    pub region: Option<Box<str>>,
    /// `topology.kubernetes.io/zone`
    pub zone: Option<Box<str>>,
}

/// Reads the labels of the Node `name` now and then, for ever. What was read stays while the API server
/// does not answer.
pub async fn follow(client: Client, name: String, location: channel::Sender<Option<Location>>) {
    let api: Api<Node> = Api::all(client);
    let mut failing = false;
    loop {
        let said = match timeout(DEADLINE, api.get_metadata(&name)).await {
            Ok(Ok(node)) => Ok(node.metadata.labels.unwrap_or_default()),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(_) => Err(format!("the API server did not answer within {}s", DEADLINE.as_secs())),
        };
        let known = match said {
            Ok(labels) => {
                failing = false;
                let label = |key| labels.get(key).map(|value| value.as_str().into());
                let found = Location { region: label(REGION), zone: label(ZONE) };
                let is_known = found.region.is_some();
                location.send_replace(Some(found));
                is_known
            }
            Err(error) => {
                if !failing {
                    warn!(%error, "the labels of this node cannot be read; trying again");
                }
                failing = true;
                false
            }
        };
        sleep(if known { LOOK_EVERY } else { AGAIN_AFTER }).await;
    }
}
