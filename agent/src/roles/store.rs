//! All that is known now of the objects that roles depend on, for the pods of this node. Pure.
//!
//! What was told once stays known while a watch fails: only the API server's word makes it gone.

use std::collections::HashMap;
use std::sync::Arc;

use crate::callers::pods::Pod;

use super::arn::BaseRoleArn;
use super::associations::index::{Index, Record};
use super::facts::{Cause, Facts, Known, Missing, Namespace, ServiceAccount, Subject};

type Pair = (Box<str>, Box<str>);

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Store {
    namespaces: HashMap<Box<str>, Known<Arc<Namespace>>>,
    /// By namespace and name.
    accounts: HashMap<Pair, Known<Arc<ServiceAccount>>>,
    associations: Index,
    coverage: Coverage,
    own_base: Option<BaseRoleArn>,
    /// Whether the API server has told all that this node's pods depend on.
    complete: bool,
    /// Whether what nobody was asked for counts as absent: for tests that ask nobody.
    settled: bool,
}

/// Of which namespaces the associations are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Coverage {
    /// All of them: the whole list is watched, or there is no such resource.
    everywhere: bool,
    /// Of these, or why not.
    namespaces: HashMap<Box<str>, Result<(), Cause>>,
    /// Why of no others.
    otherwise: Option<Cause>,
}

/// Something that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A Namespace, or that there is none of the name.
    Namespace(Box<str>, Option<Namespace>),
    /// A `ServiceAccount` of a namespace, or that there is none of the name.
    ServiceAccount(Box<str>, Box<str>, Option<ServiceAccount>),
    /// The associations of a namespace, or of all.
    Listed(Option<Box<str>>, Vec<Record>),
    /// An association is new or changed.
    Applied(Record),
    /// An association is gone, by its UID, or names the namespace no longer.
    Deleted(Option<Box<str>>, Box<str>),
    /// There is no such resource as associations.
    NotInstalled,
    /// The account and partition of the agent's own identity.
    OwnBase(BaseRoleArn),
}

impl Store {
    /// What is known for `pod`.
    #[must_use]
    pub fn facts(&self, pod: &Pod) -> Facts {
        let account = (pod.namespace.clone(), pod.service_account.clone());
        Facts {
            association: self.association(pod),
            namespace: self.namespace(&pod.namespace),
            service_account: self
                .accounts
                .get(&account)
                .cloned()
                .unwrap_or_else(|| self.unasked(Subject::ServiceAccount)),
            own_base: self.own_base.clone(),
        }
    }

    /// What is known of a Namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Known<Arc<Namespace>> {
        let known = self.namespaces.get(name).cloned();
        known.unwrap_or_else(|| self.unasked(Subject::Namespace))
    }

    /// The associations that are known.
    #[must_use]
    pub fn associations(&self) -> &Index {
        &self.associations
    }

    /// The Namespaces that were asked for.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&str, &Known<Arc<Namespace>>)> {
        self.namespaces.iter().map(|(name, known)| (&**name, known))
    }

    /// The `ServiceAccount`s that were asked for, with their namespaces before their names.
    pub(super) fn accounts(
        &self,
    ) -> impl Iterator<Item = (&str, &str, &Known<Arc<ServiceAccount>>)> {
        self.accounts.iter().map(|((namespace, name), known)| (&**namespace, &**name, known))
    }

    /// Whether the associations of all namespaces are known, and else of which.
    pub(super) fn covered(&self) -> (bool, Vec<Box<str>>) {
        let known = self.coverage.namespaces.iter().filter(|(_, known)| known.is_ok());
        (self.coverage.everywhere, known.map(|(name, _)| name.clone()).collect())
    }

    /// Whether the API server has told all that this node's pods depend on.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes in whether it has. Whether that is news.
    pub(super) fn set_complete(&mut self, complete: bool) -> bool {
        std::mem::replace(&mut self.complete, complete) != complete
    }

    fn association(&self, pod: &Pod) -> Known<Arc<super::associations::Association>> {
        let Coverage { everywhere, namespaces, otherwise } = &self.coverage;
        let cause = match namespaces.get(&pod.namespace) {
            _ if *everywhere || self.settled => None,
            Some(known) => known.err(),
            None => Some(otherwise.unwrap_or(Cause::Unanswered)),
        };
        if let Some(cause) = cause {
            return Known::NotYet(Missing { subject: Subject::RoleAssociations, cause });
        }
        let found = self.associations.find(&pod.namespace, &pod.service_account);
        found.map_or(Known::Absent, Known::There)
    }

    fn unasked<T>(&self, subject: Subject) -> Known<T> {
        if self.settled { Known::Absent } else { Known::unanswered(subject) }
    }

    /// Takes in what was heard.
    pub fn hear(&mut self, news: News) {
        match news {
            News::Namespace(name, object) => {
                self.namespaces.insert(name, object.map(Arc::new).into());
            }
            News::ServiceAccount(namespace, name, object) => {
                self.accounts.insert((namespace, name), object.map(Arc::new).into());
            }
            News::Listed(Some(namespace), records) => {
                self.associations.replace(&namespace, records);
                self.coverage.everywhere = false;
                self.coverage.namespaces.insert(namespace, Ok(()));
            }
            News::Listed(None, records) => {
                self.associations = Index::default();
                for record in records {
                    self.associations.put(record);
                }
                self.coverage = Coverage { everywhere: true, ..Coverage::default() };
            }
            News::Applied(record) => self.associations.put(record),
            News::Deleted(namespace, uid) => {
                self.associations.remove(namespace.as_deref(), &uid);
            }
            News::NotInstalled => {
                self.associations = Index::default();
                self.coverage = Coverage { everywhere: true, ..Coverage::default() };
            }
            News::OwnBase(base) => self.own_base = Some(base),
        }
    }

    /// Takes in that a Namespace cannot be told; what is known stays.
    pub fn miss_namespace(&mut self, name: &str, cause: Cause) {
        miss(self.namespaces.entry(name.into()), Missing { subject: Subject::Namespace, cause });
    }

    /// Takes in that a `ServiceAccount` cannot be told; what is known stays.
    pub fn miss_account(&mut self, namespace: &str, name: &str, cause: Cause) {
        let missing = Missing { subject: Subject::ServiceAccount, cause };
        miss(self.accounts.entry((namespace.into(), name.into())), missing);
    }

    /// Takes in that the associations of a namespace, or any, cannot be told; what is known stays.
    pub fn miss_associations(&mut self, namespace: Option<&str>, cause: Cause) {
        let Some(namespace) = namespace else {
            self.coverage.otherwise = Some(cause);
            return;
        };
        let known = self.coverage.namespaces.entry(namespace.into()).or_insert(Err(cause));
        if known.is_err() {
            *known = Err(cause);
        }
    }

    /// Forgets a Namespace: no pod of this node is in it any more.
    pub fn forget_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Forgets a `ServiceAccount`.
    pub fn forget_account(&mut self, namespace: &str, name: &str) {
        self.accounts.remove(&(namespace.into(), name.into()));
    }

    /// Forgets the associations of a namespace.
    pub fn forget_associations(&mut self, namespace: &str) {
        self.associations.forget(namespace);
        self.coverage.namespaces.remove(namespace);
    }

    /// One in which nobody was asked and everything counts as absent.
    #[cfg(test)]
    pub(crate) fn settled() -> Self {
        Self { settled: true, ..Self::default() }
    }
}

fn miss<K, T>(entry: std::collections::hash_map::Entry<'_, K, Known<T>>, missing: Missing) {
    let known = entry.or_insert(Known::NotYet(missing));
    if let Known::NotYet(before) = known {
        *before = missing;
    }
}

impl<T> From<Option<T>> for Known<T> {
    fn from(object: Option<T>) -> Self {
        object.map_or(Self::Absent, Self::There)
    }
}

#[cfg(test)]
mod tests;
