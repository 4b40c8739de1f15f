//! The flags by which roles are decided.

use clap::Args;

use crate::roles::annotations::Keys;
use crate::roles::{BaseRoleArn, Rules};

use super::Checker;

/// The flags by which roles are decided, as they are written.
#[derive(Clone, Debug, Args)]
pub struct RoleArguments {
    /// What bare role names are completed with, as in `arn:aws:iam::ACCOUNT:role/`
    #[arg(long, env = "PODROLE_BASE_ROLE_ARN", value_name = "ARN")]
    pub base_role_arn: Option<String>,

    /// The prefix of the annotations of kube2iam and kiam
    #[arg(
        long,
        env = "PODROLE_ANNOTATION_PREFIX",
        default_value = "iam.amazonaws.com",
        value_name = "PREFIX"
    )]
    pub annotation_prefix: String,
}

pub(super) fn check(arguments: RoleArguments, check: &mut Checker) -> Rules {
    let RoleArguments { base_role_arn, annotation_prefix: prefix } = arguments;
    Rules {
        keys: Keys::with_prefix(&check.require("--annotation-prefix", annotation_prefix(prefix))),
        base: check.flag("--base-role-arn", base(base_role_arn.as_deref())).flatten(),
    }
}

fn annotation_prefix(prefix: String) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if prefix.is_empty() || prefix.len() > 253 || !prefix.chars().all(allowed) {
        return Err(format!("{prefix:?} is no prefix of annotations, such as iam.amazonaws.com"));
    }
    Ok(prefix)
}

fn base(given: Option<&str>) -> Result<Option<BaseRoleArn>, String> {
    match given {
        None => Ok(None),
        Some("auto") => Err("`auto` is not in this version; write the ARN".into()),
        Some(text) => text.parse().map(Some).map_err(|error| {
            format!("{text:?} is refused: {error}; write arn:aws:iam::ACCOUNT:role/")
        }),
    }
}
