//! The client of the API server, from the environment.

use kube::{Client, Config, Error};

/// As `KUBECONFIG` says, or the ServiceAccount of the pod that this is.
///
/// `HTTPS_PROXY` stands before AWS alone: within the cluster the API server is asked directly, so with a
/// kubeconfig it is too. A proxy that the kubeconfig itself names is none that this is built for, and is
/// refused.
///
/// # Errors
/// Where neither says how to reach it. That it answers is not needed yet.
pub(super) async fn connect() -> Result<Client, Error> {
    let mut config = Config::infer().await.map_err(Error::InferConfig)?;
    let variables = ["HTTPS_PROXY", "https_proxy"].into_iter();
    let mut proxies = variables.filter_map(|name| std::env::var(name).ok()?.parse().ok());
    if proxies.any(|proxy| config.proxy_url.as_ref() == Some(&proxy)) {
        config.proxy_url = None;
    }
    Client::try_from(config)
}
