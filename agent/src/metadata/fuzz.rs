//! What the fuzzers try in this room: no request breaks it, and no spelling of a path gets what another
//! reading of that spelling would not call by the same name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::host::is_for_metadata;
use super::paths::{AllowList, NodePath};
use super::protocol::{Asked, Ttl, classify};

mod model;

pub(crate) use super::token::fuzz::token;

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// A target of a request line.
pub(crate) fn path(input: &[u8]) {
    let Ok(uri) = Uri::try_from(input) else { return };
    for method in [Method::GET, Method::PUT] {
        if let Ok(asked) = classify(&method, &uri) {
            assert_named(&asked, uri.path().as_bytes());
        }
    }
}

/// What we call by one name, the model must call the same.
fn assert_named(asked: &Asked<'_>, raw: &[u8]) {
    let read = model::segments(raw);
    let named = read.as_ref().is_some_and(|read| is_named(asked, read));
    assert!(named, "{asked:?} for {:?}, which reads {read:?}", String::from_utf8_lossy(raw));
}

fn is_named(asked: &Asked<'_>, read: &[String]) -> bool {
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    let Some((version, rest)) = read.split_first() else { return *asked == Asked::Versions };
    let below = |beginning: &[&str]| rest.strip_prefix(beginning).map(|rest| rest.join("/"));
    let is = |path: &[&str]| rest == path;
    let known = version.as_bytes().first().is_some_and(u8::is_ascii_digit) || *version == "latest";
    known
        && match asked {
            Asked::Versions => false,
            Asked::Version => rest.is_empty(),
            Asked::Token => is(&["api", "token"]) && *version == "latest",
            Asked::MetaData(of) => of == version && is(&["meta-data"]),
            Asked::Node(of, path) => of == version && is_sent_as_read(of, path, &read),
            Asked::Iam => is(&["meta-data", "iam"]),
            Asked::IamInfo => is(&["meta-data", "iam", "info"]),
            Asked::RoleList => is(&["meta-data", "iam", "security-credentials"]),
            Asked::Role(role) => {
                !role.is_empty()
                    && below(&["meta-data", "iam", "security-credentials"]).as_deref() == Some(role)
            }
        }
}

/// What the real service would be asked for reads as what was asked for here, and is never what makes a
/// pod the node.
fn is_sent_as_read(version: &str, path: &NodePath, read: &[&str]) -> bool {
    let sent = model::segments(format!("/{version}/{path}").as_bytes());
    let beginning = read.get(1..3).unwrap_or_default();
    sent.is_some_and(|sent| sent == read) && beginning != ["meta-data", "iam"]
}

/// Values of `--metadata-paths`, and on the next line the path that a pod asks for.
pub(crate) fn node_path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((words, raw)) = text.split_once('\n') else { return };
    let (Ok(list), Ok(uri)) = (AllowList::parse(words.split([' ', ','])), Uri::try_from(raw))
    else {
        return;
    };
    let Ok(Asked::Node(version, path)) = classify(&Method::GET, &uri) else { return };
    if let Some(permit) = list.permit(&path) {
        let sent = format!("/{version}/{}", permit.path);
        assert!(!is_secret(&sent), "{sent} is passed on for {raw:?} with {words:?}");
        // By default not even a service that tells no capitals from small letters gives anything away.
        let folded = sent.to_ascii_lowercase();
        assert!(words != "default" || !is_secret(&folded), "{sent} is passed on for {raw:?}");
    }
}

/// Whether a server that reads the path as the model does finds what makes a pod the node there.
fn is_secret(path: &str) -> bool {
    const SECRETS: [&[&str]; 7] = [
        &["meta-data", "iam"],
        &["meta-data", "identity-credentials"],
        &["user-data"],
        &["dynamic", "instance-identity", "pkcs7"],
        &["dynamic", "instance-identity", "signature"],
        &["dynamic", "instance-identity", "rsa2048"],
        &["api"],
    ];
    let read = model::segments(path.as_bytes()).unwrap_or_default();
    let below: Vec<&str> = read.iter().skip(1).map(String::as_str).collect();
    let of_eks = matches!(&*below, ["meta-data", name, ..] if name.starts_with("iam-eks-"));
    of_eks || SECRETS.iter().any(|secret| below.starts_with(secret))
}

/// A value of `Host`.
pub(crate) fn host(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let Ok(request) = Request::builder().uri("/latest").header(HOST, &value).body(()) else {
        return;
    };
    if is_for_metadata(&request.into_parts().0, &ADDRESSES) {
        let text = String::from_utf8_lossy(input).trim().to_ascii_lowercase();
        let name = text.strip_suffix(":80").unwrap_or(&text);
        let known = name.is_empty()
            || name.starts_with("instance-data")
            || name == "169.254.169.254"
            // Every other spelling is one of an IPv6 address, which only brackets can hold.
            || name.starts_with('[') && name.ends_with(']');
        assert!(known, "{text:?} passed for the metadata service");
    }
}

/// A request: a line with method and target, then a line for each header.
pub(crate) fn request(input: &[u8]) {
    let Some(request) = parse(input) else { return };
    let (parts, ()) = request.into_parts();
    if let Ok(asked) = classify(&parts.method, &parts.uri) {
        assert_named(&asked, parts.uri.path().as_bytes());
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        assert!(reads || (parts.method == Method::PUT && asked == Asked::Token));
    }
    if let Ok(ttl) = Ttl::from_headers(&parts.headers) {
        assert!((1..=Ttl::MAX.as_secs()).contains(&ttl.as_secs()));
    }
    is_for_metadata(&parts, &ADDRESSES);
}

fn parse(input: &[u8]) -> Option<Request<()>> {
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut words = lines.next()?.splitn(2, |&byte| byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let mut request = Request::builder().method(method).uri(words.next()?);
    for line in lines {
        let mut sides = line.splitn(2, |&byte| byte == b':');
        let name = HeaderName::from_bytes(sides.next()?).ok()?;
        request = request.header(name, HeaderValue::from_bytes(sides.next()?).ok()?);
    }
    request.body(()).ok()
}
