//! IMDSv2 tokens: how they are given (T), and what they are held against (A).

use anyhow::Result;
use podrole_tests::expect::{Expected, body, check, page, status};
use podrole_tests::http::{Answer, LIST, METADATA, Request, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use podrole_tests::wait;
use serde_json::json;

use super::{get, with_agent, with_pods};

const TTL: &str = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";

fn token(seconds: &str) -> Request {
    Request::put(TOKEN).header(TOKEN_TTL, seconds)
}

fn bad() -> Expected {
    page(400, "Bad Request")
}

fn not_allowed() -> Expected {
    status(405).header("Allow", "OPTIONS, PUT")
}

fn lifetimes() -> Vec<(&'static str, Request, Expected)> {
    vec![
        ("T01 six hours", token("21600"), status(200).header(TTL, "21600")),
        ("T02 one second", token("1"), status(200).header(TTL, "1")),
        ("T03 a minute", token("60"), status(200).header(TTL, "60")),
        ("T04 no lifetime", Request::put(TOKEN), bad()),
        ("T05 no seconds", token("0"), bad()),
        ("T05 less than none", token("-1"), bad()),
        ("T05 a second too many", token("21601"), bad()),
        ("T05 far too many", token("99999999999"), bad()),
        ("T06 no number", token("abc"), bad()),
        ("T06 nothing", token(""), bad()),
        ("T06 a fraction", token("1.5"), bad()),
        ("T07 lower case", Request::put(TOKEN).header(&TTL.to_lowercase(), "60"), status(200)),
        ("T07 Go's case", Request::put(TOKEN).header(TTL, "60"), status(200)),
        ("T08 no length", token("60"), status(200)),
        ("T09 a length of 0", token("60").header("Content-Length", "0"), status(200)),
        ("T10 a body", token("60").content("x"), status(200)),
        ("T11 forwarded", token("60").header("X-Forwarded-For", "1.2.3.4"), page(403, "Forbidden")),
        ("T12 forwarded by nobody", token("60").header("x-forwarded-for", ""), status(403)),
    ]
}

fn methods() -> Vec<(&'static str, Request, Expected)> {
    let versioned = Request::put("/2021-03-23/api/token").header(TOKEN_TTL, "60");
    let slash = Request::put("/latest/api/token/").header(TOKEN_TTL, "60");
    vec![
        ("T13 GET", get(TOKEN), not_allowed()),
        ("T14 POST", Request::new("POST", TOKEN), not_allowed()),
        ("T14 DELETE", Request::new("DELETE", TOKEN), not_allowed()),
        ("T14 HEAD", Request::new("HEAD", TOKEN), not_allowed()),
        (
            "T15 OPTIONS",
            Request::new("OPTIONS", TOKEN),
            status(200).header("Allow", "OPTIONS, PUT"),
        ),
        ("T16 of a version", versioned, page(403, "Forbidden")),
        ("T17 with a slash", slash, status(200)),
        ("T18 beside it", Request::put("/latest/api/foo"), page(404, "Not Found")),
        ("T19 not writable", Request::put("/latest/meta-data/"), status(405)),
    ]
}

#[test]
fn tokens_are_given_as_the_real_service_gives_them() -> Result<()> {
    with_pods(|scene| {
        check(&scene.web, lifetimes())?;
        check(&scene.web, methods())?;
        let given = scene.web.ask(&token("21600"))?;
        let safe = |c: char| c.is_ascii_alphanumeric() || "_=-".contains(c);
        assert!((16..=128).contains(&given.body.len()) && given.body.chars().all(safe), "T01");

        let one = format!("PUT {TOKEN} HTTP/1.1\r\nHost: 169.254.169.254\r\n{TOKEN_TTL}: 60\r\n");
        let row = format!("{one}\r\n").repeat(999) + &format!("{one}Connection: close\r\n\r\n");
        let answers = Answer::read_all(&scene.web.tcp(METADATA, row.as_bytes())?.answer())?;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1000, "T20");

        for exchange in scene.plain.tcp_at_once(METADATA, &token("60").bytes(), 200)? {
            let given = token("60").answer(&exchange.answer())?;
            assert_eq!(given.status, 200, "T21: a pod without a role");
        }
        scene.cluster.kubernetes.fail()?;
        assert_eq!(scene.web.ask(&token("60"))?.status, 200, "T23: no API server is needed");
        Ok(())
    })
}

#[test]
fn tokens_are_checked_wherever_they_come() -> Result<()> {
    with_pods(|scene| {
        let (own, foreign) = (scene.web.token()?, scene.other.token()?);
        let with = |token: &str| get(LIST).header(TOKEN_HEADER, token);
        let cut = own.get(1..).unwrap_or_default();
        let forwarded = |request: Request| request.header("X-Forwarded-For", "1.2.3.4");
        check(
            &scene.web,
            vec![
                ("A01 none", get(LIST), body("web")),
                ("A02 the own", with(&own), body("web")),
                ("A03 garbage", with("garbage"), page(401, "Unauthorized")),
                ("A03 cut", with(cut), page(401, "Unauthorized")),
                ("A03 empty", with(""), page(401, "Unauthorized")),
                ("A05 another pod's", with(&foreign), page(401, "Unauthorized")),
                ("A09 the own, forwarded", forwarded(with(&own)), status(403)),
                ("A10 none, forwarded", forwarded(get(LIST)), body("web")),
                ("A11 two that differ", with(&own).header(TOKEN_HEADER, &foreign), status(401)),
                ("A11 the own twice", with(&own).header(TOKEN_HEADER, &own), status(200)),
                ("A12 spaces around", with(&format!("  {own} ")), body("web")),
            ],
        )?;
        let second = scene.web.ask(&token("1"))?.body;
        wait::until_true("A04: a token of one second to expire", || {
            Ok(scene.web.ask(&with(&second))?.status == 401)
        })
    })
}

#[test]
fn where_tokens_are_required_nothing_is_told_without_one() -> Result<()> {
    let deny = with_agent(
        |agent| agent.set("--imds-v1", "deny"),
        |scene| {
            let token = scene.web.token()?;
            let with = |path: &str| get(path).header(TOKEN_HEADER, &token);
            let refused = || page(401, "Unauthorized");
            let leaf = format!("{LIST}web");
            check(
                &scene.web,
                vec![
                    ("A06 no token", get(LIST), refused()),
                    ("A07 the list", with(LIST), body("web")),
                    ("A07 the leaf", with(&leaf), status(200)),
                    ("A07 the info", with("/latest/meta-data/iam/info"), status(200)),
                    ("A08 HEAD", Request::new("HEAD", LIST), status(401)),
                    ("A13 an unknown path", get("/latest/meta-data/nope"), refused()),
                    ("A13 an unknown path, with one", with("/latest/meta-data/nope"), status(404)),
                    ("A14 /", get("/"), refused()),
                    ("A14 /latest", get("/latest"), refused()),
                ],
            )
        },
    );
    deny?;
    with_pods(|scene| {
        // A pod can be stricter than the cluster.
        assert_eq!(scene.web.get(LIST)?.status, 200);
        scene.web.annotate("podrole.dev/imds-v1", Some("deny"))?;
        wait::until_true(
            "A06: the annotation to count",
            || Ok(scene.web.get(LIST)?.status == 401),
        )?;
        let token = scene.web.token()?;
        let answer = scene.web.ask(&get(LIST).header(TOKEN_HEADER, &token))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "web"));
        assert_eq!(scene.other.get(LIST)?.status, 200, "other pods are as before");
        // And so can a namespace.
        let annotations = json!({ "podrole.dev/imds-v1": "deny" });
        let patch = json!({ "metadata": { "annotations": annotations } });
        scene.cluster.kubernetes.patch_namespace("strict", &patch)?;
        let strict = scene.cluster.pod("strict").namespace("strict").role("strict").start()?;
        assert_eq!(strict.get(LIST)?.status, 401, "A06: the namespace's annotation");
        let token = strict.token()?;
        let answer = strict.ask(&get(LIST).header(TOKEN_HEADER, &token))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "strict"));
        Ok(())
    })
}
