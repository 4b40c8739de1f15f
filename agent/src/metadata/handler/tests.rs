//! Requests and their answers, with a scripted STS and a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use tokio::sync::watch as channel;
use tokio::time::sleep;

use crate::callers::Identity;
use crate::callers::attest::{Attestor, Seen};
use crate::callers::fresh::Fresh;
use crate::callers::host_network::HostNetwork;
use crate::callers::pod_key::PodKey;
use crate::callers::pods::{Change, Event, Index};
use crate::callers::watch::location::Location;
use crate::credentials::broker::{Meters, Prefetch};
use crate::credentials::{Credentials, FetchError, SessionRequest, Source};
use crate::metadata::node::NodeSource;
use crate::metadata::paths::AllowList;
use crate::operate::events::{Reason, Unwritten};
use crate::operate::metrics::Identities;
use crate::operate::metrics::Limits as LimitCounters;
use crate::roles::facts::IMDS_V1_ANNOTATION;
use crate::roles::{Base, Rules};

use super::*;

mod allocations;
mod container;
mod tokens;
mod worked;

const ROLE: &str = "iam.amazonaws.com/role";
const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const LEAF: &str = "/latest/meta-data/iam/security-credentials/web";
const POD: &str = "10.0.1.11";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Answers what the role's name asks for.
struct FakeSts {
    clock: Clock,
    calls: Arc<AtomicUsize>,
}

impl Source for FakeSts {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (code, message) = ("AccessDenied".into(), "arn:aws:sts::1:node is not allowed".into());
        match request.role().unwrap().name() {
            "denied" => return Err(FetchError::Refused { code, message }),
            "expired-node" => return Err(FetchError::NodeCredentials { code, message }),
            "slow" => sleep(Duration::from_millis(1500)).await,
            _ => {}
        }
        let now = self.clock.now();
        Ok(Credentials {
            role: request.role().unwrap().clone(),
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: SecretString::from("secret/+"),
            session_token: SecretString::from(request.name()),
            expiration: now + Duration::from_hours(1),
            obtained: now,
        })
    }
}

struct Bench {
    handler: Handler,
    pods: channel::Sender<Index>,
    calls: Arc<AtomicUsize>,
    told: Unwritten,
    _state: tempfile::TempDir,
}

fn bench() -> Bench {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let clock = Clock::starting_at(start);
    let state = tempfile::tempdir().unwrap();
    let (pods, index) = channel::channel(Index::default());
    let (events, told) = Events::unwritten();
    let calls = Arc::new(AtomicUsize::new(0));
    let sts = FakeSts { clock: clock.clone(), calls: Arc::clone(&calls) };
    let (broker, task) = Broker::new(sts, clock.clone(), Meters::default());
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(task);
    let base = "arn:aws:iam::123456789012:role/team/".parse().unwrap();
    let rules = Rules { base: Base::Given(base), ..Rules::fixture() };
    let (_, location) =
        channel::channel(Some(Location { region: Some("eu-central-1".into()), zone: None }));
    let handler = Handler {
        keys: Keyring::open(state.path().to_owned(), clock.clone()).unwrap().0,
        callers: Callers::new(
            index,
            Identity::Kernel(Attestor::new(Arc::new(Seen::default()))),
            HostNetwork::default(),
            Fresh::default(),
            Identities::default(),
        ),
        addresses: vec!["169.254.169.254".parse().unwrap()],
        roles: Roles::settled(rules),
        plan: SessionPlan::fixture(),
        broker,
        node: NodeMetadata {
            paths: Arc::new(AllowList::parse(["default"].into_iter()).unwrap()),
            source: NodeSource::Labels(location),
        },
        imds_v1: ImdsV1::Allow,
        container_credentials: true,
        limits: Limits::new(64, 200, LimitCounters::default()),
        clock,
        started: start,
        requests: Requests::default(),
        decisions: Decisions::default(),
        events,
        worked_out: WorkedOut::default(),
    };
    Bench { handler, pods, calls, told, _state: state }
}

/// A node with one pod that has the role `web`.
fn with_pod() -> Bench {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "web")));
    bench
}

impl Bench {
    /// As the watch and the assigner do.
    fn tell(&self, event: Event) {
        let mut changes = Vec::new();
        self.pods.send_modify(|index| changes = index.apply(event));
        for change in changes {
            let (pod, session) = match change {
                Change::Gone(pod) => (pod, None),
                Change::Appeared(now) | Change::Changed { now, .. } => {
                    let session = match self.handler.roles.decide(&now) {
                        Decision::Granted(grant) => self.handler.plan.request(&now, &grant).ok(),
                        _ => None,
                    };
                    (now, session)
                }
            };
            self.handler.broker.assign(pod.uid.clone(), session, Prefetch::No);
        }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask_from(POD, method, path, headers).await
    }

    async fn ask_from(
        &self,
        peer: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        self.handler.answer(caller(peer), &parts).await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        read(self.ask(Method::GET, path, &[]).await).await
    }

    async fn token(&self, ttl: &str) -> String {
        let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", ttl)];
        let (status, token) = read(self.ask(Method::PUT, "/latest/api/token", &ttl).await).await;
        assert_eq!(status, 200);
        token
    }

    async fn get_with(&self, path: &str, token: &str) -> u16 {
        self.ask(Method::GET, path, &[(TOKEN, token)]).await.status().as_u16()
    }
}

/// Each address is of a pod of its own.
fn caller(address: &str) -> Caller {
    let pod = match address {
        POD => "one",
        "10.0.0.10" => "host",
        _ => "two",
    };
    Caller { address: address.parse().unwrap(), origin: Origin::Pod(PodKey::fixture(pod)) }
}

async fn read(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_pod_lists_and_gets_its_role() {
    let bench = with_pod();
    assert_eq!(bench.get(LIST).await, (200, "web".into()));
    let (status, body) = bench.get(LEAF).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"Token\" : \"default@one\""), "{body}");
    for alias in ["team/web", "arn:aws:iam::123456789012:role/team/web"] {
        assert_eq!(bench.get(&format!("{LIST}{alias}")).await.0, 200, "{alias}");
    }
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn another_role_is_not_found_and_not_asked_for() {
    let bench = with_pod();
    for other in ["WEB", "batch", "team", "NodeInstanceRole"] {
        assert_eq!(bench.get(&format!("{LIST}{other}")).await.0, 404, "{other}");
    }
    assert_eq!(bench.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_role_has_no_iam() {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD])));
    for path in [LIST, LEAF, "/latest/meta-data/iam", "/latest/meta-data/iam/info"] {
        assert_eq!(bench.get(path).await.0, 404, "{path}");
    }
    assert_eq!(bench.get("/latest/meta-data/").await, (200, "placement/".into()));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_annotation_is_refused_with_its_reason() {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "we b")));
    for path in [LIST, LEAF] {
        let (status, body) = bench.get(path).await;
        assert_eq!(status, 403, "{path}");
        assert!(body.contains("we b"), "{body}");
    }
    assert_eq!(bench.get("/latest/meta-data/").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_caller_gets_nothing_but_a_token() {
    let bench = bench();
    let asked = Instant::now();
    assert_eq!(bench.get(LIST).await.0, 503);
    assert_eq!(asked.elapsed(), BUDGET);
    bench.token("60").await;
    bench.tell(Event::Applied(Pod { host_network: true, ..Pod::fixture("host", &[]) }));
    let node = bench.ask_from("10.0.0.10", Method::GET, LIST, &[]).await;
    assert_eq!(node.status().as_u16(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_watch_knows_in_time_is_served() {
    let bench = bench();
    let telling = async {
        sleep(Duration::from_millis(300)).await;
        bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "web")));
    };
    let ((status, _), ()) = tokio::join!(bench.get(LEAF), telling);
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sts_is_answered_with_ask_again_and_its_answer_is_kept() {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "slow")));
    let slow = format!("{LIST}slow");
    let asked = Instant::now();
    let answer = bench.ask(Method::GET, &slow, &[]).await;
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(asked.elapsed(), BUDGET);
    sleep(Duration::from_millis(700)).await;
    assert_eq!(bench.get(&slow).await.0, 200);
    assert_eq!(bench.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_sts_is_told_without_the_nodes_identity() {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "denied")));
    assert_eq!(bench.get(LIST).await, (200, "denied".into()));
    let (status, body) = bench.get(&format!("{LIST}denied")).await;
    assert_eq!(status, 403);
    assert!(body.contains("\"code\" : \"AccessDenied\""), "{body}");
    assert!(!body.contains("sts::1:node"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_node_is_not_the_pods() {
    let bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "expired-node")));
    let (status, body) = bench.get(&format!("{LIST}expired-node")).await;
    assert_eq!(status, 503);
    assert!(!body.contains("sts::1:node"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn each_answer_says_that_it_is_ec2() {
    let bench = with_pod();
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/latest", 200),
        (Method::GET, LEAF, 200),
        (Method::GET, "/nothing", 404),
        (Method::POST, LIST, 405),
        (Method::GET, "/latest/api/token", 405),
        (Method::OPTIONS, "/latest/api/token", 200),
        (Method::PUT, "/latest/api/token", 400),
        (Method::PUT, "/2021-03-23/api/token", 403),
    ] {
        let answer = bench.ask(method.clone(), path, &[]).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()["server"], "EC2ws", "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_kernel_did_not_see_leave_a_pod_gets_nothing() {
    let bench = with_pod();
    let unseen = Caller { origin: Origin::Unseen, ..caller(POD) };
    for (method, path) in
        [(Method::GET, LEAF), (Method::GET, LIST), (Method::PUT, "/latest/api/token")]
    {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", "60");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(bench.handler.answer(unseen, &parts).await.status().as_u16(), 403, "{path}");
    }
    assert_eq!(bench.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_proxys_own_address_is_no_name_of_the_service() {
    let bench = with_pod();
    for (host, status) in [("169.254.169.254", 200), ("10.0.0.10:16925", 403)] {
        let answer = bench.ask(Method::GET, LEAF, &[("host", host)]).await;
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_on_the_pod_with_what_to_do() {
    let mut bench = bench();
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "denied")));
    let (_, body) = bench.get(&format!("{LIST}denied")).await;
    assert!(body.contains("STS does not tell") && !body.contains("1:node"), "{body}");
    let (object, reason, note) = bench.told.next().unwrap();
    assert_eq!((&*object.name, reason), ("one", Reason::AssumeRoleFailed));
    assert!(note.contains("1:node") && note.contains("trust policy"), "{note}");
    bench.tell(Event::Applied(Pod::fixture("one", &[POD]).annotated(ROLE, "no role")));
    bench.get(LIST).await;
    assert_eq!(bench.told.next().unwrap().1, Reason::RoleRefused);
    bench.tell(Event::Applied(Pod::fixture("one", &[POD])));
    bench.get(LIST).await;
    assert_eq!(bench.told.next(), None);
}

#[tokio::test(start_paused = true)]
async fn where_tokens_are_required_nothing_is_told_without_one() {
    let denied = |pod: Pod| pod.annotated(IMDS_V1_ANNOTATION, "deny");
    let of_pod = bench();
    of_pod.tell(Event::Applied(denied(Pod::fixture("one", &[POD]).annotated(ROLE, "web"))));
    let mut of_cluster = with_pod();
    of_cluster.handler.imds_v1 = ImdsV1::Deny;
    for bench in [of_pod, of_cluster] {
        let unknown = "/latest/meta-data/nope";
        for path in
            ["/", "/latest", LIST, LEAF, unknown, "/nope", "/latest/meta-data/placement/region"]
        {
            assert_eq!(bench.get(path).await.0, 401, "{path}");
            assert_eq!(bench.ask(Method::HEAD, path, &[]).await.status().as_u16(), 401, "{path}");
        }
        let token = bench.token("60").await;
        for (path, status) in
            [("/", 200), ("/latest", 200), (LIST, 200), (LEAF, 200), (unknown, 404)]
        {
            assert_eq!(bench.get_with(path, &token).await, status, "{path}");
        }
        assert_eq!(bench.get_with(LIST, "x").await, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn the_nodes_region_is_told_and_its_listing_has_the_role() {
    let bench = with_pod();
    let region = bench.get("/latest/meta-data/placement/region").await;
    assert_eq!(region, (200, "eu-central-1".into()));
    assert_eq!(bench.get("/latest/meta-data/").await, (200, "iam/\nplacement/".into()));
    assert_eq!(bench.get("/2011-01-01/meta-data/").await, (200, "placement/".into()));
    assert_eq!(bench.get("/latest/user-data").await.0, 404);
}
