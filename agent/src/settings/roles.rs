//! The flags by which roles are decided.

use std::sync::Arc;

use clap::Args;

use crate::roles::annotations::Keys;
use crate::roles::default_role::DefaultRoleError;
use crate::roles::restrictions::pattern::Pattern;
use crate::roles::restrictions::{Requirement, Restrictions};
use crate::roles::{Base, BaseRoleArn, DefaultRole, LabelTags, Rules, SourceName, tags};

use super::Checker;

/// The flags by which roles are decided, as they are written.
#[derive(Clone, Debug, Args)]
pub struct RoleArguments {
    /// What bare role names are completed with, as in `arn:aws:iam::ACCOUNT:role/`, or `auto`: the
    /// account of the agent's own identity
    #[arg(long, env = "PODROLE_BASE_ROLE_ARN", value_name = "ARN")]
    pub base_role_arn: Option<String>,

    /// A role for pods that nothing maps; `{namespace}` and `{serviceAccount}` in it are the pod's
    #[arg(long, env = "PODROLE_DEFAULT_ROLE", value_name = "ROLE")]
    pub default_role: Option<String>,

    /// Whether a Namespace must permit the roles that its pods' annotations name: `required`,
    /// `if-present` or `off`
    #[arg(
        long,
        env = "PODROLE_NAMESPACE_POLICY",
        default_value = "required",
        value_name = "POLICY"
    )]
    pub namespace_policy: String,

    /// The roles that pods of a Namespace without a policy may name: a regular expression on whole
    /// ARNs; `.*` permits all
    #[arg(long, env = "PODROLE_PERMITTED_ROLES", value_name = "REGEX")]
    pub permitted_roles: Option<String>,

    /// The prefix of the annotations of kube2iam and kiam
    #[arg(
        long,
        env = "PODROLE_ANNOTATION_PREFIX",
        default_value = "iam.amazonaws.com",
        value_name = "PREFIX"
    )]
    pub annotation_prefix: String,

    /// Which sources of credentials may be used; the rules of others do not exist
    #[arg(
        long,
        env = "PODROLE_SOURCES",
        value_delimiter = ',',
        default_value = "sts,web-identity,eks-pod-identity",
        value_name = "SOURCE"
    )]
    pub sources: Vec<String>,

    /// Also tag sessions with a label of the pod, which whoever makes pods chooses
    #[arg(
        long,
        env = "PODROLE_SESSION_TAG_LABEL",
        value_delimiter = ',',
        value_name = "LABEL=KEY"
    )]
    pub session_tag_label: Vec<String>,

    /// Also tag sessions with a label of the pod's Namespace
    #[arg(
        long,
        env = "PODROLE_SESSION_TAG_NAMESPACE_LABEL",
        value_delimiter = ',',
        value_name = "LABEL=KEY"
    )]
    pub session_tag_namespace_label: Vec<String>,
}

pub(super) fn check(arguments: RoleArguments, check: &mut Checker) -> Rules {
    let prefix =
        check.require("--annotation-prefix", annotation_prefix(arguments.annotation_prefix));
    let keys = Keys::with_prefix(&prefix);
    let base = check.flag("--base-role-arn", base(arguments.base_role_arn.as_deref()));
    let base = base.unwrap_or(Base::None);
    let default_role = default_role(arguments.default_role.as_deref(), &base);
    let restrictions = Restrictions {
        requirement: check
            .flag("--namespace-policy", requirement(&arguments.namespace_policy))
            .unwrap_or(Requirement::Required),
        permitted: check
            .flag("--permitted-roles", permitted_roles(arguments.permitted_roles.as_deref()))
            .flatten(),
        permitted_key: (&*keys.permitted).into(),
        allowed_roles_key: (&*keys.allowed_roles).into(),
    };
    Rules {
        default_role: check.flag("--default-role", default_role).flatten(),
        sources: check.require("--sources", sources(&arguments.sources)),
        tags: label_tags(
            &arguments.session_tag_label,
            &arguments.session_tag_namespace_label,
            check,
        ),
        keys,
        base,
        restrictions,
        requests_tokens: false,
    }
}

fn annotation_prefix(prefix: String) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if prefix.is_empty() || prefix.len() > 253 || !prefix.chars().all(allowed) {
        return Err(format!("{prefix:?} is no prefix of annotations, such as iam.amazonaws.com"));
    }
    Ok(prefix)
}

fn base(given: Option<&str>) -> Result<Base, String> {
    match given {
        None | Some("") => Ok(Base::None),
        Some("auto") => Ok(Base::Own),
        Some(text) => text.parse().map(Base::Given).map_err(|error| {
            format!("{text:?} is refused: {error}; write arn:aws:iam::ACCOUNT:role/, or auto")
        }),
    }
}

fn default_role(given: Option<&str>, base: &Base) -> Result<Option<DefaultRole>, String> {
    // The account does not matter to whether the rest is a role.
    let some_account = || BaseRoleArn::of_account("aws", "123456789012").ok();
    let base = match base {
        Base::None => None,
        Base::Given(base) => Some(base.clone()),
        Base::Own => some_account(),
    };
    let checked = given
        .filter(|role| !role.is_empty())
        .map(|role| DefaultRole::new(role, base.as_ref()).map_err(|error| (role, error)));
    checked.transpose().map_err(|(role, error): (_, DefaultRoleError)| {
        format!("{role:?} is refused: {error}; write a role, such as pods-of-{{namespace}}")
    })
}

fn requirement(given: &str) -> Result<Requirement, String> {
    match given {
        "required" => Ok(Requirement::Required),
        "if-present" => Ok(Requirement::IfPresent),
        "off" => Ok(Requirement::Off),
        _ => Err(format!("{given:?} is unknown; write `required`, `if-present` or `off`")),
    }
}

fn permitted_roles(given: Option<&str>) -> Result<Option<Pattern>, String> {
    let given = given.filter(|text| !text.is_empty());
    given.map(Pattern::new).transpose().map_err(|error| {
        format!("refused: {error}; write arn:aws:iam::ACCOUNT:role/team-.*, or .* for all roles")
    })
}

fn sources(given: &[String]) -> Result<Vec<SourceName>, String> {
    let source = |name: &String| {
        let named = SourceName::ALL.into_iter().find(|source| source.to_string() == *name);
        named.ok_or_else(|| {
            format!("{name:?} is unknown; write `sts`, `web-identity` or `eks-pod-identity`")
        })
    };
    let named: Vec<_> = given.iter().map(source).collect::<Result<_, _>>()?;
    if named.is_empty() { Err("name at least one".into()) } else { Ok(named) }
}

fn label_tags(pod: &[String], namespace: &[String], check: &mut Checker) -> LabelTags {
    const POD: &str = "--session-tag-label";
    const NAMESPACE: &str = "--session-tag-namespace-label";
    let all = |given: &[String]| given.iter().map(|text| label_tag(text)).collect::<Result<_, _>>();
    let tags = LabelTags {
        pod: check.require(POD, all(pod)),
        namespace: check.require(NAMESPACE, all(namespace)),
    };
    let keys = tags.pod.iter().chain(&tags.namespace).map(|(_, key)| &**key);
    let unique = tags::check_unique(keys);
    check.flag(POD, unique.map_err(|(key, error)| format!("{key:?} is refused: {error}")));
    tags
}

fn label_tag(given: &str) -> Result<(Arc<str>, Arc<str>), String> {
    let (label, key) = given.split_once('=').unwrap_or((given, ""));
    if label.is_empty() || key.is_empty() {
        return Err(format!("{given:?} is not of the form LABEL=KEY"));
    }
    tags::check_key(key).map_err(|error| format!("{given:?} is refused: {error}"))?;
    Ok((label.into(), key.into()))
}
