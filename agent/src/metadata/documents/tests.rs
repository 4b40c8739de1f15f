//! Every body, byte for byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::{
    Credentials, Profile, Unprintable, credentials, error_page, iam, iam_info, meta_data, refusal,
    role_list, timestamp, version, versions,
};

fn at(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().expect("a time").into()
}

fn example() -> Credentials<'static> {
    Credentials {
        access_key_id: "ASIAIOSFODNN7EXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: "IQoJb3JpZ2luX2VjEJ//////////wEaCXVzLXdlc3QtMiJH+A==",
        last_updated: at("2021-09-20T21:42:26Z"),
        expiration: at("2021-09-21T04:16:53.999Z"),
    }
}

#[test]
fn credentials_have_the_bytes_of_ec2() {
    assert_eq!(
        credentials(&example()).unwrap(),
        r#"{
  "Code" : "Success",
  "LastUpdated" : "2021-09-20T21:42:26Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
  "SecretAccessKey" : "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
  "Token" : "IQoJb3JpZ2luX2VjEJ//////////wEaCXVzLXdlc3QtMiJH+A==",
  "Expiration" : "2021-09-21T04:16:53Z"
}"#
    );
}

#[test]
fn json_readers_get_the_values_unchanged() {
    let token = "+/=".repeat(1_500);
    let long = Credentials { session_token: &token, ..example() };
    let body: serde_json::Value = serde_json::from_slice(&credentials(&long).unwrap()).unwrap();
    assert_eq!(body["Token"], token.as_str());
    assert_eq!(body["SecretAccessKey"], example().secret_access_key);
    assert_eq!(body.as_object().unwrap().len(), 7);
}

#[test]
fn a_long_token_is_written_whole() {
    // STS does not bound its length (AWS STS API Reference, "GetSessionToken").
    let token = "FwoG/+=".repeat(600);
    let long = Credentials { session_token: &token, ..example() };
    let body = credentials(&long).unwrap();
    let values: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(values["Token"], token);
}

#[test]
fn shell_scripts_find_the_values_between_the_third_and_fourth_quote() {
    let body = credentials(&example()).unwrap();
    let body = str::from_utf8(&body).unwrap();
    let line = body.lines().find(|line| line.contains("AccessKeyId")).unwrap();
    assert_eq!(line.split('"').nth(3), Some("ASIAIOSFODNN7EXAMPLE"));
}

#[test]
fn values_that_need_an_escape_are_refused_without_being_named() {
    for value in ["", "a\"b", "a\\b", "a\nb", "a\u{7f}", "\u{e9}", "a\0", "\t"] {
        let refused = |key| Some(Unprintable { key });
        let odd = Credentials { access_key_id: value, ..example() };
        assert_eq!(credentials(&odd).err(), refused("AccessKeyId"), "{value:?}");
        let odd = Credentials { secret_access_key: value, ..example() };
        assert_eq!(credentials(&odd).err(), refused("SecretAccessKey"), "{value:?}");
        let odd = Credentials { session_token: value, ..example() };
        assert_eq!(credentials(&odd).err(), refused("Token"), "{value:?}");
    }
    assert_eq!(
        Unprintable { key: "Token" }.to_string(),
        "Token is empty or has characters that need an escape in JSON: no such value comes from AWS"
    );
}

fn profile() -> Profile<'static> {
    Profile {
        partition: "aws",
        account_id: "123456789012",
        role_name: "R",
        role_arn: "arn:aws:iam::123456789012:role/team/R",
        last_updated: at("2022-02-13T13:17:17Z"),
    }
}

#[test]
fn iam_info_has_the_bytes_of_ec2() {
    assert_eq!(
        iam_info(&profile()).unwrap(),
        r#"{
  "Code" : "Success",
  "LastUpdated" : "2022-02-13T13:17:17Z",
  "InstanceProfileArn" : "arn:aws:iam::123456789012:instance-profile/R",
  "InstanceProfileId" : "AIPAEVW3ZHNIOQS3UTEWY"
}"#
    );
}

#[test]
fn iam_info_is_as_long_as_the_captured_one() {
    // Content-Length 200 was captured; with an account of 12 digits that leaves 13 for the name.
    let name = Profile { role_name: "thirteen-char", ..profile() };
    assert_eq!(iam_info(&name).unwrap().len(), 200);
}

#[test]
fn profile_ids_differ_by_role_and_look_like_iams() {
    let id = |role_arn| {
        let body = iam_info(&Profile { role_arn, ..profile() }).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["InstanceProfileId"].as_str().unwrap().to_owned()
    };
    let one = id("arn:aws:iam::123456789012:role/one");
    assert_eq!(one, id("arn:aws:iam::123456789012:role/one"));
    assert_ne!(one, id("arn:aws:iam::123456789012:role/two"));
    assert_eq!(one.len(), 21);
    assert!(one.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7')), "{one}");
}

#[test]
fn error_pages_are_the_pages_of_ec2() {
    let expected = concat!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n",
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n",
        "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n",
        "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n",
        " <head>\n",
        "  <title>404 - Not Found</title>\n",
        " </head>\n",
        " <body>\n",
        "  <h1>404 - Not Found</h1>\n",
        " </body>\n",
        "</html>\n",
    );
    assert_eq!(error_page(StatusCode::NOT_FOUND), expected);
    for (status, title) in [
        (StatusCode::BAD_REQUEST, "400 - Bad Request"),
        (StatusCode::UNAUTHORIZED, "401 - Unauthorized"),
        (StatusCode::FORBIDDEN, "403 - Forbidden"),
        (StatusCode::INTERNAL_SERVER_ERROR, "500 - Internal Server Error"),
        (StatusCode::SERVICE_UNAVAILABLE, "503 - Service Unavailable"),
    ] {
        assert_eq!(error_page(status), expected.replace("404 - Not Found", title));
    }
}

#[test]
fn a_refusal_says_it_in_both_spellings() {
    let now = at("2026-11-22T08:18:00Z");
    let message = "not \"allowed\":\n\\o/ \u{e9}";
    let body = refusal("AccessDenied", message, now);
    assert_eq!(
        body,
        r#"{
  "Code" : "AccessDenied",
  "Message" : "not \"allowed\":\n\\o/ é",
  "LastUpdated" : "2026-11-22T08:18:00Z",
  "code" : "AccessDenied",
  "message" : "not \"allowed\":\n\\o/ é"
}"#
    );
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["message"], message);
}

#[test]
fn timestamps_are_utc_seconds() {
    assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(999)), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(at("2026-01-02T03:04:05.999999999+09:30")), "2026-01-01T17:34:05Z");
    assert_eq!(timestamp(at("2024-02-29T23:59:59Z")), "2024-02-29T23:59:59Z");
    let far = timestamp(UNIX_EPOCH + Duration::from_secs(1 << 40));
    assert!(far.starts_with("9999-12-") && far.len() == 20, "{far}");
}

#[test]
fn lists_have_no_line_feed_at_the_end() {
    assert_eq!(role_list("my-role"), "my-role");
    assert_eq!(iam(), "info\nsecurity-credentials/");
    assert_eq!(version(), "dynamic\nmeta-data\nuser-data");
    assert_eq!(meta_data(b"", true), "iam/");
    assert_eq!(meta_data(b"", false), "");
    assert_eq!(meta_data(b"hostname\ninstance-id", true), "hostname\niam/\ninstance-id");
    assert_eq!(meta_data(b"iam/\nmac", false), "mac");
}

#[test]
fn versions_begin_as_captured_and_end_in_latest() {
    let versions = versions();
    assert!(versions.starts_with(b"1.0\n2007-01-19\n"));
    assert!(versions.ends_with(b"\n2021-03-23\nlatest"));
    // Captured in 2016: Content-Length 153, when 2014-11-05 was the newest.
    let text = str::from_utf8(&versions).unwrap();
    let of_2016 = text.split('\n').filter(|v| *v <= "2014-11-05" || *v == "latest");
    assert_eq!(of_2016.collect::<Vec<_>>().join("\n").len(), 153);
}
