//! What one pod may ask, to the request, on a paused clock.

use tokio::time::sleep;

use super::*;

fn pod(name: &str) -> Whose {
    Whose::Pod(PodKey::of_uid(&format!("f2a1c3d4-0011-4abc-8def-01234567890{name}")).unwrap())
}

fn limits() -> Limits {
    Limits::new(64, 200, Counters::default())
}

fn admitted(limits: &Limits, place: &Place, requests: usize, is_token: bool) -> usize {
    (0..requests).filter(|_| limits.admits(place, is_token, Instant::now())).count()
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_twice_a_seconds_requests() {
    let limits = limits();
    let place = limits.open(pod("a")).unwrap();
    assert_eq!(admitted(&limits, &place, 1000, false), 400);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(admitted(&limits, &place, 1000, false), 200);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(admitted(&limits, &place, 1000, false), 400);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_given_while_requests_are_refused() {
    let limits = limits();
    let place = limits.open(pod("a")).unwrap();
    assert_eq!(admitted(&limits, &place, 1000, false), 400);
    assert_eq!(admitted(&limits, &place, 1000, true), 1000);
    assert_eq!(admitted(&limits, &place, 10_000, true), 3000);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_too_much_takes_nothing_from_another() {
    let limits = limits();
    let (place, other) = (limits.open(pod("a")).unwrap(), limits.open(pod("b")).unwrap());
    assert_eq!(admitted(&limits, &place, 1000, false), 400);
    assert_eq!(admitted(&limits, &other, 400, false), 400);
    let again = limits.open(pod("a")).unwrap();
    assert!(!limits.admits(&again, false, Instant::now()), "another connection is no other pod");
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let limits = limits();
    let soon = || Instant::now() + Duration::from_millis(900);
    let mut served = Vec::new();
    for _ in 0..64 {
        let place = limits.open(pod("a")).unwrap();
        assert!(limits.serves(&place, soon()).await);
        served.push(place);
    }
    let one_more = limits.open(pod("a")).unwrap();
    let asked = Instant::now();
    assert!(!limits.serves(&one_more, soon()).await);
    assert_eq!(asked.elapsed(), Duration::from_millis(900));
    let other = limits.open(pod("b")).unwrap();
    assert!(limits.serves(&other, Instant::now()).await);

    let turn = limits.serves(&one_more, soon());
    let end = async {
        sleep(Duration::from_millis(300)).await;
        served.pop();
    };
    let asked = Instant::now();
    assert!(tokio::join!(turn, end).0);
    assert_eq!(asked.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn connections_far_beyond_the_limit_are_closed() {
    let limits = limits();
    let open: Vec<_> = (0..1000).filter_map(|_| limits.open(pod("a"))).collect();
    assert_eq!(open.len(), 256);
    assert!(limits.open(pod("b")).is_some());
    drop(open);
    let open: Vec<_> = (0..1000).filter_map(|_| limits.open(pod("a"))).collect();
    assert_eq!(open.len(), 256);
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_quiet_are_forgotten() {
    let limits = limits();
    for address in 0..10_000_u32 {
        let whose = Whose::Address(IpAddr::V4(address.into()));
        let place = limits.open(whose).unwrap();
        limits.admits(&place, false, Instant::now());
        drop(place);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(lock(&limits.users).len() <= REMEMBERED);
}
