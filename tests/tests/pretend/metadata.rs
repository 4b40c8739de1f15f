//! The pretend metadata service, request by request.

use podrole_tests::http::{Request, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use podrole_tests::pretend::metadata::{Line, Presented};
use podrole_tests::pretend::node::LEAK_MARKER;

use super::server::Server;

const LEAF: &str = "/latest/meta-data/iam/security-credentials/NodeInstanceRole";

#[test]
fn tokens_are_given_checked_and_logged() {
    let server = Server::start("metadata", &["--tokens-required"]);
    assert_eq!(server.ask(&Request::get(LEAF)).status, 401);
    let token = server.ask(&Request::put(TOKEN).header(TOKEN_TTL, "60"));
    assert_eq!(token.status, 200);
    assert_eq!(token.header(TOKEN_TTL), Some("60"));
    let leaf = server.ask(&Request::get(LEAF).header(TOKEN_HEADER, &token.body));
    assert_eq!(leaf.status, 200);
    assert!(leaf.body.contains(LEAK_MARKER) && leaf.body.contains("\"ASIANODE"), "{}", leaf.body);
    assert_eq!(server.ask(&Request::get(LEAF).header(TOKEN_HEADER, "else")).status, 401);

    let log = server.log::<Line>();
    let seen: Vec<(u16, bool)> = log
        .iter()
        .map(|it| (it.line.status, matches!(it.line.token, Presented::Valid { .. })))
        .collect();
    assert_eq!(seen, [(401, false), (200, false), (200, true), (401, false)]);
    assert_eq!(log[2].line.token_header.as_deref(), Some(&*token.body));
    assert_eq!(log[2].target, LEAF);
}

#[test]
fn without_tokens_required_a_plain_get_is_answered() {
    let server = Server::start("metadata", &[]);
    let region = server.ask(&Request::get("/latest/meta-data/placement/region"));
    assert_eq!((region.status, region.body.as_str()), (200, "us-west-2"));
    assert_eq!(region.header("Server"), Some("EC2ws"));
    let head = server.ask(&Request::new("HEAD", LEAF));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn puts_are_refused_as_by_the_real_service() {
    let server = Server::start("metadata", &[]);
    let put = |path, name, value| server.ask(&Request::put(path).header(name, value)).status;
    assert_eq!(put(TOKEN, "Accept", "*/*"), 400);
    assert_eq!(put(TOKEN, TOKEN_TTL, "21601"), 400);
    assert_eq!(put("/2021-03-23/api/token", TOKEN_TTL, "60"), 403);
    let forwarded = Request::put(TOKEN).header(TOKEN_TTL, "60").header("X-Forwarded-For", "::1");
    assert_eq!(server.ask(&forwarded).status, 403);
    let get = server.ask(&Request::get(TOKEN));
    assert_eq!((get.status, get.header("Allow")), (405, Some("OPTIONS, PUT")));
    assert_eq!(server.ask(&Request::new("POST", LEAF)).status, 405);
}

#[test]
fn directories_redirect_and_unknown_paths_have_the_real_page() {
    let server = Server::start("metadata", &[]);
    let moved = server.ask(&Request::get("/latest/meta-data/iam"));
    assert_eq!(moved.status, 301);
    assert_eq!(moved.header("Location"), Some("http://169.254.169.254/latest/meta-data/iam/"));
    let missing = server.ask(&Request::get("/latest/meta-data/nope"));
    assert_eq!((missing.status, missing.header("Content-Type")), (404, Some("text/html")));
    assert!(missing.body.contains("<h1>404 - Not Found</h1>"), "{}", missing.body);
}
