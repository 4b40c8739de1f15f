//! A way around podrole, what it reaches without podrole, and what becomes of it with podrole.

use std::fmt;

use anyhow::Result;
use podrole_tests::pretend::node;
use podrole_tests::probe::{Exchange, Failure, Step};
use podrole_tests::vectors::attack::Attack;

use crate::guard::Guard;
use crate::scene::{OWN_ROLE, Scene, Spot};

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Vector {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Who attacks.
    pub(crate) spot: Spot,
    /// What is done.
    pub(crate) attack: fn(&Scene<'_>) -> Result<Attack>,
    /// What it reaches without podrole.
    pub(crate) without: Without,
    /// What becomes of it with podrole.
    pub(crate) with: With,
    /// What of podrole stops it; none where nothing of podrole does.
    pub(crate) guard: Option<Guard>,
    /// Whether the connection is opened before the agent starts, and used after.
    pub(crate) held: bool,
}

/// What an attack reaches where nothing guards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    /// A packet of it arrives at the metadata service.
    Leaks,
    /// Linux itself stops it, for this reason.
    Nothing(&'static str),
}

/// What becomes of an attack on a guarded node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// podrole answers, with the pod's own role; nothing arrives at the metadata service.
    Redirected,
    /// The system call fails, with `ECONNREFUSED` or `EPERM`, or `ENOBUFS` for a frame that is dropped
    /// while it is sent; nothing arrives.
    Refused,
    /// The attacker sees nothing, and nothing arrives.
    Silent,
    /// It arrives, and shall: the node's own, or a hostNetwork pod's.
    Reaches,
    /// As without.
    Nothing,
}

/// What was seen of an attack, on both ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Packets that arrived at the metadata service.
    pub(crate) arrived: usize,
    /// What the attacker saw.
    pub(crate) view: View,
}

/// What an attacker sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The real metadata service's answer, or that of another server beyond the node.
    Outside,
    /// podrole's answer.
    Own,
    /// Some other answer.
    Other,
    /// It could send; no answer is awaited.
    Sent,
    /// No answer in time.
    Silence,
    /// An error.
    Failed(Failure),
}

impl Vector {
    /// A row for a pod with a network of its own.
    pub(crate) const fn new(
        name: &'static str,
        attack: fn(&Scene<'_>) -> Result<Attack>,
        with: With,
        guard: Guard,
    ) -> Self {
        let (spot, without) = (Spot::Pod, Without::Leaks);
        Self { name, spot, attack, without, with, guard: Some(guard), held: false }
    }

    /// A row for what podrole does not stop.
    pub(crate) const fn unguarded(
        name: &'static str,
        attack: fn(&Scene<'_>) -> Result<Attack>,
        with: With,
    ) -> Self {
        Self { guard: None, ..Self::new(name, attack, with, Guard::Forward) }
    }

    /// Carried out somewhere else.
    pub(crate) const fn at(mut self, spot: Spot) -> Self {
        self.spot = spot;
        self
    }

    /// Stopped by Linux itself.
    pub(crate) const fn stopped_by_linux(mut self, reason: &'static str) -> Self {
        self.without = Without::Nothing(reason);
        self
    }

    /// Opened before the agent starts.
    pub(crate) const fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

impl Without {
    pub(crate) fn is_met_by(self, seen: Seen) -> bool {
        match self {
            Self::Leaks => seen.arrived > 0,
            Self::Nothing(_) => seen.arrived == 0,
        }
    }
}

impl With {
    /// Whether this is what shall become of it while the agent is dead: redirected is refused.
    pub(crate) fn is_met_by_the_dead(self, seen: Seen) -> bool {
        match self {
            Self::Redirected => seen.arrived == 0 && !seen.view.is_an_answer(),
            other => other.is_met_by(seen),
        }
    }

    pub(crate) fn is_met_by(self, seen: Seen) -> bool {
        let silent = matches!(seen.view, View::Silence | View::Sent);
        match self {
            Self::Redirected => seen.arrived == 0 && seen.view == View::Own,
            Self::Refused => seen.arrived == 0 && seen.view.is_refusal(),
            Self::Silent => seen.arrived == 0 && silent,
            Self::Reaches => seen.arrived > 0,
            Self::Nothing => seen.arrived == 0,
        }
    }
}

impl View {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let answer = String::from_utf8_lossy(&exchange.answer()).into_owned();
        match exchange.failure {
            _ if answer.ends_with(node::ROLE) || answer.contains(" sees ") => Self::Outside,
            _ if answer.ends_with(OWN_ROLE) => Self::Own,
            _ if !answer.is_empty() => Self::Other,
            Some(Failure { errno: libc::ETIMEDOUT, .. }) => Self::Silence,
            Some(failure) => Self::Failed(failure),
            None => Self::Sent,
        }
    }

    fn is_an_answer(self) -> bool {
        matches!(self, Self::Outside | Self::Own | Self::Other)
    }

    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Failed(Failure {
                step: Step::Connect | Step::Send,
                errno: libc::ECONNREFUSED | libc::EPERM | libc::ENOBUFS
            })
        )
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaks => f.write_str("a leak"),
            Self::Nothing(reason) => write!(f, "nothing ({reason})"),
        }
    }
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirected => f.write_str("redirected"),
            Self::Refused => f.write_str("refused"),
            Self::Silent => f.write_str("dropped"),
            Self::Reaches => f.write_str("reaches, as it shall"),
            Self::Nothing => f.write_str("as without"),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("answered from outside"),
            Self::Own => f.write_str("answered by podrole"),
            Self::Other => f.write_str("another answer"),
            Self::Sent => f.write_str("sent"),
            Self::Silence => f.write_str("no answer"),
            Self::Failed(Failure { step, errno }) => write!(f, "{step:?}: {}", name_of(*errno)),
        }
    }
}

/// As errno(3) calls it.
fn name_of(errno: i32) -> String {
    match errno {
        libc::EPERM => "EPERM".to_owned(),
        libc::EPIPE => "EPIPE".to_owned(),
        libc::EAFNOSUPPORT => "EAFNOSUPPORT".to_owned(),
        libc::ECONNRESET => "ECONNRESET".to_owned(),
        libc::ECONNREFUSED => "ECONNREFUSED".to_owned(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrived {
            0 => write!(f, "nothing arrives ({})", self.view),
            1 => write!(f, "1 packet arrives ({})", self.view),
            arrived => write!(f, "{arrived} packets arrive ({})", self.view),
        }
    }
}
