//! The broker on tokio's paused clock, with a source that is scripted.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::sleep;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// Answers what it was told to, in order; then sessions of an hour. Each bears its request's name.
struct Script {
    answers: Mutex<VecDeque<(Duration, Result<Duration, FetchError>)>>,
    calls: Arc<AtomicUsize>,
    clock: Clock,
}

impl Source for Script {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let next = self.answers.lock().unwrap().pop_front();
        let (delay, answer) = next.unwrap_or((Duration::ZERO, Ok(HOUR)));
        sleep(delay).await;
        let now = self.clock.now();
        answer.map(|lifetime| Credentials {
            role: request.role().unwrap().clone(),
            access_key_id: request.name().into(),
            secret_access_key: SecretString::from("secret"),
            session_token: SecretString::from(request.name()),
            expiration: now + lifetime,
            obtained: now,
        })
    }
}

struct Bench {
    broker: Broker,
    known: Mutex<HashSet<(String, String)>>,
    meters: Meters,
    calls: Arc<AtomicUsize>,
}

type Scripted = (Duration, Result<Duration, FetchError>);

fn bench(answers: impl IntoIterator<Item = Scripted>) -> Bench {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let calls = Arc::new(AtomicUsize::new(0));
    let answers = Mutex::new(answers.into_iter().collect());
    let source = Script { answers, calls: Arc::clone(&calls), clock: clock.clone() };
    let meters = Meters::default();
    let (broker, task) = Broker::with_chance(source, clock, meters.clone(), Chance::Always(0.5));
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(task);
    Bench { broker, known: Mutex::default(), meters, calls }
}

impl Bench {
    async fn get(&self, name: &str) -> Result<Answer, NoAnswer> {
        self.get_as(name, name).await
    }

    /// As the assigner and the metadata service do.
    async fn get_as(&self, pod: &str, name: &str) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + Duration::from_millis(900);
        if self.known.lock().unwrap().insert((pod.into(), name.into())) {
            self.broker.assign(PodUid::new(pod), Some(request(name)), Prefetch::No);
        }
        self.broker.get(PodUid::new(pod), request(name), deadline).await
    }

    fn forget(&self, pod: &str) {
        self.known.lock().unwrap().retain(|(known, _)| known != pod);
        self.broker.forget(PodUid::new(pod));
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn request(name: &str) -> SessionRequest {
    SessionRequest::fixture(name)
}

fn down() -> FetchError {
    FetchError::Unavailable("down".into())
}

fn refused() -> FetchError {
    FetchError::Refused { code: "AccessDenied".into(), message: "no".into() }
}

#[tokio::test(start_paused = true)]
async fn each_request_gets_its_own_session() {
    let bench = bench([]);
    for name in ["a", "b"] {
        let held = bench.get(name).await.unwrap().unwrap();
        assert_eq!(held.session_token.expose_secret(), name);
    }
}

#[tokio::test(start_paused = true)]
async fn many_first_requests_make_one_fetch() {
    let bench = bench([(Duration::from_millis(100), Ok(HOUR))]);
    let asks = (0..1000).map(|_| bench.get("a"));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_fetch_is_given_up_by_the_client_alone() {
    let bench = bench([(Duration::from_millis(1500), Ok(HOUR))]);
    let asked = Instant::now();
    assert_eq!(bench.get("a").await.unwrap_err(), NoAnswer::NotYet);
    assert_eq!(asked.elapsed(), Duration::from_millis(900));
    sleep(Duration::from_millis(601)).await;
    bench.get("a").await.unwrap().unwrap();
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_and_then_forgotten() {
    let bench = bench([(Duration::ZERO, Err(refused()))]);
    for _ in 0..100 {
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
    }
    sleep(Duration::from_millis(44_999)).await;
    assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
    assert_eq!(bench.calls(), 1);
    sleep(Duration::from_millis(1)).await;
    bench.get("a").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_single_failure_is_not_seen_by_those_who_wait() {
    let bench = bench([(Duration::from_millis(50), Err(down()))]);
    let asked = Instant::now();
    bench.get("a").await.unwrap().unwrap();
    assert_eq!(asked.elapsed(), Duration::from_millis(50 + 125));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_remembered_for_seconds() {
    let bench = bench([(Duration::ZERO, Err(down())), (Duration::ZERO, Err(down()))]);
    assert_eq!(bench.get("a").await.unwrap().unwrap_err(), down());
    assert_eq!(bench.get("a").await.unwrap().unwrap_err(), down());
    assert_eq!(bench.calls(), 2);
    sleep(Duration::from_secs(3)).await;
    bench.get("a").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_ended_are_never_served() {
    let bench = bench([(Duration::ZERO, Ok(Duration::from_secs(59)))]);
    let answer = bench.get("a").await.unwrap();
    assert!(matches!(answer, Err(FetchError::Unusable(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_dies_with_its_last_pod() {
    let bench = bench([]);
    for pod in ["one", "two"] {
        bench.get_as(pod, "shared").await.unwrap().unwrap();
    }
    assert_eq!(bench.calls(), 1);
    bench.forget("one");
    bench.get_as("two", "shared").await.unwrap().unwrap();
    assert_eq!(bench.calls(), 1);
    bench.forget("two");
    bench.get_as("two", "shared").await.unwrap().unwrap();
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_counted_while_they_are_held() {
    let bench = bench([(Duration::ZERO, Ok(HOUR)), (Duration::ZERO, Err(refused()))]);
    bench.get("a").await.unwrap().unwrap();
    bench.get("b").await.unwrap().unwrap_err();
    assert_eq!(bench.meters.held(), 1);
    bench.get("c").await.unwrap().unwrap();
    assert_eq!(bench.meters.held(), 2);
    bench.forget("a");
    bench.get("c").await.unwrap().unwrap();
    assert_eq!(bench.meters.held(), 1);
    sleep(2 * HOUR).await;
    assert_eq!(bench.meters.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_pods_are_gone_leaves_nothing_behind() {
    let bench = bench([(Duration::from_millis(1500), Ok(HOUR))]);
    bench.get("a").await.unwrap_err();
    bench.forget("a");
    sleep(Duration::from_secs(2)).await;
    bench.get("a").await.unwrap().unwrap();
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_pod_gets_nothing_and_the_same_key_still_has_one_fetch() {
    let bench = bench([(Duration::from_millis(800), Ok(HOUR))]);
    let first = bench.get_as("one", "shared");
    let second = async {
        sleep(Duration::from_millis(100)).await;
        bench.forget("one");
        bench.get_as("two", "shared").await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err(), NoAnswer::Dropped);
    second.unwrap().unwrap();
    assert_eq!(bench.calls(), 1);
}
