//! ServiceAccount tokens from the API server, for clusters without the webhooks that would have kubelet
//! project them (Kubernetes API, `TokenRequest`; `--service-account-tokens=request`).

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use secrecy::SecretString;
use tokio::time::timeout;

use crate::report::Chain;

use super::FetchError;
use super::session::TokenOwner;

/// The least that an API server gives: a token is used once, and at once.
const LIFETIME: Duration = Duration::from_mins(10);
/// For the API server's answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the API server for tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenRequests {
    client: Client,
}

impl TokenRequests {
    /// Tokens of this API server.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// A token of the pod's ServiceAccount, bound to the pod: with the pod it ends.
    pub(super) async fn make(&self, pod: &TokenOwner) -> Result<SecretString, FetchError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &pod.namespace);
        let request = request(pod);
        let parameters = PostParams::default();
        let asked = accounts.create_token_request(&pod.service_account, &parameters, &request);
        let answered = timeout(DEADLINE, asked)
            .await
            .map_err(|_| FetchError::PodToken("the API server made none within 5 s".into()))?;
        match answered {
            Ok(TokenRequest { status: Some(status), .. }) => Ok(SecretString::from(status.token)),
            Ok(_) => Err(FetchError::PodToken("the API server's answer has none".into())),
            Err(error) => Err(FetchError::PodToken(
                format!(
                    "the API server made none ({}); --service-account-tokens=request needs the right to create serviceaccounts/token",
                    Chain(&error)
                )
                .into(),
            )),
        }
    }
}

fn request(pod: &TokenOwner) -> TokenRequest {
    TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![pod.audience.to_string()],
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name.to_string()),
                uid: Some(pod.uid.as_str().to_owned()),
            }),
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
        },
        ..TokenRequest::default()
    }
}
