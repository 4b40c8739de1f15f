//! What pods are told when something fails (E).

use std::time::Duration;

use anyhow::Result;
use podrole_tests::http::{Answer, LIST, METADATA, Request, TOKEN, TOKEN_TTL};
use podrole_tests::pretend::sts::behaviour::Way;
use serde_json::Value;
use tokio::time::Instant;

use super::{with_agent, with_pods};

fn leaf(role: &str) -> String {
    format!("{LIST}{role}")
}

#[track_caller]
fn is_to_be_tried_again(case: &str, answer: &Answer) {
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("1")),
        "{case} {answer:?}"
    );
}

#[test]
fn failures_are_told_by_status() -> Result<()> {
    with_pods(|scene| {
        let pod = |role: &str| scene.cluster.pod(&format!("pod-{role}")).role(role).start();
        let (denied, throttled) = (pod("denied")?, pod("throttled")?);
        denied.wait_for_role("denied")?;
        let asked = Instant::now();
        let refused = denied.get(&leaf("denied"))?;
        assert!(asked.elapsed() < Duration::from_millis(1500), "E01 {:?}", asked.elapsed());
        assert_eq!(refused.status, 403, "E01 {refused:?}");
        let values: Value = serde_json::from_str(&refused.body)?;
        for key in ["Code", "Message", "LastUpdated", "code", "message"] {
            assert!(values[key].is_string(), "E01 {key} of {values}");
        }
        assert_eq!(denied.get(LIST)?.body, "denied", "E01: the list stays");
        throttled.wait_for_role("throttled")?;
        is_to_be_tried_again("E04", &throttled.get(&leaf("throttled"))?);

        scene.cluster.sts.behave("expired-node", Way::ExpiredToken, Duration::ZERO)?;
        let expired = pod("expired-node")?;
        expired.wait_for_role("expired-node")?;
        is_to_be_tried_again("E08", &expired.get(&leaf("expired-node"))?);

        let held = scene.web.get(&leaf("web"))?;
        assert_eq!(held.status, 200, "E06 {held:?}");
        scene.cluster.sts.behave("team/web", Way::InternalFailure, Duration::ZERO)?;
        assert_eq!(scene.web.get(&leaf("web"))?.body, held.body, "E06");
        Ok(())
    })
}

#[test]
fn one_who_asks_too_much_still_gets_tokens() -> Result<()> {
    with_agent(
        |agent| agent.set("--pod-rps", "5"),
        |scene| {
            let get = format!("GET {LIST} HTTP/1.1\r\nHost: 169.254.169.254\r\n");
            let row = format!("{get}\r\n").repeat(59) + &format!("{get}Connection: close\r\n\r\n");
            let answers = Answer::read_all(&scene.web.tcp(METADATA, row.as_bytes())?.answer())?;
            let count = |status| answers.iter().filter(|answer| answer.status == status).count();
            assert!((10..30).contains(&count(200)), "E14: {} of 60", count(200));
            assert_eq!(count(200) + count(503), 60, "E14: {answers:?}");
            let late = answers.iter().filter(|answer| answer.status == 503);
            late.for_each(|answer| is_to_be_tried_again("E14", answer));
            let token = scene.web.ask(&Request::put(TOKEN).header(TOKEN_TTL, "60"))?;
            assert_eq!(token.status, 200, "E14: a token is given in any case");
            assert_eq!(
                scene.other.get(LIST)?.body,
                "other",
                "E14: other pods have limits of their own"
            );
            Ok(())
        },
    )
}
