//! Whose a connection is, while the index changes and the clock stands still.

use super::attest::Seen;
use super::pod_key::PodKey;
use super::pods::Event;
use super::*;
use crate::kernel::CgroupId;

struct Bench {
    writer: channel::Sender<Index>,
    callers: Callers,
    meters: Identities,
    fresh: Fresh,
}

fn bench() -> Bench {
    by(Identity::Kernel(Attestor::new(Arc::new(Seen::default()))))
}

fn by_address() -> Bench {
    let node = ["10.0.0.10".parse().unwrap()].into();
    by(Identity::SourceIp { records: Arc::new(Seen::default()), node })
}

fn by(identity: Identity) -> Bench {
    let (writer, reader) = channel::channel(Index::default());
    let (meters, fresh) = (Identities::default(), Fresh::default());
    let host_network = HostNetwork::default();
    let callers = Callers::new(reader, identity, host_network, fresh.clone(), meters.clone());
    Bench { writer, callers, meters, fresh }
}

impl Bench {
    fn tell(&self, event: Event) {
        self.writer.send_modify(|index| {
            index.apply(event);
        });
    }

    fn apply(&self, pod: Pod) {
        self.tell(Event::Applied(pod));
    }

    async fn identify(&self, caller: &Caller) -> Result<String, Unidentified> {
        let found = self.callers.identify(caller, Instant::now() + BUDGET).await;
        found.map(|pod| pod.uid.to_string())
    }
}

const BUDGET: Duration = Duration::from_millis(900);
const A: &str = "10.0.1.11";
const B: &str = "10.0.1.12";

/// A connection that left a socket of the pod with this UID.
fn from(uid: &str, address: &str) -> Caller {
    Caller { address: address.parse().unwrap(), origin: Origin::Pod(PodKey::fixture(uid)) }
}

async fn after(milliseconds: u64, then: impl FnOnce()) {
    sleep(Duration::from_millis(milliseconds)).await;
    then();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_watch_tells_of_later_is_waited_for() {
    let bench = bench();
    let (asked, caller) = (Instant::now(), from("a", A));
    let telling = after(300, || bench.apply(Pod::fixture("a", &[])));
    let (found, ()) = tokio::join!(bench.identify(&caller), telling);
    assert_eq!(found.unwrap(), "a");
    assert_eq!(asked.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_pod_is_given_up_at_the_deadline() {
    let bench = bench();
    let asked = Instant::now();
    assert_eq!(bench.identify(&from("a", A)).await, Err(Unidentified::Unknown));
    assert_eq!(asked.elapsed(), BUDGET);
    assert_eq!(bench.meters.of(Identified::Unknown), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_asked_for_only_when_the_watch_is_slow() {
    let bench = bench();
    let caller = from("a", A);
    let quick = after(50, || bench.apply(Pod::fixture("a", &[])));
    let (found, ()) = tokio::join!(bench.identify(&caller), quick);
    assert_eq!(found.unwrap(), "a");
    let wished = timeout_at(Instant::now(), bench.fresh.asked()).await;
    assert!(wished.is_err(), "a list was asked for");

    let caller = from("b", B);
    let answering = async {
        bench.fresh.asked().await;
        bench.apply(Pod::fixture("b", &[B]));
    };
    let (found, ()) = tokio::join!(bench.identify(&caller), answering);
    assert_eq!(found.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_kernels_word_decides_where_the_address_is_no_pods() {
    let bench = bench();
    bench.apply(Pod::fixture("a", &["fd00::1"]));
    assert_eq!(bench.identify(&from("a", "169.254.172.2")).await.unwrap(), "a");
    assert_eq!(bench.meters.of(Identified::OtherAddress), 1);
    assert_eq!(bench.identify(&from("a", "fd00::1")).await.unwrap(), "a");
    assert_eq!(bench.meters.of(Identified::Pod), 1);
}

#[tokio::test(start_paused = true)]
async fn another_pods_address_is_refused() {
    let bench = bench();
    bench.apply(Pod::fixture("a", &[A]));
    bench.apply(Pod::fixture("b", &[B]));
    assert_eq!(bench.identify(&from("a", B)).await, Err(Unidentified::Spoofed));
    assert_eq!(bench.meters.of(Identified::Spoofed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reused_address_is_the_new_pods_as_soon_as_the_watch_tells_either_side() {
    for told in [
        Event::Deleted(pods::PodUid::new("old")),
        Event::Applied(Pod { finished: true, ..Pod::fixture("old", &[A]) }),
        Event::Applied(Pod::fixture("new", &[A])),
    ] {
        let bench = bench();
        bench.apply(Pod::fixture("old", &[A]));
        bench.apply(Pod::fixture("new", &[]));
        let (asked, caller) = (Instant::now(), from("new", A));
        let telling = after(400, || bench.tell(told));
        let (found, ()) = tokio::join!(bench.identify(&caller), telling);
        assert_eq!(found.unwrap(), "new");
        assert_eq!(asked.elapsed(), Duration::from_millis(400));
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_running_pod_sent_is_refused_at_once() {
    let bench = bench();
    bench.apply(Pod::fixture("a", &[A]));
    let asked = Instant::now();
    for (origin, refusal) in [
        (Origin::Unseen, Unidentified::Unseen),
        (Origin::Gone(CgroupId(7)), Unidentified::NoPod),
        (Origin::NoPod(CgroupId(7)), Unidentified::NoPod),
    ] {
        let caller = Caller { address: A.parse().unwrap(), origin };
        assert_eq!(bench.identify(&caller).await, Err(refusal));
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_pod_in_the_nodes_network_namespace_is_the_node() {
    let bench = bench();
    bench.apply(Pod { host_network: true, ..Pod::fixture("a", &[]) });
    assert_eq!(bench.identify(&from("a", "10.0.0.10")).await, Err(Unidentified::Node));
}

#[tokio::test(start_paused = true)]
async fn by_address_alone_finished_duplicate_and_host_network_pods_are_nobody() {
    let bench = by_address();
    let open = |address: &str| bench.callers.open(format!("{address}:40000").parse().unwrap());
    bench.apply(Pod::fixture("a", &[A]));
    assert_eq!(bench.identify(&open(A)).await.unwrap(), "a");
    assert_eq!(bench.identify(&open(B)).await, Err(Unidentified::Unknown));
    bench.apply(Pod::fixture("b", &[A]));
    assert_eq!(bench.identify(&open(A)).await, Err(Unidentified::Ambiguous));
    bench.apply(Pod { finished: true, ..Pod::fixture("a", &[A]) });
    assert_eq!(bench.identify(&open(A)).await.unwrap(), "b");
    let asked = Instant::now();
    assert_eq!(bench.identify(&open("10.0.0.10")).await, Err(Unidentified::Node));
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[test]
fn ipv4_mapped_addresses_are_the_ipv4_address() {
    let bench = by_address();
    bench.apply(Pod::fixture("a", &[A]));
    let caller = bench.callers.open(format!("[::ffff:{A}]:40000").parse().unwrap());
    assert!(bench.callers.find(&caller).is_ok());
}
