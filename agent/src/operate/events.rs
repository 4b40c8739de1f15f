//! Kubernetes Events, where `kubectl describe` shows them: one for each object and reason an hour,
//! written behind the back of whoever tells, in bounded memory.

mod memory;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use self::memory::Memory;
use crate::clock::Clock;
use crate::operate::duty::Duty;
use crate::report::Chain;

/// Tellings that may wait for the task; more are dropped, and told again by whoever asks again.
const QUEUE: usize = 1024;
/// Events that may wait for the API server.
const WAITING_MAX: usize = 1024;
/// Writes at a time.
const WRITES_MAX: usize = 2;
/// For one write.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest note, in bytes (Kubernetes API Reference, "Event v1 events.k8s.io").
const NOTE_MAX: usize = 1024;
/// Of an object's name, what an Event's own name has room for.
const NAME_MAX: usize = 200;
/// Who reports.
const CONTROLLER: &str = "podrole.dev/agent";

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; none of what is the cluster's.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
}

/// The kinds of objects that Events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A pod.
    Pod,
    /// One of our own associations.
    RoleAssociation,
}

impl Kind {
    const fn api_version(self) -> &'static str {
        match self {
            Self::Pod => "v1",
            Self::RoleAssociation => "podrole.dev/v1alpha1",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::RoleAssociation => "RoleAssociation",
        }
    }
}

/// Why there is an Event. All are warnings: what is well is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule applies to the pod and gives it no role.
    RoleRefused,
    /// AWS gave no credentials of the pod's role.
    AssumeRoleFailed,
    /// The pod's connections to the metadata service do not arrive.
    MetadataUnreachable,
    /// Another, older association is for the same pods.
    DuplicateRoleAssociation,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::RoleRefused => "RoleRefused",
            Self::AssumeRoleFailed => "AssumeRoleFailed",
            Self::MetadataUnreachable => "MetadataUnreachable",
            Self::DuplicateRoleAssociation => "DuplicateRoleAssociation",
        }
    }

    /// What was being done.
    const fn action(self) -> &'static str {
        match self {
            Self::RoleRefused | Self::DuplicateRoleAssociation => "DecidingRole",
            Self::AssumeRoleFailed => "AssumingRole",
            Self::MetadataUnreachable => "Connecting",
        }
    }
}

/// Tells what deserves an Event. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Told>);

#[derive(Debug)]
struct Told {
    object: Object,
    reason: Reason,
    note: String,
}

impl Events {
    /// Tells of `object`. The note says what is wrong and what to do; a long one is cut.
    pub fn tell(&self, object: Object, reason: Reason, note: String) {
        if self.0.try_send(Told { object, reason, note }).is_err() {
            debug!(reason = reason.name(), "an Event is dropped; it is told again by the next");
        }
    }

    /// One that nobody writes, and what was told to it.
    #[cfg(test)]
    pub(crate) fn unwritten() -> (Self, Unwritten) {
        let (sender, told) = mpsc::channel(QUEUE);
        (Self(sender), Unwritten(told))
    }
}

/// What was told to [`Events::unwritten`].
#[cfg(test)]
pub(crate) struct Unwritten(mpsc::Receiver<Told>);

#[cfg(test)]
impl Unwritten {
    pub(crate) fn next(&mut self) -> Option<(Object, Reason, String)> {
        self.0.try_recv().ok().map(|Told { object, reason, note }| (object, reason, note))
    }
}

/// Writes them, as the agent of one node.
pub struct Writer {
    client: Client,
    clock: Clock,
    node: String,
    told: mpsc::Receiver<Told>,
    duty: Duty,
    memory: Memory,
    waiting: VecDeque<Told>,
    /// Whether the last write failed: said once.
    failing: bool,
}

type Written = (Object, Reason, Result<(), String>);

impl Writer {
    /// The handle that tells, and what writes.
    #[must_use]
    pub fn new(client: Client, clock: Clock, node: String, duty: Duty) -> (Events, Self) {
        let (sender, told) = mpsc::channel(QUEUE);
        let (memory, waiting) = (Memory::default(), VecDeque::new());
        let writer = Self { client, clock, node, told, duty, memory, waiting, failing: false };
        (Events(sender), writer)
    }

    /// Writes until nobody is left to tell.
    pub async fn run(mut self) {
        let mut writes = JoinSet::new();
        loop {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(told) => self.take(told),
                    None => return,
                },
                Some(Ok(written)) = writes.join_next() => self.written(written),
            }
            while writes.len() < WRITES_MAX {
                let Some(told) = self.waiting.pop_front() else { break };
                writes.spawn(self.write(told));
            }
        }
    }

    fn take(&mut self, told: Told) {
        let key = (told.object.uid.clone(), told.reason);
        // At rest, another agent tells.
        if self.duty.is_on()
            && self.waiting.len() < WAITING_MAX
            && self.memory.is_due(key, Instant::now())
        {
            self.waiting.push_back(told);
        }
    }

    fn write(&self, told: Told) -> impl Future<Output = Written> + use<> {
        let event = event(&told, &self.node, self.clock.now());
        // Kubernetes keeps Events of what has no namespace here.
        let namespace = told.object.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        async move {
            let written = timeout(DEADLINE, create(&api, &event)).await;
            let written = written.unwrap_or_else(|_| Err("no answer within 10 s".into()));
            (told.object, told.reason, written)
        }
    }

    fn written(&mut self, (object, reason, written): Written) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(
                        error,
                        "Events cannot be written; the agent needs the right to create events of events.k8s.io"
                    );
                }
                self.memory.failed((object.uid, reason), Instant::now());
            }
        }
    }
}

async fn create(api: &Api<Event>, event: &Event) -> Result<(), String> {
    match api.create(&PostParams::default(), event).await {
        Ok(_) => Ok(()),
        // An agent that ran before this one has told it within the hour.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Chain(&error).to_string()),
    }
}

fn event(told: &Told, node: &str, now: SystemTime) -> Event {
    let Told { object, reason, note } = told;
    let time = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Event {
        metadata: ObjectMeta {
            name: Some(name(object, *reason, time.as_second() / 3600)),
            namespace: Some(object.namespace.as_deref().unwrap_or("default").to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(time)),
        type_: Some("Warning".into()),
        reason: Some(reason.name().into()),
        action: Some(reason.action().into()),
        note: Some(cut(note, NOTE_MAX).to_owned()),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(cut(node, 128).to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(object.kind.api_version().into()),
            kind: Some(object.kind.name().into()),
            namespace: object.namespace.as_deref().map(Into::into),
            name: Some(object.name.to_string()),
            uid: Some(object.uid.to_string()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The same within an hour, so that an agent that was restarted does not tell again.
fn name(object: &Object, reason: Reason, hour: i64) -> String {
    let mut hasher = DefaultHasher::new();
    (object, reason, hour).hash(&mut hasher);
    let cut = cut(&object.name, NAME_MAX).trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{cut}.{:016x}", hasher.finish())
}

/// At most `max` bytes of it, whole characters.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(note: &str) -> Told {
        let object = Object {
            kind: Kind::Pod,
            namespace: Some("shop".into()),
            name: "web-0".into(),
            uid: "uid-1".into(),
        };
        Told { object, reason: Reason::RoleRefused, note: note.into() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_event_is_about_its_object_and_within_the_limits() {
        let event = event(&told(&"é".repeat(2000)), "node-1", at(7200));
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("Pod"));
        assert_eq!(regarding.uid.as_deref(), Some("uid-1"));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.reason.as_deref(), Some("RoleRefused"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn its_name_is_the_same_within_an_hour_only() {
        let name = |seconds| event(&told("why"), "node-1", at(seconds)).metadata.name.unwrap();
        assert_eq!(name(7200), name(10_799));
        assert_ne!(name(7200), name(10_800));
        let long = Object { name: format!("{}-web", "a".repeat(199)).into(), ..told("").object };
        let name = super::name(&long, Reason::RoleRefused, 1);
        assert!(name.len() <= 253 && !name.contains("-."), "{name}");
    }
}
