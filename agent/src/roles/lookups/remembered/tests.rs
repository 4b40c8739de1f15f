//! What is written is what is remembered, and nothing that is not known whole.

use serde_json::json;

use super::*;
use crate::roles::facts::Cause;

fn record(name: &str, namespace: &str) -> Record {
    let spec = json!({
        "namespace": namespace, "serviceAccount": "default",
        "roleArn": format!("arn:aws:iam::123456789012:role/{name}"),
    });
    Record::read(name, name, UNIX_EPOCH + Duration::from_secs(7), spec).unwrap()
}

fn permitted() -> Namespace {
    let keys = Rules::fixture().keys;
    let annotations = [(keys.permitted.clone(), ".*".into())].into();
    Namespace::read(&keys, annotations, [("team".into(), "shop".into())].into())
}

fn account() -> ServiceAccount {
    ServiceAccount { role: Some("arn:aws:iam::123456789012:role/web".into()), audience: None }
}

fn known() -> Vec<News> {
    let shop = || Box::<str>::from("shop");
    vec![
        News::Namespace(shop(), Some(permitted())),
        News::Namespace("gone".into(), None),
        News::ServiceAccount(shop(), "web".into(), Some(account())),
        News::ServiceAccount(shop(), "none".into(), None),
        News::Listed(Some(shop()), vec![record("web", "shop")]),
        News::Listed(Some("empty".into()), vec![]),
    ]
}

fn key(news: &News) -> Key {
    match news {
        News::Namespace(name, _) => Key::Namespace(name.clone()),
        News::ServiceAccount(namespace, name, _) => {
            Key::ServiceAccount(namespace.clone(), name.clone())
        }
        News::Listed(namespace, _) => Key::Associations(namespace.clone()),
        other => panic!("{other:?}"),
    }
}

fn store(news: Vec<News>) -> Store {
    let mut store = Store::default();
    for news in news {
        store.hear(news);
    }
    store
}

fn memory(directory: &Path) -> Memory {
    Memory::new(directory, "node-1", &Rules::fixture())
}

#[test]
fn what_was_known_is_remembered_as_it_was_once() {
    let directory = tempfile::tempdir().unwrap();
    let memory = memory(directory.path());
    let mut unknown = store(known());
    unknown.miss_namespace("never", Cause::Failing);
    unknown.miss_associations(Some("never"), Cause::Failing);
    memory.file.replace(&Content::of(&unknown)).unwrap();
    let mut remembered = memory.load();
    for news in known() {
        assert_eq!(remembered.take(&key(&news)).as_ref(), Some(&news));
        assert_eq!(remembered.take(&key(&news)), None, "{news:?}");
    }
    assert_eq!(remembered.take(&Key::Namespace("never".into())), None);
    assert_eq!(remembered.take(&Key::Associations(Some("never".into()))), None);
    assert_eq!(remembered.take(&Key::Associations(None)), None, "not all were known");
    assert!(remembered.is_empty());
}

#[test]
fn where_all_associations_were_known_there_are_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let memory = memory(directory.path());
    let all = store(vec![News::Listed(None, vec![record("web", "shop")])]);
    memory.file.replace(&Content::of(&all)).unwrap();
    let (shop, other) = (Some("shop".into()), Some("other".into()));
    let listed = News::Listed(shop.clone(), vec![record("web", "shop")]);
    let mut remembered = memory.load();
    assert_eq!(remembered.take(&Key::Associations(shop)), Some(listed));
    let none = News::Listed(other.clone(), vec![]);
    assert_eq!(remembered.take(&Key::Associations(other)), Some(none));
    let all = News::Listed(None, vec![record("web", "shop")]);
    assert_eq!(memory.load().take(&Key::Associations(None)), Some(all));
}

#[test]
fn nothing_is_remembered_of_rubbish_or_by_other_flags() {
    let directory = tempfile::tempdir().unwrap();
    let written = memory(directory.path());
    written.file.replace(&Content::of(&store(known()))).unwrap();
    assert!(!written.load().is_empty());
    let mut rules = Rules::fixture();
    rules.keys = Keys::with_prefix("example.org");
    assert!(Memory::new(directory.path(), "node-1", &rules).load().is_empty());
    std::fs::write(written.file.path(), b"{\"version\":1,\"node\":\"node-1\"}").unwrap();
    assert!(written.load().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_all_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let memory = memory(directory.path());
    let (writer, reader) = channel::channel(store(known()));
    let change = async {
        sleep(10 * GATHER).await;
        assert!(memory.load().is_empty(), "half of it");
        writer.send_if_modified(|store| store.set_complete(true));
        while memory.load().is_empty() {
            tokio::task::yield_now().await;
        }
        writer.send_modify(|store| store.hear(News::Namespace("shop".into(), None)));
        let shop = Key::Namespace("shop".into());
        while memory.load().take(&shop) != Some(News::Namespace("shop".into(), None)) {
            sleep(GATHER).await;
        }
    };
    tokio::select! {
        () = memory.clone().follow(reader, Duty::always()) => panic!("it goes on for ever"),
        () = change => {}
    }
}
