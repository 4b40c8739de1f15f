//! The pretend EC2 instance metadata service, as far as a client can tell it from the real one.
//!
//! IMDSv2 tokens and, unless they are required, IMDSv1; the documents of a node in `us-west-2`
//! ([`documents`]). What only the node may read carries [`super::node::LEAK_MARKER`].

pub mod documents;
pub mod page;
pub mod token;

use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::log::Writer;
use super::serve::{Body, Handler, Outcome, Received};
use documents::Found;
use token::Key;

/// Asks for a token's lifetime; the answer says what was granted.
pub(crate) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Carries the token.
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// What a request's token was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presented {
    /// IMDSv1.
    None,
    /// Still good for this many seconds.
    Valid {
        /// Seconds left.
        valid_for: i64,
    },
    /// Expired, or never given out by this server.
    Invalid,
}

/// What the log says of a request beyond [`super::log::Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The token that came with it.
    pub token: Presented,
    /// The token header as sent.
    pub token_header: Option<String>,
    /// The lifetime asked for, as sent.
    pub ttl_header: Option<String>,
    /// `X-Forwarded-For`, as sent.
    pub forwarded_for: Option<String>,
    /// Status of the answer.
    pub status: u16,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    log: Writer,
    key: Key,
    tokens_required: bool,
}

impl Server {
    /// A server that refuses IMDSv1 where `tokens_required`.
    pub fn new(log: Writer, tokens_required: bool) -> anyhow::Result<Self> {
        Ok(Self { log, key: Key::random()?, tokens_required })
    }

    fn present(&self, request: &Received) -> Presented {
        match request.parts.headers.get(TOKEN_HEADER) {
            None => Presented::None,
            Some(value) => {
                let text = value.to_str().unwrap_or_default();
                match self.key.seconds_left(text, request.at) {
                    Some(valid_for) => Presented::Valid { valid_for },
                    None => Presented::Invalid,
                }
            }
        }
    }

    fn respond(&self, request: &Received, presented: Presented) -> anyhow::Result<Response<Body>> {
        let path = request.path();
        if path == "/latest/api/token" {
            return self.token(request);
        }
        let versioned = path.strip_suffix("/api/token").and_then(|path| path.strip_prefix('/'));
        if versioned.is_some_and(|version| !version.contains('/')) {
            return Ok(page::error(StatusCode::FORBIDDEN));
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Ok(page::not_allowed("GET, HEAD, OPTIONS"));
        }
        let forwarded = request.header("x-forwarded-for").is_some();
        Ok(match presented {
            Presented::Invalid => page::error(StatusCode::UNAUTHORIZED),
            Presented::None if self.tokens_required => page::error(StatusCode::UNAUTHORIZED),
            Presented::Valid { .. } if forwarded => page::error(StatusCode::FORBIDDEN),
            Presented::None => Self::document(path, None, request),
            Presented::Valid { valid_for } => Self::document(path, Some(valid_for), request),
        })
    }

    /// `PUT /latest/api/token`; every other method is refused.
    fn token(&self, request: &Received) -> anyhow::Result<Response<Body>> {
        match *request.method() {
            Method::PUT if request.header("x-forwarded-for").is_some() => {
                Ok(page::error(StatusCode::FORBIDDEN))
            }
            Method::PUT => match token::lifetime(request.header(TTL_HEADER)) {
                Some(ttl) => Ok(page::token(self.key.issue(ttl, request.at)?, ttl)),
                None => Ok(page::error(StatusCode::BAD_REQUEST)),
            },
            Method::OPTIONS => Ok(page::options("OPTIONS, PUT")),
            _ => Ok(page::not_allowed("OPTIONS, PUT")),
        }
    }

    fn document(path: &str, ttl: Option<i64>, request: &Received) -> Response<Body> {
        match documents::find(path, request.at) {
            Found::Document(content) => page::document(content, "text/plain", ttl),
            Found::UserData(content) => page::document(content, "application/octet-stream", ttl),
            Found::Directory => page::moved(path),
            Found::Nothing => page::error(StatusCode::NOT_FOUND),
        }
    }
}

impl Handler for Server {
    const TITLE_CASE_HEADERS: bool = true;

    async fn handle(&self, request: Received) -> anyhow::Result<Outcome> {
        let token = self.present(&request);
        let response = self.respond(&request, token)?;
        let owned = |name| request.header(name).map(str::to_owned);
        let line = Line {
            token,
            token_header: owned(TOKEN_HEADER),
            ttl_header: owned(TTL_HEADER),
            forwarded_for: owned("x-forwarded-for"),
            status: response.status().as_u16(),
        };
        self.log.write(&request.entry(line))?;
        Ok(Outcome::Answer(response))
    }
}
