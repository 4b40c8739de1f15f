//! Watches: a JSON line per event, in chunks, until told to stop ("Kubernetes API Concepts":
//! efficient detection of changes, streaming lists).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::Shared;
use super::behaviour::Telling;
use super::failure::Failure;
use super::list::Query;
use super::resource::Resource;
use super::route::Objects;
use super::selection::Selection;
use super::shape::Shape;
use super::store::{Change, Store};
use crate::pretend::serve::{Cut, Outcome};

/// How long a watch lasts that does not say; a real server takes half an hour to an hour.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);
/// Every so many events, one is sent in two writes, as happens to a client on a real network.
const SPLIT_EVERY: u64 = 3;
/// Between the two: enough for the client to read the first alone.
const SPLIT_PAUSE: Duration = Duration::from_millis(5);

/// What open watches are woken for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) revision: u64,
    /// How often all watches were cut.
    pub(super) cuts: u64,
    pub(super) silence: Silence,
    pub(super) telling: Telling,
}

/// Which watches say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Silence {
    #[default]
    OfNone,
    OfAll,
    /// Those of the resource of this name.
    Of(String),
}

/// Bytes that go out in one write.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// The second half of an event.
    late: bool,
}

/// One open watch.
#[derive(Debug)]
struct Watch {
    shared: Arc<Shared>,
    ticks: watch::Receiver<Tick>,
    cuts: u64,
    resource: &'static Resource,
    selection: Selection,
    shape: Shape,
    /// Version up to which everything has been sent.
    cursor: u64,
    pieces: VecDeque<Piece>,
    sent: u64,
    bookmarks: Option<Interval>,
    end: Instant,
    ended: bool,
}

/// Opens a watch; `name` restricts it to one object.
pub(super) fn open(
    shared: &Arc<Shared>,
    store: &Store,
    objects: &Objects,
    name: Option<&str>,
    query: &Query,
    shape: Shape,
    bookmark_interval: Duration,
) -> Result<Outcome, Failure> {
    let selection = query.selection(objects, name)?;
    check_options(query)?;
    let ticks = shared.ticks.subscribe();
    let cuts = ticks.borrow().cuts;
    let bookmarks = query.bookmarks.then(|| {
        let mut interval = interval_at(Instant::now() + bookmark_interval, bookmark_interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    let timeout = query.timeout_seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let mut watch = Watch {
        shared: Arc::clone(shared),
        ticks,
        cuts,
        resource: objects.resource,
        selection,
        shape,
        cursor: 0,
        pieces: VecDeque::new(),
        sent: 0,
        bookmarks,
        end: Instant::now() + timeout,
        ended: false,
    };
    watch.begin(store, query);
    Ok(Outcome::Answer(watch.into_response()))
}

/// The initial events and the version they must not be older than are asked for together.
fn check_options(query: &Query) -> Result<(), Failure> {
    match (query.send_initial_events, query.revision_match.as_deref()) {
        (true, Some("NotOlderThan")) | (false, None) => Ok(()),
        (true, _) => {
            let why = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
                       resourceVersionMatch to NotOlderThan";
            Err(Failure::invalid_options(why))
        }
        (false, Some(_)) => {
            let why = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for \
                       watch unless sendInitialEvents is provided";
            Err(Failure::invalid_options(why))
        }
    }
}

impl Watch {
    /// Queues what a watch begins with.
    fn begin(&mut self, store: &Store, query: &Query) {
        let asked = query.revision.unwrap_or(0);
        // A version yet to come is waited for: until then nothing is sent.
        self.cursor = asked.max(store.revision());
        if asked == 0 || query.send_initial_events {
            for object in store.snapshot(self.resource, store.revision(), "", "").values() {
                if self.selection.matches(object) {
                    self.event("ADDED", &self.shape.one(self.resource, object));
                }
            }
            if query.send_initial_events && query.bookmarks {
                self.bookmark(true);
            }
        } else if asked < store.oldest() {
            self.event("ERROR", &Failure::expired(asked, store.oldest()).status());
            self.ended = true;
        } else {
            self.cursor = asked;
            self.collect(store);
        }
    }

    /// Queues what changed since the last time.
    fn collect(&mut self, store: &Store) {
        let telling = self.ticks.borrow().telling.for_resource(self.resource.plural);
        if telling.held {
            return;
        }
        let mut changes: Vec<_> = store.changes_after(self.resource, self.cursor).collect();
        if telling.backwards {
            changes = backwards(&changes);
        }
        for change in changes {
            if let Some((kind, object)) = self.classify(change) {
                for _ in 0..if telling.twice { 2 } else { 1 } {
                    self.event(kind, &object);
                }
            }
        }
        self.cursor = self.cursor.max(store.revision());
    }

    /// What a change is to this watch: an object that leaves the selection is deleted from it.
    fn classify(&self, change: &Change) -> Option<(&'static str, Value)> {
        let selected = |object: &Arc<Value>| self.selection.matches(object);
        let was = change.before.as_ref().is_some_and(selected);
        let is = !change.deleted && selected(&change.object);
        let object = self.shape.one(self.resource, &change.object);
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(("ADDED", object)),
            (true, true) => Some(("MODIFIED", object)),
            (true, false) => {
                // As it was last while it was selected, with the version of the change.
                let version = object["metadata"]["resourceVersion"].clone();
                let before = change.before.as_ref()?;
                let mut last = self.shape.one(self.resource, before);
                last["metadata"]["resourceVersion"] = version;
                Some(("DELETED", last))
            }
        }
    }

    fn bookmark(&mut self, ends_initial_events: bool) {
        let mut metadata = json!({
            "resourceVersion": self.cursor.to_string(), "creationTimestamp": null
        });
        if ends_initial_events {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        self.event("BOOKMARK", &self.shape.empty(self.resource, &metadata));
    }

    fn event(&mut self, kind: &str, object: &Value) {
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        let mut first = Bytes::from(line);
        self.sent += 1;
        let rest = if self.sent.is_multiple_of(SPLIT_EVERY) {
            first.split_off(first.len() / 2)
        } else {
            Bytes::new()
        };
        self.pieces.push_back(Piece { bytes: first, late: false });
        if !rest.is_empty() {
            self.pieces.push_back(Piece { bytes: rest, late: true });
        }
    }

    /// The next bytes to send; `None` is the proper end.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            let tick = self.ticks.borrow_and_update().clone();
            if tick.cuts != self.cuts {
                return Some(Err(Cut));
            }
            if self.is_silenced(&tick) {
                self.ticks.changed().await.ok()?;
                continue;
            }
            if let Some(piece) = self.pieces.pop_front() {
                if piece.late {
                    sleep(SPLIT_PAUSE).await;
                }
                return Some(Ok(piece.bytes));
            }
            if self.ended {
                return None;
            }
            let shared = Arc::clone(&self.shared);
            self.collect(&shared.store());
            if self.pieces.is_empty() {
                self.wait().await;
            }
        }
    }

    fn is_silenced(&self, tick: &Tick) -> bool {
        match &tick.silence {
            Silence::OfNone => false,
            Silence::OfAll => true,
            Silence::Of(plural) => plural == self.resource.plural,
        }
    }

    /// Waits for a change, the time of a bookmark, or the end.
    async fn wait(&mut self) {
        let bookmark = async {
            match &mut self.bookmarks {
                Some(interval) => interval.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the server is going down, and with it this connection.
            changed = self.ticks.changed() => self.ended = changed.is_err(),
            _ = bookmark => self.bookmark(false),
            () = sleep_until(self.end) => self.ended = true,
        }
    }

    fn into_response(self) -> Response<crate::pretend::serve::Body> {
        let frames = stream::unfold(self, async |mut watch| {
            let bytes = watch.next().await?;
            Some((bytes.map(Frame::data), watch))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// The changes of the object that changed last first; those of one object stay in order.
fn backwards<'s>(changes: &[&'s Change]) -> Vec<&'s Change> {
    let mut ordered: Vec<&Change> = Vec::new();
    for last in changes.iter().rev() {
        if !ordered.iter().any(|change| change.key == last.key) {
            ordered.extend(changes.iter().filter(|change| change.key == last.key));
        }
    }
    ordered
}
