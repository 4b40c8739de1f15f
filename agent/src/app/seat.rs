//! What an agent has of its node before it does anything: the claim, the programs, the sockets, and whether
//! it is on duty or comes after an agent that is.

use std::sync::{Arc, Mutex};

use super::Error;
use super::claim::Claim;
use super::listen::{self, Sockets};
use super::node::Node;
use super::upgrade::{Inheritance, Office};
use crate::credentials::Broker;
use crate::credentials::sources::Memory;
use crate::kernel::bpffs;
use crate::operate::control::hand_over::Predecessor;
use crate::operate::control::term::Term;
use crate::operate::duty::{Duty, Switch};
use crate::settings::{Listen, Settings};

/// Nothing is attached and nothing served yet.
pub(super) struct Seat {
    pub(super) claim: Claim,
    pub(super) node: Node,
    pub(super) sockets: Sockets,
    pub(super) duty: Duty,
    /// Who is on duty until this agent takes over.
    pub(super) predecessor: Option<Predecessor>,
    term: Term,
    switch: Switch,
}

impl Seat {
    /// Finds who is on duty and makes the rest.
    ///
    /// # Errors
    /// The first part that cannot be had.
    pub(super) async fn take(settings: &Settings, listen: Listen) -> Result<Self, Error> {
        bpffs::ensure_mounted(&settings.kernel.bpf_fs)?;
        let mut claim = Claim::make(&settings.kernel.bpf_fs, &settings.state_dir)?;
        let term = Term::open(&settings.socket)?;
        let inheritance = Inheritance::find(&term, &settings.socket).await?;
        let (switch, duty) = Duty::new(inheritance.is_none());
        let (predecessor, mut handed) = match inheritance {
            Some(Inheritance { predecessor, sockets }) => (Some(predecessor), sockets),
            None => (None, Vec::new()),
        };
        claim.take_over(&mut handed);
        let node = Node::prepare(&settings.kernel, listen, &duty)?;
        let sockets = Sockets::bind(settings, listen, handed, &duty).await?;
        Ok(Self { claim, node, sockets, duty, predecessor, term, switch })
    }
}

/// All that is left of a seat once its office has what is handed over.
pub(super) struct Seated {
    pub(super) claim: Claim,
    pub(super) node: Node,
    pub(super) sockets: Sockets,
    pub(super) duty: Duty,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) office: Arc<Office>,
}

impl Seat {
    /// Makes what hands over, and the broker rest where another agent is on duty.
    pub(super) fn with(self, broker: Broker, memory: Memory) -> Result<Seated, Error> {
        let Self { claim, node, sockets, duty, predecessor, term, switch } = self;
        broker.rest(predecessor.is_some());
        let shared = sockets
            .share()
            .and_then(|sockets| Ok(sockets.into_iter().chain(claim.share()?).collect()));
        let sockets_to_share = Mutex::new(shared.map_err(listen::ListenError::Share)?);
        let turn = tokio::sync::Mutex::new(());
        let office = Office { term, switch, broker, memory, sockets: sockets_to_share, turn };
        Ok(Seated { claim, node, sockets, duty, predecessor, office: Arc::new(office) })
    }
}
