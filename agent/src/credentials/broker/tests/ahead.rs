//! Sessions that are fetched before anybody asks.

use std::time::Duration;

use super::bench::{Bench, HOUR, MINUTE, bench, down, well};
use crate::credentials::broker::chance::Chance;
use crate::credentials::broker::{Phase, Prefetch};

#[tokio::test(start_paused = true)]
async fn a_mapped_pods_first_request_does_not_wait() {
    let bench = bench(|_, _| (Duration::from_millis(1500), Ok(HOUR)));
    bench.assign("mapped", Prefetch::Now);
    bench.assign("default", Prefetch::No);
    bench.at(Duration::from_secs(2)).await;
    bench.get("mapped").await.unwrap().unwrap();
    assert_eq!(bench.elapsed(), Duration::from_secs(2));
    assert_eq!(bench.state("default").await.phase, Phase::Absent);
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_goes_before_every_prefetch() {
    let bench = bench(|_, _| (Duration::from_millis(500), Ok(HOUR)));
    for n in 0..100 {
        bench.assign(&format!("ahead-{n}"), Prefetch::Now);
    }
    bench.assign("late", Prefetch::Now);
    bench.at(Duration::from_millis(100)).await;
    assert_eq!(bench.state("late").await.phase, Phase::Waiting);
    bench.get("late").await.unwrap().unwrap();
    assert_eq!(bench.elapsed(), Duration::from_millis(600));
    assert_eq!(bench.most_flying(), 16 + 1);
    bench.at(MINUTE).await;
    assert_eq!(bench.meters.held(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_again_and_again_keeps_its_place() {
    // The rate is all but gone; then the first asks every 50 ms, the others once.
    let bench = bench(|at, name| {
        let life = if name == "cause" && at < MINUTE { Err(down()) } else { Ok(HOUR) };
        (Duration::from_millis(10), life)
    });
    bench.assign("cause", Prefetch::Now);
    bench.at(MINUTE).await;
    let names: Vec<String> = (0..60).map(|n| format!("pod-{n}")).collect();
    for name in &names {
        bench.assign(name, Prefetch::No);
        let _ = bench.get_within(name, Duration::from_millis(1)).await;
    }
    while bench.call_of("pod-59").is_none() {
        let _ = bench.get_within("pod-0", Duration::from_millis(50)).await;
        bench.at(bench.elapsed() + Duration::from_millis(50)).await;
        assert!(bench.elapsed() < HOUR, "the last was never asked for");
    }
    assert!(bench.call_of("pod-0") < bench.call_of("pod-1"));
    assert!(bench.call_of("pod-1") < bench.call_of("pod-59"));
}

#[tokio::test(start_paused = true)]
async fn on_the_agents_start_prefetches_are_spread_out() {
    let bench = Bench::new(well, Chance::Random(11));
    for n in 0..30 {
        bench.assign(&format!("pod-{n}"), Prefetch::Spread);
    }
    bench.at(HOUR / 3).await;
    let calls = bench.calls();
    assert_eq!(calls.len(), 30);
    for pair in calls.windows(2) {
        let apart = pair[1].at.saturating_sub(pair[0].at);
        assert!((7..23).contains(&apart.as_secs()), "{apart:?} apart");
    }
    // One that asks is served at once, and its place stays free.
    let bench = Bench::new(well, Chance::Random(11));
    for n in 0..30 {
        bench.assign(&format!("pod-{n}"), Prefetch::Spread);
    }
    bench.get("pod-29").await.unwrap().unwrap();
    assert_eq!(bench.elapsed(), Duration::from_millis(50));
    bench.at(HOUR / 3).await;
    assert_eq!(bench.call_count(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_ends_first_goes_first() {
    // Both refreshes are due while prefetches take all room.
    let bench = bench(|at, name| {
        let life = if name == "short" { 50 * MINUTE } else { HOUR };
        let slow = (25 * MINUTE..26 * MINUTE).contains(&at);
        (if slow { Duration::from_secs(15) } else { Duration::ZERO }, Ok(life))
    });
    bench.assign("long", Prefetch::Now);
    bench.at(4 * MINUTE).await;
    bench.assign("short", Prefetch::Now);
    bench.at(25 * MINUTE).await;
    for n in 0..60 {
        bench.assign(&format!("ahead-{n}"), Prefetch::Now);
    }
    bench.at(27 * MINUTE).await;
    // Planned for 27.5 and 22.75 min after they came; made due at once by the clock.
    bench.jump(6 * 60);
    bench.at(30 * MINUTE).await;
    let order: Vec<_> = bench.calls().into_iter().map(|call| call.name).collect();
    let position = |name: &str| order.iter().rposition(|known| known == name).unwrap();
    assert!(position("short") < position("long"), "{order:?}");
}
