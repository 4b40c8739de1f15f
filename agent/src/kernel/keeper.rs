//! Keeps the programs where they belong: on every interface that comes, and on the pods' cgroup even
//! if it is removed and made again. Tells what they dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use crate::operate::duty::Duty;
use crate::operate::metrics::{Counter, Gauge};
use crate::report::Chain;

use super::cgroups::Presence as CgroupPresence;
use super::interfaces::Watch;
use super::standing::Forward;
use super::{Drops, KernelError, Lost, PodCgroup, Programs, Records, Standing};

/// How often links are looked at, where nothing tells of a change.
const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// How often the pods' cgroup is looked at: while it is another than the programs are on, its pods
/// reach the real service.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a connection may take from its SYN to the proxy, which is on the same node.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// Hears whose connections did not arrive.
pub type NoArrival = mpsc::Receiver<Lost>;

/// Whether the programs are on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is the agent's start: an earlier one's may be.
    Pending,
    /// They are.
    On,
    /// They are not.
    Off,
}

/// Owns the programs while the agent runs.
pub struct Keeper {
    /// The programs.
    pub programs: Programs,
    /// The cgroup of all pods.
    pub cgroup: PodCgroup,
    /// The node's interfaces.
    pub interfaces: Watch,
    /// Who is on the way to the proxy.
    pub records: Arc<Records>,
    /// What the programs refused and dropped.
    pub drops: Arc<Drops>,
    /// Counts connections that did not arrive at the proxy.
    pub lost: Counter,
    /// Hears whose connections those were.
    pub lost_of: mpsc::Sender<Lost>,
    /// Whether the forward guard has no hook.
    pub missing: Gauge,
    /// Whether nobody is to be sent to the proxy's port, since somebody else answers there.
    pub refuse: channel::Receiver<bool>,
    /// Whether the programs shall be on the node.
    pub wanted: channel::Receiver<bool>,
    /// Tells whether they are.
    pub presence: channel::Sender<Presence>,
    /// Whether this agent is the one that keeps them.
    pub duty: Duty,
    /// Tells where the programs are.
    pub standing: channel::Sender<Standing>,
}

impl Keeper {
    /// Attaches the programs: first the forward guard, then what refuses, then what redirects.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn attach(&mut self) -> Result<(), KernelError> {
        // What left while no agent was there was refused, and is not lost now.
        let _ = self.records.take_lost(ARRIVES_WITHIN);
        self.programs.forward.directory.adopt()?;
        self.programs.forward.follow(&self.interfaces, true).await?;
        self.missing.set(self.programs.forward.missing().is_some().into());
        self.programs.attach_to_pods(&self.cgroup)?;
        self.programs.forward.hold()?;
        self.presence.send_replace(Presence::On);
        self.tell_standing().await;
        Ok(())
    }

    /// Takes the programs off the node.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn detach(&mut self) -> Result<(), KernelError> {
        self.presence.send_replace(Presence::Off);
        self.programs.detach(&self.interfaces).await?;
        // Lets go of the links.
        self.programs.forward.hold()?;
        info!("the programs are off this node: pods reach the real metadata service");
        Ok(())
    }

    async fn tell_standing(&self) {
        let is_first = self.programs.forward.stands(&self.interfaces).await;
        let forward = self.programs.forward.place().map(|(hook, interfaces)| Forward {
            hook: hook.name(),
            interfaces: interfaces.to_vec(),
            is_first,
        });
        let wanted = *self.wanted.borrow();
        let now = Standing {
            wanted,
            cgroup: self.cgroup.path().display().to_string(),
            on_pods: self.is_settled(),
            forward,
            refusing: *self.refuse.borrow(),
        };
        self.standing.send_replace(now);
    }

    /// Whether the programs are on the pods' cgroup as it is now: it can be made anew while they are
    /// being attached.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.cgroup.presence() == CgroupPresence::Same && self.programs.are_on(&self.cgroup)
    }

    /// Follows interfaces and verifies links, and takes the programs off and puts them on again as is
    /// wanted, while on duty, for ever.
    pub async fn run(mut self) {
        let mut duty = self.duty.clone();
        loop {
            if !duty.is_on() {
                duty.begins().await;
                self.resume().await;
            }
            if *self.wanted.borrow_and_update() {
                self.stay_on(&mut duty).await;
            } else {
                self.stay_off(&mut duty).await;
            }
        }
    }

    /// Until they shall be on the node, or another agent is on duty.
    async fn stay_off(&mut self, duty: &mut Duty) {
        let mut sweep = interval(ARRIVES_WITHIN);
        // Some may have been put on before another could not be.
        let mut is_off = false;
        loop {
            tokio::select! {
                () = duty.ends() => return,
                changed = self.wanted.changed() => return changed_or_never(changed).await,
                _ = sweep.tick(), if !is_off => {
                    match self.detach().await {
                        Ok(()) => is_off = true,
                        Err(error) => error!(error = %Chain(&error), "the programs cannot be taken off; trying again"),
                    }
                    self.tell_standing().await;
                }
            }
        }
    }

    /// Puts them on the node again.
    async fn put_on(&mut self) {
        let again = match self.cgroup.reopen() {
            Ok(now) => {
                self.cgroup = now;
                self.attach().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = again {
            error!(error = %Chain(&error), "the programs cannot be attached; trying again");
            self.tell_standing().await;
        }
    }

    /// Until they shall be off the node, or another agent is on duty.
    async fn stay_on(&mut self, duty: &mut Duty) {
        let mut tick = interval(VERIFY_EVERY);
        let mut sweep = interval(ARRIVES_WITHIN);
        let mut again = interval(ARRIVES_WITHIN);
        let mut look = interval(LOOK_EVERY);
        let mut is_unpinned = false;
        for timer in [&mut tick, &mut sweep, &mut again, &mut look] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut seen, mut swept) = (CgroupPresence::Same, Instant::now());
        loop {
            let is_on = *self.presence.borrow() == Presence::On;
            tokio::select! {
                () = duty.ends() => return,
                changed = self.wanted.changed() => return changed_or_never(changed).await,
                () = self.interfaces.changed(), if is_on => self.follow().await,
                _ = tick.tick(), if is_on => {
                    self.drops.tell(&self.interfaces).await;
                    self.follow().await;
                    self.mend();
                }
                _ = again.tick(), if !is_on => self.put_on().await,
                _ = sweep.tick(), if is_on => {
                    // After a pause of the whole process, what has arrived waits to be accepted.
                    if swept.elapsed() < 2 * ARRIVES_WITHIN {
                        self.tell_of_lost();
                    }
                    swept = Instant::now();
                    if !self.programs.forward.stands(&self.interfaces).await {
                        self.follow().await;
                    }
                    seen = self.look(seen);
                    self.tell_standing().await;
                }
                _ = look.tick(), if is_on => {
                    is_unpinned = self.hold(is_unpinned);
                    seen = self.look(seen);
                }
                Ok(()) = self.refuse.changed() => self.refuse(),
            }
        }
    }

    /// Puts this agent's programs in force, whoever's were before, and has them leave no pod alone but
    /// this agent's own.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn take_over(&mut self) -> Result<(), KernelError> {
        self.attach().await?;
        self.programs.leave_no_other_alone(&self.cgroup)
    }

    /// After another agent was on duty: nothing of what it did is known.
    async fn resume(&mut self) {
        self.presence.send_replace(Presence::Pending);
        while self.duty.is_on() && *self.wanted.borrow() {
            let resumed = async {
                self.cgroup = self.cgroup.reopen()?;
                self.programs.leave_own_pod_alone(&self.cgroup)?;
                self.take_over().await
            };
            let Err(error) = resumed.await else { return };
            error!(error = %Chain(&error), "the programs cannot be put back; trying again");
            sleep(LOOK_EVERY).await;
        }
    }

    fn refuse(&mut self) {
        let refuse = *self.refuse.borrow_and_update();
        if let Err(error) = self.programs.refuse(refuse) {
            error!(error = %Chain(&error), refuse, "the programs cannot be told");
        }
    }

    async fn follow(&mut self) {
        if let Err(error) = self.programs.forward.follow(&self.interfaces, false).await {
            error!(error = %Chain(&error), "the forward guard is not on every interface; trying again");
        }
    }

    /// Whether pins are missing now, if they were before.
    fn hold(&mut self, before: bool) -> bool {
        match self.programs.forward.hold() {
            Ok(false) => false,
            Ok(true) => {
                warn!(
                    "the BPF file system had been unmounted; the programs stayed and are pinned again"
                );
                false
            }
            Err(error) => {
                if !before {
                    error!(error = %Chain(&error), "the programs would not outlive this agent; trying again");
                }
                true
            }
        }
    }

    fn look(&mut self, before: CgroupPresence) -> CgroupPresence {
        let now = self.cgroup.presence();
        match now {
            CgroupPresence::Other => self.mend(),
            CgroupPresence::Gone if now != before => {
                warn!(cgroup = %self.cgroup.path().display(), "the pods' cgroup is gone; waiting for it");
            }
            CgroupPresence::Gone | CgroupPresence::Same => {}
        }
        now
    }

    fn mend(&mut self) {
        if let Err(error) = self.reattach() {
            error!(error = %Chain(&error), "the programs are not on the pods' cgroup; trying again");
        }
    }

    /// The links of a cgroup that was removed hold nothing: kubelet makes the cgroup anew, with
    /// another id.
    fn reattach(&mut self) -> Result<(), KernelError> {
        let now = self.cgroup.reopen()?;
        if now.id() == self.cgroup.id() && self.programs.are_on(&now) {
            return Ok(());
        }
        warn!(cgroup = %now.path().display(), "the programs had come off the pods' cgroup");
        self.programs.attach_to_pods(&now)?;
        self.cgroup = now;
        Ok(())
    }

    fn tell_of_lost(&self) {
        for lost in self.records.take_lost(ARRIVES_WITHIN) {
            self.lost.inc_by(lost.connections);
            // Where nobody can keep up, what is still lost is told of by the next sweep.
            let _ = self.lost_of.try_send(lost);
        }
    }
}

/// Whoever wants anything ends with the process.
async fn changed_or_never(changed: Result<(), channel::error::RecvError>) {
    if changed.is_err() {
        std::future::pending::<()>().await;
    }
}
