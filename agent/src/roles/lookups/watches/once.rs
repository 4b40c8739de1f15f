//! What the watches would tell of one pod, asked for once by somebody who does not stay.

use std::iter;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use crate::callers::pods::Pod;
use crate::roles::decide::Rules;
use crate::roles::facts::{Cause, Facts};
use crate::roles::lookups::{Failure, Key, Outside as _, Served, miss, needs};
use crate::roles::store::{News, Store};

use super::{Watches, associations, of_client, record, service_account};

impl Watches {
    /// What `rules` need to know of `pod`; each answer is waited for as long as `deadline`.
    pub async fn facts(&self, rules: &Rules, pod: &Pod, deadline: Duration) -> Facts {
        let mut store = Store::default();
        let late = |_| Served::Unknown(Failure::Failing("no answer".to_owned()));
        let served = timeout(deadline, self.look()).await.unwrap_or_else(late);
        match &served {
            Served::NotInstalled => store.hear(News::NotInstalled),
            Served::Unknown(failure) => store.miss_associations(None, cause(failure)),
            Served::ByNamespace | Served::Whole => {}
        }
        for key in needs::of_pods(rules, iter::once(pod), Some(&served)) {
            match timeout(deadline, self.ask(&key)).await {
                Ok(Ok(news)) => store.hear(news),
                Ok(Err(error)) => miss(&mut store, &key, cause(&of_client(&error))),
                Err(_) => miss(&mut store, &key, Cause::Failing),
            }
        }
        store.facts(pod)
    }

    async fn ask(&self, key: &Key) -> Result<News, kube::Error> {
        Ok(match key {
            Key::Namespace(name) => {
                let api: Api<core::Namespace> = Api::all(self.client.clone());
                let found = api.get_metadata_opt(name).await?;
                let found = found.map(|object| self.namespace(object.metadata));
                News::Namespace(name.clone(), found)
            }
            Key::ServiceAccount(namespace, name) => {
                let api: Api<core::ServiceAccount> =
                    Api::namespaced(self.client.clone(), namespace);
                let found = api.get_metadata_opt(name).await?;
                let found = found.map(|object| service_account(object.metadata));
                News::ServiceAccount(namespace.clone(), name.clone(), found)
            }
            Key::Associations(namespace) => {
                let mut which = ListParams::default();
                if let Some(namespace) = namespace {
                    which = which.fields(&format!("spec.namespace={namespace}"));
                }
                let found = associations(self.client.clone()).list(&which).await?;
                News::Listed(namespace.clone(), found.items.iter().filter_map(record).collect())
            }
        })
    }
}

/// It is not the agent that is refused here.
fn cause(failure: &Failure) -> Cause {
    match failure {
        Failure::Forbidden => Cause::Withheld,
        Failure::NotServed | Failure::Failing(_) => Cause::Failing,
    }
}
