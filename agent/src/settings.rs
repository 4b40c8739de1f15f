//! Flags and environment become one value that can only be valid; all mistakes are told at once.

mod arguments;
mod parse;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

pub use self::arguments::{AgentArguments, Arguments, Command, DetachArguments};

use crate::credentials::SessionPlan;
use crate::credentials::session::SessionTags;
use crate::operate::telemetry::Format;
use crate::roles::Rules;
use crate::roles::annotations::Keys;

/// The port that connections are redirected to unless `--listen` names another.
pub const PROXY_PORT: u16 = 16925;
/// The port of the admin endpoint unless `--admin-listen` names another.
pub const ADMIN_PORT: u16 = 16926;

/// What the agent is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose pods to watch.
    pub node_name: String,
    /// The cgroup of all pods, if named.
    pub pod_cgroup: Option<PathBuf>,
    /// Where the BPF file system is.
    pub bpf_fs: PathBuf,
    /// What must survive a restart.
    pub state_dir: PathBuf,
    /// Where to listen for pods, if named.
    pub listen: Option<Listen>,
    /// Where to listen for probes, if named.
    pub admin_listen: Option<SocketAddr>,
    /// What is redirected.
    pub metadata: MetadataAddresses,
    /// Which role a pod has.
    pub rules: Rules,
    /// How its session is asked for.
    pub plan: SessionPlan,
    /// How log lines look.
    pub log_format: Format,
    log_level: String,
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
        let tags = check.flag("--session-tags", parse::session_tags(&arguments.session_tags));
        let tagged = !matches!(tags, Some(SessionTags::None));
        let settings = Self {
            node_name: check.require(
                "--node-name",
                parse::node_name(arguments.node_name.or(arguments.node_name_of_pod)),
            ),
            pod_cgroup: arguments.pod_cgroup,
            bpf_fs: check.require("--bpf-fs", parse::absolute(arguments.bpf_fs)),
            state_dir: check.require("--state-dir", parse::absolute(arguments.state_dir)),
            listen: check.flag("--listen", parse::listen(&arguments.listen)).flatten(),
            admin_listen: check
                .flag("--admin-listen", parse::admin_listen(arguments.admin_listen.as_deref()))
                .flatten(),
            metadata: check
                .require("--metadata-address", parse::metadata(&arguments.metadata_address)),
            rules: Rules {
                keys: Keys::with_prefix(&check.require(
                    "--annotation-prefix",
                    parse::annotation_prefix(arguments.annotation_prefix),
                )),
                base: check
                    .flag("--base-role-arn", parse::base(arguments.base_role_arn.as_deref()))
                    .flatten(),
            },
            plan: SessionPlan {
                tags: tags.unwrap_or(SessionTags::None),
                cluster_name: check
                    .flag("--cluster-name", parse::cluster_name(arguments.cluster_name, tagged))
                    .flatten(),
                cluster_arn: check
                    .flag("--cluster-arn", parse::cluster_arn(arguments.cluster_arn))
                    .flatten(),
                duration: check.require(
                    "--session-duration",
                    parse::session_duration(&arguments.session_duration),
                ),
            },
            log_format: check
                .flag("--log-format", parse::log_format(arguments.log_format.as_deref()))
                .unwrap_or(Format::Text),
            log_level: check.require("--log-level", parse::log_level(arguments.log_level)),
        };
        check.flag("--host-network-pods", parse::host_network_pods(&arguments.host_network_pods));
        check.done(settings)
    }

    /// `--log-level`.
    ///
    /// # Errors
    /// None that [`Self::from_arguments`] has not found.
    pub fn log_filter(&self) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
        EnvFilter::builder().parse(&self.log_level)
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

    fn done(self, settings: Settings) -> Result<Settings, Mistakes> {
        if self.0.is_empty() { Ok(settings) } else { Err(Mistakes(self.0)) }
    }
}

#[cfg(test)]
mod tests;
