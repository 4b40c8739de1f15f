//! The bodies of answers, byte for byte as EC2 lays them out: line feeds, two spaces,
//! `"Key" : "value"`, and nothing after the last byte. Shell scripts cut these by line and quote,
//! and some SDKs fail on one line feed too many.

use std::time::SystemTime;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use zeroize::Zeroizing;

use super::protocol::VERSIONS;

#[cfg(test)]
mod tests;

/// A value that a document cannot carry. The value itself may be a secret and is not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} is empty or has characters that need an escape in JSON: no such value comes from AWS"
)]
pub(crate) struct Unprintable {
    /// The document's key.
    pub(crate) key: &'static str,
}

/// What the credentials document says.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) session_token: &'a str,
    /// When the credentials were obtained.
    pub(crate) last_updated: SystemTime,
    /// When they end, as STS said; a fraction of a second is cut off.
    pub(crate) expiration: SystemTime,
}

/// `iam/security-credentials/ROLE`. The memory of the body is cleared when its last reference goes.
pub(crate) fn credentials(credentials: &Credentials<'_>) -> Result<Bytes, Unprintable> {
    object(&[
        ("Code", "Success"),
        ("LastUpdated", &timestamp(credentials.last_updated)),
        ("Type", "AWS-HMAC"),
        ("AccessKeyId", credentials.access_key_id),
        ("SecretAccessKey", credentials.secret_access_key),
        ("Token", credentials.session_token),
        ("Expiration", &timestamp(credentials.expiration)),
    ])
}

/// What the container credentials document says.
#[derive(Clone, Copy)]
pub(crate) struct ContainerCredentials<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) token: &'a str,
    /// Twelve digits.
    pub(crate) account_id: &'a str,
    /// When the credentials end; a fraction of a second is cut off.
    pub(crate) expiration: SystemTime,
}

/// `/v1/credentials`, with the keys of EKS Pod Identity's agent in its order. The memory of the body is
/// cleared when its last reference goes.
pub(crate) fn container_credentials(
    credentials: &ContainerCredentials<'_>,
) -> Result<Bytes, Unprintable> {
    object(&[
        ("AccessKeyId", credentials.access_key_id),
        ("SecretAccessKey", credentials.secret_access_key),
        ("Token", credentials.token),
        ("AccountId", credentials.account_id),
        ("Expiration", &timestamp(credentials.expiration)),
    ])
}

/// What `iam/info` says: the instance profile that EC2 would have made for the role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile<'a> {
    /// `aws`, `aws-cn`, …
    pub(crate) partition: &'a str,
    /// Twelve digits.
    pub(crate) account_id: &'a str,
    /// Without its path.
    pub(crate) role_name: &'a str,
    /// Whole; the profile's id is made from it.
    pub(crate) role_arn: &'a str,
    /// When the role's credentials were obtained.
    pub(crate) last_updated: SystemTime,
}

/// `iam/info`.
pub(crate) fn iam_info(profile: &Profile<'_>) -> Result<Bytes, Unprintable> {
    let Profile { partition, account_id, role_name, role_arn, last_updated } = *profile;
    let arn = format!("arn:{partition}:iam::{account_id}:instance-profile/{role_name}");
    object(&[
        ("Code", "Success"),
        ("LastUpdated", &timestamp(last_updated)),
        ("InstanceProfileArn", &arn),
        ("InstanceProfileId", &profile_id(role_arn)),
    ])
}

/// `AIPA` and 17 characters of IAM's alphabet (AWS: "IAM identifiers"), the same for a role always.
fn profile_id(role_arn: &str) -> String {
    let digest = digest::digest(&digest::SHA256, role_arn.as_bytes());
    let characters = digest.as_ref().iter().take(17).map(|byte| match byte % 32 {
        letter @ 0..26 => char::from(b'A' + letter),
        digit => char::from(b'2' + digit - 26),
    });
    "AIPA".chars().chain(characters).collect()
}

/// One object in EC2's layout. Values go in as they are, for scripts do not unescape; so they must
/// be such that JSON would not escape them either.
fn object(fields: &[(&'static str, &str)]) -> Result<Bytes, Unprintable> {
    let mut parts = Vec::with_capacity(fields.len() * 5 + 1);
    for (place, (key, value)) in fields.iter().enumerate() {
        if !is_plain(value) {
            return Err(Unprintable { key });
        }
        let before = if place == 0 { "{\n  \"" } else { ",\n  \"" };
        parts.extend([before, key, "\" : \"", value, "\""]);
    }
    parts.push("\n}");
    // Room for all at once: a vector that grows leaves a copy of the secrets behind.
    let size = parts.iter().map(|part| part.len()).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    for part in parts {
        body.extend_from_slice(part.as_bytes());
    }
    Ok(Bytes::from_owner(body))
}

fn is_plain(value: &str) -> bool {
    let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    !value.is_empty() && value.bytes().all(plain)
}

/// The page of a status that has no document: the default page of lighttpd, as EC2's. (EC2 leaves
/// the body of a 405 empty.)
pub(crate) fn error_page(status: StatusCode) -> Bytes {
    let code = status.as_str();
    let reason = status.canonical_reason().unwrap_or("Error");
    Bytes::from(format!(
        r#"<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{code} - {reason}</title>
 </head>
 <body>
  <h1>{code} - {reason}</h1>
 </body>
</html>
"#
    ))
}

/// Why there are no credentials, as JSON. EC2's error documents say `Code`, `Message` and
/// `LastUpdated`; the SDK for Java prints `code` and `message` in its stack traces.
pub(crate) fn refusal(code: &str, message: &str, now: SystemTime) -> Bytes {
    let (code, message) = (Value::from(code), Value::from(message));
    let now = timestamp(now);
    Bytes::from(format!(
        r#"{{
  "Code" : {code},
  "Message" : {message},
  "LastUpdated" : "{now}",
  "code" : {code},
  "message" : {message}
}}"#
    ))
}

/// `YYYY-MM-DDTHH:MM:SSZ`, in UTC whatever the node's time zone; a fraction is cut off. boto 2 and
/// the SDK for Rust read no other form.
pub(crate) fn timestamp(time: SystemTime) -> String {
    // Later than the year 9999 is as good as its last day.
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `/`.
pub(crate) fn versions() -> Bytes {
    Bytes::from(VERSIONS.join("\n"))
}

/// `/latest`.
pub(crate) fn version() -> Bytes {
    Bytes::from_static(b"dynamic\nmeta-data\nuser-data")
}

/// `meta-data/`: the lines of the node's own that a caller may see, and in its place among them that of
/// its role, if it has one.
pub(crate) fn meta_data(of_node: &[u8], has_role: bool) -> Bytes {
    const IAM: &str = "iam/";
    let of_node = String::from_utf8_lossy(of_node);
    let mut lines: Vec<&str> = of_node.lines().filter(|line| *line != IAM).collect();
    if has_role {
        let place = lines.partition_point(|line| *line < IAM);
        lines.insert(place, IAM);
    }
    Bytes::from(lines.join("\n"))
}

/// `meta-data/iam/`, for a caller with a role.
pub(crate) fn iam() -> Bytes {
    Bytes::from_static(b"info\nsecurity-credentials/")
}

/// `iam/security-credentials/`: the name of the caller's role, without its path. A second line or
/// one line feed would break most SDKs.
pub(crate) fn role_list(role_name: &str) -> Bytes {
    Bytes::copy_from_slice(role_name.as_bytes())
}
