//! What decides about roles, as operators write it: associations, and what Namespaces and
//! `ServiceAccount`s say.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Kubernetes;
use crate::curl::Reply;
use crate::wait;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ASSOCIATIONS: &str = "/apis/podrole.dev/v1alpha1/roleassociations";
/// As `cargo xtask manifests` writes it.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds/roleassociations.yaml");

impl Kubernetes {
    /// Installs the definition of `RoleAssociation`, and waits until there may be some.
    pub fn install_definition(&self) -> Result<()> {
        let yaml = fs::read_to_string(Path::new(MANIFEST)).context(MANIFEST)?;
        let manifest: Value = serde_saphyr::from_str(&yaml).context(MANIFEST)?;
        let reply = self.request("POST", DEFINITIONS, "application/json", &manifest)?;
        reply.ok().context("install the definition")?;
        wait::until_true("associations to be served", || {
            Ok(self.request("GET", ASSOCIATIONS, "", &Value::Null)?.status == 200)
        })
    }

    /// Whether associations can be stored: Debian's API server 1.20 takes the definition and then dies of
    /// the first custom resource, whichever it is (its Go is newer than its `reflect2` allows for).
    pub fn stores_associations(&self) -> Result<bool> {
        let version = self.request("GET", "/version", "", &Value::Null)?.ok()?;
        let version: Value = serde_json::from_str(&version)?;
        let minor = version.pointer("/minor").and_then(Value::as_str).unwrap_or_default();
        Ok(minor.trim_end_matches('+').parse::<u32>()? > 20)
    }

    /// Creates an association for a ServiceAccount; what comes of it is for the caller to judge.
    pub fn try_associate(&self, name: &str, spec: &Value) -> Result<Reply> {
        let object = json!({
            "apiVersion": "podrole.dev/v1alpha1", "kind": "RoleAssociation",
            "metadata": { "name": name }, "spec": spec,
        });
        self.request("POST", ASSOCIATIONS, "application/json", &object)
    }

    /// Creates an association that gives a ServiceAccount a role.
    pub fn associate(&self, name: &str, namespace: &str, account: &str, role: &str) -> Result<()> {
        let spec = json!({ "namespace": namespace, "serviceAccount": account, "roleArn": role });
        self.try_associate(name, &spec)?.ok().with_context(|| format!("associate {name}"))?;
        Ok(())
    }

    /// Changes an association by a merge patch of its spec.
    pub fn change_association(&self, name: &str, spec: &Value) -> Result<()> {
        self.patch(&format!("{ASSOCIATIONS}/{name}"), &json!({ "spec": spec }))
    }

    /// Deletes an association.
    pub fn dissociate(&self, name: &str) -> Result<()> {
        let path = format!("{ASSOCIATIONS}/{name}");
        self.request("DELETE", &path, "", &Value::Null)?.ok().context(path)?;
        Ok(())
    }

    /// Sets an annotation of a Namespace, or removes it.
    pub fn annotate_namespace(&self, name: &str, key: &str, value: Option<&str>) -> Result<()> {
        let change = json!({ "metadata": { "annotations": { key: value } } });
        self.patch(&format!("/api/v1/namespaces/{name}"), &change)
    }

    /// Sets a label of a Namespace, or removes it.
    pub fn label_namespace(&self, name: &str, key: &str, value: Option<&str>) -> Result<()> {
        let change = json!({ "metadata": { "labels": { key: value } } });
        self.patch(&format!("/api/v1/namespaces/{name}"), &change)
    }
}
