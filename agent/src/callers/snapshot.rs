//! What the watch last said of this node's pods, in a file that outlives the agent: so that one which
//! starts while the API server cannot be reached knows who is who. It holds no secret.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::report::Chain;

use super::pod_key::PodKey;
use super::pods::{Index, Pod, PodUid, ProjectedToken};

const FILE: &str = "pods.json";
const VERSION: u32 = 1;
/// The longest that is read, in bytes: 10,000 pods with long annotations.
const LIMIT: u64 = 64 * 1024 * 1024;
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// Why there is no snapshot to be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Others may have written it.
    #[error("{} is not a file of podrole's own that nobody else may write (`chmod 600`)", path.display())]
    NotOwn {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} is no snapshot of pods", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It is of another version or another node.
    #[error("{} is of another node or of another version of podrole", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// The snapshot of one node.
#[derive(Clone, Debug)]
pub struct Snapshot {
    path: PathBuf,
    node: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Content {
    version: u32,
    node: String,
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
}

#[derive(Debug, Deserialize, Serialize)]
struct SavedToken {
    volume: Box<str>,
    path: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<Box<str>>,
}

impl Snapshot {
    /// Of this node, in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path, node: &str) -> Self {
        Self { path: state_dir.join(FILE), node: node.to_owned() }
    }

    /// The pods that it holds; none where there is no file yet.
    ///
    /// # Errors
    /// Why it is not to be used.
    pub fn load(&self) -> Result<Vec<Pod>, SnapshotError> {
        let Some(text) = self.read()? else { return Ok(Vec::new()) };
        let content: Content = serde_json::from_slice(&text)
            .map_err(|source| SnapshotError::Malformed { path: self.path.clone(), source })?;
        if content.version != VERSION || content.node != self.node {
            return Err(SnapshotError::Foreign { path: self.path.clone() });
        }
        Ok(content.pods.into_iter().map(Pod::from).collect())
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
                    warn!(error = %Chain(&error), "who is who would not survive a restart without the API server; trying again at the next change");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            if index.changed().await.is_err() {
                return;
            }
            sleep(GATHER).await;
        }
    }

    /// Puts it in the place of the one before, whole or not at all.
    fn save(&self, pods: &[Arc<Pod>]) -> Result<(), SnapshotError> {
        let mut pods: Vec<_> = pods.iter().map(|pod| Saved::from(&**pod)).collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        let content = Content { version: VERSION, node: self.node.clone(), pods };
        let text = serde_json::to_vec(&content)
            .map_err(|source| SnapshotError::Malformed { path: self.path.clone(), source })?;
        let new = self.path.with_extension("json.new");
        if let Some(directory) = self.path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
        }
        // Left by one that was killed while it wrote; nobody else writes here.
        let _ = fs::remove_file(&new);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let mut file = file.map_err(failed("make", &new))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
        fs::rename(&new, &self.path).map_err(failed("replace", &self.path))
    }

    fn read(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        // Neither follows a link that somebody put there nor waits for a pipe's other end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &self.path)(error)),
        };
        self.inspect(&file)?;
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text).map_err(failed("read", &self.path))?;
        Ok(Some(text))
    }

    fn inspect(&self, file: &File) -> Result<(), SnapshotError> {
        let about = file.metadata().map_err(failed("inspect", &self.path))?;
        let is_own = about.uid() == rustix::process::geteuid().as_raw();
        if about.is_file() && about.mode() & 0o022 == 0 && is_own {
            return Ok(());
        }
        Err(SnapshotError::NotOwn { path: self.path.clone() })
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { what, path: path.to_owned(), source }
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
        }
    }
}

impl From<Saved> for Pod {
    fn from(saved: Saved) -> Self {
        let token =
            |SavedToken { volume, path, audience }| ProjectedToken { volume, path, audience };
        let created = UNIX_EPOCH.checked_add(Duration::from_secs(saved.created));
        Self {
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
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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
        let snapshot = Snapshot::new(&directory.path().join("state"), "node-1");
        snapshot.save(&[Arc::new(pod())]).unwrap();
        (directory, snapshot)
    }

    #[test]
    fn a_pod_is_read_as_it_was_written() {
        let (_directory, snapshot) = saved();
        assert_eq!(snapshot.load().unwrap(), [pod()]);
        assert_eq!(snapshot.path.metadata().unwrap().mode() & 0o7777, 0o600);
        snapshot.save(&[]).unwrap();
        assert_eq!(snapshot.load().unwrap(), []);
    }

    #[test]
    fn no_file_is_no_pods() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Snapshot::new(directory.path(), "node-1").load().unwrap(), []);
    }

    #[test]
    fn what_is_not_whole_not_own_or_of_another_node_is_not_used() {
        let (directory, snapshot) = saved();
        let other = Snapshot { node: "node-2".to_owned(), ..snapshot.clone() };
        assert!(matches!(other.load(), Err(SnapshotError::Foreign { .. })));
        let text = fs::read(&snapshot.path).unwrap();
        for length in 0..text.len() {
            fs::write(&snapshot.path, &text[..length]).unwrap();
            assert!(matches!(snapshot.load(), Err(SnapshotError::Malformed { .. })), "{length}");
        }
        fs::write(&snapshot.path, &text).unwrap();
        fs::set_permissions(&snapshot.path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(snapshot.load(), Err(SnapshotError::NotOwn { .. })));
        fs::remove_file(&snapshot.path).unwrap();
        symlink(directory.path().join("elsewhere"), &snapshot.path).unwrap();
        assert!(matches!(snapshot.load(), Err(SnapshotError::Io { .. })));
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
