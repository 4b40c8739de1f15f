//! The trust policies that a session needs, ready to paste (IAM User Guide, "IAM JSON policy elements:
//! Principal"; "IAM roles for service accounts" and "EKS Pod Identity role" in the Amazon EKS User
//! Guide). Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SessionRequest;
use super::session::{AssumeRoleRequest, Tag, WebIdentityRequest};

/// Stands for the agent's own role where that is not known.
const NODE_ROLE: &str = "arn:aws:iam::ACCOUNT:role/NODE-ROLE";
/// Stands for the cluster's issuer, without `https://`, where that is not known.
const ISSUER: &str = "OIDC-ISSUER";
/// The tags that a trust policy may well ask for: who makes pods cannot choose them.
const CONDITIONS: [&str; 3] =
    ["eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account"];

/// A role and the trust policy that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Its ARN; EKS alone knows the role of a Pod Identity association.
    pub role: Option<Box<str>>,
    /// The policy.
    pub policy: Policy,
}

/// A trust policy (IAM User Guide, "IAM JSON policy element reference").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    /// Always `2012-10-17`.
    pub version: Cow<'static, str>,
    /// Always one.
    pub statement: [Statement; 1],
}

/// Who may do what, on which conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Always `Allow`.
    pub effect: Cow<'static, str>,
    /// By the kind of principal, the one.
    pub principal: BTreeMap<Cow<'static, str>, String>,
    /// What it may do.
    pub action: Vec<Cow<'static, str>>,
    /// By operator and key, the value.
    #[serde(skip_serializing_if = "Conditions::is_empty", default)]
    pub condition: Conditions,
}

/// By operator and key, the value.
pub type Conditions = BTreeMap<Cow<'static, str>, BTreeMap<String, String>>;

/// What is known beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The ARN by which STS knows the agent (`GetCallerIdentity`).
    pub identity: Option<&'a str>,
    /// The issuer of ServiceAccount tokens.
    pub issuer: Option<&'a str>,
}

/// The policies of the roles that are assumed for `request`, in the order of the calls.
#[must_use]
pub fn policies(request: &SessionRequest, known: Known<'_>) -> Vec<Trust> {
    match request {
        SessionRequest::AssumeRole(request) => assume_role(request, known.identity),
        SessionRequest::WebIdentity(request) => vec![web_identity(request, known.issuer)],
        SessionRequest::PodIdentity(_) => vec![Trust {
            role: None,
            policy: policy(
                ("Service", "pods.eks.amazonaws.com".into()),
                &["sts:AssumeRole", "sts:TagSession"],
                BTreeMap::new(),
            ),
        }],
    }
}

fn assume_role(request: &AssumeRoleRequest, identity: Option<&str>) -> Vec<Trust> {
    let own = identity.map_or_else(|| NODE_ROLE.to_owned(), principal);
    let mut trusts = vec![(&request.role, own)];
    trusts.extend(request.target.iter().map(|target| (target, request.role.to_string())));
    let last = trusts.len();
    let of = |(number, (role, principal)): (usize, (&crate::roles::RoleArn, String))| {
        let external_id = request.external_id.as_deref().filter(|_| number == last);
        let actions: &[_] = if request.tags.is_empty() {
            &["sts:AssumeRole"]
        } else {
            &["sts:AssumeRole", "sts:TagSession"]
        };
        let conditions = conditions(&request.tags, external_id);
        Trust {
            role: Some(role.as_str().into()),
            policy: policy(("AWS", principal), actions, conditions),
        }
    };
    (1..).zip(trusts).map(of).collect()
}

fn web_identity(request: &WebIdentityRequest, issuer: Option<&str>) -> Trust {
    let role = &request.role;
    let issuer = issuer.unwrap_or(ISSUER).trim_start_matches("https://");
    let provider =
        format!("arn:{}:iam::{}:oidc-provider/{issuer}", role.partition(), role.account());
    let subject =
        format!("system:serviceaccount:{}:{}", request.pod.namespace, request.pod.service_account);
    let conditions = [
        (format!("{issuer}:aud"), request.pod.audience.to_string()),
        (format!("{issuer}:sub"), subject),
    ];
    Trust {
        role: Some(role.as_str().into()),
        policy: policy(
            ("Federated", provider),
            &["sts:AssumeRoleWithWebIdentity"],
            conditions.into(),
        ),
    }
}

/// `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION` is a session of `arn:aws:iam::ACCOUNT:role/NAME`;
/// the path of the role is not in it.
fn principal(identity: &str) -> String {
    let role = || {
        let (before, after) = identity.split_once(":assumed-role/")?;
        let (name, _session) = after.split_once('/')?;
        Some(format!("{}:role/{name}", before.replacen(":sts:", ":iam:", 1)))
    };
    role().unwrap_or_else(|| identity.to_owned())
}

fn conditions(tags: &[Tag], external_id: Option<&str>) -> BTreeMap<String, String> {
    let tags = tags.iter().filter(|tag| CONDITIONS.contains(&&*tag.key));
    let tags = tags.map(|tag| (format!("aws:RequestTag/{}", tag.key), tag.value.to_string()));
    let external_id = external_id.map(|id| ("sts:ExternalId".to_owned(), id.to_owned()));
    tags.chain(external_id).collect()
}

fn policy(
    (kind, principal): (&'static str, String),
    actions: &[&'static str],
    conditions: BTreeMap<String, String>,
) -> Policy {
    let equal = (Cow::Borrowed("StringEquals"), conditions);
    let condition = [equal].into_iter().filter(|(_, conditions)| !conditions.is_empty());
    Policy {
        version: "2012-10-17".into(),
        statement: [Statement {
            effect: "Allow".into(),
            principal: [(kind.into(), principal)].into(),
            action: actions.iter().map(|action| (*action).into()).collect(),
            condition: condition.collect(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "arn:aws-cn:sts::111122223333:assumed-role/nodes/i-0123456789abcdef0";

    fn chain() -> AssumeRoleRequest {
        let SessionRequest::AssumeRole(request) = SessionRequest::fixture("web") else {
            panic!("not an AssumeRole")
        };
        AssumeRoleRequest {
            target: Some("arn:aws:iam::999999999999:role/ledger".parse().unwrap()),
            external_id: Some("team-7".into()),
            tags: vec![
                Tag { key: "kubernetes-namespace".into(), value: "shop".into() },
                Tag { key: "kubernetes-pod-name".into(), value: "web-0".into() },
            ],
            ..*request
        }
    }

    #[test]
    fn each_role_of_a_chain_trusts_the_one_before() {
        let trusts = assume_role(&chain(), Some(NODE));
        let [first, second] = trusts.as_slice() else { panic!("{trusts:?}") };
        let [first, second] = [first, second].map(|trust| &trust.policy.statement[0]);
        assert_eq!(first.principal["AWS"], "arn:aws-cn:iam::111122223333:role/nodes");
        assert_eq!(first.action, ["sts:AssumeRole", "sts:TagSession"]);
        let equal = &first.condition["StringEquals"];
        assert_eq!(equal["aws:RequestTag/kubernetes-namespace"], "shop");
        assert!(!equal.contains_key("sts:ExternalId") && equal.len() == 1, "{equal:?}");
        assert_eq!(second.principal["AWS"], "arn:aws:iam::123456789012:role/web");
        assert_eq!(second.condition["StringEquals"]["sts:ExternalId"], "team-7");
    }

    #[test]
    fn without_tags_nothing_asks_for_them() {
        let request =
            AssumeRoleRequest { tags: Vec::new(), target: None, external_id: None, ..chain() };
        let trusts = assume_role(&request, None);
        let statement = &trusts[0].policy.statement[0];
        assert_eq!(statement.action, ["sts:AssumeRole"]);
        assert_eq!(statement.principal["AWS"], NODE_ROLE);
        assert!(statement.condition.is_empty(), "{statement:?}");
    }

    #[test]
    fn a_policy_is_written_as_people_write_it() {
        let request = SessionRequest::fixture("web");
        let policy = &policies(&request, Known::default())[0].policy;
        assert_eq!(
            serde_json::to_string(policy).unwrap(),
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::ACCOUNT:role/NODE-ROLE"},"Action":["sts:AssumeRole"]}]}"#
        );
    }
}
