//! The watch on this node's pods: `kube`'s watcher, each object trimmed to a [`Pod`] on arrival.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1 as core;
use kube::core::{ApiResource, Object, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::operate::metrics::{Watched as Resource, Watches};
use crate::report::Chain;

use self::list::Lister;
pub use self::remembered::Remembered;
use super::fresh::Fresh;
use super::pod_key::PodKey;
use super::pods::{Change, Event, Index, Pod, PodUid, ProjectedToken};
use super::workload::Workload;

pub(crate) mod heard;
mod list;
pub mod location;
pub mod own_node;
mod remembered;

/// Only these fields are decoded; all others are skipped while the answer is read.
type Watched = Object<Spec, Status>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    service_account_name: Option<Box<str>>,
    host_network: bool,
    containers: Vec<Container>,
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Container {
    env: Vec<Variable>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Variable {
    name: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Volume {
    name: Box<str>,
    projected: Option<Projected>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Projection>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Projection {
    service_account_token: Option<TokenProjection>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct TokenProjection {
    path: Box<str>,
    audience: Option<Box<str>>,
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

/// What an SDK takes credentials from before it asks the metadata service (AWS SDKs and Tools
/// Reference Guide, "Standardized credential providers").
const CREDENTIAL_VARIABLES: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Watches the pods of one node and keeps the index.
pub struct Watch {
    /// The API server.
    pub client: Client,
    /// `spec.nodeName` of the pods to watch.
    pub node_name: String,
    /// The annotations to keep of each pod.
    pub annotations: HashSet<String>,
    /// The labels to keep of each pod.
    pub labels: HashSet<String>,
    /// Who asks for a list.
    pub fresh: Fresh,
    /// The pods that are taken for known until the API server tells of them.
    pub remembered: Remembered,
    /// Counts how long the API server is silent.
    pub watches: Watches,
    /// The index, whose only writer this is.
    pub index: channel::Sender<Index>,
}

/// How long the API server may take to list this node's pods before those count that are remembered.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(2);

/// How long the API server may say nothing while it lists; between two attempts that fail there is less.
const LIST_WITHIN: Duration = Duration::from_mins(1);

/// On the mirror of a static pod, by kubelet: the hash of that pod's configuration (Kubernetes,
/// `pkg/kubelet/types/pod_update.go`).
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// On the mirror of a static pod, by kubelet: the same, as the mark that it is a mirror.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

impl Watch {
    /// Runs for ever: reconnects, resumes after 410 Gone and backs off by itself. `on_change` is told
    /// of each change, in order, after the index has it.
    pub async fn run(self, mut on_change: impl FnMut(&Change)) {
        let Self { client, node_name, annotations, labels, fresh, mut remembered, watches, index } =
            self;
        let client = heard::heard(&client, watches.begin(Resource::Pods));
        let kept = Kept { annotations, labels };
        let pods = ApiResource::erase::<core::Pod>(&());
        let api: Api<Watched> = Api::all_with(client, &pods);
        let of_node = format!("spec.nodeName={node_name}");
        let config = watcher::Config::default().fields(&of_node);
        let mut lister = Lister::new(api.clone(), &of_node, fresh);
        let mut listing = Vec::new();
        let mut failing = false;
        let mut unanswered = pin!(sleep(UNREACHABLE_AFTER));
        let mut events = patient(api, config).boxed();
        loop {
            let event = tokio::select! {
                event = events.try_next() => match event {
                    Ok(Some(event)) => event,
                    Ok(None) => return,
                    Err(error) => {
                        if !failing {
                            warn!(error = %Chain(&error), "the watch on this node's pods is interrupted; trying again");
                        }
                        failing = true;
                        if let Some(event) = remembered.take() {
                            tell(&index, event, &mut on_change);
                        }
                        continue;
                    }
                },
                () = &mut unanswered, if !remembered.is_empty() => {
                    if let Some(event) = remembered.take() {
                        tell(&index, event, &mut on_change);
                    }
                    continue;
                }
                event = lister.next(&index, &kept) => {
                    tell(&index, event, &mut on_change);
                    continue;
                }
            };
            if std::mem::take(&mut failing) {
                info!("the watch on this node's pods is back");
            }
            let Some(event) = translate(event, &mut listing, &kept) else { continue };
            lister.is_overtaken_by(&event);
            if matches!(event, Event::Listed(_)) {
                remembered.forget();
            }
            tell(&index, event, &mut on_change);
        }
    }
}

/// `kube`'s watcher, which begins anew where the API server says nothing before the list is whole: the
/// connection may be to one that is gone, and the client would wait for minutes. Once there is a list,
/// silence is that nothing changes.
pub(crate) fn patient<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move || watcher(api.clone(), config.clone()).default_backoff().boxed();
    let first = begin();
    stream::unfold((begin, first, false), |(begin, mut events, mut is_listed)| async move {
        loop {
            let next = if is_listed {
                events.next().await
            } else if let Ok(next) = timeout(LIST_WITHIN, events.next()).await {
                next
            } else {
                events = begin();
                continue;
            };
            let next = next?;
            is_listed = matches!(
                next,
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_))
            );
            return Some((next, (begin, events, is_listed)));
        }
    })
}

fn tell(index: &channel::Sender<Index>, event: Event, on_change: &mut impl FnMut(&Change)) {
    let mut changes = Vec::new();
    index.send_modify(|index| changes = index.apply(event));
    for change in &changes {
        debug!(?change, "pod");
        on_change(change);
    }
}

/// The keys of what is kept of each pod.
struct Kept {
    annotations: HashSet<String>,
    labels: HashSet<String>,
}

/// Gathers the initial list, so that the index takes it in at once: it is never half a list.
fn translate(event: watcher::Event<Watched>, listing: &mut Vec<Pod>, kept: &Kept) -> Option<Event> {
    match event {
        watcher::Event::Init => {
            listing.clear();
            None
        }
        watcher::Event::InitApply(pod) => {
            listing.extend(trim(pod, kept));
            None
        }
        watcher::Event::InitDone => Some(Event::Listed(std::mem::take(listing))),
        watcher::Event::Apply(pod) => trim(pod, kept).map(Event::Applied),
        watcher::Event::Delete(pod) => {
            pod.metadata.uid.map(|uid| Event::Deleted(PodUid::new(&uid)))
        }
    }
}

fn trim(pod: Watched, kept: &Kept) -> Option<Pod> {
    let Object { metadata, spec, status, types: _ } = pod;
    let status = status.unwrap_or_default();
    let mirrors = mirrored(metadata.annotations.as_ref());
    Some(Pod {
        mirrors,
        workload: workload(&metadata),
        uid: PodUid::new(&metadata.uid?),
        namespace: metadata.namespace?.into_boxed_str(),
        name: metadata.name?.into_boxed_str(),
        has_credentials: spec.containers.iter().any(has_credentials),
        tokens: spec.volumes.into_iter().flat_map(tokens).collect(),
        service_account: spec.service_account_name.unwrap_or_else(|| "default".into()),
        created: metadata.creation_timestamp.map_or(SystemTime::UNIX_EPOCH, |time| time.0.into()),
        // Every pod in the node's network namespace has the node's address, so it is nobody's.
        addresses: if spec.host_network { Vec::new() } else { addresses(&status.pod_ips) },
        host_network: spec.host_network,
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        annotations: only(metadata.annotations, &kept.annotations),
        labels: only(metadata.labels, &kept.labels),
    })
}

/// What is kept of `pod`; none of what is no pod of an API server.
pub(crate) fn trimmed(
    pod: &core::Pod,
    annotations: HashSet<String>,
    labels: HashSet<String>,
) -> Option<Pod> {
    let watched = serde_json::from_value(serde_json::to_value(pod).ok()?).ok()?;
    trim(watched, &Kept { annotations, labels })
}

/// Of what is marked as the mirror of a static pod, how kubelet names that pod's cgroup.
pub(crate) fn mirrored(annotations: Option<&BTreeMap<String, String>>) -> Option<PodKey> {
    let annotations = annotations?;
    let hash = annotations.get(CONFIG_HASH)?;
    (annotations.get(CONFIG_MIRROR) == Some(hash)).then(|| PodKey::of_config_hash(hash)).flatten()
}

fn workload(metadata: &ObjectMeta) -> Workload {
    let owners = metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
    let owner = owner.map(|owner| (&*owner.kind, &*owner.name));
    let name = metadata.name.as_deref().unwrap_or_default();
    let labels = metadata.labels.as_ref();
    Workload::of(name, owner, |label| labels?.get(label).map(String::as_str))
}

fn only(
    all: Option<BTreeMap<String, String>>,
    kept: &HashSet<String>,
) -> BTreeMap<Box<str>, Box<str>> {
    let all = all.unwrap_or_default().into_iter().filter(|(key, _)| kept.contains(key));
    all.map(|(key, value)| (key.into_boxed_str(), value.into_boxed_str())).collect()
}

fn has_credentials(container: &Container) -> bool {
    container.env.iter().any(|variable| CREDENTIAL_VARIABLES.contains(&&*variable.name))
}

fn tokens(volume: Volume) -> impl Iterator<Item = ProjectedToken> {
    let Volume { name, projected } = volume;
    let sources = projected.unwrap_or_default().sources.into_iter();
    sources.filter_map(|source| source.service_account_token).map(move |token| ProjectedToken {
        volume: name.clone(),
        path: token.path,
        audience: token.audience,
    })
}

fn addresses(ips: &[PodIp]) -> Vec<IpAddr> {
    let parse = |ip: &PodIp| ip.ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    ips.iter().filter_map(parse).collect()
}
