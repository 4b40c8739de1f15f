//! ServiceAccount tokens: JWTs as an API server signs them, by a key that the pretend AWS knows (RFC 7519;
//! Kubernetes, "Managing Service Accounts").

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Audience of tokens for `AssumeRoleWithWebIdentity`.
pub const STS: &str = "sts.amazonaws.com";
/// Audience of tokens for EKS Pod Identity.
pub const POD_IDENTITY: &str = "pods.eks.amazonaws.com";

/// What the pretend API server signs with.
const KEY: &[u8] = b"the key of the pretend API server";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub sub: String,
    /// Who it is for.
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
}

/// What a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: Named,
    /// Its ServiceAccount.
    pub serviceaccount: Named,
}

/// The name and UID of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
}

impl Claims {
    /// Of a pod, for this audience, from now on.
    #[must_use]
    pub fn of_pod(
        namespace: &str,
        service_account: &str,
        pod: Named,
        audience: &str,
        lasting: SignedDuration,
    ) -> Self {
        let now = Timestamp::now();
        Self {
            sub: format!("system:serviceaccount:{namespace}:{service_account}"),
            aud: vec![audience.to_owned()],
            exp: now.saturating_add(lasting).unwrap_or(now).as_second(),
            kubernetes: Private {
                namespace: namespace.to_owned(),
                pod,
                serviceaccount: Named { name: service_account.to_owned(), uid: String::new() },
            },
        }
    }

    /// Namespace and name of the ServiceAccount.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.sub.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The token.
    #[must_use]
    pub fn sign(&self) -> String {
        let header = json!({ "alg": "HS256", "typ": "JWT" }).to_string();
        let claims = json!(self).to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Reads a token, whose signature must hold. It may have expired.
    pub fn verify(token: &str) -> Result<Self> {
        let (signed, signature) = token.rsplit_once('.').context("no JWT")?;
        let (_header, claims) = signed.split_once('.').context("no JWT")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let holds = hmac::verify(&key, signed.as_bytes(), &signature).is_ok();
        ensure!(holds, "the signature does not hold");
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        self.exp <= Timestamp::now().as_second()
    }

    /// Whether it is for `audience`.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        self.aud.iter().any(|one| one == audience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_changed_does_not_hold() {
        let claims =
            Claims::of_pod("shop", "cart", Named::default(), STS, SignedDuration::from_hours(1));
        let token = claims.sign();
        assert_eq!(Claims::verify(&token).unwrap(), claims);
        let other = Claims { sub: "system:serviceaccount:shop:admin".into(), ..claims }.sign();
        let body = other.split('.').nth(1).unwrap();
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[1] = body;
        assert!(Claims::verify(&parts.join(".")).is_err());
    }
}
