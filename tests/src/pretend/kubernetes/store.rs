//! The objects, and every change that was made to them: what etcd is to a real API server.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use super::resource::Resource;
use crate::pretend::random;

/// Objects of one resource by their key ([`Resource::key`]).
type Objects = BTreeMap<String, Arc<Value>>;

/// The namespaces that a cluster comes with.
const FIRST_NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    revision: u64,
    resource: &'static Resource,
    pub(super) key: String,
    /// The object before; `None`: it is new.
    pub(super) before: Option<Arc<Value>>,
    /// The object after, or as it was last, with the version of its end.
    pub(super) object: Arc<Value>,
    /// Whether it is gone.
    pub(super) deleted: bool,
}

/// The store. Revisions are `resourceVersion`s and count the changes of all resources together.
#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    oldest: u64,
    objects: HashMap<(&'static str, &'static str), Objects>,
    /// Kept beyond compaction, for watches that have not come so far.
    history: Vec<Change>,
}

impl Store {
    /// A store with what a cluster comes with.
    pub(super) fn with_first_namespaces() -> anyhow::Result<Self> {
        let mut store =
            Self { revision: 100, oldest: 0, objects: HashMap::new(), history: Vec::new() };
        let Some(namespaces) = Resource::find("", "v1", "namespaces") else { return Ok(store) };
        for name in FIRST_NAMESPACES {
            let metadata = json!({
                "name": name,
                "uid": random::uuid()?,
                "creationTimestamp": "2026-11-01T08:00:00Z",
                "labels": { "kubernetes.io/metadata.name": name },
            });
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": metadata,
                "status": { "phase": "Active" },
            });
            store.put(namespaces, (*name).to_owned(), namespace);
        }
        Ok(store)
    }

    /// The present version.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest version that can be read and watched from.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Makes every version up to now too old. Takes a version itself, so that also a client that
    /// has seen the very last change is told.
    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.oldest = self.revision;
    }

    /// An object.
    pub(super) fn get(&self, resource: &Resource, key: &str) -> Option<Arc<Value>> {
        self.objects.get(&(resource.group, resource.plural))?.get(key).cloned()
    }

    /// Stores an object, new or changed, and gives it its version.
    pub(super) fn put(
        &mut self,
        resource: &'static Resource,
        key: String,
        mut object: Value,
    ) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let objects = self.objects.entry((resource.group, resource.plural)).or_default();
        let before = objects.insert(key.clone(), Arc::clone(&object));
        self.record(resource, key, before, Arc::clone(&object), false);
        object
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, resource: &'static Resource, key: &str) {
        let Some(objects) = self.objects.get_mut(&(resource.group, resource.plural)) else {
            return;
        };
        let Some(before) = objects.remove(key) else { return };
        self.revision += 1;
        let mut last = (*before).clone();
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.record(resource, key.to_owned(), Some(before), Arc::new(last), true);
    }

    fn record(
        &mut self,
        resource: &'static Resource,
        key: String,
        before: Option<Arc<Value>>,
        object: Arc<Value>,
        deleted: bool,
    ) {
        let revision = self.revision;
        self.history.push(Change { revision, resource, key, before, object, deleted });
    }

    /// The changes of one resource after a version, oldest first.
    pub(super) fn changes_after(
        &self,
        resource: &'static Resource,
        revision: u64,
    ) -> impl DoubleEndedIterator<Item = &Change> {
        let from = self.history.partition_point(|change| change.revision <= revision);
        let news = self.history.get(from..).unwrap_or_default();
        news.iter().filter(move |change| change.resource == resource)
    }

    /// The objects as they were at a version, of those whose key begins with `prefix` and comes
    /// after `after`.
    pub(super) fn snapshot(
        &self,
        resource: &'static Resource,
        revision: u64,
        prefix: &str,
        after: &str,
    ) -> Objects {
        let wanted = |key: &str| key.starts_with(prefix) && key > after;
        let mut objects = Objects::new();
        if let Some(now) = self.objects.get(&(resource.group, resource.plural)) {
            let from = Bound::Included(prefix.max(after));
            let range = now.range::<str, _>((from, Bound::Unbounded));
            let range = range.take_while(|(key, _)| key.starts_with(prefix) || **key == *after);
            let range = range.filter(|(key, _)| wanted(key));
            objects.extend(range.map(|(key, object)| (key.clone(), Arc::clone(object))));
        }
        for change in self.changes_after(resource, revision).rev().filter(|it| wanted(&it.key)) {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> &'static Resource {
        Resource::find("", "v1", "pods").unwrap()
    }

    fn names(store: &Store, revision: u64, prefix: &str, after: &str) -> Vec<String> {
        store.snapshot(pods(), revision, prefix, after).into_keys().collect()
    }

    #[test]
    fn a_snapshot_shows_what_was_there_then() {
        let mut store = Store::with_first_namespaces().unwrap();
        store.put(pods(), "a/one".to_owned(), json!({ "metadata": {} }));
        store.put(pods(), "b/two".to_owned(), json!({ "metadata": {} }));
        let then = store.revision();
        store.remove(pods(), "a/one");
        store.put(pods(), "b/three".to_owned(), json!({ "metadata": {} }));
        assert_eq!(names(&store, then, "", ""), ["a/one", "b/two"]);
        assert_eq!(names(&store, store.revision(), "", ""), ["b/three", "b/two"]);
        assert_eq!(names(&store, store.revision(), "b/", "b/three"), ["b/two"]);
        assert_eq!(names(&store, then, "a/", ""), ["a/one"]);
    }

    #[test]
    fn compaction_leaves_no_version_that_a_client_may_have_seen() {
        let mut store = Store::with_first_namespaces().unwrap();
        let seen = store.revision();
        store.compact();
        assert!(seen < store.oldest());
    }
}
