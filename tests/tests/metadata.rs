//! The metadata protocol, byte for byte, as pods get it: a table of requests and answers.
//!
//! Sources: the EC2 user guide, "Use the Instance Metadata Service to access instance metadata", and
//! answers of the real service as clients have recorded them.

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::expect::{body, check, page, status};
use podrole_tests::http::{Answer, LIST, METADATA, Request, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts;
use podrole_tests::wait;
use serde_json::Value;

fn get(path: &str) -> Request {
    Request::get(path)
}

/// A node with an agent on it and three pods; the first has the role `team/web`.
fn with_pods(
    test: impl FnOnce(&Cluster, &Pod<'_>, &Pod<'_>, &Pod<'_>) -> Result<()>,
) -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("team/web").start()?;
        let other = cluster.pod("other").role("other").start()?;
        let plain = cluster.pod("plain").start()?;
        assert!(web.node_credentials()?.is_some(), "without podrole");
        let _agent = cluster.agent().start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        test(cluster, &web, &other, &plain)?;
        assert_eq!(
            cluster.metadata.requests_of_pods()?,
            leaks,
            "requests reached the real service"
        );
        Ok(())
    })
}

#[test]
fn tokens_are_given_as_the_real_service_gives_them() -> Result<()> {
    with_pods(|cluster, web, _, plain| {
        let token = |seconds: &str| Request::put(TOKEN).header(TOKEN_TTL, seconds);
        let ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";
        let allowed = || status(405).header("Allow", "OPTIONS, PUT");
        check(
            web,
            vec![
                ("six hours", token("21600"), status(200).header(ttl, "21600")),
                ("one second", token("1"), status(200).header(ttl, "1")),
                ("a minute", token("60"), status(200).header(ttl, "60")),
                ("no lifetime", Request::put(TOKEN), page(400, "Bad Request")),
                ("no seconds", token("0"), page(400, "Bad Request")),
                ("less than none", token("-1"), page(400, "Bad Request")),
                ("a second too many", token("21601"), page(400, "Bad Request")),
                ("far too many", token("99999999999"), page(400, "Bad Request")),
                ("no number", token("abc"), page(400, "Bad Request")),
                ("nothing", token(""), page(400, "Bad Request")),
                ("a fraction", token("1.5"), page(400, "Bad Request")),
                ("lower case", Request::put(TOKEN).header(&ttl.to_lowercase(), "60"), status(200)),
                ("a length of 0", token("60").header("Content-Length", "0"), status(200)),
                (
                    "forwarded",
                    token("60").header("X-Forwarded-For", "1.2.3.4"),
                    page(403, "Forbidden"),
                ),
                ("forwarded by nobody", token("60").header("x-forwarded-for", ""), status(403)),
                ("GET", get(TOKEN), allowed()),
                ("POST", Request::new("POST", TOKEN), allowed()),
                ("DELETE", Request::new("DELETE", TOKEN), allowed()),
                ("HEAD", Request::new("HEAD", TOKEN), allowed()),
                (
                    "OPTIONS",
                    Request::new("OPTIONS", TOKEN),
                    status(200).header("Allow", "OPTIONS, PUT"),
                ),
                (
                    "of a version",
                    Request::put("/2021-03-23/api/token").header(TOKEN_TTL, "60"),
                    page(403, "Forbidden"),
                ),
                (
                    "with a slash",
                    Request::put("/latest/api/token/").header(TOKEN_TTL, "60"),
                    status(200),
                ),
                ("beside it", Request::put("/latest/api/foo"), page(404, "Not Found")),
                ("not writable", Request::put("/latest/meta-data/"), status(405)),
            ],
        )?;
        let given = web.ask(&token("21600"))?;
        let safe = |c: char| c.is_ascii_alphanumeric() || "_=-".contains(c);
        assert!(
            (16..=128).contains(&given.body.len()) && given.body.chars().all(safe),
            "{given:?}"
        );
        for exchange in plain.tcp_at_once(METADATA, &token("60").bytes(), 200)? {
            assert_eq!(token("60").answer(&exchange.answer())?.status, 200, "a pod without a role");
        }
        cluster.kubernetes.fail()?;
        assert_eq!(web.ask(&token("60"))?.status, 200, "no API server is needed");
        Ok(())
    })
}

#[test]
fn tokens_are_checked_wherever_they_come() -> Result<()> {
    with_pods(|_, web, other, _| {
        let (own, foreign) = (web.token()?, other.token()?);
        let with = |token: &str| get(LIST).header(TOKEN_HEADER, token);
        let cut = own.get(1..).unwrap_or_default();
        check(
            web,
            vec![
                ("none", get(LIST), body("web")),
                ("the own", with(&own), body("web")),
                ("garbage", with("garbage"), page(401, "Unauthorized")),
                ("cut", with(cut), page(401, "Unauthorized")),
                ("another pod's", with(&foreign), page(401, "Unauthorized")),
                (
                    "the own, forwarded",
                    with(&own).header("X-Forwarded-For", "1.2.3.4"),
                    status(403),
                ),
                ("none, forwarded", get(LIST).header("X-Forwarded-For", "1.2.3.4"), body("web")),
                ("two that differ", with(&own).header(TOKEN_HEADER, &foreign), status(401)),
                ("the own twice", with(&own).header(TOKEN_HEADER, &own), status(200)),
                ("spaces around", with(&format!("  {own} ")), body("web")),
            ],
        )?;
        let second = web.ask(&Request::put(TOKEN).header(TOKEN_TTL, "1"))?.body;
        wait::until_true("a token of one second to expire", || {
            Ok(web.ask(&with(&second))?.status == 401)
        })
    })
}

#[test]
fn the_role_list_is_found_however_it_is_spelt() -> Result<()> {
    with_pods(|_, web, _, plain| {
        let mut cases = vec![
            ("as it is", get(LIST), body("web").header("Accept-Ranges", "none")),
            ("no slash", get("/latest/meta-data/iam/security-credentials"), body("web")),
            ("two slashes", get("/latest/meta-data/iam//security-credentials/"), body("web")),
            ("two at first", get("//latest/meta-data/iam/security-credentials/"), body("web")),
            (
                "dots",
                get("/latest/./meta-data/../meta-data/iam/security-credentials/"),
                body("web"),
            ),
            ("escaped", get("/latest/meta-data/iam/security%2Dcredentials/"), body("web")),
            ("escaped twice", get("/latest/meta-data/iam/security%252Dcredentials/"), status(404)),
            ("capitals", get("/LATEST/meta-data/iam/security-credentials/"), status(404)),
            ("a query", get(&format!("{LIST}?x=1")), body("web")),
            ("too old", get("/2011-05-01/meta-data/iam/security-credentials/"), status(404)),
            ("far too old", get("/1.0/meta-data/iam/info"), status(404)),
            ("to come", get("/2099-01-01/meta-data/iam/security-credentials/"), status(404)),
            ("POST", Request::new("POST", LIST), status(405)),
            ("HEAD", Request::new("HEAD", LIST), status(200).header("Content-Length", "3")),
            ("extended", get("/latest/meta-data/iam/security-credentials-extended/"), status(404)),
            ("above", get("/latest/meta-data/iam/"), body("info\nsecurity-credentials/")),
            ("above, no slash", get("/latest/meta-data/iam"), body("info\nsecurity-credentials/")),
            ("the top", get("/latest"), body("dynamic\nmeta-data\nuser-data")),
            ("the top, slash", get("/latest/"), body("dynamic\nmeta-data\nuser-data")),
            ("unknown", get("/latest/meta-data/nope"), page(404, "Not Found")),
        ];
        for version in ["2012-01-12", "2014-11-05", "2018-09-24", "2021-03-23"] {
            let path = format!("/{version}/meta-data/iam/security-credentials/");
            cases.push((version, get(&path), body("web")));
        }
        check(web, cases)?;
        check(
            plain,
            vec![
                ("no role: list", get(LIST), page(404, "Not Found")),
                ("no role: info", get("/latest/meta-data/iam/info"), page(404, "Not Found")),
            ],
        )?;
        let versions = web.get("/")?.body;
        assert!(versions.starts_with("1.0\n2007-01-19\n") && versions.ends_with("\nlatest"));
        let lines = |answer: Answer| answer.body.lines().any(|line| line == "iam/");
        assert!(lines(web.get("/latest/meta-data/")?) && lines(web.get("/latest/meta-data")?));
        assert!(!lines(plain.get("/latest/meta-data/")?));
        Ok(())
    })
}

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
    with_pods(|_, web, _, _| {
        let answer = web.get(&format!("{LIST}web"))?;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("Content-Type"), Some("text/plain"));
        assert_eq!(answer.body, laid_out(&answer.body)?);
        let values: Value = serde_json::from_str(&answer.body)?;
        assert_eq!((&values["Code"], &values["Type"]), (&"Success".into(), &"AWS-HMAC".into()));
        for key in ["LastUpdated", "Expiration"] {
            let date = values[key].as_str().unwrap_or_default();
            let shape: String =
                date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00T00:00:00Z", "{key}");
        }
        let expires: jiff::Timestamp = values["Expiration"].as_str().unwrap_or_default().parse()?;
        let left = expires.duration_since(jiff::Timestamp::now()).as_mins();
        assert!((25..=60).contains(&left), "{left} minutes");
        let session = sts::read_token(values["Token"].as_str().unwrap_or_default())?;
        assert_eq!(session.role, "arn:aws:iam::444455556666:role/team/web");
        Ok(())
    })
}

#[test]
fn only_the_pods_own_role_has_a_document() -> Result<()> {
    with_pods(|cluster, web, other, plain| {
        let first = web.get(&format!("{LIST}web"))?;
        let same = || body(&first.body);
        let leaf = |name: &str| get(&format!("{LIST}{name}"));
        let length = first.body.len().to_string();
        check(
            web,
            vec![
                ("again", leaf("web"), same()),
                ("a slash", leaf("web/"), same()),
                ("with its path", leaf("team/web"), same()),
                ("the ARN", leaf("arn:aws:iam::444455556666:role/team/web"), same()),
                (
                    "the ARN, escaped",
                    leaf("arn%3Aaws%3Aiam%3A%3A444455556666%3Arole%2Fteam%2Fweb"),
                    same(),
                ),
                ("a line feed", leaf("web%0A"), same()),
                ("a carriage return", leaf("web%0D"), same()),
                ("another pod's", leaf("other"), page(404, "Not Found")),
                ("another path", leaf("squad/web"), page(404, "Not Found")),
                ("another account", leaf("arn:aws:iam::111122223333:role/team/web"), status(404)),
                ("the node's", leaf("NodeInstanceRole"), page(404, "Not Found")),
                ("capitals", leaf("WEB"), page(404, "Not Found")),
            ],
        )?;
        let head = web.ask(&Request::new("HEAD", &format!("{LIST}web")))?;
        assert_eq!((head.status, head.header("Content-Length")), (200, Some(length.as_str())));
        for pod in [other, plain] {
            assert_eq!(pod.get(&format!("{LIST}web"))?.status, 404, "{}", pod.name);
        }
        assert_eq!(cluster.sts.asked_for("team/web")?.len(), 1);
        assert_eq!(cluster.sts.asked_for("NodeInstanceRole")?.len(), 0);
        Ok(())
    })
}

#[test]
fn the_instance_profile_is_that_of_the_pods_role() -> Result<()> {
    with_pods(|_, web, _, _| {
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
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
        let id = value("InstanceProfileId");
        assert!(id.starts_with("AIPA") && id.len() == 21, "{id}");
        let again = web.get("/latest/meta-data/iam/info/")?;
        assert!(again.body.contains(id), "{again:?}");
        Ok(())
    })
}

#[test]
fn nothing_of_the_node_is_passed_through() -> Result<()> {
    with_pods(|_, web, _, _| {
        let not_found = |path: &'static str| (path, get(path), page(404, "Not Found"));
        check(
            web,
            vec![
                not_found(
                    "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
                ),
                not_found("/latest/meta-data/identity-credentials/"),
                not_found("/latest/user-data"),
                not_found("/latest/dynamic/instance-identity/pkcs7"),
                not_found("/latest/dynamic/instance-identity/signature"),
                not_found("/latest/meta-data/iam/%2e%2e/identity-credentials/"),
                not_found("/computeMetadata/v1/"),
                not_found("/metadata/instance?api-version=2021-02-01"),
                not_found("/openstack/"),
            ],
        )
    })
}
