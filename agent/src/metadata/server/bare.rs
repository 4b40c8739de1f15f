//! The least that can answer: the same library, with nothing around it.

use std::convert::Infallible;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::metadata::response::Answer;

/// Answers everything with `answer`.
pub(in crate::metadata) async fn serve<S>(stream: S, answer: Answer)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service =
        service_fn(|_: Request<Incoming>| std::future::ready(Ok::<_, Infallible>(answer.clone())));
    let stream = TokioIo::new(stream);
    let connection =
        http1::Builder::new().title_case_headers(true).serve_connection(stream, service);
    // The client goes away at the end of the test.
    drop(connection.await);
}
