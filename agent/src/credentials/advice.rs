//! What to do where AWS refuses a session. Pure.
//!
//! STS says who may not do what, and rarely why (AWS STS API Reference, "Common Errors"; IAM User Guide,
//! "Troubleshoot access denied error messages"). It says the same of a role that is not there as of one
//! that may not be assumed, so some refusals have more than one explanation: all are named.
//!
//! But for [`report`], nothing here names the node's identity, so that a pod may read it.

use super::session::{AssumeRoleRequest, PodIdentityRequest, WebIdentityRequest};
use super::{FetchError, SessionRequest};
use crate::report::Chain;

/// What may be wrong, and the mend of each; nothing where the error says that itself.
#[must_use]
pub fn advise(request: &SessionRequest, error: &FetchError) -> Vec<String> {
    let FetchError::Refused { code, message } = error else { return Vec::new() };
    match (&**code, request) {
        ("AccessDenied" | "AccessDeniedException", SessionRequest::AssumeRole(request)) => {
            assume_role(request, message)
        }
        ("AccessDenied", SessionRequest::WebIdentity(request)) => vec![web_identity(request)],
        ("InvalidIdentityToken", _) => vec![identity_token(message)],
        (_, SessionRequest::PodIdentity(request)) => pod_identity(request, code),
        ("PackedPolicyTooLarge", _) => vec![
            "the session tags and the session policy are too long together: send fewer tags (--session-tags=workload or none, disableSessionTags of the association), or shorten the policy".into(),
        ],
        ("MalformedPolicyDocument", _) => {
            vec!["the session policy is no IAM policy: correct `policy` of the association".into()]
        }
        ("ValidationError", _) if message.contains("MaxSessionDuration") => vec![
            "the session is to last longer than the role allows: raise the role's MaxSessionDuration, or shorten --session-duration (durationSeconds of the association)".into(),
        ],
        ("ValidationError", _) if message.contains("role chaining") => vec![
            "STS gives a role that another role assumes at most an hour: set --session-duration=1h (durationSeconds of the association)".into(),
        ],
        _ => Vec::new(),
    }
}

/// The advice as one sentence; nothing where there is none.
#[must_use]
pub fn sentence(advice: &[String]) -> Option<String> {
    match advice {
        [] => None,
        [one] => Some(format!("What to do: {one}")),
        several => {
            let numbered = several.iter().zip(1..).map(|(one, number)| format!("({number}) {one}"));
            Some(format!("It may be: {}", numbered.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// What operators are told of a request that failed: what was asked, AWS's answer, what to do. It names the
/// node's identity where AWS does, so no pod may read it.
#[must_use]
pub fn report(request: &SessionRequest, error: &FetchError) -> String {
    let failed = format!("{request}: {}", Chain(error));
    match sentence(&advise(request, error)) {
        Some(advice) => format!("{failed}. {advice}"),
        None => failed,
    }
}

fn assume_role(request: &AssumeRoleRequest, message: &str) -> Vec<String> {
    // Of two calls, the refused one is named by its resource.
    let second = request.target.as_ref().filter(|target| message.contains(target.as_str()));
    let role = second.unwrap_or(&request.role);
    let caller = match second {
        Some(_) => format!("the role {}", request.role),
        None => "the identity of podrole on this node".to_owned(),
    };
    let tagging = message.contains("sts:TagSession");
    let action = if tagging { "sts:TagSession" } else { "sts:AssumeRole" };
    if let Some(kind) = denying(message) {
        return vec![format!(
            "{kind} denies {action} on {role} explicitly: whoever looks after it must take the role out"
        )];
    }
    if let Some(kind) = lacking(message) {
        return vec![format!("{kind} does not allow {action} on {role}: add it there")];
    }
    let own = format!("a policy of {caller} does not allow {action} on {role}: add it");
    if message.contains("no identity-based policy allows") {
        return vec![own];
    }
    let trust = if tagging {
        format!(
            "the trust policy of {role} does not allow sts:TagSession to {caller}: allow it beside sts:AssumeRole, or send no tags (--session-tags=none, disableSessionTags of the association)"
        )
    } else {
        format!(
            "the trust policy of {role} does not allow sts:AssumeRole to {caller}: add it as principal (`podrole explain` prints the policy)"
        )
    };
    if message.contains("no resource-based policy allows") {
        return vec![trust];
    }
    if tagging {
        return vec![trust, own];
    }
    vec![
        format!(
            "the role {role} does not exist: STS does not tell; look for a slip in its name, path or account"
        ),
        trust,
        condition(request, second.is_some() || request.target.is_none()),
        own,
    ]
}

fn condition(request: &AssumeRoleRequest, last: bool) -> String {
    let sent = match &request.external_id {
        Some(id) if last => format!("sts:ExternalId (sent: {id:?})"),
        _ => "sts:ExternalId (none is sent)".to_owned(),
    };
    format!(
        "a condition of the trust policy is not met: {sent}, or aws:RequestTag of a session tag"
    )
}

/// A kind of policy with a deny in it.
fn denying(message: &str) -> Option<&str> {
    let (_, after) = message.split_once("explicit deny in ")?;
    Some(after.trim_end_matches('.')).filter(|kind| is_kind(kind))
}

/// A kind of policy beside the two ordinary ones, which allows nothing of it.
fn lacking(message: &str) -> Option<&'static str> {
    [
        ("no service control policy allows", "the organisation's service control policy"),
        ("no resource control policy allows", "the organisation's resource control policy"),
        ("no permissions boundary allows", "the permissions boundary of the caller"),
        ("no session policy allows", "the session policy of the caller"),
        ("no VPC endpoint policy allows", "the policy of the VPC endpoint of STS"),
    ]
    .into_iter()
    .find_map(|(said, kind)| message.contains(said).then_some(kind))
}

/// Words of ours only: `a service control policy`, …
fn is_kind(kind: &str) -> bool {
    kind.len() <= 64 && kind.ends_with("policy") && !kind.contains(':')
        || kind == "a permissions boundary"
}

fn web_identity(request: &WebIdentityRequest) -> String {
    let (pod, role) = (&request.pod, &request.role);
    format!(
        "the role {role} does not exist, or its trust policy does not allow sts:AssumeRoleWithWebIdentity to the cluster's OIDC provider with the audience {} and the subject system:serviceaccount:{}:{} (`podrole explain` prints the policy)",
        pod.audience, pod.namespace, pod.service_account
    )
}

fn identity_token(message: &str) -> String {
    if message.contains("No OpenIDConnect provider found") {
        "the role's account has no OIDC provider for this cluster's issuer: create it (`aws iam create-open-id-connect-provider`)".into()
    } else if message.contains("audience") {
        "the account's OIDC provider does not know the audience sts.amazonaws.com: add it as client ID".into()
    } else {
        "AWS could not verify the pod's token: are the issuer's discovery document and keys (.well-known/openid-configuration) reachable for AWS?".into()
    }
}

fn pod_identity(request: &PodIdentityRequest, code: &str) -> Vec<String> {
    let PodIdentityRequest { pod, cluster_name } = request;
    let account = format!("{}/{}", pod.namespace, pod.service_account);
    match code {
        "ResourceNotFoundException" => vec![format!(
            "EKS has no Pod Identity association for {account} in the cluster {cluster_name}: create it, or correct --cluster-name"
        )],
        "AccessDeniedException" => vec![
            "the trust policy of the association's role does not allow sts:AssumeRole and sts:TagSession to pods.eks.amazonaws.com: add them (`podrole explain` prints the policy)".into(),
            "the identity of podrole on this node may not eks-auth:AssumeRoleForPodIdentity: allow it (AmazonEKSWorkerNodePolicy has it)".into(),
        ],
        "InvalidTokenException" | "ExpiredTokenException" => vec![format!(
            "EKS did not take the token of {account}: is --cluster-name={cluster_name} this cluster?"
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
