//! The index of pods: who has which address and cgroup.

use super::*;

const IP: &str = "10.0.1.11";

fn owner(index: &Index) -> Result<String, Unidentified> {
    index.owner(IP.parse().unwrap()).map(|pod| pod.uid.to_string())
}

#[test]
fn a_pod_is_found_by_each_of_its_addresses() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP, "fd00::1"])));
    assert_eq!(owner(&index).unwrap(), "a");
    assert!(index.owner("fd00::1".parse().unwrap()).is_ok());
}

#[test]
fn a_finished_pod_owns_no_address() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    let finished = Pod { finished: true, ..Pod::fixture("a", &[IP]) };
    let changes = index.apply(Event::Applied(finished));
    assert!(matches!(changes.as_slice(), [Change::Gone(_)]), "{changes:?}");
    assert_eq!(owner(&index).unwrap_err(), Unidentified::Unknown);
    let already_finished = Pod { finished: true, ..Pod::fixture("b", &[IP]) };
    assert_eq!(index.apply(Event::Listed(vec![already_finished])), vec![]);
    assert_eq!(owner(&index).unwrap_err(), Unidentified::Unknown);
}

#[test]
fn an_address_that_two_running_pods_claim_is_neithers() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    index.apply(Event::Applied(Pod::fixture("b", &[IP])));
    assert_eq!(owner(&index).unwrap_err(), Unidentified::Ambiguous);
    index.apply(Event::Deleted(PodUid::new("a")));
    assert_eq!(owner(&index).unwrap(), "b");
}

#[test]
fn a_list_drops_what_is_not_in_it() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    let changes = index.apply(Event::Listed(vec![Pod::fixture("b", &[IP])]));
    assert!(matches!(changes.as_slice(), [Change::Gone(_), Change::Appeared(_)]));
    assert_eq!(owner(&index).unwrap(), "b");
}

#[test]
fn a_pod_that_loses_its_address_no_longer_owns_it() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    index.apply(Event::Applied(Pod::fixture("a", &["10.0.1.12"])));
    assert_eq!(owner(&index).unwrap_err(), Unidentified::Unknown);
}

#[test]
fn the_same_pod_twice_changes_nothing() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    assert_eq!(index.apply(Event::Applied(Pod::fixture("a", &[IP]))), vec![]);
    assert_eq!(owner(&index).unwrap(), "a");
}

#[test]
fn a_static_pod_is_its_only_mirror() {
    let key = PodKey::of_config_hash("0123456789abcdef0123456789abcdef").unwrap();
    let mirror = |uid: &str| Pod { mirrors: Some(key), ..Pod::fixture(uid, &[]) };
    let mut index = Index::default();
    assert_eq!(index.pod(&key), Err(Unidentified::Unknown));
    index.apply(Event::Applied(mirror("a")));
    assert_eq!(index.pod(&key).unwrap().uid.as_str(), "a");
    index.apply(Event::Applied(mirror("impostor")));
    assert_eq!(index.pod(&key), Err(Unidentified::Ambiguous));
    index.apply(Event::Deleted(PodUid::new("impostor")));
    assert_eq!(index.pod(&key).unwrap().uid.as_str(), "a");
}

#[test]
fn a_uid_is_found_whatever_another_pod_says_that_it_mirrors() {
    let key = PodKey::fixture("a");
    let mut index = Index::default();
    index.apply(Event::Applied(Pod { mirrors: Some(key), ..Pod::fixture("impostor", &[]) }));
    index.apply(Event::Applied(Pod::fixture("a", &[])));
    assert_eq!(index.pod(&key).unwrap().uid.as_str(), "a");
}

#[test]
fn it_knows_whether_it_was_ever_complete() {
    let mut index = Index::default();
    index.apply(Event::Applied(Pod::fixture("a", &[IP])));
    assert!(!index.is_listed());
    index.apply(Event::Listed(vec![]));
    assert!(index.is_listed() && index.is_empty());
}
