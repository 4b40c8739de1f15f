//! Listings and the many spellings of a path (L).

use anyhow::Result;
use podrole_tests::expect::{Expected, body, check, page, status};
use podrole_tests::http::{Answer, LIST, Request};

use super::{get, with_pods};

/// The versions that EC2 lists, as far as they have `iam/`.
const WITH_IAM: [&str; 15] = [
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "latest",
];

fn spellings() -> Vec<(&'static str, Request, Expected)> {
    let web = |name: &'static str, path: &str| (name, get(path), body("web"));
    let none = |name: &'static str, path: &str| (name, get(path), status(404));
    vec![
        ("L01 as it is", get(LIST), body("web").header("Accept-Ranges", "none")),
        web("L02 no slash", "/latest/meta-data/iam/security-credentials"),
        web("L03 two slashes", "/latest/meta-data/iam//security-credentials/"),
        web("L04 two at first", "//latest/meta-data/iam/security-credentials/"),
        web("L05 dots", "/latest/./meta-data/../meta-data/iam/security-credentials/"),
        web("L06 escaped", "/latest/meta-data/iam/security%2Dcredentials/"),
        web("L06 escaped slashes", "/latest%2fmeta-data%2Fiam/security-credentials"),
        none("L07 escaped twice", "/latest/meta-data/iam/security%252Dcredentials/"),
        none("L08 capitals", "/LATEST/meta-data/iam/security-credentials/"),
        none("L10 too old", "/2011-05-01/meta-data/iam/security-credentials/"),
        none("L11 far too old", "/1.0/meta-data/iam/info"),
        none("L12 to come", "/2099-01-01/meta-data/"),
        none("L12 to come, the list", "/2099-01-01/meta-data/iam/security-credentials/"),
        web("L17 a query", &format!("{LIST}?x=1")),
        ("L18 HEAD", Request::new("HEAD", LIST), status(200).header("Content-Length", "3")),
        none("L21 extended", "/latest/meta-data/iam/security-credentials-extended/"),
        ("L22 unknown", get("/latest/meta-data/nope"), page(404, "Not Found")),
        ("L23 POST", Request::new("POST", LIST), status(405).header("Allow", "GET, HEAD, OPTIONS")),
        ("L23 OPTIONS", Request::new("OPTIONS", LIST), status(200)),
    ]
}

fn listings() -> Vec<(&'static str, Request, Expected)> {
    let iam = || body("info\nsecurity-credentials/");
    let top = || body("dynamic\nmeta-data\nuser-data");
    vec![
        ("L13 iam", get("/latest/meta-data/iam"), iam()),
        ("L13 iam, slash", get("/latest/meta-data/iam/"), iam()),
        ("L15 the top", get("/latest"), top()),
        ("L15 the top, slash", get("/latest/"), top()),
    ]
}

fn has_line(answer: &Answer, line: &str) -> bool {
    answer.body.lines().any(|other| other == line)
}

#[test]
fn the_role_list_is_found_however_it_is_spelt() -> Result<()> {
    with_pods(|scene| {
        let web = &scene.web;
        check(web, spellings())?;
        check(web, listings())?;
        for version in WITH_IAM {
            let path = format!("/{version}/meta-data/iam/security-credentials/");
            check(web, vec![("L09 every version", get(&path), body("web"))])?;
        }
        check(
            &scene.plain,
            vec![
                ("L19 no role: list", get(LIST), page(404, "Not Found")),
                ("L19 no role: info", get("/latest/meta-data/iam/info"), page(404, "Not Found")),
            ],
        )?;
        let versions = web.get("/")?.body;
        let expected = versions.starts_with("1.0\n2007-01-19\n") && versions.ends_with("\nlatest");
        assert!(expected && versions.lines().count() == 26, "L14 {versions:?}");
        for path in ["/latest/meta-data", "/latest/meta-data/"] {
            let all = web.get(path)?;
            for line in ["iam/", "placement/", "instance-id"] {
                assert!(has_line(&all, line), "L16 {line} is not in {all:?}");
            }
            assert!(!has_line(&all, "identity-credentials/"), "L16 {all:?}");
            assert!(!all.body.ends_with('\n'), "L16 {all:?}");
        }
        let of_plain = scene.plain.get("/latest/meta-data/")?;
        assert!(of_plain.status == 200 && !has_line(&of_plain, "iam/"), "L20 {of_plain:?}");
        Ok(())
    })
}

/// boto 2 alone takes what follows the sign for something else (docs/conformance.md).
#[test]
fn a_role_with_an_equals_sign_is_listed_as_it_is() -> Result<()> {
    with_pods(|scene| {
        let odd = scene.cluster.pod("odd").role("a=b").start()?;
        odd.wait_for_role("a=b")?;
        let leaf = format!("{LIST}a=b");
        check(
            &odd,
            vec![("L24 a=b", get(LIST), body("a=b")), ("L24 leaf", get(&leaf), status(200))],
        )
    })
}
