//! Lists and writes of the pretend API server, and its ways to fail.

use std::io::{Read, Write};
use std::net::TcpStream;

use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use podrole_tests::http::Request;
use podrole_tests::pretend::kubernetes::Line;
use serde_json::{Value, json};

use super::{Cluster, pod};

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("no status: {other:?}"),
    }
}

#[tokio::test]
async fn a_list_in_chunks_shows_one_version_and_ends_with_compaction() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.create(name, "here").await;
    }
    let first = cluster.pods.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(1));
    let token = first.metadata.continue_.unwrap();
    cluster.delete("c").await;
    cluster.create("d", "here").await;
    let rest = ListParams::default().limit(2).continue_token(&token);
    let names = |list: kube::core::ObjectList<Pod>| -> Vec<String> {
        list.into_iter().map(|pod| pod.name_any()).collect()
    };
    assert_eq!(names(cluster.pods.list(&rest).await.unwrap()), ["c"]);

    cluster.server.control("POST", "compact", &());
    let kube::Error::Api(status) = cluster.pods.list(&rest).await.unwrap_err() else { panic!() };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let path = format!("/api/v1/namespaces/default/pods?continue={token}");
    let gone: Value = serde_json::from_str(&cluster.get(&path).body).unwrap();
    let go_on = gone["metadata"]["continue"].as_str().unwrap();
    let rest = ListParams::default().continue_token(go_on);
    assert_eq!(names(cluster.pods.list(&rest).await.unwrap()), ["d"]);
}

#[tokio::test]
async fn lists_are_selected_by_fields_and_labels() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    cluster.create("two", "here").await;
    let count = async |params: ListParams| cluster.pods.list(&params).await.unwrap().items.len();
    assert_eq!(
        count(ListParams::default().fields("spec.nodeName=here,metadata.name=one")).await,
        1
    );
    assert_eq!(count(ListParams::default().labels("app!=one")).await, 1);
    assert_eq!(count(ListParams::default().fields("spec.nodeName=there")).await, 0);
    assert_eq!(cluster.get("/api/v1/pods?fieldSelector=spec.image%3Dx").status, 400);
    assert_eq!(cluster.get("/api/v1/pods?resourceVersion=999999").status, 504);
    assert_eq!(cluster.get("/api/v1/pods?resourceVersion=0&limit=1").status, 200);
}

#[tokio::test]
async fn objects_are_also_given_as_their_metadata() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    let list = cluster.pods.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "one");
    let one = cluster.pods.get_metadata("one").await.unwrap();
    assert!(one.metadata.uid.is_some());
}

#[tokio::test]
async fn writes_fail_as_on_a_real_server() {
    let cluster = Cluster::start().await;
    let created = cluster.create("one", "here").await;
    let post = PostParams::default();
    let again = cluster.pods.create(&post, &pod("one", "here")).await.unwrap_err();
    assert_eq!(code(again), (409, "AlreadyExists".to_owned()));
    let badly_named = cluster.pods.create(&post, &pod("Not_A_Name", "here")).await.unwrap_err();
    assert_eq!(code(badly_named), (422, "Invalid".to_owned()));
    let nowhere: Api<Pod> = Api::namespaced(cluster.client.clone(), "nowhere");
    let homeless = nowhere.create(&post, &pod("one", "here")).await.unwrap_err();
    assert_eq!(code(homeless), (404, "NotFound".to_owned()));
    assert_eq!(code(cluster.pods.get("two").await.unwrap_err()), (404, "NotFound".to_owned()));

    cluster.merge("one", json!({ "metadata": { "labels": { "more": "yes" } } })).await;
    let late = cluster.pods.replace("one", &post, &created).await.unwrap_err();
    assert_eq!(code(late), (409, "Conflict".to_owned()));
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    let patch = json!({ "spec": { "nodeName": "else" }, "status": { "podIP": "10.0.0.7" } });
    let params = PatchParams::default();
    let one = cluster.pods.patch_status("one", &params, &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(one.spec.unwrap().node_name.as_deref(), Some("here"));
    assert_eq!(one.status.unwrap().pod_ip.as_deref(), Some("10.0.0.7"));
    let one = cluster.merge("one", json!({ "status": { "podIP": "10.0.0.8" } })).await;
    assert_eq!(one.status.unwrap().pod_ip.as_deref(), Some("10.0.0.7"));
    let version = cluster.version().await;
    cluster.merge("one", json!({ "metadata": { "labels": { "app": "one" } } })).await;
    assert_eq!(cluster.version().await, version, "a write that changes nothing made a version");
}

#[tokio::test]
async fn a_strategic_merge_joins_conditions_by_their_type() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = json!({
        "metadata": { "name": "here" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let ours = json!({ "status": { "conditions": [{ "type": "Ours", "status": "True" }] } });
    let (params, patch) = (PatchParams::default(), Patch::Strategic(ours));
    let patched = nodes.patch_status("here", &params, &patch).await.unwrap();
    let conditions = patched.status.unwrap().conditions.unwrap();
    let mut types: Vec<_> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["Ours", "Ready"]);
}

#[tokio::test]
async fn an_object_with_a_finalizer_stays_until_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.create("one", "here").await;
    cluster.merge("one", json!({ "metadata": { "finalizers": ["test/stay"] } })).await;
    cluster.delete("one").await;
    let one = cluster.pods.get("one").await.unwrap();
    assert!(one.metadata.deletion_timestamp.is_some());
    cluster.merge("one", json!({ "metadata": { "finalizers": null } })).await;
    assert!(cluster.pods.get_opt("one").await.unwrap().is_none());
}

#[tokio::test]
async fn service_account_tokens_say_whose_they_are() {
    let cluster = Cluster::start().await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client.clone());
    let account = json!({ "metadata": { "name": "web" } });
    accounts
        .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
        .await
        .unwrap();
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::default_namespaced(cluster.client.clone());
    let containers = [json!({ "name": "main", "image": "web" })];
    let pod = json!({
        "metadata": { "name": "web-0" },
        "spec": { "serviceAccountName": "web", "containers": containers }
    });
    let pod =
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let request = |uid: &str| {
        let bound = json!({ "kind": "Pod", "name": "web-0", "uid": uid });
        let spec = json!({ "audiences": ["sts.amazonaws.com"], "boundObjectRef": bound });
        serde_json::from_value(json!({ "spec": spec })).unwrap()
    };
    let own = request(&pod.metadata.uid.unwrap());
    let answer = accounts.create_token_request("web", &PostParams::default(), &own).await.unwrap();
    assert_eq!(answer.status.unwrap().token.split('.').count(), 3);
    let earlier = request("an-earlier-one");
    assert!(accounts.create_token_request("web", &PostParams::default(), &earlier).await.is_err());
}

#[tokio::test]
async fn only_the_right_token_is_let_in_and_the_log_says_who_was() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/pods?limit=5";
    assert_eq!(cluster.server.ask(&Request::get(path)).status, 401);
    let wrong = Request::get(path).header("Authorization", "Bearer wrong");
    assert_eq!(cluster.server.ask(&wrong).status, 401);
    assert_eq!(cluster.server.ask(&Request::get("/readyz")).status, 200);
    assert_eq!(cluster.get(path).status, 200);
    let log = cluster.server.log::<Line>();
    let last = log.last().unwrap();
    assert_eq!((last.line.verb.as_str(), last.line.resource.as_deref()), ("list", Some("pods")));
    assert_eq!((last.target.as_str(), last.line.status), (path, Some(200)));
    let authorized: Vec<bool> = log.iter().map(|entry| entry.line.authorized).collect();
    assert_eq!(authorized, [false, false, true, true]);
}

#[tokio::test]
async fn the_server_fails_as_it_is_told() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/pods";
    for (answer, status) in [("unavailable", 503), ("forbidden", 403), ("rubbish", 200)] {
        cluster.behave(&json!({ "answer": answer }));
        assert_eq!(cluster.get(path).status, status, "{answer}");
    }
    cluster.behave(&json!({ "answer": "forbidden", "resource": "nodes" }));
    assert_eq!(cluster.get(path).status, 200);
    assert_eq!(cluster.get("/api/v1/nodes").status, 403);

    cluster.behave(&json!({ "answer": "reset" }));
    let mut stream = TcpStream::connect(cluster.server.address).unwrap();
    stream.write_all(&Request::get(path).bytes()).unwrap();
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
