//! Clocks that jump: the node slept, or its time was set.

use std::time::Duration;

use super::bench::{HOUR, MINUTE, bench, well};
use crate::credentials::FetchError;
use crate::credentials::broker::{Phase, Prefetch};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn after_a_suspend_all_is_refreshed_within_seconds() {
    let bench = bench(well);
    bench.assign("a", Prefetch::Now);
    bench.at(5 * MINUTE).await;
    bench.jump(40 * 60);
    bench.at(5 * MINUTE + 11 * SECOND).await;
    assert_eq!(bench.call_count(), 2);
    let credentials = bench.get("a").await.unwrap().unwrap();
    assert!(bench.left(&credentials) > 59 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn who_asks_right_after_a_suspend_gets_what_is_fresh() {
    let bench = bench(well);
    bench.assign("a", Prefetch::Now);
    bench.at(5 * MINUTE + SECOND).await;
    bench.jump(40 * 60);
    let credentials = bench.get("a").await.unwrap().unwrap();
    assert!(bench.left(&credentials) > 59 * MINUTE);
    assert_eq!(bench.elapsed(), 5 * MINUTE + SECOND + Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn if_that_takes_long_what_is_held_is_served() {
    let bench = bench(|at, _| (if at < MINUTE { Duration::ZERO } else { 15 * SECOND }, Ok(HOUR)));
    bench.assign("a", Prefetch::Now);
    bench.at(5 * MINUTE + SECOND).await;
    bench.jump(40 * 60);
    let credentials = bench.get("a").await.unwrap().unwrap();
    assert!(bench.left(&credentials) < 15 * MINUTE);
    assert_eq!(bench.elapsed(), 5 * MINUTE + SECOND + Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn what_ended_in_a_suspend_is_not_served() {
    let bench = bench(well);
    bench.assign("a", Prefetch::Now);
    bench.at(5 * MINUTE + SECOND).await;
    bench.jump(2 * 3600);
    let credentials = bench.get("a").await.unwrap().unwrap();
    assert!(bench.left(&credentials) > 59 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_keeps_nothing_alive() {
    // STS answers until the clock is set back, which its signatures do not survive.
    let bench = bench(|at, _| {
        let skew = FetchError::ClockSkew { code: "RequestExpired".into(), message: "late".into() };
        (Duration::ZERO, if at < MINUTE { Ok(HOUR) } else { Err(skew) })
    });
    bench.assign("a", Prefetch::Now);
    bench.at(MINUTE).await;
    bench.jump(-12 * 3600);
    bench.at(59 * MINUTE).await;
    bench.get("a").await.unwrap().unwrap();
    bench.at(59 * MINUTE + SECOND).await;
    let error = bench.get("a").await.unwrap().unwrap_err();
    assert!(error.to_string().contains("this node's clock is wrong"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_right_is_noticed() {
    let bench = bench(|at, _| {
        let skew = FetchError::ClockSkew { code: "RequestExpired".into(), message: "late".into() };
        (Duration::ZERO, if at < 20 * MINUTE { Err(skew) } else { Ok(HOUR) })
    });
    bench.assign("a", Prefetch::Now);
    bench.at(20 * MINUTE + SECOND).await;
    let before = bench.call_count();
    bench.jump(3600);
    bench.at(20 * MINUTE + 11 * SECOND).await;
    assert_eq!(bench.state("a").await.phase, Phase::Held);
    assert!(bench.call_count() <= before + 2);
}
