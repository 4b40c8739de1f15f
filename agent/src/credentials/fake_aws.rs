//! AWS as unit tests have it: answers that were prepared, requests that were kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};

use super::aws::Aws;

/// One request that came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The whole URL.
    pub(super) url: String,
    /// Its `Authorization`.
    pub(super) signature: Option<String>,
    /// Its body.
    pub(super) body: String,
}

impl Asked {
    /// The body's form (AWS's query protocol), decoded.
    pub(super) fn form(&self) -> BTreeMap<String, String> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
        };
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (decode(key), decode(value))).collect()
    }
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeAws {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeAws {
    /// The answer to the next request that has none yet.
    pub(super) fn answer(&self, status: u16, body: impl Into<String>) {
        self.answers.lock().unwrap().push_back((status, body.into()));
    }

    /// What came, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Reached from `region`, with keys of the node's own.
    pub(super) fn aws(&self, region: &'static str) -> Aws {
        self.aws_by(region, false, false)
    }

    /// As the settings for FIPS and for dual-stack endpoints say.
    pub(super) fn aws_by(&self, region: &'static str, fips: bool, dual_stack: bool) -> Aws {
        let connector = SharedHttpConnector::new(self.clone());
        let keys = Credentials::new("AKIDNODE", "node-secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(region))
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .use_fips(fips)
            .use_dual_stack(dual_stack);
        Aws::fixture(config.build())
    }
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name| request.headers().get(name).map(str::to_owned);
        let body = request.body().bytes().unwrap_or_default();
        self.asked.lock().unwrap().push(Asked {
            url: request.uri().to_owned(),
            signature: header("authorization"),
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        let (status, body) = self.answers.lock().unwrap().pop_front().expect("no answer is left");
        let status = status.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
    }
}

/// The answer with credentials to an action of STS.
pub(super) fn session(action: &str, key: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token-of-{key}</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

/// The answer with an error of STS.
pub(super) fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender\
         </Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}
