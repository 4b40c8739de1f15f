//! `AssumeRoleWithWebIdentity`: whose token, and is it good (AWS Security Token Service API Reference).

use super::answer::Refusal;
use crate::pretend::service_account::{Claims, STS};

/// Who a token says its holder is.
pub fn subject(token: Option<&str>) -> Result<String, Refusal> {
    let token = token.ok_or_else(|| {
        Refusal::validation("1 validation error detected: Value null at 'webIdentityToken'")
    })?;
    let claims = Claims::verify(token).map_err(|_| {
        let message = "Couldn't retrieve verification key from your identity provider";
        Refusal::sender("InvalidIdentityToken", message)
    })?;
    if claims.has_expired() {
        let message = "Token expired: current date/time must be before the expiration date/time";
        return Err(Refusal::sender("ExpiredTokenException", message));
    }
    if !claims.is_for(STS) {
        return Err(Refusal::sender("InvalidIdentityToken", "Incorrect token audience"));
    }
    Ok(claims.sub)
}
