//! What the agent tests of itself while it is on duty: that the programs do their part for a pod, and that
//! it is this agent to whom they send it. An agent at rest tests nothing, and stops at once where it was
//! about to: the one on duty then goes by the same cgroups, interfaces and maps.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::node::Node;
use crate::kernel::self_test::way::{self, Answer};
use crate::kernel::{Enforced, Presence, Records, Rules, self_test};
use crate::operate::duty::Duty;
use crate::operate::metrics::Counter;
use crate::operate::readiness::{Latch, Readiness};
use crate::report::Chain;

/// Between two attempts of the self-test.
const SELF_TEST_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at whether the way to the proxy should be asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// So many answers of somebody else's in a row close the way for all pods.
const ASK_TIMES: usize = 2;
/// What `/readyz` calls them.
const PROGRAMS: &str = "the eBPF programs";
const SELF_TEST: &str = "the self-test";
const WAY: &str = "the way from a pod to the proxy";

/// Whether a token was given by this node's podrole.
type IsOurs<'a> = &'a (dyn Fn(&str, IpAddr) -> bool + Sync);

/// What the self-test needs.
pub(super) struct SelfTest {
    /// Where the cgroup of all pods is.
    pods: PathBuf,
    /// What the programs decide by.
    rules: Rules,
    /// Who is on the way to the proxy.
    records: Arc<Records>,
    /// Who is enforced in any case.
    enforced: Arc<Enforced>,
    /// Whether the programs are on the node.
    presence: channel::Receiver<Presence>,
    /// Whether they shall be.
    wanted: channel::Receiver<bool>,
    /// While another agent is on duty, that one tests.
    duty: Duty,
    /// What `/readyz` says.
    readiness: Readiness,
    /// What is missing there.
    missing: Vec<Latch>,
}

impl SelfTest {
    /// Of a process below the pods' cgroup; missing from now on.
    pub(super) fn of(node: &Node, readiness: &Readiness) -> Self {
        let mut test = Self {
            pods: node.pods.clone(),
            rules: node.rules,
            records: Arc::clone(&node.records),
            enforced: Arc::clone(&node.enforced),
            presence: node.presence.clone(),
            wanted: node.keeper.wanted.clone(),
            duty: node.keeper.duty.clone(),
            readiness: readiness.clone(),
            missing: Vec::new(),
        };
        test.miss();
        test
    }

    fn miss(&mut self) {
        if self.missing.is_empty() {
            self.missing = [PROGRAMS, SELF_TEST].map(|name| self.readiness.register(name)).into();
        }
    }

    /// Runs the self-test until it passes, whenever the programs have come onto the node, for ever.
    pub(super) async fn run(mut self, is_ours: IsOurs<'_>) {
        let mut duty = self.duty.clone();
        loop {
            duty.begins().await;
            let (wanted, is) =
                (*self.wanted.borrow_and_update(), *self.presence.borrow_and_update());
            match (wanted, is) {
                (false, is) => {
                    self.missing.drain(..).for_each(Latch::done);
                    if is == Presence::Off {
                        info!(
                            "mode off: nothing is attached, and pods are left to the real metadata service"
                        );
                    }
                }
                (true, Presence::On) => {
                    self.miss();
                    let passed = tokio::select! {
                        () = duty.ends() => false,
                        passed = self.test(is_ours) => passed,
                    };
                    if !passed {
                        continue;
                    }
                    self.missing.drain(..).for_each(Latch::done);
                }
                (true, Presence::Pending | Presence::Off) => self.miss(),
            }
            if self.changed().await {
                return;
            }
        }
    }

    /// Waits for another state; true where there will be none.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.wanted.changed() => changed.is_err(),
            changed = self.presence.changed() => changed.is_err(),
        }
    }

    /// Whether it passed; after a while in which it did not, false.
    async fn test(&self, is_ours: IsOurs<'_>) -> bool {
        let (rules, records) = (&self.rules, &self.records);
        let tested = self_test::run(&self.pods, rules, records, &self.enforced, is_ours).await;
        let Err(error) = tested else {
            info!("a process in the pods' cgroup is served and guarded where it is enforced");
            return true;
        };
        error!(error = %Chain(&error), "not ready; trying again");
        sleep(SELF_TEST_EVERY).await;
        false
    }
}

/// Asks for a token as a pod does, and has the programs refuse while somebody else answers. Asked at
/// the start, and again when connections were lost.
pub(super) struct WayWatch {
    /// Where the cgroup of all pods is.
    pods: PathBuf,
    /// What the programs decide by.
    rules: Rules,
    /// Who is on the way to the proxy.
    records: Arc<Records>,
    /// Connections that did not arrive at the proxy.
    lost: Counter,
    /// Tells the keeper whether to refuse.
    refuse: channel::Sender<bool>,
    /// Whether the programs are on the node: without them no connection is told apart.
    presence: channel::Receiver<Presence>,
    /// What `/readyz` says.
    readiness: Readiness,
    /// Missing while the way is closed, or not known to be open yet.
    closed: Option<Latch>,
    /// While another agent is on duty, it asks.
    duty: Duty,
}

impl WayWatch {
    /// Not known to be open yet.
    pub(super) fn of(node: &Node, readiness: &Readiness) -> Self {
        Self {
            pods: node.pods.clone(),
            rules: node.rules,
            records: Arc::clone(&node.records),
            lost: node.keeper.lost.clone(),
            refuse: node.refuse.clone(),
            presence: node.presence.clone(),
            readiness: readiness.clone(),
            closed: Some(readiness.register(WAY)),
            duty: node.keeper.duty.clone(),
        }
    }

    /// Asks again whenever it may have changed, for ever.
    pub(super) async fn run(mut self, is_ours: IsOurs<'_>) {
        loop {
            self.may_have_changed().await;
            self.duty.begins().await;
            self.look(is_ours).await;
        }
    }

    async fn may_have_changed(&mut self) {
        let (lost, mut duty) = (self.lost.get(), self.duty.clone());
        loop {
            tokio::select! {
                () = duty.ends() => return,
                _ = self.presence.changed() => return,
                // While it is closed no connection is made, and so none is lost.
                () = sleep(ASK_AGAIN_AFTER) => if self.closed.is_some() || self.lost.get() != lost {
                    return;
                }
            }
        }
    }

    /// Asks, and has the programs do as is found. What cannot be told changes nothing.
    pub(super) async fn look(&mut self, is_ours: IsOurs<'_>) {
        if *self.presence.borrow_and_update() != Presence::On {
            if let Some(closed) = self.closed.take() {
                closed.done();
            }
            return;
        }
        let mut duty = self.duty.clone();
        let taken = tokio::select! {
            () = duty.ends() => return,
            taken = self.is_taken(is_ours) => taken,
        };
        let refuse = taken.unwrap_or_else(|| *self.refuse.borrow());
        self.refuse.send_replace(refuse);
        if refuse {
            error!(
                "somebody else answers on the proxy's port: a hostPort or a Service's externalIPs takes it from pods' connections; pods are refused until it is gone"
            );
            self.closed.get_or_insert_with(|| self.readiness.register(WAY));
        } else if let Some(closed) = self.closed.take() {
            closed.done();
        }
    }

    /// Whether somebody else answers; `None` where that cannot be told.
    async fn is_taken(&self, is_ours: IsOurs<'_>) -> Option<bool> {
        for _ in 0..ASK_TIMES {
            match way::ask(&self.pods, &self.rules, &self.records).await {
                Ok(Answer::Token(token)) if is_ours(&token, way::ADDRESS.into()) => {
                    return Some(false);
                }
                Ok(Answer::Token(_)) => {}
                // A node's firewall may be shut to an interface that no CNI made.
                Ok(Answer::None(said)) => {
                    warn!(said, "the way from a pod to the proxy cannot be tested");
                    return None;
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "the way from a pod to the proxy cannot be tested");
                    return None;
                }
            }
        }
        Some(true)
    }
}
