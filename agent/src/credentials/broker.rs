//! The broker between pods and AWS: one task owns all sessions, so that a key has one state and at
//! most one fetch. Fetches belong to the task, never to the clients that wait for them.

mod chance;
mod entry;
mod held;
mod limiter;
mod owner;
mod report;
mod schedule;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::callers::pods::PodUid;
use crate::clock::Clock;
use crate::operate::metrics::{CalledBy, Outcome, Sessions};

use self::chance::Chance;
use self::held::Now;
use self::owner::Owner;
pub use self::report::{Phase, SessionState};
use self::shelf::Shelf;
use super::handed::HandedSessions;
use super::{Credentials, FetchError, SessionRequest, Source};

pub use super::prefetch::Prefetch;
/// What the broker counts.
pub use crate::operate::metrics::Sessions as Meters;

/// The end of a wait for credentials.
pub type Answer = Result<Arc<Credentials>, FetchError>;

/// Why the broker gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The deadline came first. The fetch goes on, and its result is kept.
    #[error("AWS has not answered yet; the request goes on")]
    NotYet,
    /// The pod is gone or has another role now, or the agent is stopping.
    #[error("the pod is gone or has another role now, or the agent is stopping")]
    Dropped,
}

/// Asks the broker. Cheap to clone; the broker ends when the last is dropped.
///
/// What is told of a pod and what is asked for it arrive in one order and are never lost. What may
/// wait in between is bounded by who sends: one change of a pod, one open request of a client.
///
/// What is held and fresh is read beside it, by the very request that it was fetched for: who asks says by
/// that what the pod may have now.
#[derive(Clone, Debug)]
pub struct Broker {
    commands: mpsc::UnboundedSender<Command>,
    shelf: Shelf,
    clock: Clock,
    meters: Meters,
}

#[derive(Debug)]
enum Command {
    Get { pod: PodUid, request: SessionRequest, reply: oneshot::Sender<Answer> },
    Assign { pod: PodUid, session: Option<SessionRequest>, prefetch: Prefetch },
    Reconsider(PodUid),
    Forget(PodUid),
    States(oneshot::Sender<Vec<SessionState>>),
    TellRefusals(mpsc::Sender<Refused>),
    Rest(bool),
    HandOver(oneshot::Sender<HandedSessions>),
    TakeOver(HandedSessions),
    Settled(oneshot::Sender<()>),
}

/// A session that AWS refused, with the pods for which it is kept although they do not ask.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The pods.
    pub pods: Vec<PodUid>,
    /// What was asked for.
    pub request: Arc<SessionRequest>,
    /// AWS's refusal.
    pub error: FetchError,
}

/// Refusals that may wait to be heard; more are dropped, and come again with the next attempt.
const REFUSALS: usize = 256;

impl Broker {
    /// The broker's handle, and its task to be run.
    pub fn new<S: Source>(
        source: S,
        clock: Clock,
        meters: Meters,
    ) -> (Self, impl Future<Output = ()> + Send) {
        Self::with_chance(source, clock, meters, Chance::default())
    }

    fn with_chance<S: Source>(
        source: S,
        clock: Clock,
        meters: Meters,
        chance: Chance,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, commands) = mpsc::unbounded_channel();
        let shelf = Shelf::default();
        let broker = Self {
            commands: sender,
            shelf: shelf.clone(),
            clock: clock.clone(),
            meters: meters.clone(),
        };
        let run =
            async move { Owner::new(source, clock, meters, chance, shelf).run(commands).await };
        (broker, run)
    }

    /// The credentials of `request`, held or fetched, for `pod`. Nothing is fetched for a pod before
    /// [`Self::assign`] said that it may have this very session: until then, or the deadline, it waits.
    ///
    /// # Errors
    /// [`NoAnswer`] if the deadline came first; within `Ok`, the failure that AWS or the broker's
    /// memory of it gave.
    pub async fn get(
        &self,
        pod: &PodUid,
        request: &SessionRequest,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let now = Now { instant: Instant::now(), wall: self.clock.now() };
        if let Some(held) = self.shelf.take(pod, request, now) {
            self.meters.left.observe(held.left(now).as_secs_f64());
            return Ok(Ok(Arc::clone(&held.credentials)));
        }
        let (reply, answer) = oneshot::channel();
        let get = Command::Get { pod: pod.clone(), request: request.clone(), reply };
        self.commands.send(get).map_err(|_| NoAnswer::Dropped)?;
        match timeout_at(deadline, answer).await {
            Ok(answered) => answered.map_err(|_| NoAnswer::Dropped),
            Err(_) => Err(NoAnswer::NotYet),
        }
    }

    /// Says which session `pod` may have from now on; any other that only it used is dropped. Said
    /// again of the same session, it is as [`Self::reconsider`].
    pub fn assign(&self, pod: PodUid, session: Option<SessionRequest>, prefetch: Prefetch) {
        self.shelf.remove(&pod);
        self.tell(Command::Assign { pod, session, prefetch });
    }

    /// Forgets why `pod` was refused: what that was due to may have changed.
    pub fn reconsider(&self, pod: PodUid) {
        self.tell(Command::Reconsider(pod));
    }

    /// Drops what only `pod` used: it is gone.
    pub fn forget(&self, pod: PodUid) {
        self.shelf.remove(&pod);
        self.tell(Command::Forget(pod));
    }

    /// What every known pod has, without secrets; empty if the agent is stopping.
    pub async fn states(&self) -> Vec<SessionState> {
        let (reply, states) = oneshot::channel();
        self.tell(Command::States(reply));
        states.await.unwrap_or_default()
    }

    /// Hears from now on what AWS refuses to pods that have not asked themselves.
    #[must_use]
    pub fn refusals(&self) -> mpsc::Receiver<Refused> {
        let (sender, refusals) = mpsc::channel(REFUSALS);
        self.tell(Command::TellRefusals(sender));
        refusals
    }

    /// Fetches nothing that no pod waits for, or does so again: another agent does it.
    pub fn rest(&self, rests: bool) {
        self.tell(Command::Rest(rests));
    }

    /// All sessions that are held or were refused, for the agent that comes after this one.
    pub async fn hand_over(&self) -> HandedSessions {
        let (reply, sessions) = oneshot::channel();
        self.tell(Command::HandOver(reply));
        sessions.await.unwrap_or_default()
    }

    /// Holds what the agent before this one held, for pods that may have it, and asks for nothing that was
    /// refused to it.
    pub fn take_over(&self, sessions: HandedSessions) {
        self.tell(Command::TakeOver(sessions));
    }

    /// Waits until every session that is to be had now is there, or was refused for good.
    pub async fn settled(&self) {
        let (reply, settled) = oneshot::channel();
        self.tell(Command::Settled(reply));
        // Without a broker the agent is stopping.
        let _ = settled.await;
    }

    /// Without a broker there is nobody left to tell: the agent is stopping.
    fn tell(&self, command: Command) {
        drop(self.commands.send(command));
    }
}

#[cfg(test)]
impl Broker {
    /// As [`Self::new`], with a chance that is the same for a seed each time.
    pub(crate) fn seeded<S: Source>(
        source: S,
        clock: Clock,
        meters: Meters,
        seed: u64,
    ) -> (Self, impl Future<Output = ()> + Send) {
        Self::with_chance(source, clock, meters, Chance::Random(seed))
    }
}

impl Sessions {
    fn count(&self, request: &SessionRequest, answer: &Answer, took: Duration) {
        let source = match request {
            SessionRequest::AssumeRole(_) => CalledBy::Sts,
            SessionRequest::WebIdentity(_) => CalledBy::WebIdentity,
            SessionRequest::PodIdentity(_) => CalledBy::EksPodIdentity,
        };
        self.calls.count(source, outcome_of(answer), took);
    }
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

#[cfg(test)]
mod tests;
