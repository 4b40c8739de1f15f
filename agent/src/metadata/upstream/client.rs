//! One exchange with the real metadata service at a time: HTTP/1 with a session of `IMDSv2` that is the
//! agent's own. What is sent is made here from the first byte to the last; nothing of a pod's request is
//! in it but a [`NodePath`](crate::metadata::paths::NodePath). No proxy of the environment is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LAST_MODIFIED, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::metadata::protocol::{TOKEN_HEADER, TTL_HEADER, Ttl};

use super::{Ask, Document, Failure, Found, Question, Slash};

/// For all of one question: a token, the document, and it once more behind a redirect. Longer than any
/// pod waits: what comes late is remembered.
const DEADLINE: Duration = Duration::from_secs(3);
/// The longest document that is taken, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// A session is renewed so long before its end.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
const AGENT: HeaderValue = HeaderValue::from_static(concat!("podrole/", env!("CARGO_PKG_VERSION")));

/// Where the real service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
}

impl Endpoint {
    /// Takes a URL such as `http://169.254.169.254`; says what is wrong with any other.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("{url:?} is no URL such as http://169.254.169.254, or `none`");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let plain = uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && !authority.host().is_empty();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        plain
            .then(|| Self { host: host.into(), port: authority.port_u16().unwrap_or(80) })
            .ok_or_else(wrong)
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { host: "169.254.169.254".into(), port: 80 }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (false, 80) => f.write_str(&self.host),
            (true, 80) => write!(f, "[{}]", self.host),
            (false, port) => write!(f, "{}:{port}", self.host),
            (true, port) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

/// A client of the real service.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    /// As in the `Host` header and in messages.
    at: Arc<str>,
    session: Mutex<Option<Session>>,
}

/// A token of the real service.
#[derive(Clone, Debug)]
struct Session {
    token: HeaderValue,
    renew_at: Instant,
}

impl Client {
    /// A client that has asked for nothing yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { at: endpoint.to_string().into(), endpoint, session: Mutex::new(None) }
    }

    async fn find(&self, question: &Question) -> Result<Found, Failure> {
        let Question { version, path, slash } = question;
        let bare = format!("/{version}/{path}");
        let listed = format!("{bare}/");
        let first = if *slash == Slash::Always { &listed } else { &bare };
        let mut answer = self.get(first).await?;
        if answer.status().is_redirection() && *slash == Slash::WhereRedirected {
            answer = self.get(&listed).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(Found::Document(Arc::new(document(answer)))),
            StatusCode::NOT_FOUND => Ok(Found::Nothing),
            status if status.is_redirection() => Ok(Found::Nothing),
            status => Err(Failure::Status { at: Arc::clone(&self.at), status: status.as_u16() }),
        }
    }

    /// With a new session where the present one does not count any more.
    async fn get(&self, path: &str) -> Result<Response<Bytes>, Failure> {
        let session = self.session(None).await?;
        let answer = self.get_with(path, &session).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let session = self.session(Some(&session)).await?;
        self.get_with(path, &session).await
    }

    async fn get_with(&self, path: &str, session: &Session) -> Result<Response<Bytes>, Failure> {
        let mut request = self.request(Method::GET, path)?;
        request.headers_mut().insert(TOKEN_HEADER, session.token.clone());
        self.exchange(request).await
    }

    /// The present session, or a new one where there is none, it nears its end, or it is `refused`.
    async fn session(&self, refused: Option<&Session>) -> Result<Session, Failure> {
        let mut held = self.session.lock().await;
        let now = Instant::now();
        let is_good = |session: &&Session| {
            now < session.renew_at && refused.is_none_or(|refused| refused.token != session.token)
        };
        if let Some(session) = held.as_ref().filter(is_good) {
            return Ok(session.clone());
        }
        let mut request = self.request(Method::PUT, "/latest/api/token")?;
        request.headers_mut().insert(TTL_HEADER, Ttl::MAX.as_secs().into());
        let answer = self.exchange(request).await?;
        let token = HeaderValue::from_maybe_shared(answer.body().clone()).ok();
        let is_token = |token: &HeaderValue| answer.status() == StatusCode::OK && !token.is_empty();
        let Some(mut token) = token.filter(is_token) else {
            let status = answer.status().as_u16();
            return Err(Failure::NoToken { at: Arc::clone(&self.at), status });
        };
        token.set_sensitive(true);
        let renew_at = now + Ttl::MAX.as_duration().saturating_sub(RENEW_BEFORE);
        Ok(held.insert(Session { token, renew_at }).clone())
    }

    fn request(&self, method: Method, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(HOST, &*self.at).header(USER_AGENT, AGENT);
        request.body(Empty::new()).map_err(|error| self.broken(error))
    }

    /// A connection of its own for each request: the real service closes after one.
    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let Endpoint { host, port } = &self.endpoint;
        let stream = TcpStream::connect((&**host, *port)).await.map_err(|error| {
            Failure::Connect { at: Arc::clone(&self.at), source: Arc::new(error) }
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(error))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let body = body.map_err(|error| self.broken(error))?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The last bytes may have come with the end of the connection.
            _ = connection => exchange.await,
        }
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::Http { at: Arc::clone(&self.at), source: error.into().into() }
    }
}

impl Ask for Client {
    async fn ask(&self, question: &Question) -> Result<Found, Failure> {
        let found = timeout(DEADLINE, self.find(question)).await;
        found.unwrap_or_else(|_| Err(Failure::Late { at: Arc::clone(&self.at), after: DEADLINE }))
    }
}

fn document(answer: Response<Bytes>) -> Document {
    let (head, body) = answer.into_parts();
    let header = |name| head.headers.get(name).cloned();
    Document { body, content_type: header(CONTENT_TYPE), last_modified: header(LAST_MODIFIED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_url() {
        for (url, shown) in [
            ("http://169.254.169.254", "169.254.169.254"),
            ("http://169.254.169.254/", "169.254.169.254"),
            ("http://169.254.169.254:80", "169.254.169.254"),
            ("http://[fd00:ec2::254]", "[fd00:ec2::254]"),
            ("http://10.0.0.1:1338", "10.0.0.1:1338"),
            ("http://imds.example", "imds.example"),
        ] {
            assert_eq!(Endpoint::parse(url).map(|endpoint| endpoint.to_string()), Ok(shown.into()));
        }
        for url in [
            "",
            "169.254.169.254",
            "https://169.254.169.254",
            "http://169.254.169.254/latest",
            "http://user@169.254.169.254",
            "http://169.254.169.254/?x",
            "http://",
            "/latest",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
