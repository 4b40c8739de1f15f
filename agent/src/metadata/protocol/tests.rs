//! Every spelling of a path that clients were seen to send, and those that attackers would.

use http::{HeaderMap, HeaderValue, Method, Uri};

use super::super::paths::NodePath;
use super::canonical::Canonical;
use super::ttl::TtlError;
use super::{Allow, Asked, Settled, TTL_HEADER, Ttl, VERSIONS, classify};

const LIST: &str = "/latest/meta-data/iam/security-credentials";

#[track_caller]
fn ask(method: &Method, target: &str) -> Result<Asked<'static>, Settled> {
    let uri = target.parse::<Uri>().expect("a target that HTTP can carry");
    classify(method, Box::leak(Box::new(uri)))
}

#[track_caller]
fn get(target: &str) -> Result<Asked<'static>, Settled> {
    ask(&Method::GET, target)
}

fn role(leaf: &str) -> Asked<'static> {
    Asked::Role(leaf.to_owned().into())
}

#[test]
fn every_spelling_of_the_role_list_is_the_role_list() {
    for target in [
        "/latest/meta-data/iam/security-credentials",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam//security-credentials/",
        "//latest/meta-data/iam/security-credentials/",
        "///latest///meta-data///iam///security-credentials///",
        "/latest/./meta-data/../meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/security-credentials/.",
        "/latest/meta-data/iam/security-credentials/role/..",
        "/../../latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/security%2Dcredentials/",
        "/latest/%6deta-data%2Fiam%2fsecurity-credentials",
        "/latest/user-data/%2e%2e/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/security-credentials%0A",
        "/latest/meta-data/iam/security-credentials/%0D%0A",
        "/latest/meta-data/iam/security-credentials/%20",
        "/latest/meta-data/iam/security-credentials/?x=1",
        "/latest/meta-data/iam/security-credentials?/../../user-data",
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://[fd00:ec2::254]:80/latest/meta-data/iam/security-credentials/?x",
    ] {
        assert_eq!(get(target), Ok(Asked::RoleList), "{target}");
    }
}

#[test]
fn other_spellings_name_nothing() {
    for target in [
        "/latest/meta-data/iam/security%252Dcredentials/",
        "/latest%252Fmeta-data",
        "/LATEST/meta-data/iam/security-credentials/",
        "/latest/Meta-Data/",
        "/latest/meta-data/iam/security-credentials%00",
        "/latest/meta-data/iam/security-credentials/R%00",
        "/latest/meta-data/iam/security-credentials/R%0AX",
        "/latest/meta-data/iam/security-credentials/R%7F",
        "/latest/meta-data/iam/security-credentials/R%C3%A9",
        "/latest/meta-data/iam/security-credentials/R%FF",
        "/latest/meta-data/iam/security-credentials%0A/",
        "/latest/meta-data/iam;x/security-credentials",
        "/latest\\meta-data/iam/security-credentials",
        "/latest/meta-data/%/iam",
        "/latest/meta-data%20/",
        "/%20latest",
    ] {
        assert_eq!(get(target), Err(Settled::NotFound), "{target}");
    }
}

#[test]
fn what_is_not_served_is_not_found() {
    for target in [
        "/latest/meta-data/iam/nope",
        "/latest/meta-data/iam/info/more",
        "/latest/meta-data/iam/security-credentials-extended",
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/iam/security-credentials-extended/R",
        "/latest/user-data/more",
        "/latest/meta-data/a;b",
        "/latest/meta-data/a%20b",
        "/latest/dynamic/a%3Fb",
        "/latest/api",
        "/latest/api/",
        "/latest/api/token/more",
        "/2099-01-01/meta-data/",
        "/2099-01-01/api/token",
        "/v1/",
        "/computeMetadata/v1/",
        "/metadata/instance?api-version=2021-02-01",
        "/openstack/",
        "/meta-data",
    ] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::OPTIONS] {
            assert_eq!(ask(&method, target), Err(Settled::NotFound), "{method} {target}");
        }
    }
}

#[test]
fn every_other_path_may_be_the_nodes() {
    for (target, version, path) in [
        ("/latest/meta-data/nope", "latest", "meta-data/nope"),
        (
            "/latest/meta-data/placement/availability-zone/",
            "latest",
            "meta-data/placement/availability-zone",
        ),
        ("/1.0/meta-data/instance-id", "1.0", "meta-data/instance-id"),
        ("/latest/dynamic", "latest", "dynamic"),
        (
            "/latest/dynamic/instance-identity//document/",
            "latest",
            "dynamic/instance-identity/document",
        ),
        ("/latest/user-data", "latest", "user-data"),
        (
            "/latest/meta-data/identity-credentials/ec2/",
            "latest",
            "meta-data/identity-credentials/ec2",
        ),
        ("/latest/meta-data/iam/%2e%2e/mac", "latest", "meta-data/mac"),
    ] {
        let segments: Vec<_> = path.split('/').collect();
        let asked = Asked::Node(version, NodePath::new(&segments).unwrap());
        assert_eq!(get(target), Ok(asked), "{target}");
    }
}

#[test]
fn directories_and_leaves_are_served_in_both_slash_forms() {
    for (path, asked) in [
        ("/latest", Asked::Version),
        ("/1.0", Asked::Version),
        ("/latest/meta-data", Asked::MetaData("latest")),
        ("/latest/meta-data/iam", Asked::Iam),
        ("/latest/meta-data/iam/info", Asked::IamInfo),
        (LIST, Asked::RoleList),
    ] {
        assert_eq!(get(path).as_ref(), Ok(&asked), "{path}");
        assert_eq!(get(&format!("{path}/")), Ok(asked), "{path}/");
    }
    for root in ["/", "//", "/.", "/..", "/%20", "/?latest", "http://169.254.169.254"] {
        assert_eq!(get(root), Ok(Asked::Versions), "{root}");
    }
}

#[test]
fn iam_exists_from_2012_01_12_on() {
    for version in VERSIONS {
        let since = version >= "2012-01-12";
        for (leaf, asked) in [
            ("iam/", Asked::Iam),
            ("iam/info", Asked::IamInfo),
            ("iam/security-credentials/", Asked::RoleList),
            ("iam/security-credentials/R", role("R")),
        ] {
            let expected = if since { Ok(asked) } else { Err(Settled::NotFound) };
            assert_eq!(get(&format!("/{version}/meta-data/{leaf}")), expected, "{version} {leaf}");
        }
    }
}

#[test]
fn versions_are_listed_by_age() {
    assert!(VERSIONS.is_sorted());
    assert_eq!(VERSIONS.last(), Some(&"latest"));
}

#[test]
fn a_role_is_all_that_follows_the_list() {
    let arn = "arn:aws:iam::123456789012:role/team/R";
    for (leaf, expected) in [
        ("R", "R"),
        ("R/", "R"),
        ("r", "r"),
        ("R%0A", "R"),
        ("R%0D", "R"),
        ("R%0D%0A", "R"),
        ("/R//", "R"),
        ("team/R", "team/R"),
        ("team%2FR", "team/R"),
        ("team/../R", "R"),
        (arn, arn),
        ("arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2FR", arn),
        ("a+b=c,d.e@f-g_h", "a+b=c,d.e@f-g_h"),
        ("R%2541", "R%41"),
        ("R?x=1", "R"),
    ] {
        assert_eq!(get(&format!("{LIST}/{leaf}")), Ok(role(expected)), "{leaf}");
    }
}

#[test]
fn head_is_taken_wherever_get_is() {
    for target in ["/", "/latest", "/latest/meta-data/", LIST, "/latest/meta-data/iam/info"] {
        assert_eq!(ask(&Method::HEAD, target), get(target), "{target}");
        assert!(get(target).is_ok(), "{target}");
    }
}

#[test]
fn documents_take_no_other_method() {
    let others = [Method::PUT, Method::POST, Method::DELETE, Method::PATCH, Method::TRACE];
    for target in ["/", "/latest/", "/latest/meta-data/", LIST, "/latest/meta-data/iam/info"] {
        for method in &others {
            let refused = Err(Settled::MethodNotAllowed(Allow::Document));
            assert_eq!(ask(method, target), refused, "{method} {target}");
        }
        let options = Err(Settled::Options(Allow::Document));
        assert_eq!(ask(&Method::OPTIONS, target), options, "{target}");
    }
    assert_eq!(Allow::Document.as_str(), "GET, HEAD, OPTIONS");
}

#[test]
fn the_token_takes_put_alone() {
    for target in ["/latest/api/token", "/latest/api/token/", "/latest//api/token?x"] {
        assert_eq!(ask(&Method::PUT, target), Ok(Asked::Token), "{target}");
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            let refused = Err(Settled::MethodNotAllowed(Allow::Token));
            assert_eq!(ask(&method, target), refused, "{method} {target}");
        }
        assert_eq!(ask(&Method::OPTIONS, target), Err(Settled::Options(Allow::Token)), "{target}");
    }
    assert_eq!(ask(&Method::PUT, "/latest/api/foo"), Err(Settled::NotFound));
    assert_eq!(Allow::Token.as_str(), "OPTIONS, PUT");
}

#[test]
fn a_versioned_token_path_is_forbidden() {
    for version in VERSIONS.iter().filter(|version| **version != "latest") {
        for method in [Method::PUT, Method::GET, Method::OPTIONS] {
            let target = format!("/{version}/api/token");
            assert_eq!(ask(&method, &target), Err(Settled::Forbidden), "{method} {target}");
        }
    }
}

#[test]
fn a_target_without_a_path_is_a_bad_request() {
    assert_eq!(ask(&Method::OPTIONS, "*"), Err(Settled::BadRequest));
    assert_eq!(ask(&Method::CONNECT, "169.254.169.254:80"), Err(Settled::BadRequest));
}

/// Paths from pieces that mean something to some parser, the same ones in each run.
fn odd_paths() -> impl Iterator<Item = String> {
    const PIECES: &str = "/|/|/|.|..|//|%2f|%2F|%2e|%2E%2e|%252e|%|%zz|%00|%0d|%0a|%20| |%C3%A9|%ff|\
                          latest|meta-data|iam|1.0|\\|é|api|token";
    let pieces: Vec<_> = PIECES.split('|').collect();
    // Knuth's linear congruential generator; its high bits are good enough to choose a piece.
    let mut state = 1_u64;
    let mut below = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % bound
    };
    (0..20_000).map(move |_| {
        (0..below(14)).fold(String::from("/"), |path, _| path + pieces[below(pieces.len())])
    })
}

#[test]
fn no_path_escapes_its_canonical_form() {
    let mut some = 0;
    for raw in odd_paths() {
        let Some(Canonical(path)) = Canonical::of(&raw) else { continue };
        some += 1;
        assert!(path.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{raw:?} became {path:?}");
        if path != "/" {
            let mut segments = path.split('/');
            assert_eq!(segments.next(), Some(""), "{raw:?} became {path:?}");
            assert!(segments.all(|s| !matches!(s, "" | "." | "..")), "{raw:?} became {path:?}");
        }
        assert_eq!(Canonical::resolve(&path).0, path, "{raw:?}");
        // Percent signs that are left are the caller's own; decoding them again would be the bug.
        if !path.contains('%') && !path.ends_with(' ') {
            let again = Canonical::of(&path).map(|again| again.0.into_owned());
            assert_eq!(again.as_deref(), Some(&*path), "{raw:?}");
        }
    }
    assert!(some > 1_000, "only {some} of the paths were canonical");
}

#[test]
fn no_request_target_makes_it_fail() {
    for target in odd_paths().filter_map(|path| path.parse::<Uri>().ok()) {
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            if let Ok(Asked::Role(role)) = classify(&method, &target) {
                assert!(!role.is_empty(), "{target}");
            }
        }
    }
}

fn headers(values: &[&str]) -> HeaderMap {
    let values = values.iter().map(|value| (TTL_HEADER, HeaderValue::from_str(value).unwrap()));
    values.collect()
}

#[test]
fn a_ttl_is_granted_exactly_as_asked() {
    for (text, seconds) in [("1", 1), ("60", 60), ("300", 300), ("21600", 21_600), ("0060", 60)] {
        let ttl = Ttl::from_headers(&headers(&[text])).expect(text);
        assert_eq!(ttl.as_secs(), seconds);
        assert_eq!(ttl.as_duration().as_secs(), u64::from(seconds));
    }
    assert_eq!(Ttl::from_headers(&headers(&["60", "060"])).map(Ttl::as_secs), Ok(60));
}

#[test]
fn a_missing_or_odd_ttl_is_refused() {
    assert_eq!(Ttl::from_headers(&HeaderMap::new()), Err(TtlError::Missing));
    for text in ["", "abc", "1.5", "-1", "+60", "0x10", "6 0", "1e3", "\u{661}", "60s"] {
        assert_eq!(Ttl::from_headers(&headers(&[text])), Err(TtlError::NotSeconds), "{text:?}");
    }
    for text in ["0", "000", "21601", "99999999999", "18446744073709551617"] {
        assert_eq!(Ttl::from_headers(&headers(&[text])), Err(TtlError::OutOfRange), "{text:?}");
    }
    assert_eq!(Ttl::from_headers(&headers(&["60", "61"])), Err(TtlError::Ambiguous));
    assert_eq!(Ttl::from_headers(&headers(&["60", "x"])), Err(TtlError::NotSeconds));
}

#[test]
fn a_ttl_error_names_the_header_and_the_range() {
    assert_eq!(
        TtlError::OutOfRange.to_string(),
        "the x-aws-ec2-metadata-token-ttl-seconds header is out of range: send 1 to 21600 seconds"
    );
}
