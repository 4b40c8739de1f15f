//! The limit: a server that does nothing but HTTP. The same library as the proxy's, and for every request
//! the same bytes that the proxy gives.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderName};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::worker::stay_on;
use crate::http::Answer;
use crate::netns;

/// An address inside of a network namespace, written `FILE=ADDRESS`.
#[derive(Clone, Debug)]
pub struct At {
    namespace: PathBuf,
    address: SocketAddr,
}

impl FromStr for At {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, address) = text.split_once('=').context("write FILE=ADDRESS")?;
        Ok(Self { namespace: namespace.into(), address: address.parse()? })
    }
}

/// Answers everything at all of these addresses with `answer`, on one processor, until the process ends.
/// Says when it listens.
pub fn serve(at: &[At], answer: &[u8], processor: usize) -> Result<()> {
    stay_on(processor)?;
    let answer = response(&Answer::read(answer, true)?.0)?;
    // As the agent's.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut tasks = Vec::new();
    for At { namespace, address } in at {
        let listener = netns::inside(namespace, || Ok(TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.push(runtime.spawn(accept(listener, answer.clone())));
        println!("listening on {address}");
    }
    runtime.block_on(async {
        for task in tasks {
            task.await??;
        }
        anyhow::Ok(())
    })
}

async fn accept(listener: tokio::net::TcpListener, answer: Response<Full<Bytes>>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(answer.clone()))
        });
        let connection = http1::Builder::new()
            .title_case_headers(true)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        // Clients go away as they like.
        let connection = async move { drop(connection.await) };
        #[expect(clippy::disallowed_methods, reason = "ends with its client, or the process")]
        tokio::spawn(connection);
    }
}

fn response(answer: &Answer) -> Result<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body.clone())));
    for (name, value) in &answer.headers {
        let name = HeaderName::try_from(name.to_ascii_lowercase())?;
        // hyper writes these itself, as it does for the agent.
        if name != CONTENT_LENGTH && name != DATE {
            response.headers_mut().append(name, HeaderValue::try_from(value)?);
        }
    }
    Ok(response)
}

/// Something of the size of a credentials document, for where there is no agent to take one from.
#[must_use]
pub fn stand_in() -> Vec<u8> {
    const BODY: usize = 1300;
    let body = "x".repeat(BODY);
    format!("HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_again_as_it_was() {
        let answer = Answer::read(&stand_in(), true).unwrap().0;
        let response = response(&answer).unwrap();
        assert_eq!(response.headers()["server"], "EC2ws");
        assert!(!response.headers().contains_key("content-length"), "hyper adds it");
    }
}
