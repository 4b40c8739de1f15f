//! The real metadata service, asked on behalf of pods: one task owns what it answered, so that a path
//! is asked for once at a time, whoever waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::callers::pods::PodUid;
use crate::operate::metrics::{Since, UpstreamRequests};
use crate::report::Chain;

use super::limits::{Bucket, Rate};
use super::paths::{Fresh, NodePath, Permit, Slash};

pub(crate) mod client;
#[cfg(test)]
mod tests;

pub use self::client::{Client, Endpoint};

/// Requests that may wait for the task; more wait in their own tasks.
const QUEUE: usize = 256;
/// Paths that are remembered. Those of an instance are fewer; more are a pod's guesses.
const PATHS_MAX: usize = 512;
/// Requests under way to the real service, which allows few connections at a time.
const AT_ONCE: usize = 32;
/// How often one pod can make the real service be asked: what is remembered does not count.
const PER_POD: Rate = Rate { per_second: 20, burst: 100 };
/// How long a failure is remembered.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// How often what ended is dropped.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What the real service has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A document or a listing, as it came.
    Document(Arc<Document>),
    /// 404.
    Nothing,
}

/// A document of the real service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) last_modified: Option<HeaderValue>,
}

/// Why the real service's word cannot be had now.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect to {at}")]
    Connect { at: Arc<str>, source: Arc<std::io::Error> },
    #[error("the exchange with {at} broke off")]
    Http { at: Arc<str>, source: Arc<dyn std::error::Error + Send + Sync> },
    #[error("{at} did not answer within {}s", .after.as_secs())]
    Late { at: Arc<str>, after: Duration },
    #[error("{at} gave no session token: status {status}; are IMDSv2 and HttpEndpoint enabled?")]
    NoToken { at: Arc<str>, status: u16 },
    #[error("{at} answered a document with status {status}")]
    Status { at: Arc<str>, status: u16 },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("the node's metadata service does not answer now")]
    Failing,
    #[error("the node's metadata service has not answered yet")]
    NotYet,
    #[error("this pod asks for more of the node's metadata than one pod may")]
    TooMuch,
}

/// One question to the real service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// A version that EC2 lists.
    pub(crate) version: &'static str,
    pub(crate) path: NodePath,
    pub(crate) slash: Slash,
}

/// Asks the real service.
pub(crate) trait Ask: Send + Sync + 'static {
    /// One answer, within a deadline of its own.
    fn ask(&self, question: &Question) -> impl Future<Output = Result<Found, Failure>> + Send;
}

/// The real service, with what it answered before. Cheap to clone; its task ends when the last is
/// dropped.
#[derive(Clone, Debug)]
pub struct Upstream(mpsc::Sender<Command>);

#[derive(Debug)]
struct Command {
    pod: PodUid,
    question: Question,
    fresh: Fresh,
    reply: oneshot::Sender<Result<Found, Unavailable>>,
}

impl Upstream {
    /// The handle, and the task to be run.
    pub(crate) fn new<A: Ask>(
        service: A,
        asked: UpstreamRequests,
        oldest: Since,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, commands) = mpsc::channel(QUEUE);
        let owner = Owner {
            service: Arc::new(service),
            asked,
            oldest,
            answers: HashMap::new(),
            pods: HashMap::new(),
            under_way: JoinSet::new(),
            failing: false,
        };
        (Self(sender), owner.run(commands))
    }

    /// What the real service has, remembered or asked for.
    pub(crate) async fn get(
        &self,
        pod: PodUid,
        version: &'static str,
        permit: Permit,
        deadline: Instant,
    ) -> Result<Found, Unavailable> {
        let Permit { path, slash, fresh } = permit;
        let question = Question { version, path, slash };
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let command = Command { pod, question, fresh, reply };
            self.0.send(command).await.map_err(|_| Unavailable::Failing)?;
            answer.await.map_err(|_| Unavailable::Failing)?
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(Unavailable::NotYet))
    }
}

/// What is known of one question.
#[derive(Default)]
struct Entry {
    /// What was found, and when it was asked for.
    found: Option<(Found, Instant)>,
    failed: Option<Instant>,
    /// Who waits for the request that is under way, if one is.
    under_way: Option<Vec<oneshot::Sender<Result<Found, Unavailable>>>>,
}

impl Entry {
    fn known(&self, fresh: Fresh, now: Instant) -> Known<'_> {
        match &self.found {
            Some((found, at)) if now.duration_since(*at) < fresh.limit() => Known::Fresh(found),
            // What is not there now may be there in a second.
            Some((found @ Found::Document(_), _)) if fresh == Fresh::Static => Known::Stale(found),
            _ => Known::Nothing,
        }
    }

    fn has_failed(&self, now: Instant) -> bool {
        self.failed.is_some_and(|at| now.duration_since(at) < FAILED_FOR)
    }
}

enum Known<'e> {
    Fresh(&'e Found),
    Stale(&'e Found),
    Nothing,
}

struct Owner<A> {
    service: Arc<A>,
    asked: UpstreamRequests,
    /// When the answer was asked for that is remembered longest.
    oldest: Since,
    answers: HashMap<Arc<Question>, Entry>,
    pods: HashMap<PodUid, Bucket>,
    under_way: JoinSet<(Arc<Question>, Instant, Result<Found, Failure>)>,
    failing: bool,
}

impl<A: Ask> Owner<A> {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.get(command),
                    None => return,
                },
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok((question, at, result)) => self.answered(&question, at, result),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn get(&mut self, command: Command) {
        let Command { pod, question, fresh, reply } = command;
        let now = Instant::now();
        let entry = self.answers.get_mut(&question);
        if let Some(entry) = entry {
            match entry.known(fresh, now) {
                Known::Fresh(found) => return tell(reply, Ok(found.clone())),
                Known::Stale(found) => {
                    // At once: whoever asks next has what is fetched behind this.
                    tell(reply, Ok(found.clone()));
                    if entry.under_way.is_none() && !entry.has_failed(now) {
                        self.start(&pod, question, None, now);
                    }
                    return;
                }
                Known::Nothing => {}
            }
            if let Some(waiting) = &mut entry.under_way {
                waiting.push(reply);
                return;
            }
            if entry.has_failed(now) {
                return tell(reply, Err(Unavailable::Failing));
            }
        }
        self.start(&pod, question, Some(reply), now);
    }

    fn start(
        &mut self,
        pod: &PodUid,
        question: Question,
        reply: Option<oneshot::Sender<Result<Found, Unavailable>>>,
        now: Instant,
    ) {
        let refused = if !self.pods.entry(pod.clone()).or_default().take(PER_POD, now) {
            Some(Unavailable::TooMuch)
        } else if self.under_way.len() >= AT_ONCE || !self.has_room(now) {
            Some(Unavailable::Failing)
        } else {
            None
        };
        if let Some(refused) = refused {
            return reply.into_iter().for_each(|reply| tell(reply, Err(refused)));
        }
        let question = Arc::new(question);
        let entry = self.answers.entry(Arc::clone(&question)).or_default();
        entry.under_way = Some(reply.into_iter().collect());
        let service = Arc::clone(&self.service);
        self.under_way.spawn(async move {
            let result = service.ask(&question).await;
            (question, now, result)
        });
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.answers.len() >= PATHS_MAX {
            self.drop_ended(now);
        }
        self.answers.len() < PATHS_MAX
    }

    fn answered(&mut self, question: &Arc<Question>, at: Instant, result: Result<Found, Failure>) {
        self.asked.count(result.is_ok());
        self.tell_of_change(&result);
        let Some(entry) = self.answers.get_mut(question) else { return };
        let waiting = entry.under_way.take().unwrap_or_default();
        let answer = result.map_err(|_| Unavailable::Failing);
        if let Ok(found) = &answer {
            entry.found = Some((found.clone(), at));
            entry.failed = None;
        } else {
            entry.failed = Some(Instant::now());
        }
        for reply in waiting {
            tell(reply, answer.clone());
        }
        self.measure();
    }

    fn measure(&self) {
        let found = self.answers.values().filter_map(|entry| entry.found.as_ref());
        self.oldest.set(found.map(|(_, at)| *at).min());
    }

    /// Once when it begins to fail, and once when that is over.
    fn tell_of_change(&mut self, result: &Result<Found, Failure>) {
        match result {
            Err(error) if !self.failing => {
                warn!(error = %Chain(error), "pods cannot read the node's metadata");
                self.failing = true;
            }
            Ok(_) if self.failing => {
                info!("pods can read the node's metadata again");
                self.failing = false;
            }
            _ => {}
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        self.drop_ended(now);
        self.measure();
        self.pods.retain(|_, bucket| !bucket.is_full(now));
    }

    /// Keeps what is under way, what was found of late, and documents that may be asked for while the
    /// real service fails.
    fn drop_ended(&mut self, now: Instant) {
        let limit = Fresh::Volatile.limit();
        self.answers.retain(|_, entry| {
            let is_kept = match &entry.found {
                Some((Found::Document(_), at)) => now.duration_since(*at) < KEPT_FOR,
                Some((Found::Nothing, at)) => now.duration_since(*at) < limit,
                None => entry.has_failed(now),
            };
            is_kept || entry.under_way.is_some()
        });
    }
}

/// How long a document is kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// A client that hung up no longer listens; that is no failure.
fn tell(reply: oneshot::Sender<Result<Found, Unavailable>>, answer: Result<Found, Unavailable>) {
    let _ = reply.send(answer);
}
