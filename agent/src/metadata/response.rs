//! Answers in the manner of EC2: `Server: EC2ws`, plain text, and its error pages.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LAST_MODIFIED,
    RETRY_AFTER, SERVER,
};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::documents;
use super::upstream::Document;

/// What is sent back.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Old clients know by it that they are on EC2.
const EC2: HeaderValue = HeaderValue::from_static("EC2ws");

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(SERVER, EC2);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A document, with when it last changed.
pub(crate) fn document(body: Bytes, modified: SystemTime) -> Answer {
    let mut answer = answer(StatusCode::OK, "text/plain", body);
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    if let Ok(modified) = HeaderValue::try_from(http_date(modified)) {
        headers.insert(LAST_MODIFIED, modified);
    }
    answer
}

/// A document of the real service, as it came.
pub(crate) fn passed_on(found: &Document, otherwise: SystemTime) -> Answer {
    let mut answer = document(found.body.clone(), otherwise);
    let headers = answer.headers_mut();
    let theirs = [(CONTENT_TYPE, &found.content_type), (LAST_MODIFIED, &found.last_modified)];
    for (name, value) in
        theirs.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    {
        headers.insert(name, value.clone());
    }
    answer
}

/// The answer, and the end of the connection.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A document of another service than EC2's.
pub(crate) fn json(body: Bytes) -> Answer {
    let mut answer = answer(StatusCode::OK, "application/json", body);
    answer.headers_mut().remove(SERVER);
    answer
}

/// A body that is no document: a token.
pub(crate) fn plain(body: String) -> Answer {
    answer(StatusCode::OK, "text/plain", body.into())
}

/// A status with EC2's page for it.
pub(crate) fn page(status: StatusCode) -> Answer {
    answer(status, "text/html", documents::error_page(status))
}

/// A status with nothing but the methods that are allowed.
pub(crate) fn allow(status: StatusCode, methods: &'static str) -> Answer {
    let mut answer = answer(status, "text/plain", Bytes::new());
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

/// 403 with the reason: SDKs do not ask again, and show it.
pub(crate) fn refused(code: &str, message: &str, now: SystemTime) -> Answer {
    let body = documents::refusal(code, message, now);
    answer(StatusCode::FORBIDDEN, "application/json", body)
}

/// 503 with the reason: SDKs ask again in a second.
pub(crate) fn unavailable(message: &str, now: SystemTime) -> Answer {
    let body = documents::refusal("ServiceUnavailable", message, now);
    let mut answer = answer(StatusCode::SERVICE_UNAVAILABLE, "application/json", body);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Adds a header that holds a number.
pub(crate) fn with_number(mut answer: Answer, name: HeaderName, value: u64) -> Answer {
    answer.headers_mut().insert(name, value.into());
    answer
}

/// RFC 9110, section 5.6.7.
fn http_date(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_http() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
