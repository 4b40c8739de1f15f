//! What one pod may ask of the agent, and that others do not wait for it.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{Answer, LIST, METADATA};
use podrole_tests::openmetrics;
use podrole_tests::place::Place;
use podrole_tests::{curl, wait};
use tokio::time::Instant;

/// As long as a request of a bystander may take, debug builds and a busy machine included.
const PROMPT: Duration = Duration::from_millis(500);

fn limited(cluster: &Cluster, limit: &str) -> Result<i64> {
    let url = "http://10.0.0.10:16926/metrics";
    let reply = curl::request(&cluster.node_place(), "GET", url, &[], "")?;
    let samples = openmetrics::read(&reply.ok()?)?;
    Ok(samples[&format!("podrole_limited_total{{limit=\"{limit}\"}}")])
}

/// Asks for the role list; the answer and how long the whole took, with the start of a process.
fn timed(pod: &Place) -> Result<(Answer, Duration)> {
    let asked = Instant::now();
    let answer = pod.get(LIST)?;
    Ok((answer, asked.elapsed()))
}

#[test]
fn connections_beyond_a_pods_limit_wait_and_then_get_503() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let other = cluster.pod("other").role("other").start()?;
        assert!(pod.node_credentials()?.is_some(), "without podrole");
        let _agent = cluster.agent().set("--pod-connections", "4").start()?;
        pod.wait_for_role("web")?;
        other.wait_for_role("other")?;
        let keep_alive = format!("GET {LIST} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        thread::scope(|scope| {
            // Answered and kept open, until the client has waited for more in vain.
            scope.spawn(|| pod.tcp_at_once(METADATA, keep_alive.as_bytes(), 4));
            wait::until_true("a fifth connection to get 503", || {
                let answer = pod.get(LIST)?;
                let late = answer.status == 503;
                assert!(late || answer.body == "web", "{answer:?}");
                if late {
                    assert_eq!(answer.header("Retry-After"), Some("1"));
                    assert_eq!(answer.header("Connection"), Some("close"));
                }
                Ok(late)
            })?;
            assert_eq!(pod.token()?.len(), 56, "a token is given in any case");
            let (answer, took) = timed(&other)?;
            assert!(answer.body == "other" && took < PROMPT, "{took:?} {answer:?}");
            anyhow::Ok(())
        })?;
        assert!(limited(cluster, "connections")? >= 1);
        // As many at once as a pool of workers opens are served in turn.
        for exchange in
            pod.tcp_at_once(METADATA, &podrole_tests::http::Request::get(LIST).bytes(), 16)?
        {
            assert_eq!(Answer::read(&exchange.answer(), true)?.0.body, "web");
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_asks_in_a_loop_starves_no_other() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let other = cluster.pod("other").role("other").start()?;
        let _agent = cluster.agent().set("--pod-rps", "50").start()?;
        pod.wait_for_role("web")?;
        other.wait_for_role("other")?;
        let get = format!("GET {LIST} HTTP/1.1\r\nHost: 169.254.169.254\r\n");
        let row = format!("{get}\r\n").repeat(149) + &format!("{get}Connection: close\r\n\r\n");
        let (refused, slowest) = thread::scope(|scope| {
            let flood = scope.spawn(|| pod.tcp_at_once(METADATA, row.as_bytes(), 60));
            let mut slowest = Duration::ZERO;
            while !flood.is_finished() {
                let (answer, took) = timed(&other)?;
                assert_eq!(answer.body, "other", "{answer:?}");
                slowest = slowest.max(took);
            }
            let exchanges = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
            let mut refused = 0;
            for exchange in exchanges {
                let answers = Answer::read_all(&exchange.answer())?;
                refused += answers.iter().filter(|answer| answer.status == 503).count();
                assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
            }
            anyhow::Ok((refused, slowest))
        })?;
        assert!(refused > 7_000, "{refused} of 9,000 were refused");
        assert!(slowest < PROMPT, "another pod waited for {slowest:?}");
        assert!(limited(cluster, "requests")? >= 7_000);
        Ok(())
    })
}
