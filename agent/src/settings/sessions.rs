//! The flags that say how sessions are asked for.

use std::time::Duration;

use clap::Args;

use crate::credentials::SessionPlan;
use crate::credentials::plan::SessionTags;

use super::Checker;

/// The longest value of a session tag, in characters (AWS STS API Reference, "Tag").
const TAG_VALUE_MAX: usize = 256;

/// The flags that say how sessions are asked for, as they are written.
#[derive(Clone, Debug, Args)]
pub struct SessionArguments {
    /// The cluster's name, for the session tag eks-cluster-name
    #[arg(long, env = "PODROLE_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// The cluster's ARN, for the session tag eks-cluster-arn
    #[arg(long, env = "PODROLE_CLUSTER_ARN", value_name = "ARN")]
    pub cluster_arn: Option<String>,

    /// Session tags to send: `pod`, `workload` (without the pod's name and UID) or `none`
    #[arg(long, env = "PODROLE_SESSION_TAGS", default_value = "pod", value_name = "WHICH")]
    pub session_tags: String,

    /// How long sessions last, from 15m to 12h; more than 1h only if the agent's own identity is no
    /// role
    #[arg(long, env = "PODROLE_SESSION_DURATION", default_value = "1h", value_name = "DURATION")]
    pub session_duration: String,
}

pub(super) fn check(arguments: SessionArguments, check: &mut Checker) -> SessionPlan {
    let tags = check.flag("--session-tags", session_tags(&arguments.session_tags));
    let tagged = !matches!(tags, Some(SessionTags::None));
    SessionPlan {
        tags: tags.unwrap_or(SessionTags::None),
        cluster_name: check
            .flag("--cluster-name", cluster_name(arguments.cluster_name, tagged))
            .flatten(),
        cluster_arn: check.flag("--cluster-arn", cluster_arn(arguments.cluster_arn)).flatten(),
        duration: check
            .require("--session-duration", session_duration(&arguments.session_duration)),
    }
}

fn session_tags(given: &str) -> Result<SessionTags, String> {
    match given {
        "pod" => Ok(SessionTags::Pod),
        "workload" => Ok(SessionTags::Workload),
        "none" => Ok(SessionTags::None),
        _ => Err(format!("{given:?} is unknown; write `pod`, `workload` or `none`")),
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

fn cluster_arn(given: Option<String>) -> Result<Option<Box<str>>, String> {
    let arn = given.filter(|arn| !arn.is_empty());
    if let Some(arn) = arn.as_ref().filter(|arn| !arn.starts_with("arn:")) {
        return Err(format!("{arn:?} is no ARN, such as arn:aws:eks:REGION:ACCOUNT:cluster/NAME"));
    }
    arn.map(tag_value).transpose()
}

/// AWS STS API Reference, "Tag": never cut, or two clusters could look alike to a policy.
fn tag_value(value: String) -> Result<Box<str>, String> {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    if value.chars().count() > TAG_VALUE_MAX || !value.chars().all(allowed) {
        return Err(format!(
            "{value:?} is no session tag: at most {TAG_VALUE_MAX} letters, digits, spaces and _.:/=+-@"
        ));
    }
    Ok(value.into())
}

fn session_duration(given: &str) -> Result<Duration, String> {
    let allowed = Duration::from_mins(15)..=Duration::from_hours(12);
    let parsed = given.parse::<jiff::SignedDuration>().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| allowed.contains(duration) && duration.subsec_nanos() == 0)
        .ok_or_else(|| format!("{given:?} is not from 15m to 12h; write 1h, or 90m"))
}
