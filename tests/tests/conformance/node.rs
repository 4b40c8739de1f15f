//! What pods read of their node (R), and what never passes (I).

use std::collections::BTreeSet;

use anyhow::Result;
use podrole_tests::aws::Metadata;
use podrole_tests::cluster::Cluster;
use podrole_tests::expect::{Expected, body, check, page, status};
use podrole_tests::http::{LIST, Request, TOKEN_HEADER};
use podrole_tests::pretend::metadata::Presented;
use podrole_tests::pretend::node;
use podrole_tests::wait;
use serde_json::json;

use super::{get, with_agent, with_pods};

/// A second real service, which refuses what comes without a token.
const V2_ONLY: &str = "10.0.0.1:1338";
const MAC: &str = "02:00:00:00:00:0a";

fn region_and_more() -> Vec<(&'static str, Request, Expected)> {
    let zone = "/latest/meta-data/placement/availability-zone";
    let document = "/latest/dynamic/instance-identity/document";
    let of_macs = "/latest/meta-data/network/interfaces/macs/";
    let is = |name: &'static str, path: &str, text: &str| (name, get(path), body(text));
    vec![
        is("R01 zone", zone, "us-west-2a"),
        is("R02 zone, slash", &format!("{zone}/"), "us-west-2a"),
        is("R03 region", "/latest/meta-data/placement/region", node::REGION),
        ("R04 document", get(document), status(200).header("Content-Type", "text/plain")),
        ("R05 document, oddly", get("/latest/dynamic/instance-identity//document/"), status(200)),
        is("R06 what is signed is not listed", "/latest/dynamic/instance-identity/", "document"),
        is("R06 above", "/latest/dynamic", "instance-identity/"),
        is("R07 instance", "/latest/meta-data/instance-id", node::INSTANCE_ID),
        is("R07 in the first version", "/1.0/meta-data/instance-id", node::INSTANCE_ID),
        ("R07 before it was there", get("/1.0/meta-data/placement/region"), status(404)),
        is("R08 partition", "/latest/meta-data/services/partition", "aws"),
        is("R08 domain", "/latest/meta-data/services/domain/", "amazonaws.com"),
        is("R09 interfaces", of_macs, &format!("{MAC}/")),
        is("R09 interfaces, no slash", of_macs.trim_end_matches('/'), &format!("{MAC}/")),
        is("R09 one's device", &format!("{of_macs}{MAC}/device-number"), "0"),
        is("R09 above", "/latest/meta-data/network/", "interfaces/"),
        ("R09 no Outpost", get("/latest/meta-data/outpost-arn"), status(404)),
        ("HEAD", Request::new("HEAD", zone), status(200).header("Content-Length", "10")),
        ("POST", Request::new("POST", zone), status(405)),
        ("by default no tags", get("/latest/meta-data/tags/instance/Name"), status(404)),
        ("by default no keys", get("/latest/meta-data/public-keys/0/openssh-key"), status(404)),
    ]
}

fn never() -> Vec<(&'static str, Request, Expected)> {
    let no = |name: &'static str, path: &str| (name, get(path), page(404, "Not Found"));
    let of_instance =
        "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance";
    vec![
        no("I04 the instance's own", of_instance),
        no("I04 above", "/latest/meta-data/identity-credentials/"),
        no("I04 in another version", &of_instance.replace("latest", "2018-08-17")),
        no("I05 user data", "/latest/user-data"),
        no("I05 user data, slash", "/latest//user-data/"),
        no("I06 pkcs7", "/latest/dynamic/instance-identity/pkcs7"),
        no("I06 signature", "/latest/dynamic/instance-identity/signature"),
        no("I06 rsa2048", "/latest/dynamic/instance-identity/rsa2048"),
        no("around", "/latest/meta-data/iam/%2e%2e/identity-credentials/"),
        no("around, below what passes", "/latest/meta-data/placement/..%2f..%2fuser-data"),
        no("another cloud's", "/metadata/instance?api-version=2021-02-01"),
    ]
}

#[test]
fn region_and_the_like_pass_and_nothing_else() -> Result<()> {
    with_pods(|scene| {
        check(&scene.web, region_and_more())?;
        check(&scene.plain, region_and_more())?;
        check(&scene.web, never())?;
        let document = scene.web.get("/latest/dynamic/instance-identity/document")?.body;
        let values: serde_json::Value = serde_json::from_str(&document)?;
        assert_eq!(values["region"], node::REGION, "R04");
        let listed = scene.web.get("/latest/meta-data/")?.body;
        let seen: BTreeSet<&str> = listed.lines().collect();
        for line in ["profile", "public-keys/", "tags/", "identity-credentials/"] {
            assert!(!seen.contains(line), "{line} is listed: {seen:?}");
        }
        Ok(())
    })
}

/// A client that knows IMDSv1 alone, on a node that takes nothing but IMDSv2.
#[test]
fn clients_without_tokens_work_on_nodes_that_require_them() -> Result<()> {
    Cluster::with(|cluster| {
        let upstream = Metadata::start_with_tokens_required(
            &cluster.outside_place(),
            cluster.directory(),
            V2_ONLY,
        )?;
        let pod = cluster.pod("web").role("web").start()?;
        let leak = pod.ask_at(V2_ONLY, &get("/latest/meta-data/placement/region"))?;
        assert_eq!(leak.status, 401, "without podrole");
        let _agent =
            cluster.agent().set("--metadata-endpoint", &format!("http://{V2_ONLY}")).start()?;
        let of_pod = upstream.requests()?.len();
        check(&pod, region_and_more())?;
        let region = get("/latest/meta-data/placement/region");
        for odd in [
            region.clone().header("X-Forwarded-For", "1.2.3.4"),
            region.clone().header("Cookie", "a=b").content("body"),
            get("/latest/meta-data/placement/region?x=y"),
            get("http://instance-data/latest/meta-data//./placement/%72egion/"),
            region.header(TOKEN_HEADER, &pod.token()?),
        ] {
            assert_eq!(pod.ask(&odd)?.status, 200, "{odd:?}");
        }
        let requests = upstream.requests()?;
        let (puts, gets): (Vec<_>, Vec<_>) =
            requests.iter().skip(of_pod).partition(|request| request.method == "PUT");
        assert_eq!(puts.len(), 1, "one session serves them all");
        for request in &gets {
            assert!(matches!(request.line.token, Presented::Valid { .. }), "{request:?}");
            assert_eq!(request.line.forwarded_for, None, "{request:?}");
            assert!(
                !request.target.contains(['?', '%']) && !request.target.contains("/."),
                "{request:?}"
            );
            assert_eq!(request.method, "GET", "{request:?}");
            assert!(request.user_agent.as_deref().unwrap_or_default().starts_with("podrole/"));
        }
        let of_region =
            gets.iter().filter(|request| request.target == "/latest/meta-data/placement/region");
        assert_eq!(of_region.count(), 1, "what stays as it is is asked for once");
        Ok(())
    })
}

#[test]
fn what_was_read_outlives_the_real_service() -> Result<()> {
    Cluster::with(|cluster| {
        let upstream = Metadata::start_with_tokens_required(
            &cluster.outside_place(),
            cluster.directory(),
            V2_ONLY,
        )?;
        let pod = cluster.pod("web").role("web").start()?;
        let agent = cluster.agent().set("--metadata-endpoint", &format!("http://{V2_ONLY}"));
        // No proxy of the environment is asked, as no SDK would ask one for the metadata service.
        let agent =
            agent.env("HTTP_PROXY", "http://10.0.0.1:9").env("http_proxy", "http://10.0.0.1:9");
        // STS is asked by way of it, and is not there.
        let _agent = agent.set("--prefetch", "off").start()?;
        let zone = "/latest/meta-data/placement/availability-zone";
        assert_eq!(pod.get(zone)?.body, "us-west-2a");
        drop(upstream);
        wait::until_true("what comes and goes to be unknown", || {
            Ok(pod.get("/latest/meta-data/spot/instance-action")?.status == 503)
        })?;
        let never_read = pod.get("/latest/meta-data/ami-id")?;
        assert_eq!((never_read.status, never_read.header("Retry-After")), (503, Some("1")));
        check(&pod, vec![("R10 zone", get(zone), body("us-west-2a"))])?;
        assert!(pod.get("/latest/meta-data/")?.body.lines().any(|line| line == "iam/"));
        assert_eq!(pod.get(LIST)?.body, "web", "credentials do not need it");
        Ok(())
    })
}

#[test]
fn a_list_of_paths_is_all_that_passes() -> Result<()> {
    let tags = with_agent(
        |agent| agent.set("--metadata-paths", "default,tags/"),
        |scene| {
            check(
                &scene.web,
                vec![
                    ("tags", get("/latest/meta-data/tags/instance/Name"), body("node")),
                    ("R01", get("/latest/meta-data/placement/availability-zone"), status(200)),
                ],
            )
        },
    );
    tags?;
    with_agent(
        |agent| agent.set("--metadata-paths", "none"),
        |scene| {
            let listing = body("iam/");
            check(
                &scene.web,
                vec![
                    ("the role", get(LIST), body("web")),
                    ("the listing", get("/latest/meta-data/"), listing),
                    ("R01", get("/latest/meta-data/placement/region"), status(404)),
                    ("R04", get("/latest/dynamic/instance-identity/document"), status(404)),
                ],
            )
        },
    )
}

#[test]
fn a_namespace_can_take_all_but_the_role_from_its_pods() -> Result<()> {
    with_pods(|scene| {
        let patch = json!({ "metadata": { "labels": { "podrole.dev/metadata": "none" } } });
        scene.cluster.kubernetes.patch_namespace("sealed", &patch)?;
        let sealed = scene.cluster.pod("sealed").namespace("sealed").role("sealed").start()?;
        sealed.wait_for_role("sealed")?;
        check(
            &sealed,
            vec![
                ("R01", get("/latest/meta-data/placement/availability-zone"), status(404)),
                ("R04", get("/latest/dynamic/instance-identity/document"), status(404)),
                ("L16", get("/latest/meta-data/"), body("iam/")),
                ("L01", get(LIST), body("sealed")),
            ],
        )?;
        check(&scene.web, region_and_more())
    })
}

#[test]
fn off_ec2_the_nodes_labels_tell_region_and_zone() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.create_node(
            podrole_tests::cluster::NODE,
            &[
                ("topology.kubernetes.io/region", "eu-central-1"),
                ("topology.kubernetes.io/zone", "eu-central-1b"),
            ],
        )?;
        let pod = cluster.pod("web").role("web").start()?;
        let _agent = cluster.agent().set("--metadata-endpoint", "none").start()?;
        check(
            &pod,
            vec![
                ("R03", get("/latest/meta-data/placement/region"), body("eu-central-1")),
                (
                    "R01",
                    get("/latest/meta-data/placement/availability-zone"),
                    body("eu-central-1b"),
                ),
                ("listing", get("/latest/meta-data/"), body("iam/\nplacement/")),
                ("R07", get("/latest/meta-data/instance-id"), status(404)),
                ("R04", get("/latest/dynamic/instance-identity/document"), status(404)),
                ("the role", get(LIST), body("web")),
            ],
        )?;
        let of_node = |entry: &podrole_tests::pretend::log::Entry<_>| entry.user_agent.clone();
        let asked = cluster.metadata.requests()?;
        assert!(!asked.iter().filter_map(of_node).any(|agent| agent.starts_with("podrole/")));
        Ok(())
    })
}
