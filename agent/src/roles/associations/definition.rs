//! The definition of `RoleAssociation`, from which its `CustomResourceDefinition` is generated, and
//! the way from an object to what is decided by.
//!
//! The rules in CEL are for people, who are told by `kubectl apply` what is wrong. API servers before
//! 1.25 pass them over, so everything is checked again here.
#![expect(clippy::duplicated_attributes, reason = "columns of one type are no mistake")]
#![expect(unreachable_pub, reason = "the derived schema repeats the types where nobody sees them")]

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::roles::annotations::check_external_id;
use crate::roles::arn::RoleArn;
use crate::roles::grant::AssumeRole;
use crate::roles::tags;

use super::{Association, AssociationError};

/// How many tags an association may add: STS takes 50, of which six are the pod's.
pub const TAGS_MAX: usize = 44;
/// The longest inline session policy, in characters (AWS STS API Reference, "AssumeRole", `Policy`).
const POLICY_MAX: usize = 2048;
/// AWS STS API Reference, "AssumeRole", `DurationSeconds`.
const DURATION: std::ops::RangeInclusive<i64> = 900..=43_200;
/// The longest session of a role that another role's session assumes (IAM User Guide, "Methods to assume
/// a role": role chaining).
const CHAINED_MAX: i64 = 3_600;
/// What stands for every `ServiceAccount` of the namespace.
pub const EVERY: &str = "*";

/// Which role the pods of a ServiceAccount have, said by a cluster operator: no namespace policy is asked.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "podrole.dev",
    version = "v1alpha1",
    kind = "RoleAssociation",
    plural = "roleassociations",
    shortname = "ra",
    category = "podrole",
    selectable = ".spec.namespace",
    selectable = ".spec.serviceAccount",
    derive = "PartialEq",
    doc = "Which IAM role the pods of a ServiceAccount have.",
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "ServiceAccount", type_ = "string", json_path = ".spec.serviceAccount"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleArn"),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRoleArn",
        priority = 1
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.targetRoleArn) || self.targetRoleArn.split(':')[1] == self.roleArn.split(':')[1]")
        .message("targetRoleArn must be of the same partition as roleArn: a session of one partition cannot assume a role of another"),
    validation = Rule::new("!has(self.disableSessionTags) || !self.disableSessionTags || !has(self.sessionTags) || size(self.sessionTags) == 0")
        .message("sessionTags and disableSessionTags exclude each other"),
    validation = Rule::new("!has(self.targetRoleArn) || !has(self.durationSeconds) || self.durationSeconds <= 3600")
        .message("durationSeconds is at most 3600 with a targetRoleArn: AWS allows no longer sessions where one role assumes another")
)]
pub struct RoleAssociationSpec {
    /// The namespace of the pods.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("namespace must be the name of one namespace; there is no wildcard for namespaces"))]
    pub namespace: String,
    /// The ServiceAccount of the pods, or `*` for each of the namespace that no other association names.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == '*' || self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')")
        .message("serviceAccount must be the name of a ServiceAccount, or *"))]
    pub service_account: String,
    /// The ARN of the role that podrole assumes with its own identity.
    #[schemars(length(min = 20, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^arn:aws(-[a-z-]+)?:iam::[0-9]{12}:role/([!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}$')")
        .message("roleArn must be a role's ARN, such as arn:aws:iam::123456789012:role/NAME"))]
    pub role_arn: String,
    /// The ARN of a role, mostly of another account, that is assumed with the first role's session: the
    /// pods have this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 20, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^arn:aws(-[a-z-]+)?:iam::[0-9]{12}:role/([!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,64}$')")
        .message("targetRoleArn must be a role's ARN, such as arn:aws:iam::123456789012:role/NAME"))]
    pub target_role_arn: Option<String>,
    /// The external id that the trust policy of the last role demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 2, max = 1224))]
    #[x_kube(validation = Rule::new(r"self.matches('^[A-Za-z0-9_+=,.@:/-]+$')")
        .message("externalId must be of letters, digits and _+=,.@:/-"))]
    pub external_id: Option<String>,
    /// Session tags beside those that tell which pod it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 44), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub session_tags: Vec<SessionTag>,
    /// Whether no session tags are sent: for roles whose trust policy does not allow sts:TagSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub disable_session_tags: Option<bool>,
    /// Whether the session's tags stay with it when the pod's own code assumes another role. Each such role
    /// must trust sts:TagSession then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub transitive_session_tags: Option<bool>,
    /// How long a session lasts, in seconds, where it is not as the agent's --session-duration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 900, max = 43200))]
    pub duration_seconds: Option<i64>,
    /// A session policy (JSON), which takes rights of the role away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 2, max = 2048))]
    #[x_kube(validation = Rule::new("self.trim().startsWith('{') && self.trim().endsWith('}')")
        .message("policy must be a policy document: a JSON object"))]
    pub policy: Option<String>,
    /// With Audit, the association gives nothing: the agents only tell what it would give, and ask the
    /// other rules.
    #[serde(default)]
    pub mode: Mode,
}

/// The fields of a spec that this version knows. One that it does not know may take something away, so an
/// association that has it is refused.
const FIELDS: [&str; 11] = [
    "namespace",
    "serviceAccount",
    "roleArn",
    "targetRoleArn",
    "externalId",
    "sessionTags",
    "disableSessionTags",
    "transitiveSessionTags",
    "durationSeconds",
    "policy",
    "mode",
];

/// A session tag.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTag {
    /// Its key, which policies know as aws:PrincipalTag/KEY.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("!(self.lowerAscii() in ['eks-cluster-arn', 'eks-cluster-name', 'kubernetes-namespace', 'kubernetes-service-account', 'kubernetes-pod-name', 'kubernetes-pod-uid'])")
        .message("key must not be one of those that tell which pod it is: podrole sets them"))]
    #[x_kube(validation = Rule::new(r"self.matches('^[\\p{L}\\p{N}_.:/=+@ -]+$') && !self.lowerAscii().startsWith('aws:')")
        .message("key must be of letters, digits, spaces and _.:/=+-@, and not begin with aws:"))]
    pub key: String,
    /// Its value.
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new(r"self.matches('^[\\p{L}\\p{N}_.:/=+@ -]*$')")
        .message("value must be of letters, digits, spaces and _.:/=+-@"))]
    pub value: String,
}

/// Whether an association gives what it says.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It only tells.
    Audit,
}

impl Association {
    /// What the spec of the object `name` says.
    #[must_use]
    pub fn read(name: &str, spec: &serde_json::Value) -> Self {
        let decoded = decode(spec);
        let audit = decoded.as_ref().is_ok_and(|spec| spec.mode == Mode::Audit);
        Self { name: name.into(), audit, call: decoded.and_then(|spec| call(&spec)) }
    }
}

fn decode(spec: &serde_json::Value) -> Result<RoleAssociationSpec, AssociationError> {
    let unreadable = |what: String| AssociationError::Spec(what.into());
    let fields = spec.as_object().into_iter().flat_map(serde_json::Map::keys);
    if let Some(field) = fields.into_iter().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(unreadable(format!("this version does not know the field {field:?}")));
    }
    RoleAssociationSpec::deserialize(spec).map_err(|error| unreadable(error.to_string()))
}

fn call(spec: &RoleAssociationSpec) -> Result<AssumeRole, AssociationError> {
    let role = role("roleArn", &spec.role_arn)?;
    let target = spec.target_role_arn.as_deref();
    let target = target.map(|arn| self::role("targetRoleArn", arn)).transpose()?;
    check_partitions(&role, target.as_ref())?;
    spec.external_id
        .as_deref()
        .map_or(Ok(()), check_external_id)
        .map_err(AssociationError::ExternalId)?;
    check_tags(spec)?;
    if let Some(policy) = &spec.policy {
        check_policy(policy)?;
    }
    let boxed = |text: &String| text.as_str().into();
    Ok(AssumeRole {
        duration: spec
            .duration_seconds
            .map(|seconds| duration(seconds, target.is_some()))
            .transpose()?,
        role,
        target,
        external_id: spec.external_id.as_ref().map(boxed),
        session_name: None,
        tags: spec.session_tags.iter().map(|tag| (boxed(&tag.key), boxed(&tag.value))).collect(),
        untagged: spec.disable_session_tags.unwrap_or(false),
        transitive: spec.transitive_session_tags,
        policy: spec.policy.as_ref().map(boxed),
    })
}

fn role(field: &'static str, arn: &str) -> Result<RoleArn, AssociationError> {
    arn.parse().map_err(|error| AssociationError::Role { field, error })
}

fn check_partitions(role: &RoleArn, target: Option<&RoleArn>) -> Result<(), AssociationError> {
    match target.filter(|target| target.partition() != role.partition()) {
        None => Ok(()),
        Some(target) => Err(AssociationError::Partitions {
            role: role.partition().into(),
            target: target.partition().into(),
        }),
    }
}

fn check_tags(spec: &RoleAssociationSpec) -> Result<(), AssociationError> {
    let sent = &spec.session_tags;
    if sent.len() > TAGS_MAX {
        return Err(AssociationError::TooManyTags(sent.len()));
    }
    if spec.disable_session_tags == Some(true) && !sent.is_empty() {
        return Err(AssociationError::TagsDisabled);
    }
    let refused = |key: &str, error| AssociationError::Tag { key: key.into(), error };
    for SessionTag { key, value } in sent {
        tags::check_key(key)
            .and_then(|()| tags::check_value(value))
            .map_err(|error| refused(key, error))?;
    }
    tags::check_unique(sent.iter().map(|tag| tag.key.as_str()))
        .map_err(|(key, error)| refused(key, error))
}

fn check_policy(policy: &str) -> Result<(), AssociationError> {
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(policy);
    let good = policy.chars().count() <= POLICY_MAX && object.is_ok();
    if good { Ok(()) } else { Err(AssociationError::Policy) }
}

fn duration(seconds: i64, chained: bool) -> Result<Duration, AssociationError> {
    let good = DURATION.contains(&seconds) && (!chained || seconds <= CHAINED_MAX);
    let duration = u64::try_from(seconds).ok().filter(|_| good).map(Duration::from_secs);
    duration.ok_or(AssociationError::Duration(seconds))
}

#[cfg(test)]
mod tests;
