//! What the default list shows, and what no list can show.

use super::*;

fn path(text: &str) -> NodePath {
    NodePath::new(&text.split('/').collect::<Vec<_>>()).unwrap()
}

fn list(words: &[&str]) -> AllowList {
    AllowList::parse(words.iter().copied()).unwrap()
}

#[track_caller]
fn permits(list: &AllowList, text: &str) -> Option<(Slash, Fresh)> {
    list.permit(&path(text)).map(|permit| (permit.slash, permit.fresh))
}

#[test]
fn the_default_list_has_what_add_ons_read() {
    let list = list(&["default"]);
    for (text, permit) in [
        ("meta-data/instance-id", (Slash::Never, Fresh::Static)),
        ("meta-data/outpost-arn", (Slash::Never, Fresh::Static)),
        ("meta-data/placement/region", (Slash::WhereRedirected, Fresh::Static)),
        ("meta-data/placement", (Slash::WhereRedirected, Fresh::Static)),
        (
            "meta-data/network/interfaces/macs/02:00:00:00:00:0a/vpc-id",
            (Slash::WhereRedirected, Fresh::Volatile),
        ),
        ("meta-data/network", (Slash::Always, Fresh::Volatile)),
        ("meta-data/network/interfaces", (Slash::Always, Fresh::Volatile)),
        ("meta-data/spot/instance-action", (Slash::WhereRedirected, Fresh::Volatile)),
        ("meta-data/autoscaling", (Slash::Always, Fresh::Volatile)),
        ("meta-data/public-ipv4", (Slash::Never, Fresh::Volatile)),
        ("meta-data", (Slash::Always, Fresh::Static)),
        ("dynamic", (Slash::Always, Fresh::Static)),
        ("dynamic/instance-identity", (Slash::Always, Fresh::Static)),
        ("dynamic/instance-identity/document", (Slash::Never, Fresh::Static)),
    ] {
        assert_eq!(permits(&list, text), Some(permit), "{text}");
    }
}

#[test]
fn what_is_not_in_the_list_is_not_permitted() {
    let list = list(&["default"]);
    for text in [
        "meta-data/tags/instance/Name",
        "meta-data/tags",
        "meta-data/public-keys",
        "meta-data/product-codes",
        "meta-data/instance-id/x",
        "meta-data/networks",
        "meta-data/network/other",
        "meta-data/Placement/region",
        "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        "meta-data/iam-eks-credentials/x",
        "user-data",
        "dynamic/instance-identity/pkcs7",
        "dynamic/instance-identity/signature",
        "dynamic/instance-identity/rsa2048",
        "dynamic/fws/instance-monitoring",
        "placement/region",
    ] {
        assert_eq!(permits(&list, text), None, "{text}");
    }
    assert_eq!(permits(&AllowList::default(), "meta-data"), None);
}

#[test]
fn a_list_adds_to_the_default_or_stands_alone() {
    let added = list(&["default", "tags/", "dynamic/fws/**"]);
    assert!(permits(&added, "meta-data/instance-id").is_some());
    assert_eq!(
        permits(&added, "meta-data/tags/instance/a=b.c@d:e,f_g+h-i"),
        Some((Slash::WhereRedirected, Fresh::Volatile))
    );
    assert!(permits(&added, "dynamic/fws/instance-monitoring").is_some());
    let alone = list(&["placement/region", "meta-data/mac"]);
    assert!(permits(&alone, "meta-data/placement/region").is_some());
    assert!(permits(&alone, "meta-data/mac").is_some());
    assert!(permits(&alone, "meta-data/placement/availability-zone").is_none());
    assert_eq!(list(&["none"]), AllowList::default());
}

#[test]
fn listings_show_only_what_may_be_read() {
    let list = list(&["default"]);
    for (directory, line, seen) in [
        ("meta-data", "instance-id", true),
        ("meta-data", "placement/", true),
        ("meta-data", "network/", true),
        ("meta-data", "iam/", false),
        ("meta-data", "identity-credentials/", false),
        ("meta-data", "public-keys/", false),
        ("meta-data", "profile", false),
        ("dynamic", "instance-identity/", true),
        ("dynamic/instance-identity", "document", true),
        ("dynamic/instance-identity", "pkcs7", false),
        ("meta-data/network", "interfaces/", true),
        ("meta-data", "", false),
        ("meta-data", "../user-data", false),
    ] {
        assert_eq!(list.shows(directory, line), seen, "{directory} {line}");
    }
}

#[test]
fn no_list_opens_what_would_make_a_pod_the_node() {
    for word in [
        "iam/",
        "iam/info",
        "iam/security-credentials/",
        "identity-credentials/",
        "identity-credentials/ec2/info",
        "iam-eks-x/",
        "meta-data/",
        "meta-data/**",
        "dynamic/",
        "dynamic/instance-identity/",
        "dynamic/instance-identity/pkcs7",
        "user-data",
        "user-data/",
        "api/token",
    ] {
        let error = AllowList::parse(["default", word].into_iter()).unwrap_err();
        assert!(matches!(error, PathError::Never { .. }), "{word}: {error}");
    }
}

#[test]
fn odd_words_are_no_paths() {
    for word in
        ["/", "*", "**", "tags//x/", "../user-data", "a b", "%69am/", "tags/*/x", "ïam/", "./iam"]
    {
        let error = AllowList::parse([word].into_iter()).unwrap_err();
        assert!(matches!(error, PathError::Malformed(_)), "{word}: {error}");
    }
}

#[test]
fn a_path_of_odd_characters_goes_nowhere() {
    for segments in [
        &["meta-data", "a%2fb"][..],
        &["meta-data", "a;b"],
        &["meta-data", "a?b"],
        &["meta-data", "a#b"],
        &["meta-data", "a b"],
        &["meta-data", "a\\b"],
        &["meta-data", ".."],
        &["meta-data", ""],
        &["meta-data", "iam", "info"],
        &["api", "token"],
        &[],
    ] {
        assert_eq!(NodePath::new(segments), None, "{segments:?}");
    }
    let long = "a".repeat(300);
    assert_eq!(NodePath::new(&["meta-data", &long]), None);
}
