//! The audit line: one for each time that credentials are handed to a pod, or refused to it. Never a
//! secret. A pod that takes the same credentials again and again has one in five seconds, which says how
//! many were held back: what a pod can cause at will must not fill the node's disk.
//!
//! Its target is `podrole::audit`, so that a collector can tell it from the rest; with
//! `--log-format=json` each line is an object with these fields. A `--log-level` that leaves out `info`
//! leaves it out too, unless it names the target: `warn,podrole::audit=info`.

use std::time::SystemTime;

use tracing::info;

/// The target of audit lines.
const TARGET: &str = "podrole::audit";

/// The pod that asked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its ServiceAccount.
    pub service_account: &'a str,
}

/// Credentials that it was given.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    /// The rule that grants the role.
    pub rule: &'a str,
    /// The role's ARN.
    pub role: &'a str,
    /// The session's name; EKS chooses that of a Pod Identity session.
    pub session: Option<&'a str>,
    /// The access key's id, by which `CloudTrail` names the session.
    pub access_key_id: &'a str,
    /// When the credentials end.
    pub expires: SystemTime,
    /// How often the same were given since the last line, and not told.
    pub held_back: u64,
}

/// Credentials that it was not given.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// The rule that was asked; none where that is part of the reason.
    pub rule: Option<&'a str>,
    /// The role's ARN, where it is known.
    pub role: Option<&'a str>,
    /// Who refuses: `RoleRefused` for our rules, else AWS's error code.
    pub code: &'a str,
    /// Why, and what to do.
    pub reason: &'a str,
}

/// Writes that `pod` was given credentials.
pub fn issued(pod: Subject<'_>, issue: Issue<'_>) {
    let Subject { namespace, name, uid, service_account } = pod;
    let Issue { rule, role, session, access_key_id, expires, held_back } = issue;
    let expires = jiff::Timestamp::try_from(expires).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    info!(
        target: TARGET,
        namespace, pod = name, uid, service_account, rule, role, session, access_key_id, %expires,
        held_back,
        "credentials issued"
    );
}

/// Writes that `pod` was refused credentials.
pub fn refused(pod: Subject<'_>, denial: Denial<'_>) {
    let Subject { namespace, name, uid, service_account } = pod;
    let Denial { rule, role, code, reason } = denial;
    info!(
        target: TARGET,
        namespace, pod = name, uid, service_account, rule, role, code, reason,
        "credentials refused"
    );
}
