//! A pretend kube2iam: knows pods by their addresses, and passes everything else on to the node's own
//! answers, as the real one does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::log::Writer;
use super::metadata::documents::{self, Found};
use super::metadata::page;
use super::serve::{Body, Handler, Outcome, Received};

const LIST: &str = "/latest/meta-data/iam/security-credentials";

/// The access key of a role that it gives out.
#[must_use]
pub fn access_key(role: &str) -> String {
    format!("KUBE2IAM-{role}")
}

/// What the log says of a request beyond [`super::log::Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose it is, if it knows.
    pub role: Option<String>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    log: Writer,
    roles: BTreeMap<IpAddr, String>,
    default: String,
}

impl Server {
    /// Gives pods these roles, and all others that of `default`.
    #[must_use]
    pub fn new(log: Writer, roles: BTreeMap<IpAddr, String>, default: &str) -> Self {
        Self { log, roles, default: default.to_owned() }
    }

    fn respond(request: &Received, role: &str) -> Response<Body> {
        let path = request.path().trim_end_matches('/');
        // It knows no IMDSv2: tokens are the real service's, and are not asked for again.
        if path == "/latest/api/token" && request.method() == Method::PUT {
            return page::token("kube2iam".to_owned(), 21_600);
        }
        if path == LIST {
            return page::document(role.to_owned(), "text/plain", None);
        }
        if path.strip_prefix(LIST).is_some_and(|rest| rest.trim_matches('/') == role) {
            let credentials = json!({
                "Code": "Success",
                "AccessKeyId": access_key(role),
                "Expiration": "2099-01-01T00:00:00Z"
            });
            return page::document(credentials.to_string(), "application/json", None);
        }
        match documents::find(request.path(), request.at) {
            Found::Document(content) | Found::UserData(content) => {
                page::document(content, "text/plain", None)
            }
            Found::Directory => page::moved(request.path()),
            Found::Nothing => page::error(StatusCode::NOT_FOUND),
        }
    }
}

impl Handler for Server {
    async fn handle(&self, request: Received) -> anyhow::Result<Outcome> {
        let role = self.roles.get(&request.peer.ip().to_canonical());
        let answer = Self::respond(&request, role.unwrap_or(&self.default));
        self.log.write(&request.entry(Line { role: role.cloned() }))?;
        Ok(Outcome::Answer(answer))
    }
}
