//! When the API server was heard of last by a watch. Noted beneath kube's watcher: bookmarks, which say that
//! a watch lives though nothing changes ("Kubernetes API Concepts", "Watch bookmarks"), come no further up.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use tower::service_fn;

use crate::operate::metrics::Word;

/// The same API server, for one watch: whatever it says is noted.
pub(crate) fn heard(client: &Client, word: Word) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, word) = (client.clone(), Arc::new(word));
    let ask = move |request: http::Request<Body>| {
        let (client, word) = (client.clone(), Arc::clone(&word));
        async move {
            let answer = client.send(request).await?;
            // A refusal tells nothing of what is watched.
            let is_good = answer.status().is_success();
            if is_good {
                word.heard();
            }
            Ok::<_, kube::Error>(answer.map(|body| {
                body.map_frame(move |frame| {
                    if is_good {
                        word.heard();
                    }
                    frame
                })
            }))
        }
    };
    Client::new(service_fn(ask), namespace)
}
