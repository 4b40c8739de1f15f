//! Watches of the pretend API server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use podrole_tests::http::Request;
use podrole_tests::wait::PATIENCE;
use serde_json::json;
use tokio::time::timeout;

use super::{Cluster, pod};

/// `+one` for an applied pod, `-one` for a deleted one.
fn brief(event: &Event<Pod>) -> String {
    match event {
        Event::Apply(pod) => format!("+{}", pod.name_any()),
        Event::Delete(pod) => format!("-{}", pod.name_any()),
        Event::Init => "init".to_owned(),
        Event::InitApply(pod) => format!("init {}", pod.name_any()),
        Event::InitDone => "done".to_owned(),
    }
}

async fn take(
    events: &mut (impl futures_util::Stream<Item = Result<Event<Pod>, watcher::Error>> + Unpin),
    count: usize,
) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let event = timeout(PATIENCE, events.next()).await.expect("an event in time").unwrap();
        seen.push(event.map_or_else(|_| "error".to_owned(), |event| brief(&event)));
    }
    seen
}

#[tokio::test]
async fn a_watcher_sees_pods_come_change_leave_its_node_and_go() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    cluster.create("two", "elsewhere").await;
    let config = watcher::Config::default().fields("spec.nodeName=here");
    let mut events = Box::pin(watcher(cluster.pods.clone(), config));
    assert_eq!(take(&mut events, 3).await, ["init", "init one", "done"]);

    cluster.merge("one", json!({ "metadata": { "labels": { "more": "yes" } } })).await;
    cluster.merge("two", json!({ "spec": { "nodeName": "here" } })).await;
    cluster.merge("two", json!({ "spec": { "nodeName": "elsewhere" } })).await;
    cluster.delete("one").await;
    // A pod first shows that it is ending.
    assert_eq!(take(&mut events, 5).await, ["+one", "+two", "-two", "+one", "-one"]);
}

#[tokio::test]
async fn a_watcher_that_resumes_after_compaction_starts_over() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    let mut events = Box::pin(watcher(cluster.pods.clone(), watcher::Config::default()));
    assert_eq!(take(&mut events, 3).await, ["init", "init one", "done"]);
    cluster.server.control("POST", "compact", &());
    cluster.server.control("POST", "disconnect", &());
    let mut seen = take(&mut events, 3).await;
    while !seen.ends_with(&["init".into(), "init one".into(), "done".into()]) {
        seen.extend(take(&mut events, 1).await);
    }
    assert!(seen.contains(&"error".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn a_watcher_that_resumes_without_compaction_misses_nothing() {
    let cluster = Cluster::start().await;
    let mut events = Box::pin(watcher(cluster.pods.clone(), watcher::Config::default()));
    assert_eq!(take(&mut events, 2).await, ["init", "done"]);
    cluster.server.control("POST", "disconnect", &());
    for name in ["one", "two", "three"] {
        cluster.create(name, "here").await;
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(take(&mut events, 1).await.into_iter().filter(|event| event != "error"));
    }
    assert_eq!(seen, ["+one", "+two", "+three"]);
}

#[tokio::test]
async fn streaming_lists_end_with_their_bookmark() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    let config = watcher::Config::default().streaming_lists();
    let mut events = Box::pin(watcher(cluster.pods.clone(), config));
    assert_eq!(take(&mut events, 3).await, ["init", "init one", "done"]);
    cluster.create("two", "here").await;
    assert_eq!(take(&mut events, 1).await, ["+two"]);
}

#[tokio::test]
async fn a_watch_from_a_version_that_is_too_old_gets_an_error_event() {
    let cluster = Cluster::start().await;
    let old = cluster.version().await;
    cluster.server.control("POST", "compact", &());
    let events = cluster.pods.watch(&WatchParams::default().timeout(1), &old).await.unwrap();
    let events: Vec<_> = timeout(PATIENCE, events.try_collect()).await.unwrap().unwrap();
    let [WatchEvent::Error(status)] = &*events else { panic!("{events:?}") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn bookmarks_tell_the_version_of_changes_that_a_watch_does_not_see() {
    let cluster = Cluster::start().await;
    let old = cluster.version().await;
    let watch = WatchParams::default().fields("spec.nodeName=here");
    let mut events = Box::pin(cluster.pods.watch(&watch, &old).await.unwrap());
    cluster.create("two", "elsewhere").await;
    let new = cluster.version().await;
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        let WatchEvent::Bookmark(bookmark) = event else { panic!("{event:?}") };
        if bookmark.metadata.resource_version == new {
            break;
        }
    }
}

#[tokio::test]
async fn a_silent_server_keeps_what_happens_from_open_watches() {
    let cluster = Cluster::start().await;
    let mut events = Box::pin(watcher(cluster.pods.clone(), watcher::Config::default()));
    assert_eq!(take(&mut events, 2).await, ["init", "done"]);
    // The watch that follows the list is open once it has shown something.
    cluster.create("zero", "here").await;
    assert_eq!(take(&mut events, 1).await, ["+zero"]);
    cluster.behave(&json!({ "answer": "silent" }));
    let post = PostParams::default();
    let created = pod("one", "here");
    let create = cluster.pods.create(&post, &created);
    assert!(timeout(Duration::from_millis(200), create).await.is_err());
    let event = timeout(Duration::from_millis(200), events.next()).await;
    assert!(event.is_err(), "{event:?}");
    cluster.behave(&json!({ "answer": "normal" }));
    cluster.create("two", "here").await;
    // The creation that got no answer was not carried out either.
    assert_eq!(take(&mut events, 1).await, ["+two"]);
}

#[tokio::test]
async fn changes_that_are_held_back_are_listed_and_come_later_twice_or_backwards() {
    let cluster = Cluster::start().await;
    let mut events = Box::pin(watcher(cluster.pods.clone(), watcher::Config::default()));
    assert_eq!(take(&mut events, 2).await, ["init", "done"]);
    cluster.create("zero", "here").await;
    assert_eq!(take(&mut events, 1).await, ["+zero"]);
    let tell = |how: serde_json::Value| cluster.server.control("PUT", "watches", &how);
    tell(json!({ "resource": "pods", "held": true }));
    cluster.create("one", "here").await;
    cluster.create("two", "here").await;
    cluster.delete("one").await;
    let event = timeout(Duration::from_millis(200), events.next()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(cluster.pods.list(&ListParams::default()).await.unwrap().items.len(), 2);
    tell(json!({ "resource": "pods", "backwards": true }));
    assert_eq!(take(&mut events, 4).await, ["+one", "+one", "-one", "+two"]);
    tell(json!({ "resource": "pods", "twice": true }));
    cluster.create("three", "here").await;
    assert_eq!(take(&mut events, 2).await, ["+three", "+three"]);
}

#[tokio::test]
async fn a_cut_watch_has_no_last_chunk_and_one_that_times_out_has() {
    let cluster = Cluster::start().await;
    let ends_well = |bytes: &[u8]| bytes.ends_with(b"\r\n0\r\n\r\n");
    let watch = |query: &str| {
        let path = format!("/api/v1/pods?watch=true&resourceVersion=0{query}");
        Request::get(&path).header("Authorization", "Bearer secret")
    };
    assert!(ends_well(&cluster.server.ask_raw(&watch("&timeoutSeconds=1"))));

    let mut stream = TcpStream::connect(cluster.server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&watch("&allowWatchBookmarks=true").bytes()).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let first = stream.read(&mut bytes).unwrap();
    assert!(bytes[..first].starts_with(b"HTTP/1.1 200"));
    cluster.server.control("POST", "disconnect", &());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(!ends_well(&rest), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn some_events_come_in_two_pieces() {
    let cluster = Cluster::start().await;
    for name in ["one", "two", "three"] {
        cluster.create(name, "here").await;
    }
    let path = "/api/v1/pods?watch=true&timeoutSeconds=1";
    let bytes =
        cluster.server.ask_raw(&Request::get(path).header("Authorization", "Bearer secret"));
    let text = String::from_utf8(bytes).unwrap();
    let (_, chunks) = text.split_once("\r\n\r\n").unwrap();
    // Size line and content of each chunk, alternating.
    let contents: Vec<&str> = chunks.split("\r\n").skip(1).step_by(2).collect();
    assert!(contents.iter().any(|it| it.starts_with('{') && !it.ends_with('\n')), "{contents:?}");
}
