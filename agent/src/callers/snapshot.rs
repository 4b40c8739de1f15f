//! What the watch last said of this node's pods, in a file that outlives the agent: so that one which
//! starts while the API server cannot be reached knows who is who. It holds no secret.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::operate::state_file::{StateError, StateFile};
use crate::report::Chain;

use super::pod_key::PodKey;
use super::pods::{Index, Pod, PodUid, ProjectedToken};
use super::workload::Workload;

const FILE: &str = "pods.json";
const VERSION: u32 = 2;
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Between two attempts where it cannot be written and nothing changes: a full disk may have room again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The snapshot of one node.
#[derive(Clone, Debug)]
pub struct Snapshot(StateFile);

#[derive(Debug, Deserialize, Serialize)]
struct Content {
    pods: Vec<Saved>,
}

/// A pod as it is written.
#[derive(Debug, Deserialize, Serialize)]
struct Saved {
    uid: Box<str>,
    namespace: Box<str>,
    name: Box<str>,
    service_account: Box<str>,
    /// Seconds since 1970.
    created: u64,
    addresses: Vec<IpAddr>,
    host_network: bool,
    annotations: BTreeMap<Box<str>, Box<str>>,
    labels: BTreeMap<Box<str>, Box<str>>,
    tokens: Vec<SavedToken>,
    has_credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirrors: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    workload: Option<Workload>,
}

#[derive(Debug, Deserialize, Serialize)]
struct SavedToken {
    volume: Box<str>,
    path: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<Box<str>>,
}

impl Snapshot {
    /// Of this node, in `state_dir`. `keys` are the annotations and labels that are kept of pods.
    #[must_use]
    pub fn new(state_dir: &Path, node: &str, keys: Vec<String>) -> Self {
        Self(StateFile::new(state_dir, FILE, VERSION, node, keys))
    }

    /// The pods that it holds; none where there is no file yet.
    ///
    /// # Errors
    /// Why it is not to be used.
    pub fn load(&self) -> Result<Vec<Pod>, StateError> {
        let content: Option<Content> = self.0.read()?;
        Ok(content.into_iter().flat_map(|content| content.pods).map(Pod::from).collect())
    }

    /// Writes the pods whenever they have changed, for ever. What is not known whole is not written.
    pub async fn follow(self, mut index: channel::Receiver<Index>) {
        let mut is_failing = false;
        loop {
            // The watch ends only with the process.
            if index.wait_for(Index::is_listed).await.is_err() {
                return;
            }
            let pods: Vec<_> = index.borrow_and_update().all().cloned().collect();
            let (snapshot, count) = (self.clone(), pods.len());
            match spawn_blocking(move || snapshot.save(&pods)).await {
                Ok(Ok(())) => {
                    is_failing = false;
                    debug!(pods = count, "the snapshot of pods is written");
                }
                Ok(Err(error)) if !is_failing => {
                    is_failing = true;
                    warn!(error = %Chain(&error), "who is who would not survive a restart without the API server; trying again");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::select! {
                changed = index.changed() => if changed.is_err() { return },
                () = sleep(AGAIN_AFTER), if is_failing => {}
            }
            sleep(GATHER).await;
        }
    }

    fn save(&self, pods: &[Arc<Pod>]) -> Result<(), StateError> {
        let mut pods: Vec<_> = pods.iter().map(|pod| Saved::from(&**pod)).collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        self.0.replace(&Content { pods })
    }
}

impl From<&Pod> for Saved {
    fn from(pod: &Pod) -> Self {
        let created = pod.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        let token = |token: &ProjectedToken| SavedToken {
            volume: token.volume.clone(),
            path: token.path.clone(),
            audience: token.audience.clone(),
        };
        Self {
            uid: pod.uid.as_str().into(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            service_account: pod.service_account.clone(),
            created: created.as_secs(),
            addresses: pod.addresses.clone(),
            host_network: pod.host_network,
            annotations: pod.annotations.clone(),
            labels: pod.labels.clone(),
            tokens: pod.tokens.iter().map(token).collect(),
            has_credentials: pod.has_credentials,
            mirrors: pod.mirrors.map(|key| key.as_str().into()),
            workload: Some(pod.workload.clone()),
        }
    }
}

impl From<Saved> for Pod {
    fn from(saved: Saved) -> Self {
        let token =
            |SavedToken { volume, path, audience }| ProjectedToken { volume, path, audience };
        let created = UNIX_EPOCH.checked_add(Duration::from_secs(saved.created));
        let workload = saved.workload.unwrap_or_else(|| Workload::of(&saved.name, None, |_| None));
        Self {
            workload,
            uid: PodUid::new(&saved.uid),
            namespace: saved.namespace,
            name: saved.name,
            service_account: saved.service_account,
            created: created.unwrap_or(SystemTime::UNIX_EPOCH),
            addresses: saved.addresses,
            host_network: saved.host_network,
            // One that has ended is not written.
            finished: false,
            annotations: saved.annotations,
            labels: saved.labels,
            tokens: saved.tokens.into_iter().map(token).collect(),
            has_credentials: saved.has_credentials,
            mirrors: saved.mirrors.as_deref().and_then(PodKey::of_config_hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let pod = Pod::fixture("a", &["10.0.1.11", "fd00::1"]);
        let token = ProjectedToken {
            volume: "aws-token".into(),
            path: "token".into(),
            audience: Some("sts.amazonaws.com".into()),
        };
        Pod {
            created: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            host_network: true,
            tokens: vec![token],
            mirrors: PodKey::of_config_hash("0123456789abcdef0123456789abcdef"),
            ..pod.annotated("iam.amazonaws.com/role", "web")
        }
    }

    fn saved() -> (tempfile::TempDir, Snapshot) {
        let directory = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::new(&directory.path().join("state"), "node-1", Vec::new());
        snapshot.save(&[Arc::new(pod())]).unwrap();
        (directory, snapshot)
    }

    #[test]
    fn a_pod_is_read_as_it_was_written() {
        let (_directory, snapshot) = saved();
        assert_eq!(snapshot.load().unwrap(), [pod()]);
        snapshot.save(&[]).unwrap();
        assert_eq!(snapshot.load().unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_before_the_whole_list_is_known() {
        let (_directory, snapshot) = saved();
        let (writer, reader) = channel::channel(Index::default());
        let follow = snapshot.clone().follow(reader);
        let change = async {
            writer.send_modify(|index| {
                index.apply(super::super::pods::Event::Applied(Pod::fixture("b", &[])));
            });
            sleep(10 * GATHER).await;
            assert_eq!(snapshot.load().unwrap(), [pod()], "half a list");
            writer.send_modify(|index| {
                index.apply(super::super::pods::Event::Listed(vec![Pod::fixture("b", &[])]));
            });
            while snapshot.load().unwrap() == [pod()] {
                tokio::task::yield_now().await;
            }
            assert_eq!(snapshot.load().unwrap(), [Pod::fixture("b", &[])]);
        };
        tokio::select! {
            () = follow => panic!("it goes on for ever"),
            () = change => {}
        }
    }
}
