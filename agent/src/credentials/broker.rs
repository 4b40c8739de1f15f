//! The broker between pods and AWS: one task owns all sessions, so that a key has one state and at
//! most one fetch. Fetches belong to the task, never to the clients that wait for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::callers::pods::PodUid;
use crate::clock::Clock;
use crate::operate::metrics::{Gauge, Outcome, StsRequests};
use crate::report::Chain;

use super::{Credentials, FetchError, SessionRequest, Source};

/// Credentials that end sooner are not served: clients would use them past their end.
const LEAST_REMAINING: Duration = Duration::from_mins(1);
/// How long a refusal is remembered, so that a pod that keeps asking does not keep asking STS.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// How long a passing failure is remembered.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// How often entries that ended are dropped.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Requests that may wait for the task; more wait in their own tasks.
const QUEUE: usize = 1024;

/// The end of a wait for credentials.
pub type Answer = Result<Arc<Credentials>, FetchError>;

/// Why the broker gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The deadline came first. The fetch goes on, and its result is kept.
    #[error("AWS has not answered yet; the request goes on")]
    NotYet,
    /// The pod is gone, or the agent is stopping.
    #[error("the pod is gone, or the agent is stopping")]
    Dropped,
}

/// Whether a session is fetched before anybody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// As soon as there is room for it.
    Yes,
    /// When the pod asks.
    No,
}

/// What the broker counts.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    /// Fetches that ended.
    pub calls: StsRequests,
    /// Sessions held now.
    pub held: Gauge,
}

/// Asks the broker. Cheap to clone; the broker ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Broker(mpsc::Sender<Command>);

#[derive(Debug)]
enum Command {
    Get { pod: PodUid, request: SessionRequest, reply: oneshot::Sender<Answer> },
    Forget(PodUid),
}

impl Broker {
    /// The broker's handle, and its task to be run.
    pub fn new<S: Source>(
        source: S,
        clock: Clock,
        meters: Meters,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, commands) = mpsc::channel(QUEUE);
        let owner = Owner {
            source: Arc::new(source),
            clock,
            meters,
            sessions: HashMap::new(),
            fetches: JoinSet::new(),
        };
        (Self(sender), owner.run(commands))
    }

    /// The credentials of `request`, held or fetched, for `pod`.
    ///
    /// # Errors
    /// [`NoAnswer`] if the deadline came first; within `Ok`, the failure that AWS or the broker's
    /// memory of it gave.
    pub async fn get(
        &self,
        pod: PodUid,
        request: SessionRequest,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let command = Command::Get { pod, request, reply };
            self.0.send(command).await.map_err(|_| NoAnswer::Dropped)?;
            answer.await.map_err(|_| NoAnswer::Dropped)
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(NoAnswer::NotYet))
    }

    /// Says which session `pod` may have from now on; any other that only it used is dropped.
    pub fn assign(&self, pod: PodUid, _session: Option<SessionRequest>, _prefetch: Prefetch) {
        self.forget(pod);
    }

    /// Drops what only `pod` used: it is gone, or may no longer have its role.
    pub fn forget(&self, pod: PodUid) {
        // A full queue is drained by the owner alone, so this may not wait for it here.
        if let Err(mpsc::error::TrySendError::Full(command)) = self.0.try_send(Command::Forget(pod))
        {
            warn!(?command, "the broker is busy; the entry is dropped when it ends");
        }
    }
}

/// What is known of one session. A session without an entry is absent.
enum State {
    Fetching(Vec<Waiter>),
    Held(Arc<Credentials>),
    Refused { error: FetchError, until: Instant },
}

impl Default for State {
    fn default() -> Self {
        Self::Fetching(Vec::new())
    }
}

struct Waiter {
    pod: PodUid,
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Entry {
    /// The pods that asked for it; it dies with the last, or with the fetch under way then.
    pods: HashSet<PodUid>,
    state: State,
}

struct Owner<S> {
    source: Arc<S>,
    clock: Clock,
    meters: Meters,
    sessions: HashMap<Arc<SessionRequest>, Entry>,
    fetches: JoinSet<(Arc<SessionRequest>, Result<Credentials, FetchError>)>,
}

impl<S: Source> Owner<S> {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Get { pod, request, reply }) => self.get(pod, request, reply),
                    Some(Command::Forget(pod)) => self.forget(&pod),
                    None => return,
                },
                Some(fetched) = self.fetches.join_next() => match fetched {
                    Ok((request, result)) => self.fetched(&request, result),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn measure(&self) {
        let held = self.sessions.values().filter(|entry| matches!(entry.state, State::Held(_)));
        self.meters.held.set(i64::try_from(held.count()).unwrap_or(i64::MAX));
    }

    fn get(&mut self, pod: PodUid, request: SessionRequest, reply: oneshot::Sender<Answer>) {
        let waiter = Waiter { pod, reply };
        let Some(entry) = self.sessions.get_mut(&request) else {
            return self.start(Arc::new(request), waiter);
        };
        entry.pods.insert(waiter.pod.clone());
        match &mut entry.state {
            State::Fetching(waiting) => waiting.push(waiter),
            State::Held(held) if is_servable(held, self.clock.now()) => {
                waiter.answer(Ok(Arc::clone(held)));
            }
            State::Refused { error, until } if Instant::now() < *until => {
                waiter.answer(Err(error.clone()));
            }
            // What ended is as good as absent.
            State::Held(_) | State::Refused { .. } => self.start(Arc::new(request), waiter),
        }
    }

    fn start(&mut self, request: Arc<SessionRequest>, waiter: Waiter) {
        let entry = self.sessions.entry(Arc::clone(&request)).or_default();
        entry.pods.insert(waiter.pod.clone());
        entry.state = State::Fetching(vec![waiter]);
        self.measure();
        self.fetch(request);
    }

    fn fetch(&mut self, request: Arc<SessionRequest>) {
        let source = Arc::clone(&self.source);
        self.fetches.spawn(async move {
            let result = source.fetch(&request).await;
            (request, result)
        });
    }

    fn fetched(&mut self, request: &Arc<SessionRequest>, result: Result<Credentials, FetchError>) {
        let result = result.and_then(|credentials| {
            if is_servable(&credentials, self.clock.now()) {
                Ok(Arc::new(credentials))
            } else {
                Err(FetchError::Unusable("its credentials end within a minute, or have ended"))
            }
        });
        log(request, &result);
        self.meters.calls.count(outcome_of(&result));
        let Some(entry) = self.sessions.get_mut(request) else { return };
        let state = match &result {
            Ok(credentials) => State::Held(Arc::clone(credentials)),
            Err(error) => State::Refused { error: error.clone(), until: memory_of(error) },
        };
        let before = std::mem::replace(&mut entry.state, state);
        if entry.pods.is_empty() {
            self.sessions.remove(request);
        }
        self.measure();
        if let State::Fetching(waiting) = before {
            for waiter in waiting {
                waiter.answer(result.clone());
            }
        }
    }

    fn forget(&mut self, pod: &PodUid) {
        self.sessions.retain(|_, entry| {
            entry.pods.remove(pod);
            match &mut entry.state {
                // A key has one fetch at a time: another pod of the same key joins this one.
                State::Fetching(waiting) => {
                    waiting.retain(|waiter| waiter.pod != *pod);
                    true
                }
                State::Held(_) | State::Refused { .. } => !entry.pods.is_empty(),
            }
        });
        self.measure();
    }

    fn sweep(&mut self) {
        let now = self.clock.now();
        self.sessions.retain(|_, entry| match &entry.state {
            State::Fetching(_) => true,
            State::Held(held) => is_servable(held, now),
            State::Refused { until, .. } => Instant::now() < *until,
        });
        self.measure();
    }
}

impl Waiter {
    /// A client that hung up no longer listens; that is no failure.
    fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

fn is_servable(credentials: &Credentials, now: SystemTime) -> bool {
    credentials.expiration.duration_since(now).is_ok_and(|left| left >= LEAST_REMAINING)
}

fn memory_of(error: &FetchError) -> Instant {
    Instant::now() + if error.refusal().is_some() { REFUSED_FOR } else { FAILED_FOR }
}

fn outcome_of(result: &Answer) -> Outcome {
    match result {
        Ok(_) => Outcome::Ok,
        Err(FetchError::Refused { .. } | FetchError::RegionDisabled { .. }) => Outcome::Refused,
        Err(FetchError::NodeCredentials { .. } | FetchError::ClockSkew { .. }) => Outcome::Node,
        Err(FetchError::PodToken(_)) => Outcome::Token,
        Err(FetchError::Throttled { .. }) => Outcome::Throttled,
        Err(FetchError::Unavailable(_)) => Outcome::Unavailable,
        Err(FetchError::Unusable(_)) => Outcome::Unusable,
    }
}

fn log(request: &SessionRequest, result: &Answer) {
    match result {
        Ok(credentials) => info!(
            %request,
            role = %credentials.role,
            access_key_id = %credentials.access_key_id,
            "credentials obtained"
        ),
        Err(error) => {
            warn!(%request, error = %Chain(error), "no credentials");
        }
    }
}

#[cfg(test)]
mod tests;
