//! Credentials (C) and `iam/info` (I): byte for byte, and for their own pod alone.

use anyhow::Result;
use podrole_tests::expect::{body, check, page, status};
use podrole_tests::http::{LIST, Request};
use podrole_tests::pretend::sts;
use serde_json::Value;

use super::{get, with_agent, with_pods};

/// The document in the layout of the real service, with the values of `text`.
fn laid_out(text: &str) -> Result<String> {
    let values: Value = serde_json::from_str(text)?;
    let value = |key: &str| values[key].as_str().unwrap_or_default().to_owned();
    let keys =
        ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
    let lines = keys.map(|key| format!("  \"{key}\" : \"{}\"", value(key)));
    Ok(format!("{{\n{}\n}}", lines.join(",\n")))
}

#[test]
fn the_credentials_document_has_the_real_ones_layout() -> Result<()> {
    // Dates are in UTC wherever the node is.
    with_agent(
        |agent| agent.env("TZ", "America/New_York"),
        |scene| {
            let web = &scene.web;
            let answer = web.get(&format!("{LIST}web"))?;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("Content-Type"), Some("text/plain"));
            assert_eq!(answer.body, laid_out(&answer.body)?, "C01");
            assert!(answer.body.starts_with('{') && answer.body.ends_with('}'), "C02");
            let values: Value = serde_json::from_str(&answer.body)?;
            assert_eq!((&values["Code"], &values["Type"]), (&"Success".into(), &"AWS-HMAC".into()));
            for key in ["LastUpdated", "Expiration"] {
                let date = values[key].as_str().unwrap_or_default();
                let shape: String =
                    date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                assert_eq!(shape, "0000-00-00T00:00:00Z", "C03 {key}");
            }
            let expires: jiff::Timestamp =
                values["Expiration"].as_str().unwrap_or_default().parse()?;
            let left = expires.duration_since(jiff::Timestamp::now()).as_mins();
            assert!((25..=60).contains(&left), "C04 {left} minutes");
            let updated: jiff::Timestamp =
                values["LastUpdated"].as_str().unwrap_or_default().parse()?;
            let age = jiff::Timestamp::now().duration_since(updated).as_secs();
            assert!((-5..300).contains(&age), "C03 updated {age} s ago");
            let session = sts::read_token(values["Token"].as_str().unwrap_or_default())?;
            assert_eq!(session.role, "arn:aws:iam::444455556666:role/team/web");
            Ok(())
        },
    )
}

#[test]
fn only_the_pods_own_role_has_a_document() -> Result<()> {
    with_pods(|scene| {
        let web = &scene.web;
        let first = web.get(&format!("{LIST}web"))?;
        let same = || body(&first.body);
        let leaf = |name: &str| get(&format!("{LIST}{name}"));
        let length = first.body.len().to_string();
        check(
            web,
            vec![
                ("C13 again", leaf("web"), same()),
                ("C05 a slash", leaf("web/"), same()),
                ("C06 with its path", leaf("team/web"), same()),
                ("C06 the ARN", leaf("arn:aws:iam::444455556666:role/team/web"), same()),
                (
                    "C07 the ARN, escaped",
                    leaf("arn%3Aaws%3Aiam%3A%3A444455556666%3Arole%2Fteam%2Fweb"),
                    same(),
                ),
                ("C08 a line feed", leaf("web%0A"), same()),
                ("C08 a carriage return", leaf("web%0D"), same()),
                ("C09 another pod's", leaf("other"), page(404, "Not Found")),
                ("C09 another path", leaf("squad/web"), page(404, "Not Found")),
                (
                    "C09 another account",
                    leaf("arn:aws:iam::111122223333:role/team/web"),
                    status(404),
                ),
                ("C10 the node's", leaf("NodeInstanceRole"), page(404, "Not Found")),
                ("C12 capitals", leaf("WEB"), page(404, "Not Found")),
            ],
        )?;
        let head = web.ask(&Request::new("HEAD", &format!("{LIST}web")))?;
        let said = (head.status, head.header("Content-Length"));
        assert_eq!(said, (200, Some(length.as_str())), "C18");
        for pod in [&scene.other, &scene.plain] {
            assert_eq!(pod.get(&format!("{LIST}web"))?.status, 404, "C11 {}", pod.name);
        }
        let keys: Vec<&str> =
            first.body.lines().filter(|line| line.contains("AccessKeyId")).collect();
        let key = keys.first().and_then(|line| line.split('"').nth(3)).unwrap_or_default();
        assert!(keys.len() == 1 && key.starts_with("ASIA"), "C15 {keys:?}");
        let cluster = scene.cluster;
        assert_eq!(cluster.sts.asked_for("team/web")?.len(), 1, "C13");
        assert_eq!(cluster.sts.asked_for("NodeInstanceRole")?.len(), 0);
        Ok(())
    })
}

#[test]
fn the_instance_profile_is_that_of_the_pods_role() -> Result<()> {
    with_pods(|scene| {
        let web = &scene.web;
        let answer = web.get("/latest/meta-data/iam/info")?;
        let values: Value = serde_json::from_str(&answer.body)?;
        let value = |key: &str| values[key].as_str().unwrap_or_default();
        let expected = format!(
            "{{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"{}\",\n  \
             \"InstanceProfileArn\" : \"arn:aws:iam::444455556666:instance-profile/web\",\n  \
             \"InstanceProfileId\" : \"{}\"\n}}",
            value("LastUpdated"),
            value("InstanceProfileId"),
        );
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()), "I01");
        let _: jiff::Timestamp = value("LastUpdated").parse()?;
        let id = value("InstanceProfileId");
        assert!(id.starts_with("AIPA") && id.len() == 21, "{id}");
        let again = web.get("/latest/meta-data/iam/info/")?;
        assert!(again.body.contains(id), "I02 {again:?}");
        Ok(())
    })
}
