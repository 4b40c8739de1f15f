//! The pretend STS: the AWS query protocol of AssumeRole, `AssumeRoleWithWebIdentity` and
//! `GetCallerIdentity`; and the one call of EKS Auth ([`pod_identity`]).
//!
//! It takes nothing on trust: signatures are recomputed ([`signature`]), parameters are held
//! against the limits of the API reference ([`check`]), and each session's credentials carry what
//! they were given for ([`session`]), so that a mix-up shows by content.
//!
//! A role whose name begins with a word of [`behaviour::BY_NAME`] is answered accordingly;
//! `PUT /_pretend/behaviour` with a [`behaviour::Setting`] decides for one role or for all.

pub mod answer;
pub mod asked;
pub mod behaviour;
pub mod check;
pub mod pod_identity;
pub mod session;
pub mod signature;
pub mod web_identity;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::log::Writer;
use super::node::{self, Keys};
use super::random;
use super::serve::{Handler, Outcome, Received};
use answer::Refusal;
use asked::Asked;
use behaviour::{Behaviour, Setting, Settings, Way};
use check::{Checked, Limits, RoleArn};
use pod_identity::{Association, Associations};
use session::{Caller, Session};
use signature::Authorization;

pub use session::read_token;

/// `Version` of the only API that STS ever had.
const API_VERSION: &str = "2011-06-15";

/// How the names of roles begin whose trust policy lacks `sts:TagSession`: with tags, they are refused.
pub const UNTAGGABLE: &str = "untaggable";

const WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

/// What the log says of a request beyond [`super::log::Entry`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Parameter `Action`.
    pub action: Option<String>,
    /// Key that signed the request, whether or not the signature was right.
    pub access_key_id: Option<String>,
    /// ARN of who signed it; `None` where the signature did not hold.
    pub caller: Option<String>,
    /// Parameters of AssumeRole or `AssumeRoleWithWebIdentity`, as they were sent.
    pub asked: Option<Asked>,
    /// Whose token came with it.
    pub subject: Option<String>,
    /// `Success`, or the code of the error.
    pub answer: String,
    /// Access key id of the session given out.
    pub issued: Option<String>,
    /// What the answer was made to be.
    pub behaviour: Behaviour,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    log: Writer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    callers: HashMap<String, Caller>,
    settings: Settings,
    associations: Associations,
    serial: u64,
}

impl Server {
    /// A server that takes signatures of `node`, whose ARN is `arn`, and of the instance profile's
    /// keys as the pretend metadata service gives them out.
    pub fn new(log: Writer, node: Keys, arn: &str) -> anyhow::Result<Self> {
        let mut profile = Caller::node(Keys::of_instance_profile(), node::ARN);
        // An instance profile is a role, so what it assumes is chained.
        profile.is_role = true;
        let callers = [Caller::node(node, arn), profile];
        let callers = callers.map(|caller| (caller.keys.id.clone(), caller)).into();
        let state = State {
            callers,
            settings: Settings::default(),
            associations: Associations::default(),
            serial: 0,
        };
        Ok(Self { log, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self, request: &Received) -> Outcome {
        let body = &request.body;
        let put = match (request.method(), request.path()) {
            (&Method::PUT, "/_pretend/behaviour") => serde_json::from_slice::<Setting>(body)
                .map(|setting| self.state().settings.put(setting)),
            (&Method::PUT, "/_pretend/association") => serde_json::from_slice::<Association>(body)
                .map(|association| self.state().associations.put(association)),
            _ => return Outcome::answer(StatusCode::NOT_FOUND, "text/plain", "no such control\n"),
        };
        match put {
            Ok(()) => Outcome::answer(StatusCode::OK, "text/plain", ""),
            Err(error) => {
                Outcome::answer(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))
            }
        }
    }
}

impl Handler for Server {
    async fn handle(&self, request: Received) -> anyhow::Result<Outcome> {
        if request.path().starts_with("/_pretend/") {
            return Ok(self.control(&request));
        }
        let request_id = random::uuid()?;
        let mut line = Line::default();
        if let Some(cluster) = pod_identity::cluster(request.path()) {
            let answered = self.state().pod_identity(cluster, &request, &mut line);
            line.answer = match &answered {
                Ok(_) => "Success".to_owned(),
                Err(refusal) => refusal.code.to_owned(),
            };
            self.log.write(&request.entry(&line))?;
            return Ok(answered.unwrap_or_else(|refusal| refusal.outcome()));
        }
        let answered = self.state().answer(&request, &mut line);
        line.answer = match &answered {
            Ok(_) => "Success".to_owned(),
            Err(refusal) => refusal.code.to_owned(),
        };
        self.log.write(&request.entry(&line))?;
        tokio::time::sleep(Duration::from_millis(line.behaviour.delay_ms)).await;
        Ok(match (line.behaviour.answer, answered) {
            (Way::Hang, _) => std::future::pending().await,
            (Way::Rubbish, _) => {
                Outcome::answer(StatusCode::OK, "text/html", "<html>a captive portal, say</html>\n")
            }
            (_, Ok(result)) => answer::success(&result, &request_id),
            (_, Err(refusal)) => answer::refused(&refusal, &request_id),
        })
    }
}

impl State {
    /// Answers with the XML of a result; `line` gets to know what was understood on the way.
    fn answer(&mut self, request: &Received, line: &mut Line) -> Result<answer::Result, Refusal> {
        let form: Vec<(String, String)> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        let action = asked::value(&form, "Action").map(str::to_owned);
        line.action.clone_from(&action);
        let assumes = matches!(action.as_deref(), Some("AssumeRole" | WITH_WEB_IDENTITY));
        line.asked = assumes.then(|| Asked::read(&form));
        let role_arn = line.asked.as_ref().map(|asked| asked.role_arn.as_str());
        line.behaviour = self.settings.find(role_arn);
        if request.method() != Method::POST || request.path() != "/" {
            return Err(Refusal::sender("InvalidAction", "Only POST / is understood here"));
        }
        if action.as_deref() == Some(WITH_WEB_IDENTITY) {
            fail_as_told(line.behaviour.answer)?;
            return self.assume_role_with_web_identity(&form, line);
        }
        let caller = self.authenticate(request, "sts", line)?.clone();
        line.caller = Some(caller.arn.clone());
        fail_as_told(line.behaviour.answer)?;
        let version = asked::value(&form, "Version").unwrap_or_default();
        match (action.as_deref(), version) {
            (Some("GetCallerIdentity"), API_VERSION) => Ok(answer::caller_identity(&caller)),
            (Some("AssumeRole"), API_VERSION) => {
                let asked = line.asked.clone().unwrap_or_default();
                self.assume_role(&caller, &asked, line)
            }
            (Some(action), version) => Err(Refusal::sender(
                "InvalidAction",
                format!("Could not find operation {action} for version {version}"),
            )),
            (None, _) => Err(Refusal::sender("MissingAction", "The request has no Action")),
        }
    }

    /// Who signed the request.
    fn authenticate(
        &self,
        request: &Received,
        service: &str,
        line: &mut Line,
    ) -> Result<&Caller, Refusal> {
        let Some(header) = request.header("authorization") else {
            return Err(Refusal::forbidden(
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            ));
        };
        let authorization = Authorization::parse(header)?;
        line.access_key_id = Some(authorization.access_key_id.clone());
        let invalid = || {
            Refusal::forbidden(
                "InvalidClientTokenId",
                "The security token included in the request is invalid",
            )
        };
        let caller = self.callers.get(&authorization.access_key_id).ok_or_else(invalid)?;
        if request.header("x-amz-security-token") != caller.keys.token.as_deref() {
            return Err(invalid());
        }
        authorization.verify(request, &caller.keys.secret, service)?;
        if caller.expires.is_some_and(|expires| expires <= request.at) {
            return Err(Refusal::expired_token());
        }
        Ok(caller)
    }

    fn assume_role(
        &mut self,
        caller: &Caller,
        asked: &Asked,
        line: &mut Line,
    ) -> Result<answer::Result, Refusal> {
        let limits = Limits { role_chaining: caller.is_role, inherited: &caller.transitive_tags() };
        let checked = check::assume_role(asked, &limits)?;
        let tags_denied = checked.role.name.starts_with(UNTAGGABLE) && !asked.tags.is_empty();
        if tags_denied || matches!(line.behaviour.answer, Way::AccessDenied) {
            return Err(Refusal::access_denied(&caller.arn, &checked.role));
        }
        self.serial += 1;
        let mut tags = caller.transitive_tags();
        let mut transitive: Vec<String> = tags.keys().cloned().collect();
        tags.extend(asked.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())));
        transitive.extend(asked.transitive.iter().cloned());
        let session = Session {
            role: asked.role_arn.clone(),
            session: asked.session_name.clone(),
            tags,
            transitive,
            subject: None,
            duration: checked.duration,
            serial: self.serial,
        };
        let caller = self.issue(session, &checked, line)?;
        let identity = asked.source_identity.as_deref();
        Ok(answer::assumed_role("AssumeRole", &caller, &checked, identity))
    }

    fn issue(
        &mut self,
        session: Session,
        checked: &Checked,
        line: &mut Line,
    ) -> Result<Caller, Refusal> {
        let lifetime = line.behaviour.lifetime(checked.duration);
        let caller = Caller::session(session, &checked.role, expiry(lifetime))?;
        line.issued = Some(caller.keys.id.clone());
        self.callers.insert(caller.keys.id.clone(), caller.clone());
        Ok(caller)
    }

    /// Nobody signs this call: the token says who asks.
    fn assume_role_with_web_identity(
        &mut self,
        form: &[(String, String)],
        line: &mut Line,
    ) -> Result<answer::Result, Refusal> {
        let asked = line.asked.clone().unwrap_or_default();
        if !asked.tags.is_empty() || asked.external_id.is_some() {
            return Err(Refusal::validation("This call takes neither tags nor an external id"));
        }
        let limits = Limits { role_chaining: false, inherited: &BTreeMap::new() };
        let checked = check::assume_role(&asked, &limits)?;
        let subject = web_identity::subject(asked::value(form, "WebIdentityToken"))?;
        line.subject = Some(subject.clone());
        if matches!(line.behaviour.answer, Way::AccessDenied) {
            let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            return Err(Refusal::forbidden("AccessDenied", message));
        }
        self.serial += 1;
        let session = Session {
            role: asked.role_arn,
            session: asked.session_name,
            tags: BTreeMap::new(),
            transitive: Vec::new(),
            subject: Some(subject),
            duration: checked.duration,
            serial: self.serial,
        };
        let caller = self.issue(session, &checked, line)?;
        Ok(answer::assumed_role(WITH_WEB_IDENTITY, &caller, &checked, None))
    }

    /// A session with the six tags of EKS Pod Identity.
    fn pod_identity(
        &mut self,
        cluster: &str,
        request: &Received,
        line: &mut Line,
    ) -> Result<Outcome, pod_identity::Refusal> {
        line.action = Some("AssumeRoleForPodIdentity".to_owned());
        let signed = self.authenticate(request, "eks-auth", line).cloned();
        let caller = signed.map_err(|refusal| pod_identity::Refusal::of_signature(&refusal))?;
        line.caller = Some(caller.arn);
        let (claims, role) = self.associations.find(cluster, &request.body)?;
        line.subject = Some(claims.sub.clone());
        self.serial += 1;
        let pod = &claims.kubernetes.pod;
        let (namespace, account) = claims.service_account().unwrap_or_default();
        let tags = [
            ("eks-cluster-arn", "arn:aws:eks:us-west-2:111122223333:cluster/prod"),
            ("eks-cluster-name", cluster),
            ("kubernetes-namespace", namespace),
            ("kubernetes-service-account", account),
            ("kubernetes-pod-name", &pod.name),
            ("kubernetes-pod-uid", &pod.uid),
        ];
        let session = Session {
            role: role.clone(),
            session: format!("eks-{cluster}-{}-{}", pod.name, self.serial),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            transitive: tags.map(|(key, _)| key.to_owned()).into(),
            subject: Some(claims.sub.clone()),
            duration: pod_identity::DURATION,
            serial: self.serial,
        };
        let internal = || pod_identity::Refusal::of_signature(&Refusal::internal_failure());
        let role = RoleArn::parse(&role).ok_or_else(internal)?;
        let checked = Checked { role, duration: pod_identity::DURATION, packed_percent: 0 };
        let caller = self.issue(session, &checked, line);
        let caller = caller.map_err(|refusal| pod_identity::Refusal::of_signature(&refusal))?;
        Ok(pod_identity::success(&claims, &caller))
    }
}

/// The failures that do not depend on what was asked.
fn fail_as_told(way: Way) -> Result<(), Refusal> {
    match way {
        Way::Throttling => Err(Refusal::sender("Throttling", "Rate exceeded")),
        Way::InternalFailure => Err(Refusal::internal_failure()),
        Way::ExpiredToken => Err(Refusal::expired_token()),
        Way::Normal
        | Way::AccessDenied
        | Way::Rubbish
        | Way::Hang
        | Way::ShortSession
        | Way::Expired => Ok(()),
    }
}

/// The end of a session that begins now; whole seconds, as STS writes it.
fn expiry(lifetime: SignedDuration) -> Timestamp {
    let now = Timestamp::now();
    let end = now.saturating_add(lifetime).unwrap_or(now);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

impl RoleArn {
    /// Whom a session of this role is to STS (the path of the role is left out).
    fn session_arn(&self, session_name: &str) -> String {
        let Self { partition, account, name, .. } = self;
        format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session_name}")
    }
}
