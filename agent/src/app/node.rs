//! The kernel's part, put together: programs loaded, not yet attached.

use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::callers::Identity;
use crate::callers::attest::{Attestor, Kernel};
use crate::callers::host_network::HostNetworkPods;
use crate::kernel::interfaces::Watch;
use crate::kernel::log::Log;
use crate::kernel::self_test::way::{self, Answer};
use crate::kernel::{
    Drops, Enforced, Hooks, Keeper, KernelError, Loaded, Modes, NetnsCookie, NoArrival,
    PinDirectory, PodCgroup, Presence, Programs, Records, RequestLines, Rules, Standing, self_test,
};
use crate::operate::duty::Duty;
use crate::operate::metrics::{Counter, Gauge, Metrics};
use crate::operate::readiness::{Latch, Readiness};
use crate::report::Chain;
use crate::settings::{ADMIN_PORT, CallerSettings, IdentityMode, KernelSettings, Listen};

/// Between two attempts of the self-test.
const SELF_TEST_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at whether the way to the proxy should be asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Cgroups whose connections did not arrive, that wait to be told of.
const LOST_AT_ONCE: usize = 256;
/// What `/readyz` calls them.
const PROGRAMS: &str = "the eBPF programs";
const SELF_TEST: &str = "the self-test";
const WAY: &str = "the way from a pod to the proxy";

/// The kernel's part of this node.
pub(super) struct Node {
    /// Attaches the programs and keeps them attached.
    pub(super) keeper: Keeper,
    /// Tells the keeper whether nobody is to be sent to the proxy's port.
    refuse: channel::Sender<bool>,
    /// Hears whose connections did not arrive at the proxy.
    pub(super) no_arrival: NoArrival,
    /// The connection by which the keeper hears of interfaces; to be run.
    pub(super) netlink: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What they do with pods.
    pub(super) modes: Modes,
    /// Tells the keeper whether the programs shall be on the node.
    pub(super) wanted: channel::Sender<bool>,
    /// Whether they are.
    pub(super) presence: channel::Receiver<Presence>,
    /// Who is enforced in any case.
    enforced: Arc<Enforced>,
    /// What pods in audit ask for.
    pub(super) request_lines: RequestLines,
    /// The programs' log lines.
    pub(super) log: Log,
    /// Who is on the way to the proxy.
    pub(super) records: Arc<Records>,
    /// What the programs decide by.
    pub(super) rules: Rules,
    /// Where the cgroup of all pods is.
    pub(super) pods: PathBuf,
}

/// Hands the programs' log lines on, for ever.
pub(super) async fn hand_on(log: Log) {
    if let Err(error) = log.run().await {
        warn!(error = %Chain(&error), "the programs' log cannot be read");
    }
}

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
    /// `is_ours` says whether a token was given by this node's podrole.
    pub(super) async fn run(mut self, is_ours: &(dyn Fn(&str, IpAddr) -> bool + Sync)) {
        loop {
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
                    if !self.test(is_ours).await {
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
    async fn test(&self, is_ours: &(dyn Fn(&str, IpAddr) -> bool + Sync)) -> bool {
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

    /// Asks again whenever it may have changed, for ever; `is_ours` says whether a token was given by
    /// this node's podrole.
    pub(super) async fn run(mut self, is_ours: impl Fn(&str, IpAddr) -> bool) {
        loop {
            let lost = self.lost.get();
            let was = *self.presence.borrow_and_update();
            tokio::select! {
                () = sleep(ASK_AGAIN_AFTER) => {}
                _ = self.presence.changed() => {}
            }
            // While it is closed no connection is made, and so none is lost.
            while self.closed.is_none() && self.lost.get() == lost && *self.presence.borrow() == was
            {
                tokio::select! {
                    () = sleep(ASK_AGAIN_AFTER) => {}
                    _ = self.presence.changed() => {}
                }
            }
            self.duty.begins().await;
            self.look(&is_ours).await;
        }
    }

    /// Asks once, and has the programs do as is found. What cannot be told changes nothing.
    pub(super) async fn look(&mut self, is_ours: impl Fn(&str, IpAddr) -> bool) {
        if *self.presence.borrow() != Presence::On {
            if let Some(closed) = self.closed.take() {
                closed.done();
            }
            return;
        }
        let taken = match way::ask(&self.pods, &self.rules, &self.records).await {
            Ok(Answer::Token(token)) => Some(!is_ours(&token, way::ADDRESS.into())),
            // A node's firewall may be shut to an interface that no CNI made.
            Ok(Answer::None(said)) => {
                warn!(said, "the way from a pod to the proxy cannot be tested");
                None
            }
            Err(error) => {
                warn!(error = %Chain(&error), "the way from a pod to the proxy cannot be tested");
                None
            }
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
}

impl Node {
    /// By what connections are told apart.
    pub(super) fn identity(
        &self,
        settings: &CallerSettings,
        listen: Listen,
        metrics: &Metrics,
    ) -> Result<Identity, KernelError> {
        let by_source = settings.identity == IdentityMode::SourceIp;
        metrics.source_ip_identity.set(by_source.into());
        let records = Arc::clone(&self.records);
        Ok(match settings.identity {
            IdentityMode::Kernel => {
                let kernel = Kernel { records, paths: self.keeper.cgroup.paths()? };
                Identity::Kernel(Attestor::new(Arc::new(kernel)))
            }
            IdentityMode::SourceIp => Identity::SourceIp {
                records,
                node: listen.addresses().map(|address| address.ip()).collect(),
            },
        })
    }

    /// Loads the programs for the agent. Programs of an earlier one leave this process alone from here
    /// on, so that it can bind its ports.
    pub(super) fn prepare(
        settings: &KernelSettings,
        listen: Listen,
        duty: &Duty,
    ) -> Result<Self, KernelError> {
        let cgroup = PodCgroup::open(settings.pod_cgroup.as_deref())?;
        let mut node = Self::load(settings, listen, cgroup, duty)?;
        node.keeper.programs.leave_own_pod_alone(&node.keeper.cgroup)?;
        Ok(node)
    }

    /// The connection by which the keeper hears of interfaces.
    pub(super) fn take_netlink(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        std::mem::replace(&mut self.netlink, Box::pin(std::future::pending()))
    }

    /// Where other versions of the programs are pinned, which an agent of theirs may still need.
    pub(super) fn other_versions(&self) -> Vec<PathBuf> {
        self.keeper.programs.forward.other_versions()
    }

    /// Loads the programs; nothing changes for any pod.
    pub(super) fn load(
        settings: &KernelSettings,
        listen: Listen,
        cgroup: PodCgroup,
        duty: &Duty,
    ) -> Result<Self, KernelError> {
        let hooks = hooks(settings);
        let pins = PinDirectory::create(&settings.bpf_fs)?;
        let (interfaces, netlink) = Watch::new(settings.interfaces.clone())?;
        let rules = rules(settings, listen)?;
        let loaded = Programs::load(&rules, hooks, &cgroup, pins)?;
        let Loaded { programs, records, counters, modes, enforced, request_lines, log } = loaded;
        let records = Arc::new(records);
        let pods = cgroup.path().to_owned();
        let (refuse, refused) = channel::channel(false);
        let (lost_of, no_arrival) = mpsc::channel(LOST_AT_ONCE);
        let (wanted, shall) = channel::channel(true);
        let (here, presence) = channel::channel(Presence::Pending);
        let hook = programs.forward.place().map(|(hook, _)| hook.name());
        let keeper = Keeper {
            programs,
            cgroup,
            interfaces,
            records: Arc::clone(&records),
            drops: Arc::new(Drops::new(counters)),
            lost: Counter::default(),
            lost_of,
            missing: Gauge::default(),
            refuse: refused,
            wanted: shall,
            presence: here,
            duty: duty.clone(),
            standing: channel::Sender::new(Standing::nowhere(hook)),
        };
        Ok(Self {
            keeper,
            refuse,
            no_arrival,
            netlink: Box::pin(netlink),
            modes,
            wanted,
            presence,
            enforced: Arc::new(enforced),
            request_lines,
            log,
            records,
            rules,
            pods,
        })
    }
}

/// What the programs decide by.
pub(super) fn rules(settings: &KernelSettings, listen: Listen) -> Result<Rules, KernelError> {
    Ok(Rules {
        metadata_v4: settings.metadata.v4,
        metadata_v6: settings.metadata.v6,
        container_credentials: settings.container_credentials,
        proxy_v4: listen.v4,
        proxy_v6: listen.v6,
        admin_port: settings.admin_listen.map_or(ADMIN_PORT, |address| address.port()),
        node: NetnsCookie::own()?,
        holds_host_network: settings.host_network_pods != HostNetworkPods::Node,
    })
}

/// The hooks of this kernel.
pub(super) fn hooks(settings: &KernelSettings) -> Hooks {
    Hooks::of_running(settings.forward_hook, &settings.may_lack)
}
