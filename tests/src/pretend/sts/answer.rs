//! What STS answers: the XML of results and errors.

use std::fmt::Write;

use http::StatusCode;

use super::check::{Checked, RoleArn};
use super::session::Caller;
use crate::pretend::serve::Outcome;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// An error of the API, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// `Code`.
    pub code: &'static str,
    /// `Message`.
    pub message: String,
}

impl Refusal {
    /// 400.
    pub fn sender(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    /// 403.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code, message: message.into() }
    }

    /// A parameter is not as it must be.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::sender("ValidationError", message)
    }

    /// The caller may not assume this role, or there is no such role: STS does not tell which.
    #[must_use]
    pub fn access_denied(caller: &str, role: &RoleArn) -> Self {
        let RoleArn { partition, account, path, name } = role;
        let arn = format!("arn:{partition}:iam::{account}:role{path}{name}");
        Self::forbidden(
            "AccessDenied",
            format!(
                "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            ),
        )
    }

    /// The caller's own credentials have expired.
    #[must_use]
    pub fn expired_token() -> Self {
        let message = "The security token included in the request is expired";
        Self::forbidden("ExpiredToken", message)
    }

    /// STS is at fault.
    #[must_use]
    pub fn internal_failure() -> Self {
        let message = "The request processing has failed because of an unknown error";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, code: "InternalFailure", message: message.to_owned() }
    }
}

/// A result: the name of the action, and what stands inside of `<…Result>`.
#[derive(Debug)]
pub struct Result {
    action: &'static str,
    xml: String,
}

/// Who the caller is.
#[must_use]
pub fn caller_identity(caller: &Caller) -> Result {
    let xml = element("Arn", &caller.arn)
        + &element("UserId", &caller.user_id)
        + &element("Account", caller.account());
    Result { action: "GetCallerIdentity", xml }
}

/// The credentials of a new session, given by this action.
#[must_use]
pub fn assumed_role(
    action: &'static str,
    session: &Caller,
    checked: &Checked,
    source_identity: Option<&str>,
) -> Result {
    let expiration = session.expires.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut xml = format!(
        "<AssumedRoleUser>{}{}</AssumedRoleUser><Credentials>{}{}{}{}</Credentials>",
        element("AssumedRoleId", &session.user_id),
        element("Arn", &session.arn),
        element("AccessKeyId", &session.keys.id),
        element("SecretAccessKey", &session.keys.secret),
        element("SessionToken", session.keys.token.as_deref().unwrap_or_default()),
        element("Expiration", &expiration.unwrap_or_default()),
    );
    if checked.packed_percent > 0 {
        xml += &element("PackedPolicySize", &checked.packed_percent.to_string());
    }
    if let Some(identity) = source_identity {
        xml += &element("SourceIdentity", identity);
    }
    if let Some(subject) = session.session.as_ref().and_then(|session| session.subject.as_ref()) {
        xml += &element("SubjectFromWebIdentityToken", subject);
    }
    Result { action, xml }
}

/// The answer with a result.
#[must_use]
pub fn success(result: &Result, request_id: &str) -> Outcome {
    let Result { action, xml } = result;
    let id = element("RequestId", request_id);
    let content = format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{xml}</{action}Result>\
         <ResponseMetadata>{id}</ResponseMetadata></{action}Response>\n"
    );
    with_request_id(Outcome::answer(StatusCode::OK, "text/xml", content), request_id)
}

/// The answer with an error.
#[must_use]
pub fn refused(refusal: &Refusal, request_id: &str) -> Outcome {
    let at_fault = if refusal.status.is_server_error() { "Receiver" } else { "Sender" };
    let content = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error>{}{}{}</Error>{}</ErrorResponse>\n",
        element("Type", at_fault),
        element("Code", refusal.code),
        element("Message", &refusal.message),
        element("RequestId", request_id),
    );
    with_request_id(Outcome::answer(refusal.status, "text/xml", content), request_id)
}

fn with_request_id(mut outcome: Outcome, request_id: &str) -> Outcome {
    if let Outcome::Answer(response) = &mut outcome
        && let Ok(value) = request_id.parse()
    {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    outcome
}

/// `<name>text</name>`, escaped.
fn element(name: &str, text: &str) -> String {
    let mut xml = format!("<{name}>");
    for letter in text.chars() {
        match letter {
            '&' => xml += "&amp;",
            '<' => xml += "&lt;",
            '>' => xml += "&gt;",
            other => xml.push(other),
        }
    }
    // Writing to a String cannot fail.
    let _infallible = write!(xml, "</{name}>");
    xml
}
