//! The watches themselves: `kube`'s watcher, one for each thing that is needed. Namespaces and
//! `ServiceAccount`s are asked for as metadata alone, and trimmed on arrival.

mod once;

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1 as core;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::callers::watch::heard::heard;
use crate::callers::watch::patient;
use crate::operate::metrics::{Watched, Watches as Silence};
use crate::report::Chain;
use crate::roles::annotations::{Keys, SERVICE_ACCOUNT_AUDIENCE, SERVICE_ACCOUNT_ROLE};
use crate::roles::associations::RoleAssociation;
use crate::roles::associations::index::Record;
use crate::roles::facts::{Namespace, ServiceAccount};
use crate::roles::store::News;

use super::{Failure, Key, Outside, Served, Told};

/// The API server.
#[derive(Clone)]
pub struct Watches {
    client: Client,
    keys: Keys,
    labels: HashSet<String>,
    silence: Silence,
}

impl Watches {
    /// `labels` are those that are kept of Namespaces.
    #[must_use]
    pub fn new(client: Client, keys: Keys, labels: HashSet<String>, silence: Silence) -> Self {
        Self { client, keys, labels, silence }
    }

    /// The API server for one watch.
    fn client(&self, what: Watched) -> Client {
        heard(&self.client, self.silence.begin(what))
    }

    async fn watch_namespace(self, name: Box<str>, told: Teller) {
        let api: Api<PartialObjectMeta<core::Namespace>> =
            Api::all(self.client(Watched::Namespaces));
        let news = |object: Option<PartialObjectMeta<core::Namespace>>| {
            let namespace = object.map(|object| self.namespace(object.metadata));
            News::Namespace(name.clone(), namespace)
        };
        told.watch_one(api, &name, news).await;
    }

    async fn watch_account(self, namespace: Box<str>, name: Box<str>, told: Teller) {
        let api: Api<PartialObjectMeta<core::ServiceAccount>> =
            Api::namespaced(self.client(Watched::ServiceAccounts), &namespace);
        let news = |object: Option<PartialObjectMeta<core::ServiceAccount>>| {
            let account = object.map(|object| service_account(object.metadata));
            News::ServiceAccount(namespace.clone(), name.clone(), account)
        };
        told.watch_one(api, &name, news).await;
    }

    async fn watch_associations(self, namespace: Option<Box<str>>, told: Teller) {
        let config = match &namespace {
            Some(name) => watcher::Config::default().fields(&format!("spec.namespace={name}")),
            None => watcher::Config::default(),
        };
        let mut listing = Vec::new();
        let api = associations(self.client(Watched::RoleAssociations));
        let mut events = patient(api, config).boxed();
        while let Some(event) = events.next().await {
            let news = match event {
                Ok(watcher::Event::Init) => {
                    listing.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listing.extend(record(&object));
                    continue;
                }
                Ok(watcher::Event::InitDone) => {
                    Ok(News::Listed(namespace.clone(), std::mem::take(&mut listing)))
                }
                Ok(watcher::Event::Apply(object)) => match record(&object) {
                    Some(record) => Ok(News::Applied(record)),
                    None => continue,
                },
                Ok(watcher::Event::Delete(object)) => {
                    let uid = object.metadata.uid.unwrap_or_default().into();
                    Ok(News::Deleted(namespace.clone(), uid))
                }
                Err(error) => Err(failure(&error)),
            };
            told.tell(news).await;
        }
    }

    fn namespace(&self, metadata: ObjectMeta) -> Namespace {
        let counts = |key: &String| self.keys.of_namespaces().any(|known| known == key);
        let annotations = metadata.annotations.unwrap_or_default().into_iter();
        let annotations = annotations.filter(|(key, _)| counts(key));
        let labels = metadata.labels.unwrap_or_default().into_iter();
        let labels = labels.filter(|(label, _)| self.labels.contains(label));
        let kept = |(key, value): (String, String)| (key.into(), value.into());
        Namespace::read(&self.keys, annotations.map(kept).collect(), labels.map(kept).collect())
    }
}

impl Outside for Watches {
    fn watch(
        &self,
        key: Key,
        told: mpsc::Sender<Told>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (watches, teller) = (self.clone(), Teller { key: key.clone(), told });
        async move {
            match key {
                Key::Namespace(name) => watches.watch_namespace(name, teller).await,
                Key::ServiceAccount(namespace, name) => {
                    watches.watch_account(namespace, name, teller).await;
                }
                Key::Associations(namespace) => {
                    watches.watch_associations(namespace, teller).await;
                }
            }
        }
    }

    fn look(&self) -> impl Future<Output = Served> + Send + 'static {
        let api = associations(self.client.clone());
        async move {
            // Of a namespace that every cluster has: how it is answered matters, not what is in it.
            let one = ListParams::default().limit(1).fields("spec.namespace=default");
            match api.list(&one).await {
                Ok(_) => Served::ByNamespace,
                Err(kube::Error::Api(status)) if status.code == 400 => Served::Whole,
                Err(error) => match of_client(&error) {
                    Failure::NotServed => Served::NotInstalled,
                    failure => Served::Unknown(failure),
                },
            }
        }
    }
}

fn associations(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<RoleAssociation>(&()))
}

/// Tells what one watch hears.
struct Teller {
    key: Key,
    told: mpsc::Sender<Told>,
}

impl Teller {
    async fn tell(&self, what: Result<News, Failure>) {
        // Whoever no longer listens has ended this watch.
        let _ = self.told.send(Told { key: self.key.clone(), what }).await;
    }

    /// Watches the object `name` alone.
    async fn watch_one<K>(
        &self,
        api: Api<PartialObjectMeta<K>>,
        name: &str,
        news: impl Fn(Option<PartialObjectMeta<K>>) -> News,
    ) where
        K: Clone + std::fmt::Debug + Send + 'static,
        PartialObjectMeta<K>: kube::Resource<DynamicType = ()>,
    {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut listed = None;
        let mut events = patient(api, config).boxed();
        while let Some(event) = events.next().await {
            let what = match event {
                Ok(watcher::Event::Init) => {
                    listed = None;
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listed = Some(object);
                    continue;
                }
                Ok(watcher::Event::InitDone) => Ok(news(listed.take())),
                Ok(watcher::Event::Apply(object)) => Ok(news(Some(object))),
                Ok(watcher::Event::Delete(_)) => Ok(news(None)),
                Err(error) => Err(failure(&error)),
            };
            self.tell(what).await;
        }
    }
}

fn service_account(metadata: ObjectMeta) -> ServiceAccount {
    let mut annotations: BTreeMap<String, String> = metadata.annotations.unwrap_or_default();
    let mut take = |key: &str| annotations.remove(key).map(String::into_boxed_str);
    ServiceAccount { role: take(SERVICE_ACCOUNT_ROLE), audience: take(SERVICE_ACCOUNT_AUDIENCE) }
}

/// `None` for what names no pods at all; an API server that knows CEL keeps none such.
fn record(object: &DynamicObject) -> Option<Record> {
    let metadata = &object.metadata;
    let created = metadata.creation_timestamp.as_ref();
    Record::read(
        metadata.uid.as_deref()?,
        metadata.name.as_deref()?,
        created.map_or(SystemTime::UNIX_EPOCH, |time| time.0.into()),
        object.data.get("spec")?.clone(),
    )
}

fn failure(error: &watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => of_client(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => {
            Failure::Failing(Chain(error).to_string())
        }
    }
}

fn of_client(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 403 => Failure::Forbidden,
        kube::Error::Api(status) if matches!(status.code, 400 | 404) => Failure::NotServed,
        other => Failure::Failing(Chain(other).to_string()),
    }
}
