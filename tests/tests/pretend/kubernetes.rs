//! The pretend API server, asked by the kube crate and, where bytes matter, by hand.

mod requests;
mod watches;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use podrole_tests::http::{Answer, Request};
use serde_json::{Value, json};

use super::server::Server;

/// A server, a client, and the pods of the namespace `default`.
struct Cluster {
    server: Server,
    client: Client,
    pods: Api<Pod>,
}

impl Cluster {
    async fn start() -> Self {
        let further = ["--bearer-token", "secret", "--bookmark-interval", "20"];
        let server = Server::start("kubernetes", &further);
        let kubeconfig: Kubeconfig = serde_json::from_value(json!({
            "clusters": [{ "name": "c", "cluster": { "server": server.url() } }],
            "users": [{ "name": "u", "user": { "token": "secret" } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        }))
        .unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let pods = Api::default_namespaced(client.clone());
        Self { server, client, pods }
    }

    async fn create(&self, name: &str, node: &str) -> Pod {
        self.pods.create(&PostParams::default(), &pod(name, node)).await.unwrap()
    }

    async fn merge(&self, name: &str, patch: Value) -> Pod {
        self.pods.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    async fn delete(&self, name: &str) {
        self.pods.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The current version.
    async fn version(&self) -> String {
        let list = self.pods.list(&ListParams::default()).await.unwrap();
        list.metadata.resource_version.unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.server.ask(&Request::get(path).header("Authorization", "Bearer secret"))
    }

    fn behave(&self, behaviour: &Value) {
        self.server.control("PUT", "behaviour", behaviour);
    }
}

fn pod(name: &str, node: &str) -> Pod {
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": [{ "name": "main", "image": "none" }] },
    });
    serde_json::from_value(pod).unwrap()
}
