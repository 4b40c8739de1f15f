//! The watch on this node's own Node object, as metadata alone: for one label.

use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch as channel;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::report::Chain;

use super::patient;

/// What is known of the label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Its value, if the Node has it: as the API server said, or as it had said to an earlier agent.
    pub value: Option<Box<str>>,
    /// Whether the API server has said so to this one.
    pub is_heard: bool,
}

/// Watches the Node `name` for its label `key`, for ever. What was told stays while the API server does not
/// answer.
pub async fn follow(
    client: Client,
    name: String,
    key: &'static str,
    label: channel::Sender<Label>,
) {
    let api: Api<PartialObjectMeta<Node>> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = patient(api, config).boxed();
    let (mut listed, mut failing) = (None, false);
    let of = |node: PartialObjectMeta<Node>| {
        let labels = node.metadata.labels.unwrap_or_default();
        labels.get(key).map(|value| value.as_str().into())
    };
    let tell = |value: Option<Box<str>>| {
        let heard = Label { value, is_heard: true };
        label.send_if_modified(|known| std::mem::replace(known, heard.clone()) != heard);
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(node)) => {
                listed = of(node);
                continue;
            }
            Ok(watcher::Event::InitDone) => tell(listed.take()),
            Ok(watcher::Event::Apply(node)) => tell(of(node)),
            Ok(watcher::Event::Delete(_)) => tell(None),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        error = %Chain(&error),
                        "the watch on this node's own Node is interrupted: what its label {key} said last holds; trying again"
                    );
                }
                continue;
            }
        }
        if std::mem::take(&mut failing) {
            info!("the watch on this node's own Node is back");
        }
    }
}

/// Waits until the API server has told of the label, or for so long.
pub async fn heard(label: &channel::Receiver<Label>, at_most: Duration) {
    let mut label = label.clone();
    // Both ends of the wait are read from the channel itself.
    let _ = timeout(at_most, label.wait_for(|label| label.is_heard)).await;
}
