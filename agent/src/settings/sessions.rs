//! The flags that say how sessions are asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::credentials::SessionPlan;
use crate::credentials::plan::{ClusterArn, SessionTags};
use crate::credentials::prefetch::Policy;
use crate::roles::tags;

use super::{Checker, parse};

/// The flags that say how sessions are asked for, as they are written.
#[derive(Clone, Debug, Args)]
pub struct SessionArguments {
    /// The cluster's name, for the session tag eks-cluster-name and for EKS Pod Identity
    #[arg(long, env = "PODROLE_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// The cluster's ARN, for the session tag eks-cluster-arn
    #[arg(long, env = "PODROLE_CLUSTER_ARN", value_name = "ARN")]
    pub cluster_arn: Option<String>,

    /// Session tags to send: `pod`, `workload` (without the pod's name and UID) or `none`; with
    /// `,untagged-fallback`, roles that STS refuses with tags are asked for without
    #[arg(
        long,
        env = "PODROLE_SESSION_TAGS",
        value_delimiter = ',',
        default_value = "pod",
        value_name = "WHICH"
    )]
    pub session_tags: Vec<String>,

    /// Whether roles that a pod's own code assumes inherit the session tags: `true` or `false`
    #[arg(
        long,
        env = "PODROLE_TRANSITIVE_SESSION_TAGS",
        default_value = "false",
        value_name = "BOOLEAN"
    )]
    pub transitive_session_tags: String,

    /// How long sessions last, from 15m to 12h; more than 1h only if the agent's own identity is no
    /// role
    #[arg(long, env = "PODROLE_SESSION_DURATION", default_value = "1h", value_name = "DURATION")]
    pub session_duration: String,

    /// Whose ServiceAccount tokens are used: `mounted`, those that kubelet projected into pods, or
    /// `request`, also such that the API server makes
    #[arg(
        long,
        env = "PODROLE_SERVICE_ACCOUNT_TOKENS",
        default_value = "mounted",
        value_name = "WHICH"
    )]
    pub service_account_tokens: String,

    /// Where kubelet keeps pods' volumes; in a container, where the host's directory is mounted
    #[arg(
        long,
        env = "PODROLE_KUBELET_DIR",
        default_value = "/var/lib/kubelet",
        value_name = "DIRECTORY"
    )]
    pub kubelet_dir: PathBuf,

    /// Whose credentials are fetched before they are asked for: `mapped` (pods that an association or
    /// a pod annotation maps, and that have no credentials of their own), `all` (but for
    /// --default-role) or `off`
    #[arg(long, env = "PODROLE_PREFETCH", default_value = "mapped", value_name = "WHOSE")]
    pub prefetch: String,
}

/// How sessions are asked for.
#[derive(Clone, Debug)]
pub(super) struct SessionSettings {
    /// Names, tags, durations.
    pub(super) plan: SessionPlan,
    /// Where kubelet keeps pods' volumes.
    pub(super) kubelet_dir: PathBuf,
    /// Whose are fetched before they are asked for.
    pub(super) prefetch: Policy,
}

pub(super) fn check(arguments: SessionArguments, check: &mut Checker) -> SessionSettings {
    let tags = check.flag("--session-tags", session_tags(&arguments.session_tags));
    let tagged = !matches!(tags, Some((SessionTags::None, _)));
    let (tags, untagged_fallback) = tags.unwrap_or((SessionTags::None, false));
    let plan = SessionPlan {
        tags,
        untagged_fallback,
        transitive: check
            .require("--transitive-session-tags", boolean(&arguments.transitive_session_tags)),
        cluster_name: check
            .flag("--cluster-name", cluster_name(arguments.cluster_name, tagged))
            .flatten(),
        cluster_arn: check.flag("--cluster-arn", cluster_arn(arguments.cluster_arn)).flatten(),
        duration: check
            .require("--session-duration", session_duration(&arguments.session_duration)),
        token_requests: check.require(
            "--service-account-tokens",
            service_account_tokens(&arguments.service_account_tokens),
        ),
    };
    let kubelet_dir = check.require("--kubelet-dir", parse::absolute(arguments.kubelet_dir));
    let prefetch = check.require("--prefetch", prefetch(&arguments.prefetch));
    SessionSettings { plan, kubelet_dir, prefetch }
}

fn prefetch(given: &str) -> Result<Policy, String> {
    match given {
        "mapped" => Ok(Policy::Mapped),
        "all" => Ok(Policy::All),
        "off" => Ok(Policy::Off),
        _ => Err(format!("{given:?} is unknown; write `mapped`, `all` or `off`")),
    }
}

/// Which tags, and whether a role may do without.
fn session_tags(given: &[String]) -> Result<(SessionTags, bool), String> {
    const FALLBACK: &str = "untagged-fallback";
    let (fallback, which): (Vec<&str>, Vec<&str>) =
        given.iter().map(String::as_str).partition(|word| *word == FALLBACK);
    let tags = match *which {
        [] | ["pod"] => SessionTags::Pod,
        ["workload"] => SessionTags::Workload,
        ["none"] => SessionTags::None,
        _ => {
            return Err(format!(
                "{:?} is unknown; write `pod`, `workload` or `none`, and after a comma `{FALLBACK}` if need be",
                given.join(",")
            ));
        }
    };
    if tags == SessionTags::None && !fallback.is_empty() {
        return Err(format!("`none` leaves nothing to `{FALLBACK}`; leave one of them out"));
    }
    Ok((tags, !fallback.is_empty()))
}

fn boolean(given: &str) -> Result<bool, String> {
    given.parse().map_err(|_| format!("{given:?} is neither `true` nor `false`"))
}

/// Whether the API server may be asked.
fn service_account_tokens(given: &str) -> Result<bool, String> {
    match given {
        "mounted" => Ok(false),
        "request" => Ok(true),
        _ => Err(format!("{given:?} is unknown; write `mounted` or `request`")),
    }
}

fn cluster_name(given: Option<String>, tagged: bool) -> Result<Option<Box<str>>, String> {
    match given.filter(|name| !name.is_empty()) {
        None if tagged => Err(
            "required for the session tag eks-cluster-name; or send no tags by --session-tags=none"
                .into(),
        ),
        name => name.map(tag_value).transpose(),
    }
}

fn cluster_arn(given: Option<String>) -> Result<Option<ClusterArn>, String> {
    let Some(arn) = given.filter(|arn| !arn.is_empty()) else { return Ok(None) };
    let arn = tag_value(arn)?;
    match ClusterArn::parse(&arn) {
        Some(arn) => Ok(Some(arn)),
        None => Err(format!("{arn:?} is no ARN, such as arn:aws:eks:REGION:ACCOUNT:cluster/NAME")),
    }
}

/// Never cut, or two clusters could look alike to a policy.
fn tag_value(value: String) -> Result<Box<str>, String> {
    match tags::check_value(&value) {
        Ok(()) => Ok(value.into()),
        Err(error) => Err(format!("{value:?} is no session tag: {error}")),
    }
}

fn session_duration(given: &str) -> Result<Duration, String> {
    let allowed = Duration::from_mins(15)..=Duration::from_hours(12);
    let parsed = given.parse::<jiff::SignedDuration>().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| allowed.contains(duration) && duration.subsec_nanos() == 0)
        .ok_or_else(|| format!("{given:?} is not from 15m to 12h; write 1h, or 90m"))
}
