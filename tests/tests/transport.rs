//! HTTP/1 as clients speak it to the metadata service, well and badly.

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::expect::{body, check, status};
use podrole_tests::http::{Answer, LIST, METADATA, Request, TOKEN, TOKEN_TTL};
use podrole_tests::pod::Pod;

/// A pod with the role `web` on a node with an agent.
fn with_pod(test: impl FnOnce(&Pod<'_>) -> Result<()>) -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        assert!(web.node_credentials()?.is_some(), "without podrole");
        let _agent = cluster.agent().start()?;
        test(&web)
    })
}

#[test]
fn http_is_taken_as_clients_speak_it() -> Result<()> {
    with_pod(|web| {
        check(
            web,
            vec![
                ("gzip", Request::get(LIST).header("Accept-Encoding", "gzip"), body("web")),
                ("a range", Request::get(LIST).header("Range", "bytes=0-1"), body("web")),
                ("a condition", Request::get(LIST).header("If-None-Match", "*"), body("web")),
                ("an upgrade", Request::get(LIST).header("Upgrade", "h2c"), body("web")),
                (
                    "an absolute URL",
                    Request::get(&format!("http://169.254.169.254{LIST}")),
                    body("web"),
                ),
                ("another host's", Request::get(&format!("http://example.org{LIST}")), status(403)),
                ("a body", Request::put(TOKEN).header(TOKEN_TTL, "60").content("x"), status(200)),
            ],
        )?;
        let ask = |text: String| -> Result<Vec<Answer>> {
            Answer::read_all(&web.tcp(METADATA, text.as_bytes())?.answer())
        };
        for host in ["169.254.169.254:80", "[fd00:ec2::254]", "instance-data", ""] {
            let said =
                ask(format!("GET {LIST} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))?;
            assert_eq!(said.first().map(|answer| answer.body.as_str()), Some("web"), "{host}");
        }
        let old = ask(format!("GET {LIST} HTTP/1.0\r\n\r\n"))?;
        assert_eq!(old.first().map(|answer| answer.body.as_str()), Some("web"), "HTTP/1.0");

        let row = ask(format!(
            "PUT {TOKEN} HTTP/1.1\r\nHost: instance-data\r\n{TOKEN_TTL}: 60\r\n\r\n\
             GET {LIST} HTTP/1.1\r\nHost: instance-data\r\n\r\n\
             GET {LIST}web HTTP/1.1\r\nHost: instance-data\r\nConnection: close\r\n\r\n"
        ))?;
        let statuses: Vec<u16> = row.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 200]);
        assert_eq!(row.get(1).map(|answer| answer.body.as_str()), Some("web"));
        Ok(())
    })
}

#[test]
fn garbage_gets_a_status_and_harms_nobody() -> Result<()> {
    with_pod(|web| {
        let long = "a".repeat(10 * 1024);
        let flood = format!("X-Flood: {}\r\n", "a".repeat(1000)).repeat(100);
        let requests: [(&str, Vec<u8>); 6] = [
            (
                "a long path",
                format!("GET /{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into(),
            ),
            ("many headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{flood}\r\n").into()),
            ("no HTTP", b"hello\r\n\r\n".to_vec()),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
            (
                "two lengths",
                b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec(),
            ),
        ];
        for (name, bytes) in requests {
            let exchange = web.tcp(METADATA, &bytes)?;
            let answer = exchange.answer();
            // Refused with a status, or closed; the flood may meet a reset while it is still sent.
            if !answer.is_empty() {
                let status = Answer::read(&answer, true)?.0.status;
                assert!((400..500).contains(&status), "{name}: {status}");
            }
            let stalled = exchange.failure.is_some_and(|failed| failed.errno == libc::ETIMEDOUT);
            assert!(!stalled, "{name}: neither answered nor closed");
            assert_eq!(web.listed_role()?.as_deref(), Some("web"), "after {name}");
        }
        Ok(())
    })
}
