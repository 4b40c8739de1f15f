//! The pretend Kubernetes API server: a store with history, lists in chunks, watches, writes.
//!
//! It has no controllers and no admission: a namespace that is deleted leaves its objects behind,
//! and nothing makes the ServiceAccount `default`. [`resource::RESOURCES`] names what it stores.
//! Control, without a bearer token:
//!
//! - `POST /_pretend/compact` makes every version up to now too old (410 `Expired`)
//! - `POST /_pretend/disconnect` cuts all open watches, without a last chunk
//! - `PUT /_pretend/behaviour` takes a [`behaviour::Behaviour`]
//! - `PUT /_pretend/watches` takes a [`behaviour::Telling`]

pub mod behaviour;
mod discovery;
mod failure;
mod list;
mod patch;
pub mod resource;
mod review;
mod route;
mod schema;
mod selection;
mod shape;
mod store;
mod validation;
mod watch;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::Writer;
use super::serve::{Handler, Outcome, Received};
use behaviour::{Behaviour, Way};
use failure::Failure;
use route::{Objects, Route, Subresource};
use shape::Shape;
use store::Store;
use watch::{Silence, Tick};

/// What the log says of a request beyond [`super::log::Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whether the right bearer token came with it.
    pub authorized: bool,
    /// As RBAC calls it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Resource and subresource, `pods/status`; `None` for other paths.
    pub resource: Option<String>,
    /// Namespace of the path.
    pub namespace: Option<String>,
    /// Name of the path.
    pub name: Option<String>,
    /// `Accept`, as sent.
    pub accept: Option<String>,
    /// Body, where it is JSON.
    pub body: Option<Value>,
    /// Status of the answer; `None` where there was none, or it was delayed.
    pub status: Option<u16>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    log: Writer,
    bearer: String,
    bookmark_interval: Duration,
    behaviour: Mutex<Behaviour>,
    shared: Arc<Shared>,
}

/// What open watches share with the requests that come in.
#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    ticks: tokio::sync::watch::Sender<Tick>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// A server whose clients show this bearer token; watches that take bookmarks get one per
    /// interval.
    pub fn new(log: Writer, token: &str, bookmark_interval: Duration) -> anyhow::Result<Self> {
        let store = Mutex::new(Store::with_first_namespaces()?);
        let (ticks, _) = tokio::sync::watch::channel(Tick::default());
        let bearer = format!("Bearer {token}");
        let shared = Arc::new(Shared { store, ticks });
        let behaviour = Mutex::default();
        Ok(Self { log, bearer, bookmark_interval, behaviour, shared })
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self, request: &Received) -> Outcome {
        let done = || Outcome::answer(StatusCode::OK, "text/plain", "");
        match (request.method(), request.path()) {
            (&Method::POST, "/_pretend/compact") => {
                self.shared.store().compact();
                self.shared.ticks.send_modify(|_| {});
                done()
            }
            (&Method::POST, "/_pretend/disconnect") => {
                self.shared.ticks.send_modify(|tick| tick.cuts += 1);
                done()
            }
            (&Method::PUT, "/_pretend/behaviour") => match serde_json::from_slice(&request.body) {
                Ok(behaviour) => {
                    self.behave(behaviour);
                    done()
                }
                Err(error) => {
                    Outcome::answer(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))
                }
            },
            (&Method::PUT, "/_pretend/watches") => match serde_json::from_slice(&request.body) {
                Ok(telling) => {
                    self.shared.ticks.send_modify(|tick| tick.telling = telling);
                    done()
                }
                Err(error) => {
                    Outcome::answer(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))
                }
            },
            _ => Outcome::answer(StatusCode::NOT_FOUND, "text/plain", "no such control\n"),
        }
    }

    fn behave(&self, behaviour: Behaviour) {
        let silence = match (&behaviour.resource, behaviour.answer) {
            (Some(only), Way::Silent) => Silence::Of(only.clone()),
            (None, Way::Silent) => Silence::OfAll,
            _ => Silence::OfNone,
        };
        self.shared.ticks.send_modify(|tick| tick.silence = silence);
        *self.behaviour() = behaviour;
    }

    /// 401 unless the token is right. Without any, `/version` and the health checks are answered,
    /// as by the cluster role `system:public-info-viewer`.
    fn authorize(&self, request: &Received, route: &Route) -> Result<(), Failure> {
        match request.header(AUTHORIZATION.as_str()) {
            Some(bearer) if bearer == self.bearer => Ok(()),
            None if matches!(route, Route::Health | Route::Version) => Ok(()),
            _ => Err(Failure::unauthorized()),
        }
    }

    fn answer(&self, request: &Received, route: &Route) -> Result<Outcome, Failure> {
        match route {
            Route::Health => Ok(Outcome::answer(StatusCode::OK, "text/plain", "ok")),
            Route::Version => Ok(json(StatusCode::OK, &discovery::version())),
            Route::Discovery(path) => Ok(json(StatusCode::OK, &discovery::document(path)?)),
            Route::AccessReview => {
                let denied = self.behaviour().denied.clone();
                let review = review::access(&request.body, denied.as_deref())?;
                Ok(json(StatusCode::CREATED, &review))
            }
            Route::Objects(objects) => self.objects(request, objects),
            Route::Unknown => Err(Failure::no_such_path()),
        }
    }

    fn objects(&self, request: &Received, objects: &Objects) -> Result<Outcome, Failure> {
        let query = list::Query::read(request.parts.uri.query().unwrap_or_default())?;
        let shape = Shape::asked(request.header(ACCEPT.as_str()).unwrap_or_default());
        let content_type = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let body = &request.body;
        let mut store = self.shared.store();
        let store = &mut *store;
        let definition = schema::definition(store, objects.resource)?;
        let objects = &Objects { definition, ..objects.clone() };
        let (status, object) = match (request.method(), objects.name.as_deref()) {
            (&Method::GET, name) if query.watch => {
                return watch::open(
                    &self.shared,
                    store,
                    objects,
                    name,
                    &query,
                    shape,
                    self.bookmark_interval,
                );
            }
            (&Method::GET, None) => (StatusCode::OK, list::list(store, objects, &query, shape)?),
            (&Method::GET, Some(name)) => {
                let object = write::existing(store, objects, name)?;
                (StatusCode::OK, shape.one(objects.resource, &object))
            }
            (&Method::POST, None) => (StatusCode::CREATED, write::create(store, objects, body)?),
            (&Method::POST, Some(name)) if objects.subresource == Some(Subresource::Token) => {
                (StatusCode::CREATED, review::token(store, objects, name, body)?)
            }
            (&Method::PUT, Some(name)) => {
                (StatusCode::OK, write::replace(store, objects, name, body)?)
            }
            (&Method::PATCH, Some(name)) => {
                (StatusCode::OK, write::patch(store, objects, name, content_type, body)?)
            }
            (&Method::DELETE, Some(name)) if objects.subresource.is_none() => {
                (StatusCode::OK, write::delete(store, objects, name, body)?)
            }
            _ => return Err(Failure::method_not_allowed()),
        };
        let revision = store.revision();
        self.shared.ticks.send_if_modified(|tick| {
            let news = tick.revision != revision;
            tick.revision = revision;
            news
        });
        Ok(json(status, &object))
    }
}

impl Handler for Server {
    async fn handle(&self, request: Received) -> anyhow::Result<Outcome> {
        if request.path().starts_with("/_pretend/") {
            return Ok(self.control(&request));
        }
        let route = Route::find(request.path());
        let behaviour = self.behaviour().clone().for_resource(route.resource());
        let authorized = self.authorize(&request, &route);
        let mut line = line(&request, &route, authorized.is_ok());
        // Where the answer comes late, or never, the log does not wait to learn its status.
        let prompt = behaviour.answer == Way::Normal && behaviour.delay_ms == 0;
        if !prompt {
            line.status = behaviour.answer.status();
            self.log.write(&request.entry(&line))?;
            tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        }
        let outcome = match behaviour.answer {
            Way::Silent => std::future::pending().await,
            Way::Reset => return Ok(Outcome::Reset),
            Way::Rubbish => {
                return Ok(Outcome::answer(StatusCode::OK, "application/json", "this is no JSON"));
            }
            Way::Unavailable => Err(Failure::unavailable()),
            Way::Forbidden => Err(Failure::forbidden(&line.verb, route.resource())),
            Way::Normal => authorized.and_then(|()| self.answer(&request, &route)),
        };
        let outcome = outcome.unwrap_or_else(Failure::into_outcome);
        if prompt {
            line.status = outcome.status().map(|status| status.as_u16());
            self.log.write(&request.entry(&line))?;
        }
        Ok(outcome)
    }
}

fn json(status: StatusCode, content: &Value) -> Outcome {
    Outcome::answer(status, "application/json", content.to_string())
}

fn line(request: &Received, route: &Route, authorized: bool) -> Line {
    let objects = if let Route::Objects(objects) = route { Some(objects) } else { None };
    let named = objects.is_some_and(|objects| objects.name.is_some());
    let watch = list::asks_to_watch(request.parts.uri.query().unwrap_or_default());
    let verb = match *request.method() {
        Method::GET if watch => "watch",
        Method::GET if objects.is_some() && !named => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    Line {
        authorized,
        verb: verb.to_owned(),
        resource: objects.map(Objects::rbac_name),
        namespace: objects.and_then(|objects| objects.namespace.clone()),
        name: objects.and_then(|objects| objects.name.clone()),
        accept: request.header(ACCEPT.as_str()).map(str::to_owned),
        body: serde_json::from_slice(&request.body).ok(),
        status: None,
    }
}
