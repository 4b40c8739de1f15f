//! What the metadata service has to say, path by path.

use jiff::{SignedDuration, Timestamp};

use crate::pretend::node::{self, Keys, LEAK_MARKER};

/// Versions of the API, oldest first; each has the documents introduced up to then.
const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "latest",
];

/// A document that never changes.
struct Leaf {
    path: &'static str,
    /// First version that has it; versions compare as text, with `latest` last.
    since: &'static str,
    content: &'static str,
}

const fn leaf(path: &'static str, since: &'static str, content: &'static str) -> Leaf {
    Leaf { path, since, content }
}

/// The documents whose content is fixed, in the order of their listings ("Instance metadata
/// categories").
const LEAVES: &[Leaf] = &[
    leaf("dynamic/instance-identity/pkcs7", "2009-04-04", "node-credentials-leaked-pkcs7"),
    leaf("dynamic/instance-identity/rsa2048", "2009-04-04", "node-credentials-leaked-rsa2048"),
    leaf("dynamic/instance-identity/signature", "2009-04-04", "node-credentials-leaked-signature"),
    leaf("meta-data/ami-id", "1.0", "ami-0a1b2c3d4e5f60718"),
    leaf("meta-data/ami-launch-index", "1.0", "0"),
    leaf("meta-data/autoscaling/target-lifecycle-state", "2021-03-23", "InService"),
    leaf("meta-data/block-device-mapping/ami", "2007-12-15", "/dev/xvda"),
    leaf("meta-data/block-device-mapping/root", "2007-12-15", "/dev/xvda"),
    leaf("meta-data/events/maintenance/history", "2018-08-17", "[]"),
    leaf("meta-data/events/maintenance/scheduled", "2018-08-17", "[]"),
    leaf("meta-data/hostname", "1.0", "ip-10-0-0-10.us-west-2.compute.internal"),
    leaf("meta-data/iam/info", "2012-01-12", ""),
    leaf("meta-data/iam/security-credentials/NodeInstanceRole", "2012-01-12", ""),
    leaf("meta-data/identity-credentials/ec2/info", "2018-08-17", ""),
    leaf("meta-data/identity-credentials/ec2/security-credentials/ec2-instance", "2018-08-17", ""),
    leaf("meta-data/instance-action", "2008-09-01", "none"),
    leaf("meta-data/instance-id", "1.0", node::INSTANCE_ID),
    leaf("meta-data/instance-life-cycle", "2019-10-01", "on-demand"),
    leaf("meta-data/instance-type", "2007-08-29", "m6i.large"),
    leaf("meta-data/local-hostname", "2007-01-19", "ip-10-0-0-10.us-west-2.compute.internal"),
    leaf("meta-data/local-ipv4", "1.0", "10.0.0.10"),
    leaf("meta-data/mac", "2011-01-01", "02:00:00:00:00:0a"),
    leaf("meta-data/network/interfaces/macs/02:00:00:00:00:0a/device-number", "2011-01-01", "0"),
    leaf(
        "meta-data/network/interfaces/macs/02:00:00:00:00:0a/local-ipv4s",
        "2011-01-01",
        "10.0.0.10",
    ),
    leaf(
        "meta-data/network/interfaces/macs/02:00:00:00:00:0a/vpc-id",
        "2011-01-01",
        "vpc-0a1b2c3d4e5f60718",
    ),
    leaf("meta-data/placement/availability-zone", "2008-02-01", "us-west-2a"),
    leaf("meta-data/placement/availability-zone-id", "2019-10-01", "usw2-az1"),
    leaf("meta-data/placement/region", "2019-10-01", node::REGION),
    leaf("meta-data/profile", "2009-04-04", "default-hvm"),
    leaf("meta-data/public-keys/0/openssh-key", "1.0", "ssh-ed25519 AAAA node"),
    leaf("meta-data/reservation-id", "1.0", "r-0a1b2c3d4e5f60718"),
    leaf("meta-data/security-groups", "1.0", "nodes"),
    leaf("meta-data/services/domain", "2014-02-25", "amazonaws.com"),
    leaf("meta-data/services/partition", "2015-10-20", "aws"),
    leaf("meta-data/system", "2021-03-23", "nitro"),
    leaf("meta-data/tags/instance/Name", "2021-03-23", "node"),
    leaf("dynamic/instance-identity/document", "2009-04-04", ""),
    leaf("user-data", "1.0", ""),
];

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A document, or the listing of a directory.
    Document(String),
    /// The user data, which is no text to the service.
    UserData(String),
    /// A directory, asked for without its slash.
    Directory,
    /// No such path in this version.
    Nothing,
}

/// Looks up a path as it was sent.
#[must_use]
pub fn find(path: &str, now: Timestamp) -> Found {
    let collapsed: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let Some((version, rest)) = collapsed.split_first() else {
        return Found::Document(VERSIONS.join("\n"));
    };
    if !VERSIONS.contains(version) {
        return Found::Nothing;
    }
    let rest = rest.join("/");
    let known = || LEAVES.iter().filter(|leaf| leaf.since <= *version);
    if let Some(leaf) = known().find(|leaf| leaf.path == rest) {
        let content = content(leaf, now);
        return if rest == "user-data" {
            Found::UserData(content)
        } else {
            Found::Document(content)
        };
    }
    let listing = list(&rest, known().map(|leaf| leaf.path));
    match (listing.is_empty(), path.ends_with('/')) {
        (true, _) => Found::Nothing,
        (false, true) => Found::Document(listing.join("\n")),
        // The versions themselves are answered either way.
        (false, false) if rest.is_empty() => Found::Document(listing.join("\n")),
        (false, false) => Found::Directory,
    }
}

/// The names directly below a directory, sorted; directories among them end in a slash.
fn list<'a>(directory: &str, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let top = directory.is_empty();
    let prefix = if top { String::new() } else { format!("{directory}/") };
    let name = |rest: &str| match rest.split_once('/') {
        // At the top the service leaves out the slash.
        Some((name, _)) if top => name.to_owned(),
        Some((name, _)) => format!("{name}/"),
        None => rest.to_owned(),
    };
    let mut names: Vec<String> =
        paths.filter_map(|path| path.strip_prefix(&prefix)).map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// The content of a document; those that are not fixed are composed.
fn content(leaf: &Leaf, now: Timestamp) -> String {
    match leaf.path {
        "meta-data/iam/info" => iam_info(now),
        "meta-data/identity-credentials/ec2/info" => identity_info(now),
        "user-data" => format!("#!/bin/sh\n# {LEAK_MARKER}: user data\n"),
        "dynamic/instance-identity/document" => identity_document(),
        path if path.contains("/security-credentials/") => credentials(now),
        _ => leaf.content.to_owned(),
    }
}

/// A document in the layout of the service: two spaces, `"Key" : "value"`, no line feed at the end.
fn fields(fields: &[(&str, &str)]) -> String {
    let lines: Vec<String> =
        fields.iter().map(|(key, value)| format!("  \"{key}\" : \"{value}\"")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The node's credentials, six hours long, as EC2 gives them out.
fn credentials(now: Timestamp) -> String {
    let Keys { id, secret, token } = Keys::of_instance_profile();
    let expiration = now.saturating_add(SignedDuration::from_hours(6)).unwrap_or(now);
    fields(&[
        ("Code", "Success"),
        ("LastUpdated", &date(now)),
        ("Type", "AWS-HMAC"),
        ("AccessKeyId", &id),
        ("SecretAccessKey", &secret),
        ("Token", token.as_deref().unwrap_or_default()),
        ("Expiration", &date(expiration)),
    ])
}

fn iam_info(now: Timestamp) -> String {
    let arn = format!("arn:aws:iam::{}:instance-profile/{}", node::ACCOUNT, node::ROLE);
    fields(&[
        ("Code", "Success"),
        ("LastUpdated", &date(now)),
        ("InstanceProfileArn", &arn),
        ("InstanceProfileId", "AIPANODEAAAAAAAAAAAAA"),
    ])
}

fn identity_info(now: Timestamp) -> String {
    fields(&[("Code", "Success"), ("LastUpdated", &date(now)), ("AccountId", node::ACCOUNT)])
}

/// "Instance identity documents"
fn identity_document() -> String {
    fields(&[
        ("accountId", node::ACCOUNT),
        ("architecture", "x86_64"),
        ("availabilityZone", "us-west-2a"),
        ("imageId", "ami-0a1b2c3d4e5f60718"),
        ("instanceId", node::INSTANCE_ID),
        ("instanceType", "m6i.large"),
        ("pendingTime", "2026-11-01T08:00:00Z"),
        ("privateIp", "10.0.0.10"),
        ("region", node::REGION),
        ("version", "2017-09-30"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Found {
        find(path, Timestamp::from_second(1_700_000_000).unwrap())
    }

    #[track_caller]
    fn says(path: &str, content: &str) {
        assert_eq!(found(path), Found::Document(content.to_owned()), "{path}");
    }

    #[test]
    fn leaves_are_served_with_and_without_a_slash() {
        says("/latest/meta-data/placement/availability-zone", "us-west-2a");
        says("/latest/meta-data/placement/availability-zone/", "us-west-2a");
        says("/2021-01-03/meta-data/placement/region", "us-west-2");
    }

    #[test]
    fn directories_list_and_without_their_slash_redirect() {
        says("/latest", "dynamic\nmeta-data\nuser-data");
        says("/latest/meta-data/iam/", "info\nsecurity-credentials/");
        says("/latest/meta-data/iam/security-credentials/", "NodeInstanceRole");
        assert_eq!(found("/latest/meta-data/iam/security-credentials"), Found::Directory);
    }

    #[test]
    fn versions_lack_what_came_after_them() {
        assert_eq!(found("/2011-05-01/meta-data/iam/info"), Found::Nothing);
        assert_eq!(found("/1.0/dynamic/"), Found::Nothing);
        assert_eq!(found("/2099-01-01/meta-data/"), Found::Nothing);
        assert_eq!(found("/latest/meta-data/outpost-arn"), Found::Nothing);
    }

    #[test]
    fn the_identity_document_is_found_under_a_doubled_slash() {
        assert!(matches!(
            found("/latest/dynamic/instance-identity//document/"),
            Found::Document(_)
        ));
    }

    #[test]
    fn documents_have_the_layout_of_the_real_service() {
        let Found::Document(info) = found("/latest/meta-data/iam/info") else { panic!() };
        assert!(info.starts_with("{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2023-"));
        assert!(info.ends_with("\"\n}"));
    }
}
