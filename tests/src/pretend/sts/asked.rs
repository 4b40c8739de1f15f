//! The parameters of AssumeRole as they came, before anything is made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A session tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// What AssumeRole was called with; a parameter that must be there is empty where it was absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `RoleArn`.
    pub role_arn: String,
    /// `RoleSessionName`.
    pub session_name: String,
    /// `DurationSeconds`, not yet read as a number.
    pub duration: Option<String>,
    /// `Tags`, in their order.
    pub tags: Vec<Tag>,
    /// `TransitiveTagKeys`, in their order.
    pub transitive: Vec<String>,
    /// `ExternalId`.
    pub external_id: Option<String>,
    /// `SourceIdentity`.
    pub source_identity: Option<String>,
    /// `Policy`.
    pub policy: Option<String>,
    /// `PolicyArns`.
    pub policy_arns: Vec<String>,
}

impl Asked {
    /// Reads a form.
    #[must_use]
    pub fn read(form: &[(String, String)]) -> Self {
        let owned = |name| value(form, name).map(str::to_owned);
        let keys = list(form, "Tags.member.", ".Key");
        let mut values = list(form, "Tags.member.", ".Value");
        let tag =
            |(at, key): (u32, String)| Tag { key, value: values.remove(&at).unwrap_or_default() };
        Self {
            role_arn: owned("RoleArn").unwrap_or_default(),
            session_name: owned("RoleSessionName").unwrap_or_default(),
            duration: owned("DurationSeconds"),
            tags: keys.into_iter().map(tag).collect(),
            transitive: list(form, "TransitiveTagKeys.member.", "").into_values().collect(),
            external_id: owned("ExternalId"),
            source_identity: owned("SourceIdentity"),
            policy: owned("Policy"),
            policy_arns: list(form, "PolicyArns.member.", ".arn").into_values().collect(),
        }
    }

    /// The value of the tag `key`, if it was sent.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

/// The value of one parameter.
#[must_use]
pub fn value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The members of a list as the query protocol writes it: `Tags.member.1.Key`, by their number.
fn list(form: &[(String, String)], prefix: &str, suffix: &str) -> BTreeMap<u32, String> {
    let member = |(key, value): &(String, String)| {
        let at = key.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
        Some((at, value.clone()))
    };
    form.iter().filter_map(member).collect()
}
