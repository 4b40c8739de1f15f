//! The associations that are known, by the namespace that they name. Pure.
//!
//! One that names a ServiceAccount wins over `*`; of two for the same pair the older wins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::Association;
use super::definition::EVERY;

/// An association with what it is found and ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.uid`
    pub uid: Box<str>,
    /// `spec.namespace`
    pub namespace: Box<str>,
    /// `spec.serviceAccount`
    pub service_account: Box<str>,
    /// `metadata.creationTimestamp`
    pub created: SystemTime,
    /// What it says.
    pub association: Arc<Association>,
    /// The `spec` that this was read from, as it is written down (`roles/lookups/remembered.rs`).
    pub spec: Value,
}

impl Record {
    /// `None` for what names no pods at all.
    #[must_use]
    pub fn read(uid: &str, name: &str, created: SystemTime, spec: Value) -> Option<Self> {
        let text = |key: &str| spec.get(key).and_then(Value::as_str).map(Box::from);
        Some(Self {
            uid: uid.into(),
            namespace: text("namespace")?,
            service_account: text("serviceAccount")?,
            created,
            association: Association::read(name, &spec).into(),
            spec,
        })
    }
}

/// Two associations for the same namespace and ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that is passed over.
    pub loser: Arc<Record>,
    /// The older one, which counts.
    pub winner: Arc<Record>,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    namespaces: HashMap<Box<str>, BTreeMap<Box<str>, Arc<Record>>>,
}

impl Index {
    /// Takes in a new or changed association, which may have named another namespace before.
    pub fn put(&mut self, record: Record) {
        self.remove(None, &record.uid);
        let records = self.namespaces.entry(record.namespace.clone()).or_default();
        records.insert(record.uid.clone(), Arc::new(record));
    }

    /// Takes one away, or only from a namespace: the watches of two namespaces may tell of a move in either
    /// order.
    pub fn remove(&mut self, namespace: Option<&str>, uid: &str) {
        self.namespaces.retain(|name, records| {
            if namespace.is_none_or(|namespace| **name == *namespace) {
                records.remove(uid);
            }
            !records.is_empty()
        });
    }

    /// Takes the whole list of one namespace.
    pub fn replace(&mut self, namespace: &str, records: Vec<Record>) {
        self.forget(namespace);
        for record in records {
            self.put(record);
        }
    }

    /// Forgets a namespace.
    pub fn forget(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
    }

    /// The association of a pod.
    #[must_use]
    pub fn find(&self, namespace: &str, service_account: &str) -> Option<Arc<Association>> {
        let named = |name| self.oldest(namespace, name);
        let record = named(service_account).or_else(|| named(EVERY))?;
        Some(Arc::clone(&record.association))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.namespaces.values().flat_map(BTreeMap::values).map(AsRef::as_ref)
    }

    /// The namespaces that associations name.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(AsRef::as_ref)
    }

    /// Those of a namespace that are passed over.
    pub fn conflicts(&self, namespace: &str) -> impl Iterator<Item = Conflict> {
        let records = self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values);
        records.filter_map(|record| {
            let winner = self.oldest(namespace, &record.service_account)?;
            let lost = winner.uid != record.uid;
            lost.then(|| Conflict { loser: Arc::clone(record), winner: Arc::clone(winner) })
        })
    }

    fn oldest(&self, namespace: &str, service_account: &str) -> Option<&Arc<Record>> {
        let records = self.namespaces.get(namespace)?.values();
        let fitting = records.filter(|record| &*record.service_account == service_account);
        // Of the same second, the name decides: the same on every node.
        fitting.min_by_key(|record| (record.created, record.association.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::roles::associations::AssociationError;

    fn record(name: &str, service_account: &str, age: u64) -> Record {
        Record {
            uid: format!("uid-{name}").into(),
            namespace: "shop".into(),
            service_account: service_account.into(),
            created: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age),
            association: Arc::new(Association {
                name: name.into(),
                audit: false,
                call: Err(AssociationError::TagsDisabled),
            }),
            spec: Value::Null,
        }
    }

    fn index(records: impl IntoIterator<Item = Record>) -> Index {
        let mut index = Index::default();
        for record in records {
            index.put(record);
        }
        index
    }

    fn found(index: &Index, service_account: &str) -> Option<Box<str>> {
        index.find("shop", service_account).map(|association| association.name.clone())
    }

    #[test]
    fn the_exact_name_wins_over_the_star_however_old() {
        let index = index([record("all", "*", 100), record("cart", "cart", 1)]);
        assert_eq!(found(&index, "cart").as_deref(), Some("cart"));
        assert_eq!(found(&index, "other").as_deref(), Some("all"));
        assert_eq!(index.find("elsewhere", "cart"), None);
        assert_eq!(index.conflicts("shop").count(), 0);
    }

    #[test]
    fn of_two_for_a_pair_the_older_wins_and_the_other_is_named() {
        let mut index = index([record("new", "cart", 1), record("old", "cart", 9)]);
        assert_eq!(found(&index, "cart").as_deref(), Some("old"));
        let conflicts: Vec<_> = index.conflicts("shop").collect();
        assert_eq!(conflicts.len(), 1);
        assert_eq!(&*conflicts[0].loser.association.name, "new");
        assert_eq!(&*conflicts[0].winner.association.name, "old");
        index.remove(None, "uid-old");
        assert_eq!(found(&index, "cart").as_deref(), Some("new"));
    }

    #[test]
    fn of_the_same_second_the_name_decides() {
        let index = index([record("b", "cart", 5), record("a", "cart", 5)]);
        assert_eq!(found(&index, "cart").as_deref(), Some("a"));
    }

    #[test]
    fn one_that_moves_to_another_namespace_leaves_the_first() {
        let mut index = index([record("a", "cart", 5)]);
        let moved = Record { namespace: "other".into(), ..record("a", "cart", 5) };
        index.put(moved);
        assert_eq!(found(&index, "cart"), None);
        assert!(index.find("other", "cart").is_some());
        index.remove(Some("shop"), "uid-a");
        assert!(index.find("other", "cart").is_some());
    }

    #[test]
    fn a_list_replaces_what_was_known_of_its_namespace() {
        let mut index = index([record("a", "cart", 5)]);
        index.replace("shop", vec![record("b", "till", 5)]);
        assert_eq!((found(&index, "cart"), found(&index, "till").as_deref()), (None, Some("b")));
        index.forget("shop");
        assert_eq!(index, Index::default());
    }
}
