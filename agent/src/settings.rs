//! Flags and environment become one value that can only be valid; all mistakes are told at once.

mod arguments;
mod callers;
mod container;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod inspect;
mod metadata;
mod modes;
mod parse;
pub mod reference;
mod roles;
mod sessions;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

pub use self::arguments::{
    AgentArguments, Arguments, AttachArguments, Command, DetachArguments, KernelArguments,
    LogArguments, SelfTestArguments,
};
pub use self::callers::{CallerArguments, CallerSettings, IdentityMode};
pub use self::container::{Container, ContainerError, Elsewhere};
pub use self::inspect::{
    AgentsArguments, CheckArguments, ExplainArguments, InspectArguments, Output, OutputArguments,
    PodName, ReportArguments, SocketArguments, StatusArguments,
};
pub use self::metadata::{MetadataArguments, MetadataSettings};
pub use self::modes::{ModeArguments, ModeSettings};
pub use self::roles::RoleArguments;
pub use self::sessions::SessionArguments;

use crate::callers::host_network::{HostNetwork, HostNetworkPods};
use crate::credentials::SessionPlan;
use crate::credentials::prefetch::Policy;
use crate::kernel::interfaces::Chosen;
use crate::kernel::{ForwardHook, Hook};
use crate::operate::telemetry::Format;
use crate::roles::Rules;

/// The port that connections are redirected to unless `--listen` names another.
pub const PROXY_PORT: u16 = 16925;
/// The port of the admin endpoint unless `--admin-listen` names another.
pub const ADMIN_PORT: u16 = 16926;

/// What the agent is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose pods to watch.
    pub node_name: String,
    /// What is done with pods at all.
    pub modes: ModeSettings,
    /// How the kernel's part is done.
    pub kernel: KernelSettings,
    /// What must survive a restart.
    pub state_dir: PathBuf,
    /// Where the agent answers the other commands.
    pub socket: PathBuf,
    /// How pods are told apart.
    pub callers: CallerSettings,
    /// Which role a pod has.
    pub rules: Rules,
    /// How its session is asked for.
    pub plan: SessionPlan,
    /// Where kubelet keeps pods' volumes.
    pub kubelet_dir: PathBuf,
    /// Whose session is fetched before it is asked for.
    pub prefetch: Policy,
    /// What pods may read beside their role.
    pub metadata: MetadataSettings,
    /// The taint that is removed from the Node once the agent is ready, if the Node is written to at all.
    pub startup_taint: Option<String>,
    /// Whether requests are counted by the namespace of the pods that ask.
    pub metrics_by_namespace: bool,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// What `podrole attach` is to do.
#[derive(Clone, Debug)]
pub struct AttachSettings {
    /// How the kernel's part is done.
    pub kernel: KernelSettings,
    /// Whether to stay until the pods' cgroup is there.
    pub wait: bool,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl AttachSettings {
    /// Checks all flags.
    ///
    /// # Errors
    /// Every mistake, with its flag and what would be right.
    pub fn from_arguments(arguments: AttachArguments) -> Result<Self, Mistakes> {
        let mut check = Checker::default();
        let settings = Self {
            kernel: KernelSettings::check(arguments.kernel, &mut check),
            wait: arguments.wait,
            log: LogSettings::check(arguments.log, &mut check),
        };
        check.done(settings)
    }
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How lines look.
    pub format: Format,
    level: String,
}

impl LogSettings {
    fn check(arguments: LogArguments, check: &mut Checker) -> Self {
        let LogArguments { log_format, log_level } = arguments;
        Self {
            format: check
                .flag("--log-format", parse::log_format(log_format.as_deref()))
                .unwrap_or(Format::Text),
            level: check.require("--log-level", parse::log_level(log_level)),
        }
    }

    /// Which lines.
    ///
    /// # Errors
    /// None that was not found when the flags were checked.
    pub fn filter(&self) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
        EnvFilter::builder().parse(&self.level)
    }
}

/// How the kernel's part is done.
#[derive(Clone, Debug)]
pub struct KernelSettings {
    /// The cgroup of all pods, if named.
    pub pod_cgroup: Option<PathBuf>,
    /// Where the BPF file system is.
    pub bpf_fs: PathBuf,
    /// The interfaces of the forward guard.
    pub interfaces: Chosen,
    /// Where to listen for pods, if named.
    pub listen: Option<Listen>,
    /// Where to listen for probes, if named.
    pub admin_listen: Option<SocketAddr>,
    /// What is redirected and guarded.
    pub metadata: MetadataAddresses,
    /// Whether container credentials are answered too.
    pub container_credentials: bool,
    /// What pods in the node's network namespace get.
    pub host_network_pods: HostNetworkPods,
    /// Hooks that this kernel may lack.
    pub may_lack: Vec<Hook>,
    /// The hook of the forward guard, if named.
    pub forward_hook: Option<ForwardHook>,
}

impl KernelSettings {
    /// Checks the flags of the kernel's part alone.
    ///
    /// # Errors
    /// Every mistake, with its flag and what would be right.
    pub fn from_arguments(arguments: KernelArguments) -> Result<Self, Mistakes> {
        let mut check = Checker::default();
        let settings = Self::check(arguments, &mut check);
        check.done(settings)
    }

    fn check(arguments: KernelArguments, check: &mut Checker) -> Self {
        let KernelArguments {
            pod_cgroup,
            bpf_fs,
            guard_interface,
            guard_exempt_interface,
            listen,
            admin_listen,
            metadata_address,
            container_credentials,
            host_network_pods,
            allow_missing_guards,
            forward_hook,
        } = arguments;
        Self {
            host_network_pods: check
                .require("--host-network-pods", parse::host_network_pods(&host_network_pods)),
            pod_cgroup,
            bpf_fs: check.require("--bpf-fs", parse::absolute(bpf_fs)),
            interfaces: Chosen { guarded: guard_interface, exempt: guard_exempt_interface },
            listen: check.flag("--listen", parse::listen(&listen)).flatten(),
            admin_listen: check
                .flag("--admin-listen", parse::admin_listen(admin_listen.as_deref()))
                .flatten(),
            metadata: check.require("--metadata-address", parse::metadata(&metadata_address)),
            container_credentials: check
                .require("--container-credentials", parse::switch(&container_credentials)),
            may_lack: check
                .require("--allow-missing-guards", parse::may_lack(&allow_missing_guards)),
            forward_hook: check
                .flag("--forward-hook", parse::forward_hook(forward_hook.as_deref()))
                .flatten(),
        }
    }
}

/// One address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The node's IPv4 address and the port.
    pub v4: SocketAddrV4,
    /// The node's IPv6 address and the port, if it has one.
    pub v6: Option<SocketAddrV6>,
}

impl Listen {
    /// Both.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [Some(self.v4.into()), self.v6.map(SocketAddr::from)].into_iter().flatten()
    }
}

/// The metadata service's addresses; a family without one is not redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataAddresses {
    /// `169.254.169.254` on EC2.
    pub v4: Option<Ipv4Addr>,
    /// `fd00:ec2::254` on EC2.
    pub v6: Option<Ipv6Addr>,
}

impl MetadataAddresses {
    /// Both.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

/// Everything that is wrong with the flags.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

/// One flag's mistake.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    flag: &'static str,
    what: String,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(|Mistake { flag, what }| format!("{flag}: {what}"));
        f.write_str(&lines.collect::<Vec<_>>().join("\npodrole: "))
    }
}

impl Settings {
    /// Checks all flags.
    ///
    /// # Errors
    /// Every mistake, with its flag and what would be right.
    pub fn from_arguments(arguments: AgentArguments) -> Result<Self, Mistakes> {
        let mut check = Checker::default();
        let rules = roles::check(arguments.roles, &mut check);
        let sessions = sessions::check(arguments.sessions, &mut check);
        let settings = Self {
            node_name: check.require(
                "--node-name",
                parse::node_name(arguments.node_name.or(arguments.node_name_of_pod)),
            ),
            modes: modes::check(arguments.modes, &mut check),
            kernel: KernelSettings::check(arguments.kernel, &mut check),
            state_dir: check.require("--state-dir", parse::absolute(arguments.state_dir)),
            socket: check.require("--socket", parse::absolute(arguments.socket.socket)),
            callers: callers::check(arguments.callers, &mut check),
            rules: Rules { requests_tokens: sessions.plan.token_requests, ..rules },
            prefetch: sessions.prefetch,
            plan: sessions.plan,
            kubelet_dir: sessions.kubelet_dir,
            metadata: metadata::check(arguments.metadata, &mut check),
            startup_taint: check.require("--startup-taint", parse::taint(arguments.startup_taint)),
            metrics_by_namespace: check.require(
                "--metrics-namespace-label",
                parse::switch(&arguments.metrics_namespace_label),
            ),
            log: LogSettings::check(arguments.log, &mut check),
        };
        check.done(settings)
    }
}

impl Settings {
    /// How pods in the node's network namespace are told apart.
    #[must_use]
    pub fn host_network(&self) -> HostNetwork {
        let exempt = self.callers.host_network_exempt.clone();
        HostNetwork { pods: self.kernel.host_network_pods, exempt }
    }
}

/// Gathers mistakes, so that a newcomer does not meet them one by one.
#[derive(Default)]
struct Checker(Vec<Mistake>);

impl Checker {
    fn flag<T>(&mut self, flag: &'static str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|what| self.0.push(Mistake { flag, what })).ok()
    }

    /// A value for the flag; a default stands in where there is a mistake, and is never seen.
    fn require<T: Default>(&mut self, flag: &'static str, parsed: Result<T, String>) -> T {
        self.flag(flag, parsed).unwrap_or_default()
    }

    fn done<T>(self, settings: T) -> Result<T, Mistakes> {
        if self.0.is_empty() { Ok(settings) } else { Err(Mistakes(self.0)) }
    }
}

#[cfg(test)]
mod tests;
