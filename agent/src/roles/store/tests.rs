//! What is heard, and what is known then.

use std::time::SystemTime;

use serde_json::json;

use super::*;

fn pod() -> Pod {
    Pod::fixture("a", &[])
}

fn record(name: &str) -> Record {
    let spec = json!({
        "namespace": "default", "serviceAccount": "default",
        "roleArn": format!("arn:aws:iam::123456789012:role/{name}"),
    });
    Record::read(name, name, SystemTime::UNIX_EPOCH, spec).unwrap()
}

fn heard(news: impl IntoIterator<Item = News>) -> Store {
    let mut store = Store::default();
    news.into_iter().for_each(|news| store.hear(news));
    store
}

fn cause<T>(known: &Known<T>) -> Option<Cause> {
    match known {
        Known::NotYet(missing) => Some(missing.cause),
        Known::Absent | Known::There(_) => None,
    }
}

#[test]
fn nothing_is_known_at_first() {
    assert_eq!(Store::default().facts(&pod()), Facts::unanswered());
}

#[test]
fn what_is_heard_is_known() {
    let store = heard([
        News::Namespace("default".into(), Some(Namespace::default())),
        News::ServiceAccount("default".into(), "default".into(), None),
        News::Listed(Some("default".into()), vec![record("web")]),
        News::OwnBase("arn:aws:iam::123456789012:role/".parse().unwrap()),
    ]);
    let facts = store.facts(&pod());
    assert_eq!(facts.namespace, Known::There(Arc::new(Namespace::default())));
    assert_eq!(facts.service_account, Known::Absent);
    assert!(matches!(facts.association, Known::There(found) if &*found.name == "web"));
    assert!(facts.own_base.is_some());
}

#[test]
fn associations_are_absent_where_there_is_no_such_resource() {
    let mut store = heard([News::NotInstalled]);
    assert_eq!(store.facts(&pod()).association, Known::Absent);
    store.hear(News::Listed(Some("other".into()), vec![]));
    assert_eq!(cause(&store.facts(&pod()).association), Some(Cause::Unanswered));
}

#[test]
fn the_whole_list_tells_of_every_namespace() {
    let mut store = heard([News::Listed(None, vec![record("web")])]);
    assert!(matches!(store.facts(&pod()).association, Known::There(_)));
    store.hear(News::Deleted(None, "web".into()));
    assert_eq!(store.facts(&pod()).association, Known::Absent);
    store.hear(News::Applied(record("new")));
    assert!(matches!(store.facts(&pod()).association, Known::There(_)));
}

#[test]
fn a_failing_watch_takes_nothing_away_and_is_not_absence() {
    let mut store = Store::default();
    store.miss_namespace("default", Cause::Forbidden);
    store.miss_account("default", "default", Cause::Failing);
    store.miss_associations(None, Cause::Forbidden);
    let facts = store.facts(&pod());
    assert_eq!(cause(&facts.namespace), Some(Cause::Forbidden));
    assert_eq!(cause(&facts.service_account), Some(Cause::Failing));
    assert_eq!(cause(&facts.association), Some(Cause::Forbidden));

    store.hear(News::Namespace("default".into(), Some(Namespace::default())));
    store.hear(News::Listed(Some("default".into()), vec![record("web")]));
    store.miss_namespace("default", Cause::Failing);
    store.miss_associations(Some("default"), Cause::Failing);
    store.miss_associations(None, Cause::Failing);
    let facts = store.facts(&pod());
    assert!(matches!(facts.namespace, Known::There(_)));
    assert!(matches!(facts.association, Known::There(_)));
}

#[test]
fn what_is_forgotten_is_unknown_and_not_absent() {
    let mut store = heard([
        News::Namespace("default".into(), None),
        News::ServiceAccount("default".into(), "default".into(), None),
        News::Listed(Some("default".into()), vec![record("web")]),
    ]);
    store.forget_namespace("default");
    store.forget_account("default", "default");
    store.forget_associations("default");
    assert_eq!(store.facts(&pod()), Facts::unanswered());
}
