//! Requests that are answered and not stored: access reviews and service account tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::failure::Failure;
use super::route::Objects;
use super::store::Store;
use super::write;

fn read(body: &[u8]) -> Result<Value, Failure> {
    let object: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    object.ok_or_else(|| Failure::bad_request("unable to decode: not an object"))
}

/// A `SelfSubjectAccessReview`: whoever has the token may do everything, unless it is `denied`.
pub(super) fn access(body: &[u8], denied: Option<&str>) -> Result<Value, Failure> {
    let mut review = read(body)?;
    let asked = &review["spec"]["resourceAttributes"];
    let text = |key: &str| asked[key].as_str().unwrap_or_default();
    let asked = format!("{} {}/{}", text("verb"), text("resource"), text("subresource"));
    let allowed = denied != Some(asked.trim_end_matches('/'));
    review["status"] = json!({ "allowed": allowed, "reason": "the pretend server has no RBAC" });
    Ok(review)
}

/// A `TokenRequest`: a JWT in the form of a real one, whose signature nobody can check.
pub(super) fn token(
    store: &Store,
    objects: &Objects,
    name: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let account = write::existing(store, objects, name)?;
    let mut request = read(body)?;
    let namespace = objects.namespace.as_deref().unwrap_or_default();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let now = Timestamp::now();
    let expiry = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let bound = &request["spec"]["boundObjectRef"];
    let mut private = json!({
        "namespace": namespace,
        "serviceaccount": { "name": name, "uid": account["metadata"]["uid"] },
    });
    if bound["kind"] == "Pod" {
        private["pod"] = json!({ "name": bound["name"], "uid": bound["uid"] });
    }
    let claims = json!({
        "aud": request["spec"]["audiences"],
        "exp": expiry.as_second(),
        "iat": now.as_second(),
        "iss": "https://kubernetes.default.svc",
        "kubernetes.io": private,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    });
    let header = json!({ "alg": "RS256", "kid": "pretend" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token =
        format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode("pretend"));
    let expiry = expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    request["status"] = json!({ "token": token, "expirationTimestamp": expiry });
    Ok(request)
}
