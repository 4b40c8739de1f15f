//! HTTP/1 as clients speak it to the metadata service, well and badly (H).

use anyhow::Result;
use podrole_tests::expect::{body, check, page, status};
use podrole_tests::http::{Answer, LIST, METADATA, Request, TOKEN, TOKEN_TTL};

use super::with_pods;

#[test]
fn http_is_taken_as_clients_speak_it() -> Result<()> {
    with_pods(|scene| {
        let web = &scene.web;
        check(
            web,
            vec![
                ("H06 gzip", Request::get(LIST).header("Accept-Encoding", "gzip"), body("web")),
                ("H14 a range", Request::get(LIST).header("Range", "bytes=0-1"), body("web")),
                ("H14 a condition", Request::get(LIST).header("If-None-Match", "*"), body("web")),
                ("H15 an upgrade", Request::get(LIST).header("Upgrade", "h2c"), body("web")),
                (
                    "H08 an absolute URL",
                    Request::get(&format!("http://169.254.169.254{LIST}")),
                    body("web"),
                ),
                (
                    "H08 another host's",
                    Request::get(&format!("http://example.org{LIST}")),
                    status(403),
                ),
                (
                    "H12 expecting leave",
                    Request::put(TOKEN).header(TOKEN_TTL, "60").header("Expect", "100-continue"),
                    status(200),
                ),
                (
                    "T10 a body",
                    Request::put(TOKEN).header(TOKEN_TTL, "60").content("x"),
                    status(200),
                ),
                (
                    "H16 another cloud's",
                    Request::get("/computeMetadata/v1/").header("Metadata-Flavor", "Google"),
                    page(404, "Not Found"),
                ),
                ("H17 a third's", Request::get("/openstack/"), status(404)),
                (
                    "H17 a fourth's",
                    Request::get("/metadata/instance?api-version=2021-02-01")
                        .header("Metadata", "true"),
                    status(404),
                ),
            ],
        )?;
        let ask = |text: String| -> Result<Vec<Answer>> {
            Answer::read_all(&web.tcp(METADATA, text.as_bytes())?.answer())
        };
        for host in ["169.254.169.254:80", "[fd00:ec2::254]", "instance-data", ""] {
            let said =
                ask(format!("GET {LIST} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))?;
            assert_eq!(said.first().map(|answer| answer.body.as_str()), Some("web"), "H07 {host}");
        }
        let old = ask(format!("GET {LIST} HTTP/1.0\r\n\r\n"))?;
        assert_eq!(old.first().map(|answer| answer.body.as_str()), Some("web"), "H01 HTTP/1.0");
        let kept = ask(format!("GET {LIST} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))?;
        assert_eq!(kept.first().map(|answer| answer.body.as_str()), Some("web"), "H02");
        let bare = ask(format!("GET {LIST} HTTP/1.1\r\nConnection: close\r\n\r\n"))?;
        assert_eq!(bare.first().map(|answer| answer.status), Some(200), "H04");
        assert!(
            bare.iter().all(|answer| answer.body == "web"),
            "H05 neither User-Agent nor Accept"
        );

        let row = ask(format!(
            "PUT {TOKEN} HTTP/1.1\r\nHost: instance-data\r\n{TOKEN_TTL}: 60\r\n\r\n\
             GET {LIST} HTTP/1.1\r\nHost: instance-data\r\n\r\n\
             GET {LIST}web HTTP/1.1\r\nHost: instance-data\r\nConnection: close\r\n\r\n"
        ))?;
        let statuses: Vec<u16> = row.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 200], "H03");
        assert_eq!(row.get(1).map(|answer| answer.body.as_str()), Some("web"));
        Ok(())
    })
}

/// The rest of a request, which ends the connection.
fn request(head: &str) -> Vec<u8> {
    format!("{head}Connection: close\r\n\r\n").into_bytes()
}

#[test]
fn garbage_gets_a_status_and_harms_nobody() -> Result<()> {
    with_pods(|scene| {
        let web = &scene.web;
        let long = "a".repeat(10 * 1024);
        let many = "a: b\r\n".repeat(10_000);
        let flood = format!("X-Flood: {}\r\n", "a".repeat(1000)).repeat(100);
        let requests: Vec<(&str, Vec<u8>)> = vec![
            ("H10 a long path", request(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n"))),
            ("H10 long headers", request(&format!("GET / HTTP/1.1\r\nHost: x\r\n{flood}"))),
            ("H10 many headers", request(&format!("GET / HTTP/1.1\r\n{many}"))),
            ("H13 no HTTP", b"hello\r\n\r\n".to_vec()),
            ("H13 TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
            ("H15 HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
            ("CONNECT", request("CONNECT 169.254.169.254:80 HTTP/1.1\r\n")),
            ("an authority", request("GET 169.254.169.254:80 HTTP/1.1\r\n")),
            ("a star", request("OPTIONS * HTTP/1.1\r\n")),
            ("two lengths", request("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n")),
            (
                "a length and chunks",
                b"PUT /latest/api/token HTTP/1.1\r\nContent-Length: 3\r\n\
                  Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n"
                    .to_vec(),
            ),
            ("NUL", b"GET /latest/meta-data/iam/\0 HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
            ("overlong UTF-8", request("GET /latest/%c0%ae%c0%ae/user-data HTTP/1.1\r\n")),
            ("a semicolon", request("GET /latest/meta-data;x=y/iam/ HTTP/1.1\r\n")),
            ("a dot at the end", request("GET /latest./meta-data/iam/ HTTP/1.1\r\n")),
            ("an odd version", request("GET /2012-01-12a/meta-data/ HTTP/1.1\r\n")),
            ("HTTP/3.0", request("GET / HTTP/3.0\r\n")),
            ("a folded header", request("GET / HTTP/1.1\r\nA: b\r\n c\r\n")),
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
