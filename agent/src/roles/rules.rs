//! What each rule says of a pod. An `Err` is what the rule would need to know to say it.

use crate::callers::pods::Pod;

use super::annotations;
use super::arn::RoleArn;
use super::associations::Association;
use super::decide::Rules;
use super::facts::{Facts, Known, Missing, ServiceAccount};
use super::grant::{AssumeRole, Grant, Rule, Way};
use super::refusal::{Reason, Refusal, shown};
use super::restrictions::Permit;
use super::trace::{Absence, Verdict};

/// The volume that EKS's webhook adds to pods with a Pod Identity association.
const POD_IDENTITY_VOLUME: &str = "eks-pod-identity-token";
/// The volume that the webhook of IAM roles for service accounts adds.
const WEB_IDENTITY_VOLUME: &str = "aws-iam-token";
/// Who that volume's token is for, unless the ServiceAccount says otherwise.
const STS_AUDIENCE: &str = "sts.amazonaws.com";

type Said = Result<Verdict, Missing>;

pub(super) fn role_association(rules: &Rules, pod: &Pod, facts: &Facts) -> Said {
    let Some(association) = known(&facts.association)? else {
        return Ok(Verdict::Absent(Absence::NoAssociation));
    };
    let Association { name, audit, call } = &**association;
    let call = match call {
        Ok(call) => call.clone(),
        Err(error) => {
            let asked = format!("RoleAssociation {name:?}");
            return Ok(refused(Rule::RoleAssociation, &asked, None, error.clone().into()));
        }
    };
    let grant = assume(Rule::RoleAssociation, tagged(rules, pod, facts, call)?);
    Ok(if *audit { Verdict::Audited(grant) } else { Verdict::Granted { grant, permit: None } })
}

pub(super) fn pod_annotation(rules: &Rules, pod: &Pod, facts: &Facts) -> Said {
    let keys = &rules.keys;
    let Some(value) = pod.annotations.get(&keys.role) else {
        return Ok(Verdict::Absent(Absence::NoPodAnnotation));
    };
    let refused = |key: &str, value: &str, role, reason| {
        let asked = format!("annotation {key}={:?} of the pod", shown(value));
        refused(Rule::PodAnnotation, &asked, role, reason)
    };
    let role = match role(rules, facts, value)? {
        Ok(role) => role,
        Err(reason) => return Ok(refused(&keys.role, value, None, reason)),
    };
    let own = |key: &str| pod.annotations.get(key).filter(|value| !value.is_empty());
    let external_id = own(&keys.external_id);
    if let Some(Err(error)) = external_id.map(|id| annotations::check_external_id(id)) {
        let shown_id = external_id.map(|id| &**id).unwrap_or_default();
        return Ok(refused(&keys.external_id, shown_id, Some(role), error.into()));
    }
    let permit = if is_default(rules, pod, facts, &role) {
        Ok(Permit::DefaultRole)
    } else {
        rules.restrictions.judge(&role, &facts.namespace, rules.base(facts))?
    };
    let permit = match permit {
        Ok(permit) => permit,
        Err(denial) => return Ok(refused(&keys.role, value, Some(role), denial.into())),
    };
    let call = AssumeRole {
        external_id: external_id.cloned(),
        session_name: own(&keys.session_name).cloned(),
        ..AssumeRole::plain(role)
    };
    let grant = assume(Rule::PodAnnotation, tagged(rules, pod, facts, call)?);
    Ok(Verdict::Granted { grant, permit: Some(permit) })
}

pub(super) fn pod_identity(pod: &Pod) -> Verdict {
    if !pod.tokens.iter().any(|token| &*token.volume == POD_IDENTITY_VOLUME) {
        return Verdict::Absent(Absence::NoPodIdentityToken);
    }
    let grant = Grant { rule: Rule::PodIdentity, way: Way::PodIdentity };
    Verdict::Granted { grant, permit: None }
}

pub(super) fn service_account_annotation(rules: &Rules, pod: &Pod, facts: &Facts) -> Said {
    if !needs_service_account(rules, pod) {
        return Ok(Verdict::Absent(Absence::NoWebIdentityToken));
    }
    let account = known(&facts.service_account)?;
    let Some(ServiceAccount { role: Some(value), audience }) = account.map(|account| &**account)
    else {
        return Ok(Verdict::Absent(Absence::NoServiceAccountAnnotation));
    };
    Ok(match role(rules, facts, value)? {
        Ok(role) => {
            let way = Way::WebIdentity { role, audience: audience.clone() };
            let grant = Grant { rule: Rule::ServiceAccountAnnotation, way };
            Verdict::Granted { grant, permit: None }
        }
        Err(reason) => {
            let asked = format!(
                "annotation {}={:?} of ServiceAccount {}",
                annotations::SERVICE_ACCOUNT_ROLE,
                shown(value),
                pod.service_account
            );
            refused(Rule::ServiceAccountAnnotation, &asked, None, reason)
        }
    })
}

/// Whether the fourth rule could serve `pod`, so that its ServiceAccount must be looked up. With a
/// default role it must in any case: a pod of an annotated ServiceAccount never gets the default.
pub(super) fn needs_service_account(rules: &Rules, pod: &Pod) -> bool {
    let has_token = pod.tokens.iter().any(|token| {
        &*token.volume == WEB_IDENTITY_VOLUME || token.audience.as_deref() == Some(STS_AUDIENCE)
    });
    has_token || rules.requests_tokens || rules.default_role.is_some()
}

pub(super) fn default_role(rules: &Rules, pod: &Pod, facts: &Facts) -> Said {
    let Some(template) = &rules.default_role else {
        return Ok(Verdict::Absent(Absence::NoDefaultRole));
    };
    match template.of(&pod.namespace, &pod.service_account, rules.base(facts)?) {
        Ok(role) => {
            let call = tagged(rules, pod, facts, AssumeRole::plain(role))?;
            Ok(Verdict::Granted { grant: assume(Rule::DefaultRole, call), permit: None })
        }
        Err(error) => {
            let asked = format!("--default-role={:?}", template.template());
            Ok(refused(Rule::DefaultRole, &asked, None, error.into()))
        }
    }
}

/// As kube2iam: whoever may have the default role may also name it.
fn is_default(rules: &Rules, pod: &Pod, facts: &Facts, role: &RoleArn) -> bool {
    let Some(template) = &rules.default_role else { return false };
    let base = rules.base(facts).ok().flatten();
    !pod.host_network
        && template.of(&pod.namespace, &pod.service_account, base).is_ok_and(|own| own == *role)
}

/// The role that `value` names. A whole ARN needs no base, so it does not wait for one.
fn role(rules: &Rules, facts: &Facts, value: &str) -> Result<Result<RoleArn, Reason>, Missing> {
    let base = if value.starts_with("arn:") { None } else { rules.base(facts)? };
    Ok(annotations::role(value, base).map_err(Reason::Role))
}

/// Adds the tags that labels say. Those of an operator's association stand before them, and STS takes a
/// key once only.
fn tagged(
    rules: &Rules,
    pod: &Pod,
    facts: &Facts,
    mut call: AssumeRole,
) -> Result<AssumeRole, Missing> {
    if call.untagged {
        return Ok(call);
    }
    let mut found = Vec::new();
    if !rules.tags.namespace.is_empty() {
        let namespace = known(&facts.namespace)?;
        let value = |label: &str| namespace.and_then(|namespace| namespace.labels.get(label));
        found.extend(rules.tags.namespace.iter().map(|(label, key)| (key, value(label))));
    }
    found.extend(rules.tags.pod.iter().map(|(label, key)| (key, pod.labels.get(&**label))));
    for (key, value) in found {
        let taken = call.tags.iter().any(|(other, _)| other.eq_ignore_ascii_case(key));
        if let (Some(value), false) = (value, taken) {
            call.tags.push((key.as_ref().into(), value.clone()));
        }
    }
    Ok(call)
}

fn known<T>(fact: &Known<T>) -> Result<Option<&T>, Missing> {
    match fact {
        Known::NotYet(missing) => Err(*missing),
        Known::Absent => Ok(None),
        Known::There(fact) => Ok(Some(fact)),
    }
}

fn assume(rule: Rule, call: AssumeRole) -> Grant {
    Grant { rule, way: Way::AssumeRole(Box::new(call)) }
}

fn refused(by: Rule, asked: &str, role: Option<RoleArn>, reason: Reason) -> Verdict {
    Verdict::Refused(Refusal { rule: by, asked: asked.into(), role, reason })
}
