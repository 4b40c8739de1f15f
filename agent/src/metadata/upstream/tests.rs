//! What is remembered, for how long, and who waits, on a paused clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::sleep;

use super::*;

/// Takes 100 ms for each answer, which says how many came before it.
#[derive(Default)]
struct Service {
    asked: AtomicUsize,
    is_down: AtomicBool,
    questions: Mutex<Vec<String>>,
}

impl Ask for Arc<Service> {
    async fn ask(&self, question: &Question) -> Result<Found, Failure> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        self.questions.lock().unwrap().push(question.path.to_string());
        sleep(Duration::from_millis(100)).await;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::Status { at: "imds".into(), status: 500 });
        }
        Ok(match question.path.as_str() {
            "meta-data/nothing" => Found::Nothing,
            _ => Found::Document(Arc::new(Document {
                body: before.to_string().into(),
                content_type: None,
                last_modified: None,
            })),
        })
    }
}

fn start() -> (Arc<Service>, Upstream) {
    let service = Arc::new(Service::default());
    let (upstream, task) =
        Upstream::new(Arc::clone(&service), UpstreamRequests::default(), Since::default());
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(task);
    (service, upstream)
}

fn permit(path: &str, fresh: Fresh) -> Permit {
    let path = NodePath::new(&["meta-data", path]).unwrap();
    Permit { path, slash: Slash::Never, fresh }
}

/// Asks for a path; the number of the answer, or why there is none.
async fn ask(upstream: &Upstream, path: &str, fresh: Fresh) -> Result<String, Unavailable> {
    let deadline = Instant::now() + Duration::from_millis(900);
    let found = upstream.get(PodUid::new("a"), "latest", permit(path, fresh), deadline).await?;
    Ok(match found {
        Found::Document(document) => String::from_utf8(document.body.to_vec()).unwrap(),
        Found::Nothing => "nothing".into(),
    })
}

async fn pass(duration: Duration) {
    sleep(duration).await;
}

const ID: &str = "instance-id";

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_are_one_question() {
    let (service, upstream) = start();
    let all = (0..50).map(|_| ask(&upstream, ID, Fresh::Volatile));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer, Ok("0".into()));
    }
    assert_eq!(service.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_volatile_answer_is_never_older_than_a_second() {
    let (_service, upstream) = start();
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Ok("0".into()));
    pass(Duration::from_millis(899)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Ok("0".into()));
    // It was true when it was asked for, 1 s ago.
    pass(Duration::from_millis(1)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Ok("1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_static_answer_is_there_at_once_and_fetched_anew_behind() {
    let (service, upstream) = start();
    assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("0".into()));
    pass(Duration::from_secs(70)).await;
    let asked = Instant::now();
    assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("0".into()));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    pass(Duration::from_millis(200)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("1".into()));
    assert_eq!(service.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_static_answer_outlives_the_service() {
    let (service, upstream) = start();
    assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("0".into()));
    service.is_down.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        pass(Duration::from_mins(10)).await;
        assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_volatile_answer_does_not() {
    let (service, upstream) = start();
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Ok("0".into()));
    service.is_down.store(true, Ordering::SeqCst);
    pass(Duration::from_secs(1)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Err(Unavailable::Failing));
    // The failure is remembered for a second.
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Err(Unavailable::Failing));
    assert_eq!(service.asked.load(Ordering::SeqCst), 2);
    service.is_down.store(false, Ordering::SeqCst);
    pass(Duration::from_secs(1)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Volatile).await, Ok("2".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_asked_for_again_after_a_second() {
    let (service, upstream) = start();
    for (after, asked) in [(0, 1), (500, 1), (600, 2)] {
        pass(Duration::from_millis(after)).await;
        assert_eq!(ask(&upstream, "nothing", Fresh::Volatile).await, Ok("nothing".into()));
        assert_eq!(service.asked.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn one_pods_guesses_are_its_own_loss_and_are_forgotten() {
    let (service, upstream) = start();
    let guesses = (0..2000).map(|guess| {
        let upstream = &upstream;
        async move { ask(upstream, &format!("guess-{guess}"), Fresh::Volatile).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let refused = answers.iter().filter(|answer| **answer == Err(Unavailable::TooMuch)).count();
    assert!(refused >= 1900, "{refused}");
    assert!(service.asked.load(Ordering::SeqCst) <= 100);
    let deadline = Instant::now() + Duration::from_millis(900);
    let other = upstream.get(PodUid::new("b"), "latest", permit(ID, Fresh::Static), deadline).await;
    assert!(other.is_ok(), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_kept_for_who_asks_next() {
    let (service, upstream) = start();
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = upstream.get(PodUid::new("a"), "latest", permit(ID, Fresh::Static), deadline).await;
    assert_eq!(late, Err(Unavailable::NotYet));
    pass(Duration::from_millis(100)).await;
    assert_eq!(ask(&upstream, ID, Fresh::Static).await, Ok("0".into()));
    assert_eq!(service.asked.load(Ordering::SeqCst), 1);
}
