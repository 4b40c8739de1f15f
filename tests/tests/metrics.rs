//! What happens on a node moves the metric that is about it, and no other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::bridge::container;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, METADATA, Request, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use podrole_tests::openmetrics::{self, Samples};
use podrole_tests::place::Place;
use podrole_tests::pretend::sts::behaviour::Way as Sts;
use podrole_tests::vectors::attack::{Attack, Quirk, Report, Transport, Way};
use podrole_tests::vectors::packet;
use podrole_tests::wait::{self, PATIENCE};
use podrole_tests::{curl, process};

const URL: &str = "http://10.0.0.10:16926/metrics";
const REDIRECTS: &str = "podrole_redirects_total";
const LOST: &str = "podrole_redirects_lost_total";

fn scrape(cluster: &Cluster) -> Result<Samples> {
    let reply = curl::request(&cluster.node_place(), "GET", URL, &[], "")?;
    let mut samples = openmetrics::read(&reply.ok()?)?;
    samples.retain(|series, _| openmetrics::is_count(series));
    Ok(samples)
}

fn refusals(reason: &str) -> String {
    format!("podrole_refusals_total{{reason=\"{reason}\"}}")
}

fn forwarded(interface: &str) -> String {
    format!("podrole_forward_drops_total{{interface=\"{interface}\"}}")
}

fn requests(document: &str, status: u16) -> String {
    requests_of("default", document, status)
}

fn requests_of(namespace: &str, document: &str, status: u16) -> String {
    format!(
        "podrole_requests_total{{document=\"{document}\",status=\"{status}\",pod_namespace=\"{namespace}\"}}"
    )
}

fn sts(outcome: &str) -> String {
    format!("podrole_sts_requests_total{{source=\"sts\",outcome=\"{outcome}\"}}")
}

fn decisions(rule: &str, verdict: &str) -> String {
    format!("podrole_decisions_total{{rule=\"{rule}\",verdict=\"{verdict}\"}}")
}

/// What has moved. Whose each request is, and what the rules say of it, is counted beside what it asks,
/// and not looked at here.
fn moved_since(before: &Samples, cluster: &Cluster) -> Result<Samples> {
    let mut moved = openmetrics::moved(before, &scrape(cluster)?);
    let beside = ["podrole_identities_total", "podrole_decisions_total"];
    moved.retain(|series, _| !beside.iter().any(|beside| series.starts_with(beside)));
    Ok(moved)
}

/// Does something and sees that it moves exactly these series by one each.
fn moves<T>(
    cluster: &Cluster,
    what: &str,
    act: impl FnOnce() -> Result<T>,
    series: &[&str],
) -> Result<()> {
    let before = scrape(cluster)?;
    act().context(what.to_owned())?;
    let moved = moved_since(&before, cluster)?;
    assert_eq!(moved, by_one(series), "{what}");
    Ok(())
}

/// Does something and waits until it has moved exactly these series by one each.
fn moves_soon<T>(
    cluster: &Cluster,
    what: &str,
    act: impl FnOnce() -> Result<T>,
    series: &[&str],
) -> Result<()> {
    let before = scrape(cluster)?;
    act().context(what.to_owned())?;
    let mut moved = Samples::new();
    wait::until_true(&format!("{series:?}"), || {
        moved = moved_since(&before, cluster)?;
        Ok(moved == by_one(series))
    })
    .with_context(|| format!("{what} moved {moved:?}"))
}

fn by_one(series: &[&str]) -> Samples {
    series.iter().map(|series| ((*series).to_owned(), 1)).collect()
}

/// Carries an attack out; whether it came to anything is not asked here.
fn attack(place: &Place, attack: &Attack) -> Result<Report> {
    let mut command = place.command(process::own_binary("podrole-vectors")?)?;
    command.arg("attack").arg(serde_json::to_string(attack)?);
    Ok(serde_json::from_str(&process::run(&mut command, b"", PATIENCE)?.ok()?)?)
}

fn ip(place: &Place, batch: &str) -> Result<()> {
    let mut command = place.command("ip")?;
    process::run(command.args(["-batch", "-"]), batch.as_bytes(), PATIENCE)?.ok()?;
    Ok(())
}

fn datagram(place: &Place) -> Result<()> {
    let exchange = place.udp("169.254.169.254:53", b"hello")?;
    ensure!(exchange.failure.is_some(), "somebody answered");
    Ok(())
}

fn service(port: u16) -> SocketAddr {
    SocketAddr::from(([169, 254, 169, 254], port))
}

#[test]
fn each_refusal_of_the_kernel_moves_its_own_counter() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let host = cluster.pod("host").host_network().start()?;
        let stranger = Place { cgroup: cluster.node_place().cgroup, ..Place::clone(&pod) };
        let (_docker, container) = container(cluster, "docker0", 0)?;
        assert!(pod.node_credentials()?.is_some());
        let mut agent = cluster.agent().set("--prefetch", "off").start()?;

        let other_port = || pod.is_refused("169.254.169.254:8080");
        moves(cluster, "another port", other_port, &[&refusals("connect")])?;
        moves(cluster, "a datagram", || datagram(&pod), &[&refusals("datagram")])?;
        let ping = Attack::new(Transport::Raw(packet::ICMP), service(0), Way::SendTo);
        let ping = ping.bytes(packet::echo_request());
        moves(cluster, "a ping", || attack(&pod, &ping), &[&refusals("packet")])?;
        moves(
            cluster,
            "a process that is in the pod's network alone",
            || datagram(&stranger),
            &[&refusals("forward"), &forwarded("pods")],
        )?;
        let own = pod.address().context("the pod has addresses")?.v4().into();
        let syn = packet::syn(own, service(80).ip(), 80);
        let frame = packet::ip(own, service(80).ip(), packet::TCP, &syn);
        let frame = Attack::packets("eth0", vec![frame]);
        moves_soon(
            cluster,
            "a frame made by hand",
            || attack(&pod, &frame),
            &[&refusals("forward"), &forwarded("pods")],
        )?;
        moves(
            cluster,
            "a container that is no pod",
            || datagram(&container),
            &[&refusals("forward"), &forwarded("docker0")],
        )?;
        let taking = Attack::new(Transport::Tcp, "10.0.0.1:80".parse()?, Way::Connect)
            .quirk(Quirk::From("10.0.0.10:16926".parse()?));
        moves(
            cluster,
            "a bind to podrole's port",
            || attack(&host, &taking),
            &[&refusals("bind")],
        )?;
        moves(cluster, "ordinary traffic", || pod.tcp("10.0.0.1:80", b""), &[])?;
        agent.wait_for_log("give --guard-exempt-interface docker0")?;
        agent.wait_for_log("came from a pod past its own sockets")
    })
}

#[test]
fn an_interface_that_comes_later_gets_its_series() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let (_docker, container) = container(cluster, "br-compose", 1)?;
        moves_soon(
            cluster,
            "a container on a new bridge",
            || datagram(&container),
            &[&refusals("forward"), &forwarded("br-compose")],
        )
    })
}

#[test]
fn an_exempt_interface_is_left_alone_and_told_of() -> Result<()> {
    Cluster::with(|cluster| {
        let (_docker, container) = container(cluster, "docker0", 0)?;
        let dropped: [&str; 2] = [&refusals("forward"), &forwarded("docker0")];
        let guarded = cluster.agent().start()?;
        moves_soon(cluster, "guarded", || datagram(&container), &dropped)?;
        drop(guarded);
        let mut agent = cluster.agent().set("--guard-exempt-interface", "docker0").start()?;
        agent.wait_for_log("exempt from the forward guard")?;
        moves(cluster, "exempt", || datagram(&container), &[])
    })
}

#[test]
fn each_request_moves_its_own_counter() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let _agent = cluster.agent().set("--prefetch", "off").start()?;
        let leaf = format!("{LIST}web");
        let token = Request::put(TOKEN).header(TOKEN_TTL, "60");
        let held = "podrole_sessions";
        for (request, document, status, besides) in [
            (token.clone(), "token", 200, vec![]),
            (Request::put(TOKEN), "token", 400, vec![]),
            (Request::get(TOKEN), "other", 405, vec![]),
            (Request::get(LIST), "role_list", 200, vec![]),
            (Request::get(LIST).header(TOKEN_HEADER, "x"), "role_list", 401, vec![]),
            (Request::get(&leaf), "credentials", 200, vec![sts("ok"), held.to_owned()]),
            (Request::get(&leaf), "credentials", 200, vec![]),
            (Request::get(&format!("{LIST}other")), "credentials", 404, vec![]),
            (Request::get("/latest/meta-data/iam/info"), "iam_info", 200, vec![]),
            (Request::get("/latest/user-data"), "node", 404, vec![]),
            (token.header("X-Forwarded-For", "1.2.3.4"), "token", 403, vec![]),
        ] {
            let ask = || pod.ask(&request);
            let answered = requests(document, status);
            let besides = besides.iter().map(String::as_str);
            let series: Vec<_> = [REDIRECTS, &answered].into_iter().chain(besides).collect();
            moves(cluster, &format!("{request:?}"), ask, &series)?;
        }
        let stranger = cluster.node_place();
        moves(
            cluster,
            "a process of the node at the proxy itself",
            || stranger.ask_at("10.0.0.10:16925", &Request::get(LIST)),
            &[&requests_of("", "role_list", 403)],
        )
    })
}

#[test]
fn each_decision_moves_the_counter_of_its_rule() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let plain = cluster.pod("plain").start()?;
        let bad = cluster.pod("bad").annotation("iam.amazonaws.com/role", "not a role").start()?;
        let _agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        for (pod, series, status) in [
            (&web, decisions("pod-annotation", "granted"), 200),
            (&bad, decisions("pod-annotation", "refused"), 403),
            (&plain, decisions("none", "none"), 404),
        ] {
            let before = scrape(cluster)?;
            ensure!(pod.get(LIST)?.status == status, "{}", pod.name);
            let moved = openmetrics::moved(&before, &scrape(cluster)?);
            let of_rules = moved.iter().filter(|(series, _)| series.contains("_decisions_"));
            assert_eq!(of_rules.collect::<Vec<_>>(), [(&series, &1)], "{}", pod.name);
            let asked = requests_of(&pod.namespace, "role_list", status);
            assert_eq!(moved.get(&asked), Some(&1), "{moved:?}");
        }
        Ok(())
    })
}

#[test]
fn the_namespace_of_pods_is_not_told_where_that_is_not_wanted() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let _agent = cluster.agent().set("--metrics-namespace-label", "off").start()?;
        web.wait_for_role("web")?;
        let samples = scrape(cluster)?;
        let asked = "podrole_requests_total{document=\"role_list\",status=\"200\"}";
        ensure!(samples.get(asked) > Some(&0), "{samples:?}");
        ensure!(!samples.keys().any(|series| series.contains("namespace")), "{samples:?}");
        Ok(())
    })
}

#[test]
fn a_watch_that_hears_nothing_is_told_of() -> Result<()> {
    let silence = |cluster: &Cluster| -> Result<i64> {
        let reply = curl::request(&cluster.node_place(), "GET", URL, &[], "")?;
        let samples = openmetrics::read(&reply.ok()?)?;
        let series = "podrole_watch_silence_seconds{resource=\"pods\"}";
        samples.get(series).copied().context("no series")
    };
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        ensure!(silence(cluster)? < 3, "it was told of the list a moment ago");
        cluster.kubernetes.fail()?;
        wait::until_true("silence", || Ok(silence(cluster)? >= 3))?;
        cluster.kubernetes.recover()?;
        wait::until_true("word of the API server", || Ok(silence(cluster)? < 3))
    })
}

#[test]
fn each_answer_of_sts_moves_its_own_counter() -> Result<()> {
    Cluster::with(|cluster| {
        let roles = ["denied", "expired", "broken", "node-expired"];
        let pods = roles.map(|role| cluster.pod(role).role(role).start());
        cluster.sts.behave("node-expired", Sts::ExpiredToken, Duration::ZERO)?;
        let _agent = cluster.agent().set("--prefetch", "off").start()?;
        let outcomes = [("refused", 403), ("unusable", 503), ("unavailable", 503), ("node", 503)];
        for (pod, (outcome, status)) in pods.into_iter().zip(outcomes) {
            let pod = pod?;
            let before = scrape(cluster)?;
            pod.get(&format!("{LIST}{}", pod.name))?;
            let moved = openmetrics::moved(&before, &scrape(cluster)?);
            // One that failed is tried once more while the pod waits, and by itself some seconds later.
            let calls = moved.get(&sts(outcome)).copied().unwrap_or_default();
            let least = if outcome == "unavailable" { 2 } else { 1 };
            assert!((least..=3).contains(&calls), "{moved:?}");
            assert_eq!(moved.get(&requests("credentials", status)), Some(&1), "{moved:?}");
        }
        Ok(())
    })
}

#[test]
fn pods_are_counted_as_they_come_and_go() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let known = |count: i64| {
            wait::until_true(&format!("{count} pods"), || {
                Ok(scrape(cluster)?.get("podrole_pods") == Some(&count))
            })
        };
        known(0)?;
        let pod = cluster.pod("one").start()?;
        known(1)?;
        pod.delete()?;
        known(0)
    })
}

#[test]
fn a_connection_that_does_not_arrive_is_counted_as_lost() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let _agent = cluster.agent().start()?;
        // The pod's router has another hardware address now, so nothing gets through.
        ip(&pod, "neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0\n")?;
        let mut connection = Attack::new(Transport::Tcp, service(80), Way::Connect);
        // Before the SYN is sent again.
        connection.patience_ms = 500;
        moves_soon(
            cluster,
            "a connection to nowhere",
            || attack(&pod, &connection),
            &[REDIRECTS, LOST],
        )
    })
}

#[test]
fn connections_beyond_a_pods_rate_are_counted() -> Result<()> {
    const CONNECTIONS: u32 = 700;
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let _agent = cluster.agent().start()?;
        let before = scrape(cluster)?;
        pod.tcp_at_once(METADATA, &Request::get("/").bytes(), CONNECTIONS)?;
        let moved = moved_since(&before, cluster)?;
        assert_eq!(moved.get(REDIRECTS), Some(&i64::from(CONNECTIONS)), "{moved:?}");
        assert!(moved.contains_key(&refusals("syn_rate")), "{moved:?}");
        Ok(())
    })
}
