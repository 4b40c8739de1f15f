//! ServiceAccount tokens in a pod's volumes, as the webhooks of IRSA and EKS Pod Identity ask kubelet for
//! them.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Pod, PodBuilder};
use crate::pretend::service_account::{Claims, Named, POD_IDENTITY, STS};

/// A volume with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Its name.
    pub volume: &'static str,
    /// Who the token is for.
    pub audience: &'static str,
}

/// As the webhook of IAM roles for service accounts makes it.
pub const IRSA: Projection = Projection { volume: "aws-iam-token", audience: STS };
/// As the webhook of EKS Pod Identity makes it.
pub const EKS: Projection = Projection { volume: "eks-pod-identity-token", audience: POD_IDENTITY };

impl Projection {
    /// The volume in the pod's spec.
    pub(super) fn object(&self) -> Value {
        let token =
            json!({ "path": "token", "audience": self.audience, "expirationSeconds": 86400 });
        let sources = [json!({ "serviceAccountToken": token })];
        json!({ "name": self.volume, "projected": { "sources": sources } })
    }
}

impl PodBuilder<'_> {
    /// With a token in a volume.
    pub fn token(mut self, projection: Projection) -> Self {
        self.tokens.push(projection);
        self
    }
}

impl Pod<'_> {
    /// Puts a token of its own into a volume, as kubelet does at its start and again as the token ages.
    pub fn project(&self, projection: Projection, lasting: SignedDuration) -> Result<()> {
        let own = Named { name: self.name.clone(), uid: self.uid.clone() };
        let (namespace, account) = (&self.namespace, &self.service_account);
        let claims = Claims::of_pod(namespace, account, own, projection.audience, lasting);
        self.project_claims(projection, &claims)
    }

    /// Puts a token with these claims into a volume.
    pub fn project_claims(&self, projection: Projection, claims: &Claims) -> Result<()> {
        self.cluster.volumes.project(&self.uid, projection.volume, &claims.sign())
    }
}
