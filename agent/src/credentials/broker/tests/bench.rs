//! A broker on tokio's paused clock, beside an STS that does what it is told and keeps a log.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::time::sleep;

use super::super::*;

pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// How long an answer takes, and how long the session lasts that it gives.
pub(super) type Scripted = (Duration, Result<Duration, FetchError>);

/// Says what is answered, by the time since the start and the session's name.
pub(super) type Behaviour = dyn Fn(Duration, &str) -> Scripted + Send + Sync;

/// A call to STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// When, since the start.
    pub(super) at: Duration,
    /// For which session.
    pub(super) name: String,
}

#[derive(Default)]
struct Log {
    calls: Vec<Call>,
    flying: HashSet<String>,
    most_flying: usize,
}

struct Sts {
    behaviour: Box<Behaviour>,
    log: Arc<Mutex<Log>>,
    clock: Clock,
    start: Instant,
}

/// Ends with its fetch, also where that is given up.
struct Flight<'f>(&'f Mutex<Log>, &'f str);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().flying.remove(self.1);
    }
}

impl Source for Sts {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        let name = request.name().to_owned();
        let at = self.start.elapsed();
        {
            let mut log = self.log.lock().unwrap();
            log.calls.push(Call { at, name: name.clone() });
            assert!(log.flying.insert(name.clone()), "two fetches of {name} at once");
            log.most_flying = log.most_flying.max(log.flying.len());
        }
        let (delay, answer) = (self.behaviour)(at, &name);
        // STS counts from when it answers, and it answers by the end of the delay.
        let flight = Flight(&self.log, &name);
        sleep(delay).await;
        drop(flight);
        let now = self.clock.now();
        answer.map(|lifetime| Credentials {
            role: request.role().unwrap().clone(),
            access_key_id: name.as_str().into(),
            secret_access_key: SecretString::from("secret"),
            session_token: SecretString::from(name),
            expiration: now + lifetime,
            obtained: now,
        })
    }
}

pub(super) struct Bench {
    pub(super) broker: Broker,
    pub(super) clock: Clock,
    pub(super) meters: Meters,
    ahead: Arc<AtomicI64>,
    start: Instant,
    log: Arc<Mutex<Log>>,
}

/// With a chance that always is one half.
pub(super) fn bench(
    behaviour: impl Fn(Duration, &str) -> Scripted + Send + Sync + 'static,
) -> Bench {
    Bench::new(behaviour, Chance::Always(0.5))
}

/// An STS that is as it should be.
pub(super) fn well(_at: Duration, _name: &str) -> Scripted {
    (Duration::from_millis(50), Ok(HOUR))
}

pub(super) fn down() -> FetchError {
    FetchError::Unavailable("connection refused".into())
}

pub(super) fn refused() -> FetchError {
    FetchError::Refused { code: "AccessDenied".into(), message: "no".into() }
}

pub(super) fn throttled() -> FetchError {
    FetchError::Throttled { code: "Throttling".into(), message: "Rate exceeded".into() }
}

pub(super) fn pod(name: &str) -> PodUid {
    PodUid::new(name)
}

pub(super) fn request(name: &str) -> SessionRequest {
    SessionRequest::fixture(name)
}

impl Bench {
    pub(super) fn new(
        behaviour: impl Fn(Duration, &str) -> Scripted + Send + Sync + 'static,
        chance: Chance,
    ) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (clock, ahead) = Clock::jumping_from(start);
        let (log, start) = (Arc::<Mutex<Log>>::default(), Instant::now());
        let source = Sts {
            behaviour: Box::new(behaviour),
            log: Arc::clone(&log),
            clock: clock.clone(),
            start,
        };
        let meters = Meters::default();
        let (broker, task) = Broker::with_chance(source, clock.clone(), meters.clone(), chance);
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(task);
        Self { broker, clock, meters, ahead, start, log }
    }

    /// A pod of this name has the session of this name.
    pub(super) fn assign(&self, name: &str, prefetch: Prefetch) {
        self.assign_to(name, name, prefetch);
    }

    pub(super) fn assign_to(&self, of: &str, session: &str, prefetch: Prefetch) {
        self.broker.assign(pod(of), Some(request(session)), prefetch);
    }

    /// As the metadata service asks.
    pub(super) async fn get(&self, name: &str) -> Result<Answer, NoAnswer> {
        self.get_as(name, name).await
    }

    pub(super) async fn get_as(&self, of: &str, session: &str) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + Duration::from_millis(900);
        let answer = self.broker.get(&pod(of), &request(session), deadline).await;
        if let Ok(Ok(credentials)) = &answer {
            assert_eq!(&*credentials.access_key_id, session, "another session's");
            assert!(self.left(credentials) >= MINUTE, "{:?} left", self.left(credentials));
        }
        answer
    }

    /// As one who has less patience.
    pub(super) async fn get_within(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Answer, NoAnswer> {
        self.broker.get(&pod(name), &request(name), Instant::now() + patience).await
    }

    /// When STS was first asked for this session.
    pub(super) fn call_of(&self, name: &str) -> Option<Duration> {
        self.calls().iter().find(|call| call.name == name).map(|call| call.at)
    }

    /// What is left by the node's clock.
    pub(super) fn left(&self, credentials: &Credentials) -> Duration {
        credentials.expiration.duration_since(self.clock.now()).unwrap_or_default()
    }

    /// Moves the time of day, as NTP or a suspend does.
    pub(super) fn jump(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.log.lock().unwrap().calls.clone()
    }

    pub(super) fn call_count(&self) -> usize {
        self.log.lock().unwrap().calls.len()
    }

    /// Of the fetches, the most at one time.
    pub(super) fn most_flying(&self) -> usize {
        self.log.lock().unwrap().most_flying
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until so long after the start.
    pub(super) async fn at(&self, since_start: Duration) {
        tokio::time::sleep_until(self.start + since_start).await;
    }

    pub(super) async fn state(&self, of: &str) -> SessionState {
        let states = self.broker.states().await;
        states.into_iter().find(|state| state.pod == pod(of)).unwrap()
    }
}
