//! The command line as it is written. Values are taken as text, so that all mistakes can be told at
//! once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Remove podrole's programs from this node: pods reach the real metadata service again
    Detach(DetachArguments),
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

    /// The cgroup that all pods live in (default: found below the cgroup2 mount)
    #[arg(long, env = "PODROLE_POD_CGROUP", value_name = "DIRECTORY")]
    pub pod_cgroup: Option<PathBuf>,

    /// The BPF file system to pin in; mounted if it is not there
    #[arg(long, env = "PODROLE_BPF_FS", default_value = "/sys/fs/bpf", value_name = "DIRECTORY")]
    pub bpf_fs: PathBuf,

    /// For what must survive a restart: the key of IMDSv2 tokens
    #[arg(
        long,
        env = "PODROLE_STATE_DIR",
        default_value = "/var/lib/podrole",
        value_name = "DIRECTORY"
    )]
    pub state_dir: PathBuf,

    /// Where pods' connections are redirected to: an address of this node, with a port unless it is
    /// 16925; once for IPv4 and once for IPv6 (default: the node's primary addresses)
    #[arg(long, env = "PODROLE_LISTEN", value_delimiter = ',', value_name = "ADDRESS[:PORT]")]
    pub listen: Vec<String>,

    /// Where /healthz and /readyz are (default: `[::]:16926`, or `0.0.0.0:16926` without
    /// IPv6)
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

    /// What hostNetwork pods get: `node`, the real service
    #[arg(long, env = "PODROLE_HOST_NETWORK_PODS", default_value = "node", value_name = "MODE")]
    pub host_network_pods: String,

    /// The cluster's name, for the session tag eks-cluster-name
    #[arg(long, env = "PODROLE_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// The cluster's ARN, for the session tag eks-cluster-arn
    #[arg(long, env = "PODROLE_CLUSTER_ARN", value_name = "ARN")]
    pub cluster_arn: Option<String>,

    /// What bare role names are completed with, as in `arn:aws:iam::ACCOUNT:role/`
    #[arg(long, env = "PODROLE_BASE_ROLE_ARN", value_name = "ARN")]
    pub base_role_arn: Option<String>,

    /// Session tags to send: `pod`, `workload` (without the pod's name and UID) or `none`
    #[arg(long, env = "PODROLE_SESSION_TAGS", default_value = "pod", value_name = "WHICH")]
    pub session_tags: String,

    /// How long sessions last, from 15m to 12h; more than 1h only if the agent's own identity is no
    /// role
    #[arg(long, env = "PODROLE_SESSION_DURATION", default_value = "1h", value_name = "DURATION")]
    pub session_duration: String,

    /// The prefix of the annotations of kube2iam and kiam
    #[arg(
        long,
        env = "PODROLE_ANNOTATION_PREFIX",
        default_value = "iam.amazonaws.com",
        value_name = "PREFIX"
    )]
    pub annotation_prefix: String,

    /// `text` or `json` (default: text on a terminal, else json)
    #[arg(long, env = "PODROLE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// What to log: a level, or a filter such as `info,podrole=debug`
    #[arg(long, env = "PODROLE_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

/// The flags of `podrole detach`.
#[derive(Clone, Debug, Args)]
pub struct DetachArguments {
    /// The BPF file system that the agent pins in
    #[arg(long, env = "PODROLE_BPF_FS", default_value = "/sys/fs/bpf", value_name = "DIRECTORY")]
    pub bpf_fs: PathBuf,
}
