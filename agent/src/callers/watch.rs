//! The watch on this node's pods: `kube`'s watcher, each object trimmed to a [`Pod`] on arrival.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::SystemTime;

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1 as core;
use kube::core::{ApiResource, Object};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;
use tracing::{debug, info, warn};

use crate::report::Chain;

use super::pods::{Change, Event, Index, Pod, PodUid};

/// Only these fields are decoded; all others are skipped while the answer is read.
type Watched = Object<Spec, Status>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    service_account_name: Option<Box<str>>,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<Box<str>>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct PodIp {
    ip: Box<str>,
}

/// Watches the pods of one node and keeps the index.
pub struct Watch {
    /// The API server.
    pub client: Client,
    /// `spec.nodeName` of the pods to watch.
    pub node_name: String,
    /// The annotations to keep of each pod.
    pub annotations: HashSet<String>,
    /// The index, whose only writer this is.
    pub index: channel::Sender<Index>,
}

impl Watch {
    /// Runs for ever: reconnects, resumes after 410 Gone and backs off by itself. `on_change` is told
    /// of each change, in order, after the index has it.
    pub async fn run(self, mut on_change: impl FnMut(&Change)) {
        let Self { client, node_name, annotations, index } = self;
        let pods = ApiResource::erase::<core::Pod>(&());
        let api: Api<Watched> = Api::all_with(client, &pods);
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node_name}"));
        let mut listing = Vec::new();
        let mut failing = false;
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    if !failing {
                        warn!(error = %Chain(&error), "the watch on this node's pods is interrupted; trying again");
                    }
                    failing = true;
                    continue;
                }
            };
            if std::mem::take(&mut failing) {
                info!("the watch on this node's pods is back");
            }
            let Some(event) = translate(event, &mut listing, &annotations) else { continue };
            let mut changes = Vec::new();
            index.send_modify(|index| changes = index.apply(event));
            for change in &changes {
                debug!(?change, "pod");
                on_change(change);
            }
        }
    }
}

/// Gathers the initial list, so that the index takes it in at once: it is never half a list.
fn translate(
    event: watcher::Event<Watched>,
    listing: &mut Vec<Pod>,
    annotations: &HashSet<String>,
) -> Option<Event> {
    match event {
        watcher::Event::Init => {
            listing.clear();
            None
        }
        watcher::Event::InitApply(pod) => {
            listing.extend(trim(pod, annotations));
            None
        }
        watcher::Event::InitDone => Some(Event::Listed(std::mem::take(listing))),
        watcher::Event::Apply(pod) => trim(pod, annotations).map(Event::Applied),
        watcher::Event::Delete(pod) => {
            pod.metadata.uid.map(|uid| Event::Deleted(PodUid::new(&uid)))
        }
    }
}

fn trim(pod: Watched, keep: &HashSet<String>) -> Option<Pod> {
    let Object { metadata, spec, status, types: _ } = pod;
    let status = status.unwrap_or_default();
    let annotations: BTreeMap<Box<str>, Box<str>> = metadata
        .annotations
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| keep.contains(key))
        .map(|(key, value)| (key.into_boxed_str(), value.into_boxed_str()))
        .collect();
    Some(Pod {
        uid: PodUid::new(&metadata.uid?),
        namespace: metadata.namespace?.into_boxed_str(),
        name: metadata.name?.into_boxed_str(),
        service_account: spec.service_account_name.unwrap_or_else(|| "default".into()),
        created: metadata.creation_timestamp.map_or(SystemTime::UNIX_EPOCH, |time| time.0.into()),
        // Every pod in the node's network namespace has the node's address, so it is nobody's.
        addresses: if spec.host_network { Vec::new() } else { addresses(&status.pod_ips) },
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        annotations,
    })
}

fn addresses(ips: &[PodIp]) -> Vec<IpAddr> {
    let parse = |ip: &PodIp| ip.ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    ips.iter().filter_map(parse).collect()
}
