//! AWS's errors by what follows from them: a refusal, a fault of this node, or something that may pass
//! (AWS STS API Reference and Amazon EKS API Reference, "Common Errors" and each action's "Errors").

use std::error::Error;
use std::sync::Arc;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use crate::report::Chain;

use super::FetchError;

/// How AWS words it where its caller's own key, not a token within the request, has expired.
const CALLERS_TOKEN: &str = "security token included in the request";
/// The status of throttling, whatever its code.
const TOO_MANY_REQUESTS: u16 = 429;

/// Only what names a fault of the request is a refusal; what may pass, and what is not known, may be
/// asked again.
pub(super) fn classify<E>(error: &SdkError<E>) -> FetchError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    const NOT_AN_ANSWER: FetchError = FetchError::Unusable("it is no answer to the call");
    if let SdkError::ResponseError(_) = error {
        // Its details may quote the answer, which may hold a secret.
        return NOT_AN_ANSWER;
    }
    let SdkError::ServiceError(failed) = error else { return unanswered(error) };
    let status = failed.raw().status();
    if status.is_success() {
        return NOT_AN_ANSWER;
    }
    let code = failed.err().code().unwrap_or("Unknown");
    by_code(code, failed.err().message().unwrap_or("AWS gave no message"), status.as_u16())
}

/// No answer came: the request was not sent, or nothing came back.
fn unanswered<E: Error + 'static>(error: &SdkError<E>) -> FetchError {
    let why = Chain(error).to_string();
    // The SDK found no credentials to sign with, or could not renew them.
    let before = matches!(error, SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_));
    if before && why.contains("credentials") {
        return FetchError::NodeCredentials { code: "NoCredentials".into(), message: why.into() };
    }
    FetchError::Unavailable(why.into())
}

/// STS has codes of one kind with the ending `Exception` and without, EKS all with it.
fn by_code(code: &str, message: &str, status: u16) -> FetchError {
    let named: Arc<str> = code.into();
    let text: Arc<str> = message.into();
    match code.strip_suffix("Exception").unwrap_or(code) {
        "AccessDenied"
        | "ValidationError"
        | "PackedPolicyTooLarge"
        | "MalformedPolicyDocument"
        | "IDPRejectedClaim"
        | "InvalidIdentityToken"
        | "InvalidToken"
        | "InvalidParameter"
        | "InvalidRequest"
        | "ResourceNotFound" => FetchError::Refused { code: named, message: text },
        "RegionDisabled" => FetchError::RegionDisabled { message: text },
        // AWS General Reference, "Troubleshoot signed requests": what is said of the time of signing.
        "SignatureDoesNotMatch" | "InvalidSignature" if message.starts_with("Signature ") => {
            FetchError::ClockSkew { code: named, message: text }
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            FetchError::ClockSkew { code: named, message: text }
        }
        // With the pod's token in the request, this may be said of either.
        "ExpiredToken" if !message.contains(CALLERS_TOKEN) => {
            FetchError::PodToken(format!("AWS says {code}: {message}").into())
        }
        "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClient" => FetchError::NodeCredentials { code: named, message: text },
        "Throttling" | "TooManyRequests" | "RequestLimitExceeded" | "SlowDown" => {
            FetchError::Throttled { code: named, message: text }
        }
        _ if status == TOO_MANY_REQUESTS => FetchError::Throttled { code: named, message: text },
        _ => FetchError::Unavailable(format!("{code}: {message}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> FetchError {
        by_code(code, "why", 400)
    }

    #[test]
    fn refusals_are_told_from_what_may_pass() {
        for code in [
            "AccessDenied",
            "AccessDeniedException",
            "InvalidIdentityToken",
            "PackedPolicyTooLarge",
            "RegionDisabledException",
            "ResourceNotFoundException",
            "ValidationError",
        ] {
            assert!(of(code).refusal().is_some(), "{code}");
        }
        for code in ["IDPCommunicationError", "InternalFailure", "ServiceUnavailable", "New"] {
            assert!(matches!(of(code), FetchError::Unavailable(_)), "{code}");
        }
        for code in ["Throttling", "ThrottlingException", "TooManyRequestsException"] {
            assert!(matches!(of(code), FetchError::Throttled { .. }), "{code}");
        }
        assert!(matches!(by_code("New", "why", 429), FetchError::Throttled { .. }));
    }

    #[test]
    fn the_nodes_key_is_told_from_the_nodes_clock() {
        for code in ["InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"]
        {
            assert!(matches!(of(code), FetchError::NodeCredentials { .. }), "{code}");
        }
        let late = "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z";
        for code in ["SignatureDoesNotMatch", "InvalidSignatureException"] {
            assert!(matches!(by_code(code, late, 403), FetchError::ClockSkew { .. }), "{code}");
        }
        assert!(matches!(of("RequestExpired"), FetchError::ClockSkew { .. }));
    }

    #[test]
    fn an_expired_token_is_the_pods_or_the_nodes() {
        let nodes = "The security token included in the request is expired";
        for code in ["ExpiredToken", "ExpiredTokenException"] {
            let class = by_code(code, nodes, 403);
            assert!(matches!(class, FetchError::NodeCredentials { .. }), "{class}");
        }
        let pods = by_code("ExpiredTokenException", "Token expired: current date/time …", 400);
        assert!(matches!(pods, FetchError::PodToken(_)), "{pods}");
    }
}
