//! A stream that ends where its client takes too long: over the head of a request, between requests, or
//! over reading an answer. It ends as if the client had closed it, so between requests the end is clean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// For the whole head of a request, from its first byte; of the first request, from the connect.
const HEAD: Duration = Duration::from_secs(5);
/// Between requests.
const IDLE: Duration = Duration::from_mins(1);
/// For an answer that the client does not take.
const WRITE: Duration = Duration::from_secs(10);

/// Says whether a request is being answered: then nobody waits for the client. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicUsize>);

impl Turns {
    /// A request came in, or was answered.
    pub(super) fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether no request has come in yet.
    pub(super) fn are_none(&self) -> bool {
        self.now() == 0
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    turns: Turns,
    /// The turn that `phase` is of.
    turn: usize,
    phase: Phase,
    /// The end of the phase, once the client has let it wait.
    until: Option<Instant>,
    /// Never after `until`: a timer that is left where it is costs less than one that is moved.
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, turns: Turns) -> Self {
        let until = Instant::now() + HEAD;
        Self {
            stream,
            turn: turns.now(),
            turns,
            phase: Phase::Head,
            until: Some(until),
            reading: Box::pin(sleep_until(until)),
            writing: None,
        }
    }

    fn enter(&mut self, phase: Phase) {
        (self.phase, self.until) = (phase, None);
    }

    /// Ready when the client has taken too long.
    fn is_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = if self.phase == Phase::Idle { IDLE } else { HEAD };
        let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        if self.reading.deadline() > until {
            self.reading.as_mut().reset(until);
        }
        ready!(self.reading.as_mut().poll(cx));
        if self.reading.deadline() == until {
            return Poll::Ready(());
        }
        self.reading.as_mut().reset(until);
        self.reading.as_mut().poll(cx)
    }

    /// Whether the client is the one who is waited for.
    fn is_its_turn(&self) -> bool {
        self.turn.is_multiple_of(2)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.turns.now();
        if self.turn != turn {
            self.turn = turn;
            self.enter(Phase::Idle);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.is_its_turn() {
            return read;
        }
        match read {
            Poll::Pending => self.is_over(cx).map(Ok),
            read @ Poll::Ready(_) => {
                if buffer.filled().len() > before && self.phase == Phase::Idle {
                    self.enter(Phase::Head);
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// The end of a write, or of the patience with it.
    fn written<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.writing = None;
            return write;
        }
        let limit = || Box::pin(sleep_until(Instant::now() + WRITE));
        let over = self.writing.get_or_insert_with(limit).as_mut().poll(cx);
        over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, shutdown)
    }
}
