//! The API server of a simulated cluster, as far as agents ask it: it has all pods of the cluster, sends what
//! the selectors of a list or a watch let through, and counts each byte.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Channel, Either, Full};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// As often as Kubernetes sends them.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// What is remembered for those whose watch is just being opened again.
const HISTORY: usize = 4096;

/// What agents cost it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) list_bytes: AtomicU64,
    pub(super) event_bytes: AtomicU64,
    /// Watches that are open now.
    pub(super) watches: AtomicI64,
}

/// A pod, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) node: u32,
    pub(super) number: u64,
    pub(super) workload: u32,
    pub(super) namespace: u32,
    pub(super) phase: &'static str,
    pub(super) is_ending: bool,
}

#[derive(Clone, Default)]
pub(super) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    pods: HashMap<u64, Object>,
    watches: Vec<OpenWatch>,
    /// The nodes that anybody ever selected pods by.
    selected: HashSet<u32>,
    history: VecDeque<(u64, u32, Bytes)>,
}

struct OpenWatch {
    /// `None` for one on all pods.
    node: Option<u32>,
    events: mpsc::UnboundedSender<Bytes>,
}

/// What a watch is on.
enum Watched {
    /// Pods, of one node or of all.
    Pods(Option<u32>),
    /// What never changes here.
    Others,
}

type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

impl ApiServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client whose requests are counted.
    pub(super) fn client(&self, counts: &Arc<Counts>) -> kube::Client {
        let (server, counts) = (self.clone(), Arc::clone(counts));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let answer = server.answer(request.uri(), &counts);
            async move { Ok::<_, Infallible>(answer) }
        });
        kube::Client::new(service, "default")
    }

    /// Whether somebody would be told of a pod of this node.
    pub(super) fn is_watched(&self, node: u32) -> bool {
        let state = self.state();
        state.selected.contains(&node) || state.watches.iter().any(|watch| watch.node.is_none())
    }

    /// A pod is new, another than it was, or (`None`) gone.
    pub(super) fn change(&self, number: u64, object: Option<Object>) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let (kind, object) = match object {
            Some(object) => {
                let before = state.pods.insert(number, object.clone());
                (if before.is_some() { "MODIFIED" } else { "ADDED" }, object)
            }
            None => match state.pods.remove(&number) {
                Some(object) => ("DELETED", object),
                None => return,
            },
        };
        let node = object.node;
        let is_told = |watch: &OpenWatch| watch.node.is_none_or(|own| own == node);
        if !state.selected.contains(&node) && !state.watches.iter().any(is_told) {
            return;
        }
        let event = json!({ "type": kind, "object": pod(&object, version) });
        let event = Bytes::from(format!("{event}\n"));
        state.history.push_back((version, node, event.clone()));
        if state.history.len() > HISTORY {
            state.history.pop_front();
        }
        state.watches.retain(|watch| !is_told(watch) || watch.events.send(event.clone()).is_ok());
    }

    fn answer(&self, uri: &http::Uri, counts: &Arc<Counts>) -> Response<Body> {
        let query: HashMap<String, String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
                Some((name.to_owned(), value.into_owned()))
            })
            .collect();
        let selector = query.get("fieldSelector").and_then(|selector| selector.split_once('='));
        let resource = uri.path().rsplit('/').next().unwrap_or_default();
        let name = selector.map(|(_, value)| value);
        if query.contains_key("watch") {
            let since = query.get("resourceVersion").and_then(|version| version.parse().ok());
            let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
            let lasts = Duration::from_secs(seconds.unwrap_or(290));
            let watched = if resource == "pods" {
                Watched::Pods(name.and_then(node_of))
            } else {
                Watched::Others
            };
            return self.watch(&watched, resource, since.unwrap_or(0), lasts, counts);
        }
        let list = self.list(resource, name).to_string();
        counts.list_bytes.fetch_add(u64::try_from(list.len()).unwrap(), Ordering::Relaxed);
        Response::new(Either::Left(Full::new(list.into())))
    }

    fn list(&self, resource: &str, name: Option<&str>) -> Value {
        let mut state = self.state();
        let version = state.version;
        let (kind, items) = match resource {
            "pods" => {
                let node = name.and_then(node_of);
                state.selected.extend(node);
                let meant = |pod: &&Object| node.is_none_or(|node| pod.node == node);
                let pods = state.pods.values().filter(meant).map(|object| pod(object, version));
                ("Pod", pods.collect())
            }
            "namespaces" => ("PartialObjectMetadata", name.map(namespace).into_iter().collect()),
            _ => ("RoleAssociation", Vec::new()),
        };
        json!({
            "kind": format!("{kind}List"),
            "apiVersion": "v1",
            "metadata": { "resourceVersion": version.to_string() },
            "items": items
        })
    }

    fn watch(
        &self,
        watched: &Watched,
        resource: &str,
        since: u64,
        lasts: Duration,
        counts: &Arc<Counts>,
    ) -> Response<Body> {
        let (send, events) = mpsc::unbounded_channel();
        if let Watched::Pods(node) = *watched {
            let mut state = self.state();
            let missed = state
                .history
                .iter()
                .filter(|(version, of, _)| *version > since && node.is_none_or(|node| node == *of));
            for (_, _, event) in missed {
                send.send(event.clone()).unwrap();
            }
            state.watches.push(OpenWatch { node, events: send.clone() });
        }
        let (sender, body) = Channel::new(64);
        let open = Open { server: self.clone(), counts: Arc::clone(counts), _keep: send };
        let kind = resource.to_owned();
        open.counts.watches.fetch_add(1, Ordering::Relaxed);
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with its watch, or the test's runtime"
        )]
        tokio::spawn(open.tell(events, sender, kind, lasts));
        Response::new(Either::Right(body))
    }
}

/// An open watch, from the server's side.
struct Open {
    server: ApiServer,
    counts: Arc<Counts>,
    _keep: mpsc::UnboundedSender<Bytes>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Open {
    async fn tell(
        self,
        mut events: mpsc::UnboundedReceiver<Bytes>,
        mut sender: http_body_util::channel::Sender<Bytes, Infallible>,
        kind: String,
        lasts: Duration,
    ) {
        let end = Instant::now() + lasts;
        let mut bookmarks = interval(BOOKMARKS);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        bookmarks.tick().await;
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event.unwrap_or_default(),
                _ = bookmarks.tick() => self.bookmark(&kind),
                () = sleep_until(end) => return,
            };
            let bytes = u64::try_from(event.len()).unwrap();
            self.counts.event_bytes.fetch_add(bytes, Ordering::Relaxed);
            // Whoever listened has ended.
            if sender.send_data(event).await.is_err() {
                return;
            }
        }
    }

    fn bookmark(&self, kind: &str) -> Bytes {
        let version = self.server.state().version.to_string();
        let kind = match kind {
            "pods" => "Pod",
            "namespaces" => "PartialObjectMetadata",
            _ => "RoleAssociation",
        };
        let object = json!({
            "kind": kind,
            "apiVersion": "v1",
            "metadata": { "resourceVersion": version, "creationTimestamp": null }
        });
        Bytes::from(format!("{}\n", json!({ "type": "BOOKMARK", "object": object })))
    }
}

fn node_of(name: &str) -> Option<u32> {
    name.strip_prefix("node-")?.parse().ok()
}

/// What agents call the node.
pub(super) fn node_name(node: u32) -> String {
    format!("node-{node}")
}

/// As long as an ordinary pod's object is: some containers, mounts, conditions, managed fields.
fn pod(object: &Object, version: u64) -> Value {
    const REST: usize = 4500;
    let Object { node, number, workload, namespace, phase, is_ending } = object;
    let ending = is_ending.then_some("2026-01-01T15:00:00Z");
    let [_, _, high, low] = u32::try_from(number & 0xffff).unwrap().to_be_bytes();
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": format!("workload-{workload}-{number}"),
            "namespace": format!("team-{namespace}"),
            "uid": format!("{number:08x}-0011-4abc-8def-0123456789ab"),
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": ending,
            "annotations": {
                "iam.amazonaws.com/role": format!("arn:aws:iam::123456789012:role/workload-{workload}")
            },
            "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:rest": "x".repeat(REST) } }]
        },
        "spec": {
            "nodeName": node_name(*node),
            "serviceAccountName": format!("workload-{workload}"),
            "containers": [{ "name": "main", "image": "example.org/app:1" }]
        },
        "status": {
            "phase": phase,
            "podIPs": if *phase == "Running" {
                json!([{ "ip": format!("10.{}.{high}.{low}", node % 250) }])
            } else {
                json!([])
            }
        }
    })
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "name": name,
            "uid": name,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "kubernetes.io/metadata.name": name },
            "annotations": { "iam.amazonaws.com/permitted": ".*" }
        }
    })
}
