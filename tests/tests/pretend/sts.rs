//! The pretend STS, asked by the AWS SDK for Rust.

use std::pin::pin;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::{BehaviorVersion, Region};
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::types::Tag;
use podrole_tests::http::Request;
use podrole_tests::pretend::node::{self, Keys};
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::pretend::sts::{Line, read_token};
use podrole_tests::wait::PATIENCE;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::server::Server;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/reader";

fn client(server: &Server, keys: Keys) -> Client {
    let credentials = Credentials::new(keys.id, keys.secret, keys.token, None, "test");
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(node::REGION))
        .endpoint_url(server.url())
        .retry_config(RetryConfig::disabled())
        .credentials_provider(credentials)
        .build();
    Client::from_conf(config)
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().unwrap()
}

fn keys(output: &AssumeRoleOutput) -> Keys {
    let credentials = output.credentials().unwrap();
    Keys {
        id: credentials.access_key_id().to_owned(),
        secret: credentials.secret_access_key().to_owned(),
        token: Some(credentials.session_token().to_owned()),
    }
}

/// The code of the error of an AssumeRole of this role; `None` where there is none.
async fn refusal(client: &Client, role: &str) -> Option<String> {
    let name = format!("arn:aws:iam::123456789012:role/{role}");
    let output = client.assume_role().role_arn(name).role_session_name("session").send().await;
    output.err().map(|error| error.code().unwrap_or("no code").to_owned())
}

async fn identity(client: &Client) -> Result<String, String> {
    let output = client.get_caller_identity().send().await;
    let arn = output.map_err(|error| error.code().unwrap_or("no code").to_owned())?;
    Ok(arn.arn().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_session_says_whose_it_is_and_signs() {
    let server = Server::start("sts", &[]);
    let client_of_node = client(&server, Keys::of_environment());
    let output = client_of_node
        .assume_role()
        .role_arn(ROLE)
        .role_session_name("shop@web-0")
        .duration_seconds(43_200)
        .tags(tag("kubernetes-namespace", "shop"))
        .tags(tag("team", "Zürich & Söhne"))
        .transitive_tag_keys("kubernetes-namespace")
        .send()
        .await;
    // `&` is no letter of a tag.
    assert_eq!(output.unwrap_err().code(), Some("ValidationError"));
    let assume = |value: &str| {
        client_of_node
            .assume_role()
            .role_arn(ROLE)
            .role_session_name("shop@web-0")
            .duration_seconds(43_200)
            .tags(tag("kubernetes-namespace", "shop"))
            .tags(tag("team", value))
            .transitive_tag_keys("kubernetes-namespace")
            .send()
    };
    let output = assume("Zürich + Söhne").await.unwrap();
    let keys = keys(&output);
    assert!(keys.id.starts_with("ASIA") && keys.id.len() == 20, "{keys:?}");
    let session = read_token(keys.token.as_deref().unwrap()).unwrap();
    assert_eq!((session.role.as_str(), session.session.as_str()), (ROLE, "shop@web-0"));
    assert_eq!(session.tags["team"], "Zürich + Söhne");
    assert_eq!(session.duration, 43_200);

    let arn = "arn:aws:sts::123456789012:assumed-role/reader/shop@web-0";
    assert_eq!(output.assumed_role_user().unwrap().arn(), arn);
    assert_eq!(identity(&client(&server, keys.clone())).await.unwrap(), arn);

    let log = server.log::<Line>();
    let asked = log[1].line.asked.as_ref().unwrap();
    assert_eq!(asked.tag("kubernetes-namespace"), Some("shop"));
    assert_eq!(log[1].line.issued.as_ref(), Some(&keys.id));
    assert_eq!(log[2].line.caller.as_deref(), Some(arn));
    assert_eq!(log[0].line.answer, "ValidationError");
}

#[tokio::test]
async fn chained_sessions_inherit_transitive_tags_and_last_an_hour_at_most() {
    let server = Server::start("sts", &[]);
    let node = client(&server, Keys::of_environment());
    let first = node
        .assume_role()
        .role_arn(ROLE)
        .role_session_name("first")
        .tags(tag("inherited", "yes"))
        .tags(tag("own", "yes"))
        .transitive_tag_keys("inherited")
        .send();
    let first = client(&server, keys(&first.await.unwrap()));
    let chained = first.assume_role().role_arn(ROLE).role_session_name("second");
    let second = chained.clone().send().await.unwrap();
    let session = read_token(keys(&second).token.as_deref().unwrap()).unwrap();
    assert_eq!(session.tags.keys().collect::<Vec<_>>(), ["inherited"]);
    let long = chained.clone().duration_seconds(3601).send().await.unwrap_err();
    assert!(long.message().unwrap().contains("role chaining"), "{long:?}");
    let again = chained.tags(tag("INHERITED", "no")).send().await.unwrap_err();
    assert_eq!(again.code(), Some("ValidationError"));
}

#[tokio::test]
async fn wrong_signatures_and_unknown_keys_are_refused() {
    let server = Server::start("sts", &[]);
    let good = Keys::of_environment();
    let wrong = |change: fn(&mut Keys)| {
        let mut keys = good.clone();
        change(&mut keys);
        client(&server, keys)
    };
    let secret = wrong(|keys| keys.secret.push('x'));
    assert_eq!(identity(&secret).await.unwrap_err(), "SignatureDoesNotMatch");
    let unknown = wrong(|keys| keys.id.push('X'));
    assert_eq!(identity(&unknown).await.unwrap_err(), "InvalidClientTokenId");
    let token = wrong(|keys| keys.token = Some("token".to_owned()));
    assert_eq!(identity(&token).await.unwrap_err(), "InvalidClientTokenId");
    let unsigned = server.ask(&Request::new("POST", "/").content("Action=GetCallerIdentity"));
    assert_eq!(unsigned.status, 403);
    assert!(unsigned.body.contains("<Code>MissingAuthenticationToken</Code>"), "{}", unsigned.body);
    assert!(server.log::<Line>().iter().all(|entry| entry.line.caller.is_none()));
}

#[tokio::test]
async fn the_instance_profiles_keys_are_the_node() {
    let server = Server::start("sts", &[]);
    let profile = client(&server, Keys::of_instance_profile());
    assert_eq!(identity(&profile).await.unwrap(), node::ARN);
}

#[tokio::test]
async fn the_name_of_a_role_decides_how_it_fails() {
    let server = Server::start("sts", &[]);
    let node = client(&server, Keys::of_environment());
    assert_eq!(refusal(&node, "missing-role").await.as_deref(), Some("AccessDenied"));
    assert_eq!(refusal(&node, "throttled").await.as_deref(), Some("Throttling"));
    assert_eq!(refusal(&node, "broken").await.as_deref(), Some("InternalFailure"));
    assert_eq!(refusal(&node, "rubbish").await.as_deref(), Some("no code"));
    assert_eq!(refusal(&node, "good").await, None);
}

#[tokio::test]
async fn expired_sessions_are_given_out_on_demand_and_not_taken() {
    let server = Server::start("sts", &[]);
    let node = client(&server, Keys::of_environment());
    let role = "arn:aws:iam::123456789012:role/expired";
    let output = node.assume_role().role_arn(role).role_session_name("session").send();
    let session = client(&server, keys(&output.await.unwrap()));
    assert_eq!(identity(&session).await.unwrap_err(), "ExpiredToken");
}

#[tokio::test]
async fn behaviour_is_set_for_one_role_or_for_all() {
    let server = Server::start("sts", &[]);
    let node = client(&server, Keys::of_environment());
    let one = json!({ "role": "arn:aws:iam::123456789012:role/one", "answer": "access-denied" });
    server.control("PUT", "behaviour", &one);
    server.control("PUT", "behaviour", &json!({ "role": null, "answer": "expired-token" }));
    assert_eq!(refusal(&node, "one").await.as_deref(), Some("AccessDenied"));
    assert_eq!(refusal(&node, "two").await.as_deref(), Some("ExpiredToken"));
    server.control("PUT", "behaviour", &json!({ "answer": "normal" }));
    assert_eq!(refusal(&node, "two").await, None);
}

#[tokio::test]
async fn a_call_that_hangs_is_in_the_log_before_its_answer() {
    let server = Server::start("sts", &[]);
    let node = client(&server, Keys::of_environment());
    let mut call = pin!(refusal(&node, "hanging"));
    let deadline = Instant::now() + PATIENCE;
    while server.log::<Line>().is_empty() {
        assert!(Instant::now() < deadline, "nothing is in the log");
        let answer = timeout(Duration::from_millis(20), &mut call).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(server.log::<Line>()[0].line.behaviour.answer, Way::Hang);
}
