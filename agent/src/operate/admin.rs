//! The admin endpoint: `/healthz`, `/readyz` and `/metrics`.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use super::metrics::{CONTENT_TYPE as METRICS, Metrics};
use super::readiness::Readiness;

/// Answers one request.
pub fn answer(readiness: &Readiness, metrics: &Metrics, request: &Parts) -> Response<Full<Bytes>> {
    if request.method != Method::GET && request.method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
    }
    match request.uri.path() {
        // Alive is who answers: it depends on no other service, or their outage would kill us.
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => match readiness.missing().as_slice() {
            [] => text(StatusCode::OK, "ok\n".into()),
            missing => {
                let missing = format!("not ready: {}\n", missing.join(", "));
                text(StatusCode::SERVICE_UNAVAILABLE, missing)
            }
        },
        "/metrics" => match metrics.text() {
            Ok(metrics) => with_type(text(StatusCode::OK, metrics), METRICS),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n".into()),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    with_type(response, "text/plain")
}

fn with_type(
    mut response: Response<Full<Bytes>>,
    content_type: &'static str,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(readiness: &Readiness, method: Method, path: &str) -> StatusCode {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        answer(readiness, &Metrics::default(), &request.into_parts().0).status()
    }

    #[test]
    fn alive_does_not_wait_for_ready() {
        let readiness = Readiness::default();
        let latch = readiness.register("the watch");
        assert_eq!(status(&readiness, Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(status(&readiness, Method::GET, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        latch.done();
        assert_eq!(status(&readiness, Method::GET, "/readyz"), StatusCode::OK);
    }

    #[test]
    fn metrics_are_told_as_what_they_are() {
        let request = http::Request::builder().uri("/metrics").body(()).unwrap();
        let (request, ()) = request.into_parts();
        let answer = answer(&Readiness::default(), &Metrics::default(), &request);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], METRICS);
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let readiness = Readiness::default();
        assert_eq!(status(&readiness, Method::GET, "/debug"), StatusCode::NOT_FOUND);
        assert_eq!(status(&readiness, Method::POST, "/readyz"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
