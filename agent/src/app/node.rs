//! The kernel's part, put together: programs loaded, not yet attached.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch as channel};
use tracing::warn;

use crate::callers::Identity;
use crate::callers::attest::{Attestor, Kernel};
use crate::callers::host_network::HostNetworkPods;
use crate::kernel::interfaces::Watch;
use crate::kernel::log::Log;
use crate::kernel::{
    Drops, Enforced, Hooks, Keeper, KernelError, Loaded, Modes, NetnsCookie, NoArrival,
    PinDirectory, PodCgroup, Presence, Programs, Records, RequestLines, Rules, Standing,
};
use crate::operate::duty::Duty;
use crate::operate::metrics::{Counter, Gauge, Metrics};
use crate::report::Chain;
use crate::settings::{ADMIN_PORT, CallerSettings, IdentityMode, KernelSettings, Listen};

/// Cgroups whose connections did not arrive, that wait to be told of.
const LOST_AT_ONCE: usize = 256;

/// The kernel's part of this node.
pub(super) struct Node {
    /// Attaches the programs and keeps them attached.
    pub(super) keeper: Keeper,
    /// Tells the keeper whether nobody is to be sent to the proxy's port.
    pub(super) refuse: channel::Sender<bool>,
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
    pub(super) enforced: Arc<Enforced>,
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
