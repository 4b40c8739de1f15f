//! Refusals as AWS words them, and what is to be done about each.

use std::sync::Arc;

use super::*;
use crate::credentials::session::TokenOwner;

const NODE: &str = "arn:aws:sts::111122223333:assumed-role/nodes/i-0123456789abcdef0";
const ROLE: &str = "arn:aws:iam::123456789012:role/web";
const TARGET: &str = "arn:aws:iam::999999999999:role/ledger";

fn refused(code: &str, message: impl Into<Arc<str>>) -> FetchError {
    FetchError::Refused { code: code.into(), message: message.into() }
}

fn denied(action: &str, resource: &str, why: &str) -> FetchError {
    let message =
        format!("User: {NODE} is not authorized to perform: {action} on resource: {resource}{why}");
    refused("AccessDenied", message)
}

fn chained(external_id: Option<&str>) -> SessionRequest {
    let SessionRequest::AssumeRole(mut request) = SessionRequest::fixture("web") else {
        panic!("not an AssumeRole")
    };
    request.target = Some(TARGET.parse().unwrap());
    request.external_id = external_id.map(Into::into);
    SessionRequest::AssumeRole(request)
}

fn owner() -> TokenOwner {
    TokenOwner {
        uid: crate::callers::pods::PodUid::new("uid-1"),
        namespace: "shop".into(),
        name: "web-0".into(),
        service_account: "web".into(),
        audience: "sts.amazonaws.com".into(),
        mounted: None,
    }
}

#[track_caller]
fn check(request: &SessionRequest, error: &FetchError, all: &[&str]) {
    let advice = advise(request, error);
    assert_eq!(advice.len(), all.len(), "{advice:#?}");
    for (said, part) in advice.iter().zip(all) {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
        assert!(!said.contains("nodes/") && !said.contains("i-0123"), "{said}");
    }
}

#[test]
fn a_trust_policy_without_tag_session_is_told_apart() {
    let request = SessionRequest::fixture("web");
    let why = " because no resource-based policy allows the sts:TagSession action";
    check(&request, &denied("sts:TagSession", ROLE, why), &["allow it beside sts:AssumeRole"]);
    check(
        &request,
        &denied("sts:TagSession", ROLE, ""),
        &["the trust policy of arn:aws:iam::123456789012:role/web does not allow", "a policy of"],
    );
}

#[test]
fn a_bare_refusal_has_four_explanations() {
    check(
        &SessionRequest::fixture("web"),
        &denied("sts:AssumeRole", ROLE, ""),
        &[
            "does not exist: STS does not tell",
            "does not allow sts:AssumeRole to the identity of podrole",
            "sts:ExternalId (none is sent)",
            "a policy of the identity of podrole",
        ],
    );
}

#[test]
fn where_sts_tells_the_kind_of_policy_one_explanation_is_left() {
    let request = SessionRequest::fixture("web");
    for (why, part) in [
        (" because no identity-based policy allows the sts:AssumeRole action", "a policy of"),
        (" because no resource-based policy allows the sts:AssumeRole action", "the trust policy"),
        (" because no permissions boundary allows the sts:AssumeRole action", "boundary"),
        (" because no session policy allows the sts:AssumeRole action", "the session policy"),
        (" with an explicit deny in a service control policy", "a service control policy denies"),
        (" with an explicit deny in an identity-based policy", "an identity-based policy denies"),
    ] {
        check(&request, &denied("sts:AssumeRole", ROLE, why), &[part]);
    }
}

#[test]
fn the_second_call_of_a_chain_concerns_the_first_role() {
    check(
        &chained(Some("team-7")),
        &denied("sts:AssumeRole", TARGET, ""),
        &[
            "role/ledger does not exist",
            "to the role arn:aws:iam::123456789012:role/web",
            "sts:ExternalId (sent: \"team-7\")",
            "a policy of the role arn:aws:iam::123456789012:role/web",
        ],
    );
    // The external id is of the second call alone.
    let first = advise(&chained(Some("team-7")), &denied("sts:AssumeRole", ROLE, ""));
    assert!(first[2].contains("none is sent"), "{first:#?}");
}

#[test]
fn web_identity_names_the_subject_and_the_provider() {
    let request = SessionRequest::WebIdentity(Box::new(WebIdentityRequest {
        pod: owner(),
        role: ROLE.parse().unwrap(),
        name: "shop@web-0".into(),
        duration: std::time::Duration::from_hours(1),
    }));
    let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    check(&request, &refused("AccessDenied", message), &["system:serviceaccount:shop:web"]);
    let message = "No OpenIDConnect provider found in your account for https://oidc.example.org";
    check(&request, &refused("InvalidIdentityToken", message), &["create-open-id-connect"]);
    let message = "Incorrect token audience";
    check(&request, &refused("InvalidIdentityToken", message), &["client ID"]);
}

#[test]
fn pod_identity_names_the_association() {
    let request = SessionRequest::PodIdentity(Box::new(PodIdentityRequest {
        pod: owner(),
        cluster_name: "prod".into(),
    }));
    check(
        &request,
        &refused("ResourceNotFoundException", "x"),
        &["for shop/web in the cluster prod"],
    );
    let both = ["pods.eks.amazonaws.com", "eks-auth:AssumeRoleForPodIdentity"];
    check(&request, &refused("AccessDeniedException", "x"), &both);
}

#[test]
fn limits_name_the_flag_that_mends_them() {
    let request = SessionRequest::fixture("web");
    let too_long =
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    check(&request, &refused("ValidationError", too_long), &["--session-duration"]);
    let chained = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
    check(&request, &refused("ValidationError", chained), &["--session-duration=1h"]);
    check(&request, &refused("PackedPolicyTooLarge", "x"), &["--session-tags=workload"]);
    check(&request, &refused("MalformedPolicyDocument", "x"), &["`policy` of the association"]);
}

#[test]
fn what_says_its_own_mend_gets_no_more() {
    let request = SessionRequest::fixture("web");
    check(&request, &FetchError::RegionDisabled { message: "x".into() }, &[]);
    check(&request, &FetchError::Unusable("x"), &[]);
    assert_eq!(sentence(&[]), None);
}

#[test]
fn several_explanations_are_numbered() {
    assert_eq!(sentence(&["a".into()]).unwrap(), "What to do: a");
    assert_eq!(sentence(&["a".into(), "b".into()]).unwrap(), "It may be: (1) a; (2) b");
}
