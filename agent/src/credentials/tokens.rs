//! The ServiceAccount token of a pod, by which it proves to AWS who it is: the one that kubelet keeps
//! in the pod's volume, or one that the API server makes.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::clock::Clock;

use super::FetchError;
use super::session::TokenOwner;
use super::token_file;
use super::token_request::TokenRequests;

/// A token that ends sooner may have ended when AWS reads it.
const LEAST_REMAINING: Duration = Duration::from_secs(10);

/// Where pods' tokens come from. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    /// `--kubelet-dir`
    pub kubelet: PathBuf,
    /// The API server, under `--service-account-tokens=request`.
    pub requests: Option<TokenRequests>,
    /// The time of day.
    pub clock: Clock,
}

impl Tokens {
    /// A token of the pod that is good now, for the audience that is asked for.
    ///
    /// # Errors
    /// [`FetchError::PodToken`]
    pub(super) async fn of(&self, pod: &TokenOwner) -> Result<SecretString, FetchError> {
        let token = match (&pod.mounted, &self.requests) {
            (Some(mounted), _) => token_file::read(&self.kubelet, &pod.uid, mounted)
                .map_err(|error| FetchError::PodToken(error.to_string().into()))?,
            (None, Some(requests)) => requests.make(pod).await?,
            (None, None) => return Err(FetchError::PodToken("the pod has none".into())),
        };
        check(token.expose_secret(), pod, self.clock.now())
            .map_err(|wrong| FetchError::PodToken(wrong.to_string().into()))?;
        Ok(token)
    }
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("it is no JWT")]
    Form,
    #[error("it is for {0}, not for this pod's ServiceAccount")]
    Subject(Box<str>),
    #[error("it is bound to another pod")]
    Pod,
    #[error("it is not for the audience {0}")]
    Audience(Box<str>),
    #[error("it has expired; kubelet has not renewed it")]
    Expired,
}

/// The claims of a ServiceAccount token that are looked at (Kubernetes, "Managing Service Accounts",
/// "Schema for service account private claims").
#[derive(Deserialize)]
struct Claims {
    sub: Box<str>,
    aud: OneOrMany,
    exp: u64,
    #[serde(rename = "kubernetes.io", default)]
    kubernetes: Private,
}

#[derive(Default, Deserialize)]
struct Private {
    pod: Option<Bound>,
}

#[derive(Deserialize)]
struct Bound {
    uid: Box<str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Box<str>),
    Many(Vec<Box<str>>),
}

impl OneOrMany {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => &**one == wanted,
            Self::Many(many) => many.iter().any(|one| &**one == wanted),
        }
    }
}

/// That a token is this very pod's. Its signature is AWS's to check; this holds against a mix-up here,
/// and saves a call that would be refused.
fn check(token: &str, pod: &TokenOwner, now: SystemTime) -> Result<(), Wrong> {
    let mut parts = token.split('.');
    let (Some(_header), Some(claims), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Wrong::Form);
    };
    let json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Wrong::Form)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| Wrong::Form)?;
    let subject = format!("system:serviceaccount:{}:{}", pod.namespace, pod.service_account);
    if *claims.sub != *subject {
        return Err(Wrong::Subject(claims.sub));
    }
    if claims.kubernetes.pod.is_some_and(|bound| *bound.uid != *pod.uid.as_str()) {
        return Err(Wrong::Pod);
    }
    if !claims.aud.has(&pod.audience) {
        return Err(Wrong::Audience(pod.audience.clone()));
    }
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
    let left = end.and_then(|end| end.duration_since(now).ok());
    if left.is_none_or(|left| left < LEAST_REMAINING) {
        return Err(Wrong::Expired);
    }
    Ok(())
}

/// A token that nobody signed, for tests of those who only read it.
#[cfg(test)]
pub(super) fn unsigned(subject: &str, audience: &str, expires: u64) -> String {
    let claims = serde_json::json!({ "sub": subject, "aud": [audience], "exp": expires });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::callers::pods::PodUid;

    fn owner() -> TokenOwner {
        TokenOwner {
            uid: PodUid::new("uid-1"),
            namespace: "shop".into(),
            name: "web-0".into(),
            service_account: "cart".into(),
            audience: "sts.amazonaws.com".into(),
            mounted: None,
        }
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn checked(claims: &str) -> Result<(), Wrong> {
        check(&token(claims), &owner(), now())
    }

    #[test]
    fn the_pods_own_token_is_good() {
        let bound = r#"{"sub":"system:serviceaccount:shop:cart","aud":["sts.amazonaws.com"],
            "exp":1003600,"kubernetes.io":{"namespace":"shop","pod":{"name":"web-0","uid":"uid-1"}}}"#;
        assert_eq!(checked(bound), Ok(()));
        let plain =
            r#"{"sub":"system:serviceaccount:shop:cart","aud":"sts.amazonaws.com","exp":1003600}"#;
        assert_eq!(checked(plain), Ok(()));
    }

    #[test]
    fn anothers_token_is_refused() {
        let account =
            r#"{"sub":"system:serviceaccount:shop:other","aud":"sts.amazonaws.com","exp":1003600}"#;
        assert!(matches!(checked(account), Err(Wrong::Subject(_))));
        let pod = r#"{"sub":"system:serviceaccount:shop:cart","aud":"sts.amazonaws.com","exp":1003600,
            "kubernetes.io":{"pod":{"name":"web-0","uid":"uid-2"}}}"#;
        assert_eq!(checked(pod), Err(Wrong::Pod));
        let audience = r#"{"sub":"system:serviceaccount:shop:cart","aud":["vault"],"exp":1003600}"#;
        assert_eq!(checked(audience), Err(Wrong::Audience("sts.amazonaws.com".into())));
    }

    #[test]
    fn an_ended_token_and_rubbish_are_refused() {
        let ended =
            r#"{"sub":"system:serviceaccount:shop:cart","aud":"sts.amazonaws.com","exp":1000009}"#;
        assert_eq!(checked(ended), Err(Wrong::Expired));
        for rubbish in ["", "a.b", "a.b.c.d", "e30.!!.c2ln", "e30.e30.c2ln"] {
            let found = check(rubbish, &owner(), now());
            assert_eq!(found, Err(Wrong::Form), "{rubbish}");
        }
    }
}
