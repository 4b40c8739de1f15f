//! What the servers share: listening, one request at a time per connection, ways to answer badly.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::log::Entry;

/// Larger than anything a client of these servers sends.
const MAX_BODY: usize = 4 << 20;

/// A request that has arrived whole.
#[derive(Debug)]
pub struct Received {
    /// When it had.
    pub at: Timestamp,
    /// Where the connection came from.
    pub peer: SocketAddr,
    /// Method, target and headers.
    pub parts: Parts,
    /// Body.
    pub body: Bytes,
}

impl Received {
    /// The text of a header; `None` where it is absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Path of the target, as sent.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The log line of this request.
    pub fn entry<T>(&self, line: T) -> Entry<T> {
        Entry {
            at: self.at,
            peer: self.peer,
            method: self.parts.method.to_string(),
            target: self.parts.uri.to_string(),
            user_agent: self.header(USER_AGENT.as_str()).map(str::to_owned),
            line,
        }
    }
}

/// The connection is broken off while an answer's body is on its way: no last chunk.
#[derive(Debug)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pretend server cuts this answer off, as it was told to")
    }
}

impl std::error::Error for Cut {}

/// Body of an answer; all at once or, as a watch, bit by bit.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// A body that is there at once.
pub fn body(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is answered.
    Answer(Response<Body>),
    /// The connection is reset (RST), without an answer.
    Reset,
}

impl Outcome {
    /// An answer of this status, content type and body.
    pub fn answer(
        status: StatusCode,
        content_type: &'static str,
        content: impl Into<Bytes>,
    ) -> Self {
        let mut response = Response::new(body(content));
        *response.status_mut() = status;
        let content_type = http::HeaderValue::from_static(content_type);
        response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
        Self::Answer(response)
    }

    /// Status, where there is an answer.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        if let Self::Answer(response) = self { Some(response.status()) } else { None }
    }
}

/// A server, as far as one request goes.
pub trait Handler: Send + Sync + 'static {
    /// Whether headers go out `Like-This`, as from EC2's own server.
    const TITLE_CASE_HEADERS: bool = false;

    /// Answers; an error ends the connection and goes to stderr.
    fn handle(&self, request: Received) -> impl Future<Output = anyhow::Result<Outcome>> + Send;
}

/// Binds every address, before any is served.
pub async fn listen(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
    }
    Ok(listeners)
}

/// Serves until `stop`; connections that are open then are dropped.
pub async fn serve<H: Handler>(
    listeners: Vec<TcpListener>,
    handler: Arc<H>,
    stop: impl Future<Output = ()>,
) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&handler)));
    }
    stop.await;
}

async fn accept<H: Handler>(listener: TcpListener, handler: Arc<H>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(converse(stream, peer, Arc::clone(&handler)));
                }
                // Out of descriptors, most likely: give the open connections time to end.
                Err(error) => {
                    complain(&format_args!("accept: {error}"));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end.
async fn converse<H: Handler>(stream: TcpStream, peer: SocketAddr, handler: Arc<H>) {
    // Without it the two halves of a split watch event would leave as one packet.
    if let Err(error) = stream.set_nodelay(true) {
        complain(&format_args!("{peer}: TCP_NODELAY: {error}"));
    }
    let reset = AtomicBool::new(false);
    let service = service_fn(|request| Box::pin(respond(&*handler, peer, request, &reset)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(H::TITLE_CASE_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // Clients go away as they like, and broken answers are on purpose: an error says nothing new.
    let _ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Closing now sends RST in place of FIN (socket(7), SO_LINGER).
        if let Err(error) = stream.set_zero_linger() {
            complain(&format_args!("{peer}: SO_LINGER: {error}"));
        }
    }
}

/// Why hyper is to drop a connection.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pretend server breaks this connection off")
    }
}

impl std::error::Error for Broken {}

/// Says on stderr what went wrong in the server itself, for whoever reads a failed test.
fn complain(what: &fmt::Arguments<'_>) {
    eprintln!("podrole-pretend: {what}");
}

/// Reads the request whole and has it handled.
async fn respond<H: Handler>(
    handler: &H,
    peer: SocketAddr,
    request: Request<Incoming>,
    reset: &AtomicBool,
) -> Result<Response<Body>, Broken> {
    let (parts, incoming) = request.into_parts();
    let body = match Limited::new(incoming, MAX_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut response = Response::new(body("request body too large\n"));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        }
        Err(_gone) => return Err(Broken),
    };
    match handler.handle(Received { at: Timestamp::now(), peer, parts, body }).await {
        Ok(Outcome::Answer(response)) => Ok(response),
        Ok(Outcome::Reset) => {
            reset.store(true, Ordering::Relaxed);
            Err(Broken)
        }
        Err(error) => {
            complain(&format_args!("{peer}: {error:#}"));
            Err(Broken)
        }
    }
}
