//! Requests that are answered and not stored: access reviews and service account tokens.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::failure::Failure;
use super::resource::Resource;
use super::route::Objects;
use super::store::Store;
use super::write;
use crate::pretend::service_account::{Claims, Named};

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

/// A `TokenRequest` that is bound to a pod of the ServiceAccount: a JWT that the pretend AWS takes.
pub(super) fn token(
    store: &Store,
    objects: &Objects,
    name: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let account = write::existing(store, objects, name)?;
    let mut request = read(body)?;
    let namespace = objects.namespace.as_deref().unwrap_or_default();
    let bound = &request["spec"]["boundObjectRef"];
    let pod = bound_pod(store, namespace, name, bound)?;
    let audience = request["spec"]["audiences"][0].as_str().unwrap_or_default();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let lasting = SignedDuration::from_secs(seconds);
    let mut claims = Claims::of_pod(namespace, name, pod, audience, lasting);
    let uid = account["metadata"]["uid"].as_str().unwrap_or_default();
    uid.clone_into(&mut claims.kubernetes.serviceaccount.uid);
    let expiry = Timestamp::from_second(claims.exp).unwrap_or_default();
    let expiry = expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    request["status"] = json!({ "token": claims.sign(), "expirationTimestamp": expiry });
    Ok(request)
}

/// As the real server does, only a pod that is there, by its UID, and is the ServiceAccount's.
fn bound_pod(
    store: &Store,
    namespace: &str,
    account: &str,
    bound: &Value,
) -> Result<Named, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = Named { name: text(&bound["name"]), uid: text(&bound["uid"]) };
    let pods = Resource::find("", "v1", "pods").ok_or_else(Failure::method_not_allowed)?;
    let pod = store
        .get(pods, &pods.key(Some(namespace), &named.name))
        .ok_or_else(|| Failure::not_found(pods, &named.name))?;
    if bound["kind"] != "Pod" || pod["metadata"]["uid"] != named.uid.as_str() {
        return Err(Failure::bad_request("the pod of this UID is not there"));
    }
    if pod["spec"]["serviceAccountName"] != account {
        return Err(Failure::bad_request("the pod is of another service account"));
    }
    Ok(named)
}
