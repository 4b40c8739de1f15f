//! Lists, whole or in chunks ("Kubernetes API Concepts": resource versions, large results).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::Failure;
use super::route::Objects;
use super::selection::Selection;
use super::shape::Shape;
use super::store::Store;

/// The query of a list or watch.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) watch: bool,
    pub(super) field_selector: String,
    pub(super) label_selector: String,
    pub(super) revision: Option<u64>,
    pub(super) revision_match: Option<String>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) bookmarks: bool,
    pub(super) send_initial_events: bool,
    limit: u64,
    go_on: Option<String>,
}

impl Query {
    /// Reads a query; parameters that mean nothing here are passed over.
    pub(super) fn read(query: &str) -> Result<Self, Failure> {
        let mut read = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            match &*key {
                "watch" => read.watch = is_true(&value),
                "allowWatchBookmarks" => read.bookmarks = is_true(&value),
                "sendInitialEvents" => read.send_initial_events = is_true(&value),
                "fieldSelector" => read.field_selector = value.into_owned(),
                "labelSelector" => read.label_selector = value.into_owned(),
                "resourceVersion" => read.revision = Some(number(&key, &value)?),
                "resourceVersionMatch" => read.revision_match = Some(value.into_owned()),
                "timeoutSeconds" => read.timeout_seconds = Some(number(&key, &value)?),
                "limit" => read.limit = number(&key, &value)?,
                "continue" => read.go_on = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(read)
    }

    pub(super) fn selection(
        &self,
        objects: &Objects,
        name: Option<&str>,
    ) -> Result<Selection, Failure> {
        let namespace = objects.namespace.as_deref();
        let (fields, labels) = (&self.field_selector, &self.label_selector);
        Selection::read(objects, namespace, name, fields, labels)
    }
}

/// Whether a query makes a GET a watch.
pub(super) fn asks_to_watch(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "watch" && is_true(&value))
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "true")
}

fn number(key: &str, value: &str) -> Result<u64, Failure> {
    value.parse().map_err(|_| Failure::bad_request(format!("{key}: Invalid value: \"{value}\"")))
}

/// Where a list in chunks goes on; what is in a continue token.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    v: String,
    /// Version of the first chunk; -1: whatever is there now.
    rv: i64,
    /// Key of the last object sent.
    start: String,
}

impl Position {
    fn new(rv: i64, start: String) -> Self {
        Self { v: "meta.k8s.io/v1".to_owned(), rv, start }
    }

    fn token(&self) -> Result<String, Failure> {
        let json =
            serde_json::to_vec(self).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    fn read(token: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    }
}

/// Lists objects.
pub(super) fn list(
    store: &Store,
    objects: &Objects,
    query: &Query,
    shape: Shape,
) -> Result<Value, Failure> {
    let selection = query.selection(objects, None)?;
    let (revision, after) = start(store, query)?;
    let prefix = objects.namespace.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
    let found = store.snapshot(objects.resource, revision, &prefix, &after);
    // A list that may be of any age comes from the watch cache, which knows no chunks.
    let limit = if query.revision == Some(0) { 0 } else { query.limit };
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };

    let mut page = Vec::new();
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    for (seen, (key, object)) in found.iter().enumerate() {
        if !selection.matches(object) {
            continue;
        }
        page.push(&**object);
        let left = found.len() - seen - 1;
        if page.len() == limit && left > 0 {
            let revision = i64::try_from(revision).unwrap_or(-1);
            metadata["continue"] = json!(Position::new(revision, key.clone()).token()?);
            if selection.is_everything() {
                metadata["remainingItemCount"] = json!(left);
            }
            break;
        }
    }
    Ok(shape.list(objects.resource, &metadata, page.into_iter()))
}

/// The version to list at, and the key to list after.
fn start(store: &Store, query: &Query) -> Result<(u64, String), Failure> {
    if let Some(token) = &query.go_on {
        if query.revision.is_some_and(|revision| revision > 0) {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(message));
        }
        return resume(store, token);
    }
    let exact = match (query.revision_match.as_deref(), query.revision) {
        (Some("Exact"), Some(1..)) => true,
        // As before there was resourceVersionMatch: a chunked list is of the version given.
        (None, Some(1..)) => query.limit > 0,
        (Some("NotOlderThan"), Some(_)) | (None, _) => false,
        (Some(_), _) => return Err(Failure::invalid_options("resourceVersionMatch: Forbidden")),
    };
    let asked = query.revision.unwrap_or(0);
    if asked > store.revision() {
        return Err(Failure::too_large(asked, store.revision()));
    }
    match exact {
        true if asked < store.oldest() => Err(Failure::expired(asked, store.oldest())),
        true => Ok((asked, String::new())),
        false => Ok((store.revision(), String::new())),
    }
}

fn resume(store: &Store, token: &str) -> Result<(u64, String), Failure> {
    let Some(position) = Position::read(token) else {
        return Err(Failure::bad_request("continue key is not valid"));
    };
    match u64::try_from(position.rv) {
        Ok(revision) if revision < store.oldest() => {
            Err(Failure::expired_continue(Position::new(-1, position.start).token()?))
        }
        Ok(revision) if revision <= store.revision() => Ok((revision, position.start)),
        Ok(_) => Err(Failure::bad_request("continue key is not valid")),
        Err(_negative) => Ok((store.revision(), position.start)),
    }
}
