//! Which watches run when, against a scripted API server on a paused clock.

use std::sync::Mutex;

use serde_json::json;
use tokio::sync::mpsc::Sender;

use super::*;
use crate::callers::pods::{Event, Pod};
use crate::operate::events::Unwritten;
use crate::roles::associations::index::Record;
use crate::roles::facts::{Known, Namespace};
use crate::roles::{Decision, Roles};

/// The watches that run, each with how it tells.
type Running = Arc<Mutex<HashMap<Key, Sender<Told>>>>;

/// Answers looks from a script, whose last answer stays.
struct Script {
    running: Running,
    looks: Arc<Mutex<Vec<Served>>>,
}

/// Takes the watch off the list when it is ended.
struct Entry(Running, Key);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

impl Outside for Script {
    fn watch(&self, key: Key, told: Sender<Told>) -> impl Future<Output = ()> + Send + 'static {
        self.running.lock().unwrap().insert(key.clone(), told);
        let entry = Entry(Arc::clone(&self.running), key);
        async move {
            let _entry = entry;
            std::future::pending::<()>().await;
        }
    }

    fn look(&self) -> impl Future<Output = Served> + Send + 'static {
        let looks = Arc::clone(&self.looks);
        async move {
            let mut looks = looks.lock().unwrap();
            if looks.len() > 1 { looks.remove(0) } else { looks[0].clone() }
        }
    }
}

struct Bench {
    running: Running,
    pods: channel::Sender<Index>,
    roles: Roles,
    events: Unwritten,
    _task: JoinSet<()>,
}

fn bench(by: Rules, looks: impl IntoIterator<Item = Served>) -> Bench {
    bench_remembering(by, looks, Remembered::default())
}

fn bench_remembering(
    by: Rules,
    looks: impl IntoIterator<Item = Served>,
    remembered: Remembered,
) -> Bench {
    let running = Running::default();
    let looks = Arc::new(Mutex::new(looks.into_iter().collect()));
    let script = Script { running: Arc::clone(&running), looks };
    let (pods, index) = channel::channel(Index::default());
    let (events, unwritten) = Events::unwritten();
    let (roles, lookups) = Roles::new(by, script, index, events);
    let mut task = JoinSet::new();
    task.spawn(lookups.remembering(remembered).run(std::future::pending()));
    Bench { running, pods, roles, events: unwritten, _task: task }
}

impl Bench {
    async fn list(&self, pods: Vec<Pod>) {
        self.pods.send_modify(|index| drop(index.apply(Event::Listed(pods))));
        settle().await;
    }

    fn running(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.running.lock().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    async fn tell(&self, key: &Key, what: Result<News, Failure>) {
        let told = self.running.lock().unwrap()[key].clone();
        told.send(Told { key: key.clone(), what }).await.unwrap();
        settle().await;
    }
}

/// Lets everything that waits for nothing run.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn namespace(name: &str) -> Key {
    Key::Namespace(name.into())
}

fn associations(name: &str) -> Key {
    Key::Associations(Some(name.into()))
}

fn record(name: &str, created: u64) -> Record {
    let spec = json!({
        "namespace": "default", "serviceAccount": "default",
        "roleArn": "arn:aws:iam::123456789012:role/web",
    });
    Record::read(name, name, std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(created), spec)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn watches_come_with_the_first_pod_and_go_with_the_last() {
    let bench = bench(Rules::fixture(), [Served::ByNamespace]);
    settle().await;
    assert_eq!(bench.running(), []);
    let (a, b) = (Pod::fixture("a", &[]), Pod::fixture("b", &[]));
    let other = Pod { namespace: "other".into(), ..Pod::fixture("c", &[]) };
    bench.list(vec![a, b.clone(), other]).await;
    let both =
        [namespace("default"), namespace("other"), associations("default"), associations("other")];
    assert_eq!(bench.running(), both);
    bench.list(vec![b]).await;
    assert_eq!(bench.running(), [namespace("default"), associations("default")]);
    bench.list(vec![]).await;
    assert_eq!(bench.running(), []);
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_what_its_role_depends_on_and_no_longer() {
    let bench = bench(Rules::fixture(), [Served::ByNamespace]);
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::NotYet(_)));
    let deadline = Instant::now() + Duration::from_millis(900);
    let told = async {
        sleep(Duration::from_millis(300)).await;
        let listed = News::Listed(Some("default".into()), vec![record("web", 1)]);
        bench.tell(&associations("default"), Ok(listed)).await;
    };
    let ((decision, _), ()) = tokio::join!(bench.roles.decided(&pod, deadline), told);
    assert!(matches!(decision, Decision::Granted(_)), "{decision:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_left_behind_is_not_believed_when_it_comes_back() {
    let bench = bench(Rules::fixture(), [Served::ByNamespace]);
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    let there = News::Namespace("default".into(), Some(Namespace::default()));
    bench.tell(&namespace("default"), Ok(there)).await;
    assert!(matches!(bench.roles.namespace("default"), Known::There(_)));
    bench.list(vec![]).await;
    bench.list(vec![pod]).await;
    assert!(matches!(bench.roles.namespace("default"), Known::NotYet(_)));
}

#[tokio::test(start_paused = true)]
async fn without_the_definition_there_are_no_associations_until_it_is_installed() {
    let bench = bench(Rules::fixture(), [Served::NotInstalled, Served::ByNamespace]);
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    assert_eq!(bench.roles.decide(&pod), Decision::None);
    assert_eq!(bench.running(), [namespace("default")]);
    sleep(LOOK_AGAIN_AFTER).await;
    settle().await;
    assert_eq!(bench.running(), [namespace("default"), associations("default")]);
    let listed = News::Listed(Some("default".into()), vec![record("web", 1)]);
    bench.tell(&associations("default"), Ok(listed)).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_cannot_select_is_watched_whole() {
    let bench = bench(Rules::fixture(), [Served::Whole]);
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    assert_eq!(bench.running(), [namespace("default"), Key::Associations(None)]);
    let listed = News::Listed(None, vec![record("web", 1)]);
    bench.tell(&Key::Associations(None), Ok(listed)).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_forbidden_leaves_every_role_open() {
    let forbidden = Served::Unknown(Failure::Forbidden);
    let bench = bench(Rules::fixture(), [forbidden, Served::NotInstalled]);
    let pod = Pod::fixture("a", &[]).annotated("iam.amazonaws.com/role", "web");
    bench.list(vec![pod.clone()]).await;
    let decision = bench.roles.decide(&pod);
    assert!(
        matches!(decision, Decision::NotYet(missing) if missing.cause == Cause::Forbidden),
        "{decision:?}"
    );
    sleep(LOOK_AGAIN_AFTER).await;
    settle().await;
    assert!(matches!(bench.roles.decide(&pod), Decision::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_goes_for_a_moment_takes_no_role_away() {
    let looks = [Served::ByNamespace, Served::ByNamespace, Served::NotInstalled];
    let bench = bench(Rules::fixture(), looks);
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    let key = associations("default");
    let listed = News::Listed(Some("default".into()), vec![record("web", 1)]);
    bench.tell(&key, Ok(listed)).await;
    for _ in 0..2 {
        bench.tell(&key, Err(Failure::NotServed)).await;
        assert!(matches!(bench.roles.decide(&pod), Decision::Granted(_)));
        sleep(BELIEVE_AFTER).await;
        settle().await;
    }
    // The second look said that it is gone indeed.
    assert_eq!(bench.roles.decide(&pod), Decision::None);
    assert_eq!(bench.running(), [namespace("default")]);
}

#[tokio::test(start_paused = true)]
async fn the_younger_of_two_associations_is_named_once() {
    let mut bench = bench(Rules::fixture(), [Served::ByNamespace]);
    bench.list(vec![Pod::fixture("a", &[])]).await;
    let key = associations("default");
    let both = || vec![record("old", 1), record("new", 2)];
    for _ in 0..2 {
        bench.tell(&key, Ok(News::Listed(Some("default".into()), both()))).await;
    }
    let (object, reason, note) = bench.events.next().unwrap();
    assert_eq!((&*object.name, reason), ("new", Reason::DuplicateRoleAssociation));
    assert!(note.contains("old is older"), "{note}");
    assert!(bench.events.next().is_none());
}

/// What an earlier agent knew: that there are no associations, and a Namespace that permits.
fn remembering() -> Remembered {
    let known = [
        News::Namespace("default".into(), Some(Namespace::default())),
        News::Listed(Some("default".into()), vec![record("web", 1)]),
    ];
    Remembered::of(known)
}

fn silent_bench() -> Bench {
    let failing = Served::Unknown(Failure::Failing("connection refused".into()));
    bench_remembering(Rules::fixture(), [failing], remembering())
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_counts_as_soon_as_the_api_server_is_said_to_be_silent() {
    let bench = silent_bench();
    let pod = Pod::fixture("a", &[]);
    bench.pods.send_modify(|index| drop(index.apply(Event::Applied(pod.clone()))));
    settle().await;
    assert!(matches!(bench.roles.decide(&pod), Decision::NotYet(_)), "it may answer yet");
    sleep(SILENT_AFTER + RECALL_EVERY).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_has_told_goes_before_what_is_remembered() {
    let bench = bench_remembering(Rules::fixture(), [Served::ByNamespace], remembering());
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    let key = associations("default");
    bench.tell(&key, Ok(News::Listed(Some("default".into()), vec![]))).await;
    bench.tell(&namespace("default"), Err(Failure::Failing("reset".into()))).await;
    assert!(matches!(bench.roles.namespace("default"), Known::There(_)), "remembered");
    assert_eq!(bench.roles.decide(&pod), Decision::None, "told");
    sleep(10 * SILENT_AFTER).await;
    assert_eq!(bench.roles.decide(&pod), Decision::None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_to_tell_is_no_silence() {
    let bench = bench_remembering(Rules::fixture(), [Served::ByNamespace], remembering());
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![pod.clone()]).await;
    bench.tell(&associations("default"), Err(Failure::Forbidden)).await;
    sleep(10 * SILENT_AFTER).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::NotYet(_)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_remembered_once_all_was_told() {
    let bench = bench_remembering(Rules::fixture(), [Served::ByNamespace], remembering());
    let other = Pod { namespace: "other".into(), ..Pod::fixture("b", &[]) };
    bench.list(vec![other.clone()]).await;
    bench.tell(&namespace("other"), Ok(News::Namespace("other".into(), None))).await;
    let none = News::Listed(Some("other".into()), vec![]);
    bench.tell(&associations("other"), Ok(none)).await;
    let pod = Pod::fixture("a", &[]);
    bench.list(vec![other, pod.clone()]).await;
    bench.tell(&associations("default"), Err(Failure::Failing("reset".into()))).await;
    sleep(10 * SILENT_AFTER).await;
    assert!(matches!(bench.roles.decide(&pod), Decision::NotYet(_)), "of another day");
}
