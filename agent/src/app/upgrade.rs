//! From one agent to the next, without a gap. The new one asks the one on duty for its sockets, learns who
//! is who, and has it rest; then it serves on the same queues and puts its programs into the links. Only
//! what it has then tested itself is kept: until then, and as long as both live, the old one goes on
//! wherever the new one ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::credentials::Broker;
use crate::credentials::handed::Handed;
use crate::credentials::sources::Memory;
use crate::kernel::bpffs;
use crate::operate::control::client::AskError;
use crate::operate::control::hand_over::{Predecessor, Step, Successor, Use};
use crate::operate::control::term::Term;
use crate::operate::duty::Switch;
use crate::operate::readiness::Readiness;
use crate::report::Chain;

/// For an agent that starts or stops to answer, or to be gone: a drain takes 10 s at most.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked whether the duty is free.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a new agent has to attach and test itself.
const TRIAL: Duration = Duration::from_mins(1);
/// How long a new agent gives itself, so that it never hears of its end from the old one.
const TESTED_WITHIN: Duration = Duration::from_secs(45);
/// What a new agent may still lack when it has taken over: the old one lacked it too.
pub(super) const SESSIONS: &str = "the sessions of this node's pods";

/// Why an agent does not come after another one.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The other says no, or is of a version that cannot.
    #[error(
        "another podrole runs on this node and does not hand over to this one; stop it, then start this one"
    )]
    Refused(#[source] AskError),
    /// The other hangs.
    #[error(
        "another podrole runs on this node and does not answer at {path}; see its log, or kill it",
        path = path.display()
    )]
    Hangs {
        /// Where it should.
        path: PathBuf,
        /// What became of the question.
        source: AskError,
    },
    /// The other gave up waiting, or a third was quicker.
    #[error(
        "the duty went to another podrole while this one was taking over; it is tried again at the next start"
    )]
    Lost,
}

/// What an agent before this one hands over.
pub(super) struct Inheritance {
    pub(super) predecessor: Predecessor,
    pub(super) sockets: Vec<(Use, OwnedFd)>,
}

impl Inheritance {
    /// Takes up the duty, or finds who has it.
    pub(super) async fn find(term: &Term, socket: &Path) -> Result<Option<Self>, super::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if term.try_begin()? {
                return Ok(None);
            }
            match Predecessor::ask(socket).await {
                Ok((predecessor, sockets)) => {
                    info!(
                        version = predecessor.version,
                        "another agent serves; taking over from it"
                    );
                    return Ok(Some(Self { predecessor, sockets }));
                }
                Err(error) if is_changing(&error) && Instant::now() < deadline => {}
                Err(source @ (AskError::NoAgent { .. } | AskError::Silent(_))) => {
                    return Err(UpgradeError::Hangs { path: socket.to_owned(), source }.into());
                }
                Err(error) => return Err(UpgradeError::Refused(error).into()),
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether it may be that the agent on duty is just coming or going.
fn is_changing(error: &AskError) -> bool {
    match error {
        AskError::NoAgent { .. } => true,
        AskError::Silent(error) => error.kind() != io::ErrorKind::TimedOut,
        AskError::Garbled(_) | AskError::Failed(_) => false,
    }
}

/// Takes the socket for this use and address out of those that were handed over.
pub(super) fn take(
    sockets: &mut Vec<(Use, OwnedFd)>,
    wanted: Use,
    address: Option<SocketAddr>,
) -> Option<TcpListener> {
    let at = sockets.iter().position(|(its_use, socket)| {
        *its_use == wanted && address.is_none_or(|address| address_of(socket) == Some(address))
    })?;
    let (_, socket) = sockets.swap_remove(at);
    let listener = std::net::TcpListener::from(socket);
    let taken = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    taken.inspect_err(|error| warn!(%error, "a socket that was handed over cannot be used")).ok()
}

fn address_of(socket: &OwnedFd) -> Option<SocketAddr> {
    std::net::TcpListener::from(socket.try_clone().ok()?).local_addr().ok()
}

/// What this agent is on duty with, and hands over.
pub(super) struct Office {
    pub(super) term: Term,
    pub(super) switch: Switch,
    pub(super) broker: Broker,
    pub(super) memory: Memory,
    /// Until this agent stops.
    pub(super) sockets: Mutex<Arc<[(Use, OwnedFd)]>>,
    /// One new agent at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Office {
    /// Has the one before this rest, takes its state, and is on duty from then on. One that has gone leaves
    /// nothing.
    pub(super) async fn take_over(
        &self,
        predecessor: &mut Predecessor,
    ) -> Result<(), super::Error> {
        let handed = match predecessor.begin().await {
            Ok(state) => Handed::read(&state),
            Err(error) => {
                warn!(%error, "the agent before this one is gone; its sessions are asked for anew");
                Handed::default()
            }
        };
        if !self.term.begin(PATIENCE).await? {
            return Err(UpgradeError::Lost.into());
        }
        info!(sessions = handed.sessions.held.len(), "taken over; on duty from here on");
        self.memory.hear(&handed.lessons);
        self.broker.take_over(handed.sessions);
        self.begin();
        Ok(())
    }

    fn begin(&self) {
        self.broker.rest(false);
        self.switch.set(true);
    }

    /// Another agent may take up the duty from here on.
    pub(super) fn rest(&self) {
        self.switch.set(false);
        self.broker.rest(true);
        if let Err(error) = self.term.end() {
            error!(error = %Chain(&error), "the duty cannot be laid down");
        }
    }

    /// Hands no socket over any more.
    pub(super) fn close(&self) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from([]);
    }

    /// Hands everything over to a new agent, rests as long as that lives, and goes on when it is gone.
    pub(super) async fn hand_over(&self, mut successor: Successor) {
        let Ok(_turn) = self.turn.try_lock() else {
            return successor.refuse("a new agent is taking over already").await;
        };
        let sockets = Arc::clone(&self.sockets.lock().unwrap_or_else(PoisonError::into_inner));
        let lent: Vec<_> =
            sockets.iter().map(|(its_use, socket)| (*its_use, socket.as_fd())).collect();
        if let Err(error) = successor.offer(&lent).await {
            return warn!(%error, "a new agent asked for the hand-over and has gone");
        }
        drop(sockets);
        info!(
            version = successor.version,
            "a new agent takes over as soon as it knows this node's pods"
        );
        if successor.next().await != Step::Begin {
            return info!("the new agent has gone before it took over");
        }
        self.rest();
        let given = self.give(&mut successor).await;
        let done = given && timeout(TRIAL, successor.next()).await == Ok(Step::Done);
        if done {
            info!("handed over; at rest until told to stop, or until the new agent is gone");
            successor.next().await;
        } else {
            error!("the new agent did not take over within {} s; see its log", TRIAL.as_secs());
        }
        drop(successor);
        self.resume().await;
    }

    async fn give(&self, successor: &mut Successor) -> bool {
        let sessions = self.broker.hand_over().await;
        let handed = Handed { sessions, lessons: self.memory.tell() };
        let state = handed.write().unwrap_or_else(|error| {
            error!(%error, "the sessions cannot be handed over; the new agent asks for them anew");
            zeroize::Zeroizing::default()
        });
        let given = successor.give(&state).await;
        given.inspect_err(|error| warn!(%error, "the new agent takes no state")).is_ok()
    }

    /// Waits until nobody is on duty, and then is.
    async fn resume(&self) {
        loop {
            match self.term.try_begin() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    error!(error = %Chain(&error), "the duty cannot be taken up; trying again");
                }
            }
            sleep(LOOK_EVERY).await;
        }
        warn!("the new agent is gone; on duty again");
        self.begin();
    }
}

/// Stays beside the agent before this one: tells it once this one serves as it must, and says in `beside`
/// whether it lives. It is left alone at the stop, and goes on then. Ends only where this agent is not fit
/// to serve.
pub(super) async fn stay_beside(
    mut predecessor: Predecessor,
    readiness: Readiness,
    beside: channel::Sender<bool>,
    others: Vec<PathBuf>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        fit = until_gone(&mut predecessor, &readiness) => {
            beside.send_replace(false);
            if !fit {
                return;
            }
            info!("the agent before this one is gone");
            bpffs::remove_versions(&others);
        }
    }
    drop(predecessor);
    std::future::pending::<()>().await;
}

/// Whether this agent is fit to serve.
async fn until_gone(predecessor: &mut Predecessor, readiness: &Readiness) -> bool {
    let tested = readiness.until(|missing| missing.iter().all(|missing| *missing == SESSIONS));
    let tested = tokio::select! {
        tested = timeout(TESTED_WITHIN, tested) => tested.is_ok(),
        () = predecessor.gone() => return true,
    };
    if !tested {
        error!(
            missing = readiness.missing().join(", "),
            "not fit to serve within {} s; the agent before this one goes on",
            TESTED_WITHIN.as_secs()
        );
    } else if predecessor.done().await.is_ok() {
        info!("the agent before this one is at rest");
        predecessor.gone().await;
    }
    tested
}
