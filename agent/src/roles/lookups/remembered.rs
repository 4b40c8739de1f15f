//! What roles depend on, as the API server last told it for this node's pods, in a file that outlives the
//! agent: one that starts while the API server cannot be reached decides as the last one did. It holds no
//! secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::operate::duty::Duty;
use crate::operate::state_file::{StateError, StateFile};
use crate::report::Chain;
use crate::roles::annotations::Keys;
use crate::roles::associations::index::Record;
use crate::roles::decide::Rules;
use crate::roles::facts::{Known, Namespace, ServiceAccount};
use crate::roles::store::{News, Store};

use super::Key;

const FILE: &str = "roles.json";
const VERSION: u32 = 1;
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Between two attempts where it cannot be written and nothing changes.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The file.
#[derive(Clone, Debug)]
pub struct Memory {
    file: StateFile,
    keys: Keys,
}

/// What an earlier agent knew, as far as it is not taken yet.
#[derive(Debug, Default)]
pub struct Remembered {
    namespaces: BTreeMap<Box<str>, Option<Namespace>>,
    accounts: BTreeMap<(Box<str>, Box<str>), Option<ServiceAccount>>,
    /// By the namespace that they name; there is an entry for each whose associations were known.
    associations: BTreeMap<Box<str>, Vec<Record>>,
    /// Whether those of all other namespaces were known too: there were none.
    everywhere: bool,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
struct Content {
    namespaces: Vec<Written<SavedNamespace>>,
    service_accounts: Vec<Written<ServiceAccount>>,
    /// Whether the associations of all namespaces are known.
    everywhere: bool,
    /// Else of these.
    of_namespaces: Vec<Box<str>>,
    associations: Vec<SavedAssociation>,
}

/// An object, or that there is none of the name.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Written<T> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<Box<str>>,
    name: Box<str>,
    object: Option<T>,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct SavedNamespace {
    annotations: BTreeMap<Box<str>, Box<str>>,
    labels: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct SavedAssociation {
    uid: Box<str>,
    name: Box<str>,
    /// Seconds since 1970.
    created: u64,
    spec: Value,
}

impl Memory {
    /// Of this node, in `state_dir`, of what `rules` depend on.
    #[must_use]
    pub fn new(state_dir: &Path, node: &str, rules: &Rules) -> Self {
        let read = rules.keys.of_namespaces().chain(rules.labels_of_namespaces());
        let file =
            StateFile::new(state_dir, FILE, VERSION, node, read.map(str::to_owned).collect());
        Self { file, keys: rules.keys.clone() }
    }

    /// What it holds; nothing where it cannot be used, which is told.
    #[must_use]
    pub fn load(&self) -> Remembered {
        let content = self.file.read().unwrap_or_else(|error| {
            warn!(error = %Chain(&error), "what roles depended on before is not used");
            None
        });
        content.map(|content| self.remembered(content)).unwrap_or_default()
    }

    fn remembered(&self, content: Content) -> Remembered {
        let Content { namespaces, service_accounts, everywhere, of_namespaces, associations } =
            content;
        let namespace =
            |saved: SavedNamespace| Namespace::read(&self.keys, saved.annotations, saved.labels);
        let namespaces = namespaces.into_iter();
        let mut remembered = Remembered {
            namespaces: namespaces.map(|it| (it.name, it.object.map(namespace))).collect(),
            accounts: service_accounts
                .into_iter()
                .filter_map(|it| Some(((it.namespace?, it.name), it.object)))
                .collect(),
            associations: of_namespaces.into_iter().map(|name| (name, Vec::new())).collect(),
            everywhere,
        };
        for SavedAssociation { uid, name, created, spec } in associations {
            let created = UNIX_EPOCH.checked_add(Duration::from_secs(created));
            let created = created.unwrap_or(SystemTime::UNIX_EPOCH);
            if let Some(record) = Record::read(&uid, &name, created, spec) {
                remembered.associations.entry(record.namespace.clone()).or_default().push(record);
            }
        }
        remembered
    }

    /// Writes what is known whenever it has changed, while on duty, for ever. What is not known whole is
    /// not written.
    pub(in crate::roles) async fn follow(
        self,
        mut store: channel::Receiver<Store>,
        mut duty: Duty,
    ) {
        let mut written = Content::default();
        let mut is_failing = false;
        loop {
            duty.begins().await;
            // The lookups end only with the process.
            if store.wait_for(Store::is_complete).await.is_err() {
                return;
            }
            let content = Content::of(&store.borrow_and_update());
            if content != written {
                let file = self.file.clone();
                let saved = spawn_blocking(move || file.replace(&content).map(|()| content)).await;
                match saved {
                    Ok(Ok(content)) => {
                        (written, is_failing) = (content, false);
                        debug!("what roles depend on is written");
                    }
                    Ok(Err(error)) => say_once(&error, &mut is_failing),
                    Err(_) => {}
                }
            }
            tokio::select! {
                changed = store.changed() => if changed.is_err() { return },
                () = sleep(AGAIN_AFTER), if is_failing => {}
            }
            sleep(GATHER).await;
        }
    }
}

fn say_once(error: &StateError, is_failing: &mut bool) {
    if !std::mem::replace(is_failing, true) {
        warn!(error = %Chain(error), "what roles depend on would not survive a restart without the API server; trying again");
    }
}

#[cfg(test)]
impl Remembered {
    /// All of this.
    pub(super) fn of(known: impl IntoIterator<Item = News>) -> Self {
        let mut remembered = Self::default();
        for news in known {
            match news {
                News::Namespace(name, object) => drop(remembered.namespaces.insert(name, object)),
                News::Listed(Some(namespace), records) => {
                    remembered.associations.insert(namespace, records);
                }
                other => panic!("{other:?}"),
            }
        }
        remembered
    }
}

impl Remembered {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        let Self { namespaces, accounts, associations, everywhere } = self;
        namespaces.is_empty() && accounts.is_empty() && associations.is_empty() && !everywhere
    }

    /// What was known of `key`, once.
    pub(super) fn take(&mut self, key: &Key) -> Option<News> {
        match key {
            Key::Namespace(name) => {
                let object = self.namespaces.remove(name)?;
                Some(News::Namespace(name.clone(), object))
            }
            Key::ServiceAccount(namespace, name) => {
                let (namespace, name) = (namespace.clone(), name.clone());
                let object = self.accounts.remove(&(namespace.clone(), name.clone()))?;
                Some(News::ServiceAccount(namespace, name, object))
            }
            Key::Associations(Some(namespace)) => {
                let none = || self.everywhere.then(Vec::new);
                let records = self.associations.remove(namespace).or_else(none)?;
                Some(News::Listed(Some(namespace.clone()), records))
            }
            Key::Associations(None) => std::mem::take(&mut self.everywhere).then(|| {
                let all = std::mem::take(&mut self.associations).into_values().flatten();
                News::Listed(None, all.collect())
            }),
        }
    }

    /// The API server has told of `key`: nothing else counts.
    pub(super) fn forget(&mut self, key: &Key) {
        drop(self.take(key));
    }
}

impl Content {
    fn of(store: &Store) -> Self {
        let (everywhere, of_namespaces) = store.covered();
        let mut content = Self {
            namespaces: store.namespaces().filter_map(namespace).collect(),
            service_accounts: store.accounts().filter_map(account).collect(),
            everywhere,
            of_namespaces,
            associations: store.associations().all().map(SavedAssociation::from).collect(),
        };
        // The same is written for the same, whatever the order in memory.
        content.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        let by_pair = |it: &Written<ServiceAccount>| (it.namespace.clone(), it.name.clone());
        content.service_accounts.sort_by_key(by_pair);
        content.of_namespaces.sort();
        content.associations.sort_by(|a, b| a.uid.cmp(&b.uid));
        content
    }
}

/// Nothing of what nobody has told.
fn namespace((name, known): (&str, &Known<Arc<Namespace>>)) -> Option<Written<SavedNamespace>> {
    let object = match known {
        Known::NotYet(_) => return None,
        Known::Absent => None,
        Known::There(namespace) => Some(SavedNamespace {
            annotations: namespace.annotations.clone(),
            labels: namespace.labels.clone(),
        }),
    };
    Some(Written { namespace: None, name: name.into(), object })
}

/// Nothing of what nobody has told.
fn account(
    (namespace, name, known): (&str, &str, &Known<Arc<ServiceAccount>>),
) -> Option<Written<ServiceAccount>> {
    let object = match known {
        Known::NotYet(_) => return None,
        Known::Absent => None,
        Known::There(account) => Some(ServiceAccount::clone(account)),
    };
    Some(Written { namespace: Some(namespace.into()), name: name.into(), object })
}

impl From<&Record> for SavedAssociation {
    fn from(record: &Record) -> Self {
        Self {
            uid: record.uid.clone(),
            name: record.association.name.clone(),
            created: record.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            spec: record.spec.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
