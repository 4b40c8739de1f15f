//! The command line as it is written. Values are taken as text, so that all mistakes can be told at
//! once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::callers::CallerArguments;
use super::inspect::{
    CheckArguments, ExplainArguments, InspectArguments, ReportArguments, SocketArguments,
    StatusArguments,
};
use super::metadata::MetadataArguments;
use super::modes::ModeArguments;
use super::roles::RoleArguments;
use super::sessions::SessionArguments;

/// Every pod its own IAM role, with no change to the pod.
#[derive(Debug, Parser)]
#[command(name = "podrole", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What podrole can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node agent
    Agent(Box<AgentArguments>),
    /// Attach podrole's programs without an agent: pods are refused until one runs
    Attach(Box<AttachArguments>),
    /// Remove podrole's programs from this node: pods reach the real metadata service again
    Detach(DetachArguments),
    /// Say whether the agent of this node serves, or what is missing
    Ready(InspectArguments),
    /// Say which role a pod has and why, or what refuses it and the mend
    Explain(ExplainArguments),
    /// Say what enforce changes for each workload of the cluster, and what is to be done first
    Report(ReportArguments),
    /// Show this node: programs, pods, their roles and sessions, what was counted
    Status(StatusArguments),
    /// Say whether this node can run the agent, a line for each thing that it needs, with the mend
    Check(Box<CheckArguments>),
    /// Be the process that the agent's self-test runs in the pods' cgroup
    #[command(hide = true)]
    SelfTest(SelfTestArguments),
}

/// The flags of `podrole agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArguments {
    /// The node whose pods to serve (else what `NODE_NAME` says)
    #[arg(long, env = "PODROLE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// `NODE_NAME`, as manifests set it from the pod's `spec.nodeName`.
    #[arg(long = "node-name-of-pod", env = "NODE_NAME", hide = true)]
    pub node_name_of_pod: Option<String>,

    /// What is done with pods at all.
    #[command(flatten)]
    pub modes: ModeArguments,

    /// How the kernel's part is done.
    #[command(flatten)]
    pub kernel: KernelArguments,

    /// For what must survive a restart: the key of IMDSv2 tokens, who this node's pods are and what their
    /// roles depend on
    #[arg(
        long,
        env = "PODROLE_STATE_DIR",
        default_value = "/var/lib/podrole",
        value_name = "DIRECTORY"
    )]
    pub state_dir: PathBuf,

    /// Where it answers the other commands.
    #[command(flatten)]
    pub socket: SocketArguments,

    /// The taint that is removed from the Node once the agent is ready, if it is there; the Node's condition
    /// `podrole.dev/Ready` is set with it. Empty: the Node is left alone
    #[arg(
        long,
        env = "PODROLE_STARTUP_TAINT",
        default_value = "podrole.dev/not-ready",
        value_name = "KEY"
    )]
    pub startup_taint: String,

    /// How pods are told apart.
    #[command(flatten)]
    pub callers: CallerArguments,

    /// How roles are decided.
    #[command(flatten)]
    pub roles: RoleArguments,

    /// How sessions are asked for.
    #[command(flatten)]
    pub sessions: SessionArguments,

    /// What pods may read beside their role.
    #[command(flatten)]
    pub metadata: MetadataArguments,

    /// Whether `/metrics` tells the namespace of the pods that ask: `on` or `off`
    #[arg(
        long,
        env = "PODROLE_METRICS_NAMESPACE_LABEL",
        default_value = "on",
        value_name = "SWITCH"
    )]
    pub metrics_namespace_label: String,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArguments,
}

/// The flags of `podrole attach`.
#[derive(Clone, Debug, Args)]
pub struct AttachArguments {
    /// Stay until kubelet has made the pods' cgroup, and attach to it then
    #[arg(long, env = "PODROLE_WAIT")]
    pub wait: bool,

    /// How the kernel's part is done.
    #[command(flatten)]
    pub kernel: KernelArguments,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArguments,
}

/// The flags that say what is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct LogArguments {
    /// `text` or `json` (default: text on a terminal, else json)
    #[arg(long, env = "PODROLE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// What to log: a level, or a filter such as `info,podrole=debug`
    #[arg(long, env = "PODROLE_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

/// The flags that say how the kernel's part is done.
#[derive(Clone, Debug, Args)]
pub struct KernelArguments {
    /// The cgroup that all pods live in (default: found below the cgroup2 mount)
    #[arg(long, env = "PODROLE_POD_CGROUP", value_name = "DIRECTORY")]
    pub pod_cgroup: Option<PathBuf>,

    /// The BPF file system to pin in; mounted if it is not there
    #[arg(long, env = "PODROLE_BPF_FS", default_value = "/sys/fs/bpf", value_name = "DIRECTORY")]
    pub bpf_fs: PathBuf,

    /// An interface to put the forward guard on (default: every one that is no pod's)
    #[arg(long, env = "PODROLE_GUARD_INTERFACE", value_delimiter = ',', value_name = "INTERFACE")]
    pub guard_interface: Vec<String>,

    /// An interface whose packets pass the forward guard, such as docker0: what is behind it has the
    /// node's role
    #[arg(
        long,
        env = "PODROLE_GUARD_EXEMPT_INTERFACE",
        value_delimiter = ',',
        value_name = "INTERFACE"
    )]
    pub guard_exempt_interface: Vec<String>,

    /// Where pods' connections are redirected to: an address of this node, with a port unless it is
    /// 16925; once for IPv4 and once for IPv6 (default: the node's primary addresses)
    #[arg(long, env = "PODROLE_LISTEN", value_delimiter = ',', value_name = "ADDRESS[:PORT]")]
    pub listen: Vec<String>,

    /// Where /healthz, /readyz and /metrics are (default: `[::]:16926`, or `0.0.0.0:16926` without IPv6)
    #[arg(long, env = "PODROLE_ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,

    /// The metadata service's addresses, whose port 80 is redirected
    #[arg(
        long,
        env = "PODROLE_METADATA_ADDRESS",
        value_delimiter = ',',
        default_value = "169.254.169.254,fd00:ec2::254",
        value_name = "ADDRESS"
    )]
    pub metadata_address: Vec<String>,

    /// Whether the addresses of container credentials (169.254.170.2, 169.254.170.23, `fd00:ec2::23`) are
    /// answered too: `off` or `on`. Not where EKS's own Pod Identity agent runs
    #[arg(
        long,
        env = "PODROLE_CONTAINER_CREDENTIALS",
        default_value = "off",
        value_name = "SWITCH"
    )]
    pub container_credentials: String,

    /// What hostNetwork pods get: `node`, the real service; `mapped`, the role that a RoleAssociation or
    /// the pod's own annotation gives, else the real service; `deny`, that role or none
    #[arg(long, env = "PODROLE_HOST_NETWORK_PODS", default_value = "node", value_name = "MODE")]
    pub host_network_pods: String,

    /// A hook that this kernel may lack: `forward`. What it guards is unguarded then
    #[arg(long, env = "PODROLE_ALLOW_MISSING_GUARDS", value_delimiter = ',', value_name = "NAME")]
    pub allow_missing_guards: Vec<String>,

    /// Where the forward guard is put: `tcx` or `clsact` (default: by the kernel's version).
    #[arg(long, env = "PODROLE_FORWARD_HOOK", value_name = "HOOK", hide = true)]
    pub forward_hook: Option<String>,
}

/// The flags of `podrole detach`.
#[derive(Clone, Debug, Args)]
pub struct DetachArguments {
    /// The BPF file system that the agent pins in
    #[arg(long, env = "PODROLE_BPF_FS", default_value = "/sys/fs/bpf", value_name = "DIRECTORY")]
    pub bpf_fs: PathBuf,
}

/// What the agent tells the process of its self-test.
#[derive(Clone, Debug, Args)]
pub struct SelfTestArguments {
    /// The cgroup to move to.
    #[arg(long)]
    pub cgroup: PathBuf,
    /// The metadata service's addresses.
    #[arg(long)]
    pub metadata: Vec<IpAddr>,
    /// Where the proxy listens.
    #[arg(long)]
    pub proxy: Vec<SocketAddr>,
    /// Whether to go the way to the proxy, and not to stay by itself.
    #[arg(long)]
    pub way: bool,
    /// Whether to stay in the node's network namespace.
    #[arg(long)]
    pub in_node: bool,
    /// The network namespace of a pod whose way to go.
    #[arg(long)]
    pub network: Option<PathBuf>,
}
