//! Answers with the headers of `EC2ws`.

use http::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_TYPE, LAST_MODIFIED, LOCATION, SERVER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::TTL_HEADER;
use crate::pretend::serve::{Body, body};

/// When the instance's metadata last changed: any moment in the past does.
const MODIFIED: HeaderValue = HeaderValue::from_static("Sun, 01 Nov 2026 08:00:00 GMT");

fn page(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<String>,
) -> Response<Body> {
    let mut response = Response::new(body(content.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn say_ttl(headers: &mut HeaderMap, ttl: impl Into<HeaderValue>) {
    headers.insert(HeaderName::from_static(TTL_HEADER), ttl.into());
}

/// A document; `ttl` are the seconds left of the token that it was asked with.
#[must_use]
pub fn document(content: String, content_type: &'static str, ttl: Option<i64>) -> Response<Body> {
    let mut response = page(StatusCode::OK, content_type, content);
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(LAST_MODIFIED, MODIFIED);
    if let Some(ttl) = ttl {
        say_ttl(headers, ttl);
    }
    response
}

/// A new token.
#[must_use]
pub fn token(token: String, ttl: u32) -> Response<Body> {
    let mut response = page(StatusCode::OK, "text/plain", token);
    say_ttl(response.headers_mut(), ttl);
    response
}

/// The page of an error: lighttpd's, which the real service sends.
#[must_use]
pub fn error(status: StatusCode) -> Response<Body> {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let content = format!(
        r#"<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"#
    );
    page(status, "text/html", content)
}

/// A directory asked for without its slash.
#[must_use]
pub fn moved(path: &str) -> Response<Body> {
    let mut response = page(StatusCode::MOVED_PERMANENTLY, "text/plain", String::new());
    // A path that came in as a header line is good for one to go out.
    if let Ok(location) = format!("http://169.254.169.254{path}/").parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A method that the path does not take.
#[must_use]
pub fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The answer to OPTIONS.
#[must_use]
pub fn options(allow: &'static str) -> Response<Body> {
    let mut response = not_allowed(allow);
    *response.status_mut() = StatusCode::OK;
    response
}
