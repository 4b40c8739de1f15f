//! The kernel's part, put together: programs loaded, not yet attached.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::host_pods::HostPodsKeeper;
use crate::callers::Identity;
use crate::callers::attest::{Attestor, Kernel};
use crate::callers::host_network::{HostNetwork, HostNetworkPods};
use crate::callers::pods::Index;
use crate::kernel::interfaces::Watch;
use crate::kernel::log::Log;
use crate::kernel::self_test::way::{self, Answer};
use crate::kernel::{
    Drops, Hooks, HostPods, Keeper, KernelError, Loaded, NetnsCookie, NoArrival, PinDirectory,
    PodCgroup, PodDirectories, Programs, Records, Rules, self_test,
};
use crate::operate::metrics::{Counter, Gauge, Metrics};
use crate::operate::readiness::{Latch, Readiness};
use crate::report::Chain;
use crate::roles::Roles;
use crate::settings::{ADMIN_PORT, CallerSettings, IdentityMode, KernelSettings, Listen};

/// Between two attempts of the self-test.
const SELF_TEST_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at whether the way to the proxy should be asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Cgroups whose connections did not arrive, that wait to be told of.
const LOST_AT_ONCE: usize = 256;
/// What `/readyz` calls it.
const WAY: &str = "the way from a pod to the proxy";

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
    /// What they go by with hostNetwork pods, until somebody keeps it.
    told: Option<HostPods>,
    /// Who keeps that, if any of those are held.
    pub(super) host_pods: Option<HostPodsKeeper>,
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

/// Runs the self-test until it passes, and then no more.
pub(super) async fn pass_self_test(
    pods: PathBuf,
    rules: Rules,
    records: Arc<Records>,
    passed: Latch,
) {
    while let Err(error) = self_test::run(&pods, &rules, &records).await {
        error!(error = %Chain(&error), "not ready; trying again");
        sleep(SELF_TEST_EVERY).await;
    }
    info!("a process in the pods' cgroup is served and guarded");
    passed.done();
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
    /// What `/readyz` says.
    readiness: Readiness,
    /// Missing while the way is closed, or not known to be open yet.
    closed: Option<Latch>,
}

impl WayWatch {
    /// Not known to be open yet.
    pub(super) fn new(
        pods: &Path,
        rules: Rules,
        records: &Arc<Records>,
        lost: Counter,
        refuse: channel::Sender<bool>,
        readiness: &Readiness,
    ) -> Self {
        let closed = Some(readiness.register(WAY));
        let (pods, records) = (pods.to_owned(), Arc::clone(records));
        Self { pods, rules, records, lost, refuse, readiness: readiness.clone(), closed }
    }

    /// Asks again whenever it may have changed, for ever; `is_ours` says whether a token was given by
    /// this node's podrole.
    pub(super) async fn run(mut self, is_ours: impl Fn(&str, IpAddr) -> bool) {
        loop {
            let lost = self.lost.get();
            sleep(ASK_AGAIN_AFTER).await;
            // While it is closed no connection is made, and so none is lost.
            while self.closed.is_none() && self.lost.get() == lost {
                sleep(ASK_AGAIN_AFTER).await;
            }
            self.look(&is_ours).await;
        }
    }

    /// Asks once, and has the programs do as is found. What cannot be told changes nothing.
    pub(super) async fn look(&mut self, is_ours: impl Fn(&str, IpAddr) -> bool) {
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

    /// Has what the programs go by with hostNetwork pods kept, if any of those are held.
    pub(super) fn hold_host_pods(
        &mut self,
        index: channel::Receiver<Index>,
        roles: Roles,
        host_network: HostNetwork,
    ) -> Result<(), KernelError> {
        let Some(told) = self.told.take().filter(|_| host_network.is_held()) else { return Ok(()) };
        let directories = PodDirectories::new(&self.pods)?;
        let name = self.pods.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let keeper = HostPodsKeeper { told, directories, name, index, roles, host_network };
        self.host_pods = Some(keeper);
        Ok(())
    }

    /// Loads the programs for the agent. Programs of an earlier one leave this process alone from here
    /// on, so that it can bind its ports.
    pub(super) fn prepare(settings: &KernelSettings, listen: Listen) -> Result<Self, KernelError> {
        let cgroup = PodCgroup::open(settings.pod_cgroup.as_deref())?;
        let mut node = Self::load(settings, listen, cgroup)?;
        node.keeper.programs.leave_own_pod_alone(&node.keeper.cgroup)?;
        Ok(node)
    }

    /// Loads the programs; nothing changes for any pod.
    pub(super) fn load(
        settings: &KernelSettings,
        listen: Listen,
        cgroup: PodCgroup,
    ) -> Result<Self, KernelError> {
        let hooks = hooks(settings);
        let pins = PinDirectory::create(&settings.bpf_fs)?;
        let (interfaces, netlink) = Watch::new(settings.interfaces.clone())?;
        let rules = rules(settings, listen)?;
        let loaded = Programs::load(&rules, hooks, &cgroup, pins)?;
        let Loaded { programs, records, counters, host_pods, log } = loaded;
        let records = Arc::new(records);
        let pods = cgroup.path().to_owned();
        let (refuse, refused) = channel::channel(false);
        let (lost_of, no_arrival) = mpsc::channel(LOST_AT_ONCE);
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
        };
        let netlink = Box::pin(netlink);
        let (told, host_pods) = (Some(host_pods), None);
        Ok(Self { keeper, refuse, no_arrival, netlink, told, host_pods, log, records, rules, pods })
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
