//! HTTP/1 on a socket: one loop accepts, a task each answers, all end at the drain.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use self::patience::{Patient, Turns};
use super::response::{Answer, closing, page};
use crate::operate::duty::Duty;

#[cfg(test)]
pub(super) mod bare;
mod patience;
#[cfg(test)]
mod tests;

/// For a body that nobody reads.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// The longest head, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// The longest body that is read past, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// For open requests once the agent stops; kubelet's default grace is 30 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// For the first request of a connection that is there when the agent stops.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Before accepting again where the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// As many connections as may wait in the kernel's queue (tokio's backlog).
const QUEUE: usize = 1024;

/// When a server accepts, and until when it answers.
#[derive(Clone, Debug)]
pub struct Hours {
    /// It accepts while this agent is on duty. What is open when that ends is answered on.
    pub duty: Duty,
    /// Then it finishes what is open, and ends.
    pub stop: CancellationToken,
}

impl Hours {
    /// Whether each connection is to end with its next answer: its client comes back to whoever accepts
    /// then.
    fn are_over(&self) -> bool {
        self.stop.is_cancelled() || !self.duty.is_on()
    }
}

/// Serves in its hours. `open` says what is known of a connection as soon as it is accepted, or closes
/// it by `None`; each of its requests is answered with that.
pub async fn serve<O, C, F, A>(listener: TcpListener, open: O, answer: F, hours: Hours)
where
    O: Fn(SocketAddr) -> Option<C> + Send + 'static,
    C: Clone + Send + Sync + 'static,
    F: Fn(C, Parts) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let answer = Arc::new(answer);
    let mut connections = JoinSet::new();
    let mut duty = hours.duty.clone();
    let mut accepts = duty.is_on();
    loop {
        let (stream, peer) = tokio::select! {
            () = hours.stop.cancelled() => break,
            turned = duty.turns(accepts) => {
                accepts = turned;
                continue;
            }
            Some(ended) = connections.join_next() => {
                tell_of_panic(ended);
                continue;
            }
            accepted = listener.accept(), if accepts => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            },
        };
        if let Some(caller) = open(peer) {
            connections.spawn(connection(stream, caller, Arc::clone(&answer), hours.clone()));
        }
    }
    // Closing the socket would reset those that wait in its queue.
    for _ in 0..if accepts { QUEUE } else { 0 } {
        tokio::task::yield_now().await;
        let Some(Ok((stream, peer))) = listener.accept().now_or_never() else { break };
        if let Some(caller) = open(peer) {
            connections.spawn(connection(stream, caller, Arc::clone(&answer), hours.clone()));
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_DEADLINE, drained).await.is_err() {
        warn!(open = connections.len(), "connections are cut at the end of the drain");
    }
}

pub(super) async fn connection<S, C, F, A>(stream: S, caller: C, answer: Arc<F>, hours: Hours)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Clone + Send + Sync + 'static,
    F: Fn(C, Parts) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let turns = Turns::default();
    let stream = Patient::new(stream, turns.clone());
    let (counted, stop) = (turns.clone(), hours.stop.clone());
    // One count for each request, not one for each part.
    let parts = Arc::new((answer, caller, turns, hours));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let parts = Arc::clone(&parts);
        async move {
            let (answer, caller, turns, hours) = &*parts;
            turns.next();
            let (head, body) = request.into_parts();
            let answer = match read_past(body).await {
                Ok(()) => unless_panicked(answer(caller.clone(), head)).await,
                Err(status) => page(status),
            };
            turns.next();
            Ok::<_, Infallible>(if hours.are_over() { closing(answer) } else { answer })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // One deadline for the head and for the time before it would be too long or too short.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        // `printf … | nc` has sent all it has before it reads.
        .half_close(true)
        // Scripts grep for the spelling that EC2 uses.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shut(&stop, &counted) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

/// When a connection on which nothing is open is to be closed. hyper would close a new one unread.
async fn shut(stop: &CancellationToken, turns: &Turns) {
    stop.cancelled().await;
    if turns.are_none() {
        sleep(FIRST_REQUEST).await;
    }
}

/// No request has a use for its body, but one that is left in the socket would reset the connection
/// before the answer is read.
async fn read_past(body: Incoming) -> Result<(), StatusCode> {
    if body.is_end_stream() {
        return Ok(());
    }
    match timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// A panic is a bug of ours; it costs the request that met it, and no other.
async fn unless_panicked(answer: impl Future<Output = Answer>) -> Answer {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        error!("a request made the agent panic; please report what stands before this");
        closing(page(StatusCode::INTERNAL_SERVER_ERROR))
    })
}

async fn pause(error: &io::Error) {
    warn!(%error, "cannot accept a connection");
    sleep(ACCEPT_PAUSE).await;
}

fn tell_of_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task panicked; please report this");
    }
}
