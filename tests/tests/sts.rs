//! What pods see of STS: its refusals with their reason, its failures as something to try again, its
//! slowness not at all or as a short 503.

use std::time::Duration;

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{Answer, LIST, METADATA, Request};
use podrole_tests::pretend::node;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::process::Process;
use podrole_tests::{aws, wait};
use serde_json::Value;

fn leaf(role: &str) -> String {
    format!("{LIST}{role}")
}

#[track_caller]
fn assert_try_again(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("Retry-After"), Some("1"), "{answer:?}");
}

#[test]
fn a_refusal_of_sts_is_a_403_with_its_reason() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("denied").start()?;
        assert!(pod.node_credentials()?.is_some());
        let mut agent = cluster.agent().start()?;
        for _ in 0..20 {
            let answer = pod.get(&leaf("denied"))?;
            assert_eq!(answer.status, 403, "{answer:?}");
            let reason: Value = serde_json::from_str(&answer.body)?;
            for key in ["Code", "Message", "LastUpdated", "code", "message"] {
                assert!(reason.get(key).is_some_and(Value::is_string), "{key} in {reason}");
            }
            assert_eq!(reason["Code"], "AccessDenied");
            // The pod's role is the pod's business, the node's is not.
            assert!(
                answer.body.contains("denied") && !answer.body.contains(node::ROLE),
                "{reason}"
            );
            assert_eq!(pod.listed_role()?.as_deref(), Some("denied"));
        }
        agent.wait_for_log("is not authorized to perform: sts:AssumeRole")?;
        let calls = cluster.sts.asked_for("denied")?.len();
        assert!(calls <= 2, "a refusal is remembered, but STS was asked {calls} times");
        Ok(())
    })
}

#[test]
fn failures_that_pass_are_a_503_to_try_again() -> Result<()> {
    Cluster::with(|cluster| {
        let throttled = cluster.pod("throttled").role("throttled").start()?;
        let broken = cluster.pod("broken").role("broken").start()?;
        assert!(throttled.node_credentials()?.is_some());
        // An agent that fetches ahead is not ready before STS answers.
        let _agent = cluster.agent().set("--prefetch", "off").start()?;
        for pod in [&throttled, &broken] {
            assert_try_again(&pod.get(&leaf(&pod.name))?);
            assert_eq!(pod.listed_role()?.as_deref(), Some(pod.name.as_str()));
        }
        cluster.sts.behave("throttled", Way::Normal, Duration::ZERO)?;
        wait::until_true("the throttling to be over", || {
            let answer = throttled.get(&leaf("throttled"))?;
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            Ok(answer.status == 200)
        })
    })
}

#[test]
fn an_sts_out_of_reach_is_a_503_to_try_again() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let nobody = aws::STS_URL.replace("8080", "9");
        let agent = cluster.agent().env("AWS_ENDPOINT_URL_STS", &nobody);
        let _agent = agent.set("--prefetch", "off").start()?;
        assert_try_again(&pod.get(&leaf("web"))?);
        assert_eq!(pod.listed_role()?.as_deref(), Some("web"));
        assert!(!pod.token()?.is_empty());
        Ok(())
    })
}

#[test]
fn a_slow_answer_of_sts_is_kept_for_the_next_request() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("slow").start()?;
        assert!(pod.node_credentials()?.is_some());
        cluster.sts.behave("slow", Way::Normal, Duration::from_secs(3))?;
        let _agent = cluster.agent().set("--prefetch", "off").start()?;
        let request = Request::get(&leaf("slow"));
        let exchange = pod.tcp(METADATA, &request.bytes())?;
        assert_try_again(&request.answer(&exchange.answer())?);
        assert!((500..1000).contains(&exchange.took_ms), "{} ms", exchange.took_ms);
        wait::until_true("the credentials", || Ok(pod.ask(&request)?.status == 200))?;
        assert_eq!(cluster.sts.asked_for("slow")?.len(), 1);
        Ok(())
    })
}

#[test]
fn many_first_requests_at_once_are_one_call() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        cluster.sts.behave("web", Way::Normal, Duration::from_millis(200))?;
        let _agent = cluster.agent().start()?;
        let request = Request::get(&leaf("web"));
        let exchanges = pod.tcp_at_once(METADATA, &request.bytes(), 200)?;
        assert_eq!(exchanges.len(), 200);
        let mut bodies = Vec::new();
        for exchange in exchanges {
            let answer = request.answer(&exchange.answer())?;
            assert_eq!(answer.status, 200, "{answer:?}");
            bodies.push(answer.body);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1);
        assert_eq!(cluster.sts.asked_for("web")?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_client_that_hangs_up_cancels_nothing() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        cluster.sts.behave("web", Way::Normal, Duration::from_millis(1500))?;
        let _agent = cluster.agent().start()?;
        let request = Request::get(&leaf("web"));
        let url = format!("http://{METADATA}{}", leaf("web"));
        let log = cluster.directory().join("curl.out");
        let mut curl = Process::spawn("curl", pod.command("curl")?.arg(url), &log)?;
        cluster.sts.wait_for_request("web")?;
        curl.kill()?;
        wait::until_true("the credentials", || Ok(pod.ask(&request)?.status == 200))?;
        assert_eq!(cluster.sts.asked_for("web")?.len(), 1);
        Ok(())
    })
}
