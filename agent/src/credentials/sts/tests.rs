//! What is sent to STS, and what is made of its answers.

use std::time::UNIX_EPOCH;

use super::*;
use crate::credentials::fake_aws::{Asked, FakeAws, error, session};

const TOO_LONG: &str =
    "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";

fn arn(name: &str) -> RoleArn {
    format!("arn:aws:iam::123456789012:role/{name}").parse().unwrap()
}

fn request() -> AssumeRoleRequest {
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    AssumeRoleRequest {
        role: arn("web"),
        target: None,
        name: "shop@web-0".into(),
        tags: vec![tag("kubernetes-namespace", "shop"), tag("team", "a b")],
        transitive: false,
        untagged_fallback: false,
        external_id: Some("external".into()),
        duration: HOUR,
        policy: Some("{}".into()),
    }
}

fn sts(aws: &FakeAws) -> Sts {
    Sts::new(aws.aws("us-west-2"), Clock::starting_at(UNIX_EPOCH))
}

fn ok(aws: &FakeAws, key: &str) {
    aws.answer(200, session("AssumeRole", key));
}

fn refuse(aws: &FakeAws, code: &str, message: &str) {
    aws.answer(400, error(code, message));
}

fn value<'a>(form: &'a [(String, String)], key: &str) -> Option<&'a str> {
    form.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
}

fn form(asked: &Asked) -> Vec<(String, String)> {
    asked.form().into_iter().collect()
}

fn signer(asked: &Asked) -> String {
    let signature = asked.signature.as_deref().unwrap_or_default();
    let (_, key) = signature.split_once("Credential=").unwrap();
    key.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_asked_for_with_all_that_the_request_says() {
    let aws = FakeAws::default();
    ok(&aws, "ASIA1");
    let transitive = AssumeRoleRequest { transitive: true, ..request() };
    let credentials = sts(&aws).assume_role(&transitive).await.unwrap();
    assert_eq!(&*credentials.access_key_id, "ASIA1");
    assert_eq!(credentials.role, arn("web"));
    assert_eq!(credentials.session_token.expose_secret(), "token-of-ASIA1");
    let asked = aws.asked();
    assert_eq!(asked[0].url, "https://sts.us-west-2.amazonaws.com/");
    let form = form(&asked[0]);
    for (key, expected) in [
        ("Action", "AssumeRole"),
        ("RoleArn", arn("web").as_str()),
        ("RoleSessionName", "shop@web-0"),
        ("DurationSeconds", "3600"),
        ("ExternalId", "external"),
        ("Policy", "{}"),
        ("Tags.member.1.Key", "kubernetes-namespace"),
        ("Tags.member.1.Value", "shop"),
        ("Tags.member.2.Key", "team"),
        ("Tags.member.2.Value", "a b"),
        ("TransitiveTagKeys.member.1", "kubernetes-namespace"),
        ("TransitiveTagKeys.member.2", "team"),
    ] {
        assert_eq!(value(&form, key), Some(expected), "{key}");
    }
}

#[tokio::test]
async fn a_target_is_assumed_with_the_first_session() {
    for transitive in [false, true] {
        let aws = FakeAws::default();
        ok(&aws, "ASIA1");
        ok(&aws, "ASIA2");
        let chain = AssumeRoleRequest { target: Some(arn("target")), transitive, ..request() };
        let credentials = sts(&aws).assume_role(&chain).await.unwrap();
        assert_eq!((&*credentials.access_key_id, credentials.role), ("ASIA2", arn("target")));
        let asked = aws.asked();
        assert_eq!((signer(&asked[0]), signer(&asked[1])), ("AKIDNODE".into(), "ASIA1".into()));
        let (first, second) = (form(&asked[0]), form(&asked[1]));
        assert_eq!(value(&first, "RoleArn"), Some(arn("web").as_str()));
        assert_eq!(value(&second, "RoleArn"), Some(arn("target").as_str()));
        // What says who may assume the target and what for is the second call's alone.
        assert_eq!((value(&first, "ExternalId"), value(&first, "Policy")), (None, None));
        assert_eq!(value(&second, "ExternalId"), Some("external"));
        assert_eq!(value(&second, "Policy"), Some("{}"));
        // The target has its tags in either case; inherited ones may not be sent again.
        assert_eq!(value(&first, "Tags.member.1.Value"), Some("shop"));
        let again = value(&second, "Tags.member.1.Value");
        assert_eq!(again, (!transitive).then_some("shop"));
        assert_eq!(value(&second, "TransitiveTagKeys.member.1"), None);
    }
}

#[tokio::test]
async fn a_refused_first_role_ends_a_chain() {
    let aws = FakeAws::default();
    refuse(&aws, "AccessDenied", "no");
    let chain = AssumeRoleRequest { target: Some(arn("target")), ..request() };
    let refused = sts(&aws).assume_role(&chain).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("AccessDenied"));
    assert_eq!(aws.asked().len(), 1);
}

#[tokio::test]
async fn a_session_that_is_too_long_is_asked_for_an_hour_and_that_is_remembered() {
    let aws = FakeAws::default();
    let sts = sts(&aws);
    let day = AssumeRoleRequest { duration: Duration::from_hours(12), ..request() };
    refuse(&aws, "ValidationError", TOO_LONG);
    ok(&aws, "ASIA1");
    ok(&aws, "ASIA2");
    assert!(sts.assume_role(&day).await.is_ok());
    assert!(sts.assume_role(&day).await.is_ok());
    let asked = aws.asked();
    let durations: Vec<_> =
        asked.iter().map(|asked| asked.form()["DurationSeconds"].clone()).collect();
    assert_eq!(durations, ["43200", "3600", "3600"]);
}

#[tokio::test]
async fn an_hour_that_is_refused_is_not_asked_for_again() {
    let aws = FakeAws::default();
    refuse(&aws, "ValidationError", TOO_LONG);
    let refused = sts(&aws).assume_role(&request()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("ValidationError"));
    assert_eq!(aws.asked().len(), 1);
}

#[tokio::test]
async fn a_role_that_takes_no_tags_is_asked_for_without_them_where_that_is_wanted() {
    let aws = FakeAws::default();
    let sts = sts(&aws);
    let migrating = AssumeRoleRequest { untagged_fallback: true, ..request() };
    refuse(&aws, "AccessDenied", "not authorized to perform: sts:TagSession");
    ok(&aws, "ASIA1");
    ok(&aws, "ASIA2");
    assert!(sts.assume_role(&migrating).await.is_ok());
    assert!(sts.assume_role(&migrating).await.is_ok());
    let asked = aws.asked();
    let tagged: Vec<bool> =
        asked.iter().map(|asked| value(&form(asked), "Tags.member.1.Key").is_some()).collect();
    assert_eq!(tagged, [true, false, false]);
    assert_eq!(sts.untagged.get(), 2);
}

#[tokio::test]
async fn without_the_fallback_a_refusal_is_final() {
    let aws = FakeAws::default();
    refuse(&aws, "AccessDenied", "no");
    assert!(sts(&aws).assume_role(&request()).await.is_err());
    assert_eq!(aws.asked().len(), 1);
    let untagged = AssumeRoleRequest { untagged_fallback: true, tags: vec![], ..request() };
    refuse(&aws, "AccessDenied", "no");
    assert!(sts(&aws).assume_role(&untagged).await.is_err());
    assert_eq!(aws.asked().len(), 2);
}

#[tokio::test]
async fn a_role_refused_without_tags_too_is_not_taken_for_one_that_refuses_them() {
    let aws = FakeAws::default();
    let sts = sts(&aws);
    let migrating = AssumeRoleRequest { untagged_fallback: true, ..request() };
    for _ in 0..4 {
        refuse(&aws, "AccessDenied", "no");
    }
    assert!(sts.assume_role(&migrating).await.is_err());
    assert!(sts.assume_role(&migrating).await.is_err());
    let asked = aws.asked();
    let tagged = asked.iter().filter(|asked| value(&form(asked), "Tags.member.1.Key").is_some());
    assert_eq!((asked.len(), tagged.count()), (4, 2));
    assert_eq!(sts.untagged.get(), 0);
}

#[tokio::test]
async fn an_answer_without_credentials_is_no_answer() {
    for body in ["<html>a captive portal, say</html>", &session("AssumeRole", ""), ""] {
        let aws = FakeAws::default();
        aws.answer(200, body);
        let error = sts(&aws).assume_role(&request()).await.unwrap_err();
        assert!(matches!(error, FetchError::Unusable(_)), "{body}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn the_agent_learns_who_it_is() {
    let aws = FakeAws::default();
    let arn = "arn:aws-cn:sts::123456789012:assumed-role/nodes/i-0";
    aws.answer(
        200,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>{arn}</Arn><UserId>U</UserId>\
             <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
    );
    let identity = sts(&aws).identity().await.unwrap();
    let expected =
        Identity { arn: arn.into(), account: "123456789012".into(), partition: "aws-cn".into() };
    assert_eq!(identity, expected);
}

#[tokio::test]
async fn each_partition_has_its_own_endpoints() {
    for (region, fips, dual_stack, host) in [
        ("us-west-2", false, false, "sts.us-west-2.amazonaws.com"),
        ("us-east-1", false, false, "sts.us-east-1.amazonaws.com"),
        ("us-west-2", true, false, "sts-fips.us-west-2.amazonaws.com"),
        ("eu-west-1", false, true, "sts.eu-west-1.api.aws"),
        ("cn-north-1", false, false, "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", true, false, "sts.us-gov-west-1.amazonaws.com"),
        ("us-iso-east-1", false, false, "sts.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", false, false, "sts.us-isob-east-1.sc2s.sgov.gov"),
        ("eusc-de-east-1", false, false, "sts.eusc-de-east-1.amazonaws.eu"),
    ] {
        let fake = FakeAws::default();
        fake.answer(400, error("AccessDenied", "no"));
        let aws = fake.aws_by(region, fips, dual_stack);
        let sts = Sts::new(aws, Clock::starting_at(UNIX_EPOCH));
        assert!(sts.identity().await.is_err());
        assert_eq!(fake.asked()[0].url, format!("https://{host}/"), "{region}");
        let scope = format!("/{region}/sts/");
        assert!(fake.asked()[0].signature.as_ref().unwrap().contains(&scope), "{region}");
    }
}
