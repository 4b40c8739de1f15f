//! A node's report, made of what the rooms say of its pods. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{NodeReport, Outcome, Paste, Workload};
use crate::callers::pods::Pod;
use crate::credentials::advice::{advise, sentence};
use crate::credentials::broker::SessionState;
use crate::credentials::trials::{Said, Trials, Tried};
use crate::credentials::trust::{self, Known};
use crate::credentials::{FetchError, SessionPlan, SessionRequest};
use crate::metadata::asks::{Counts, Left, Who};
use crate::report::Chain;
use crate::roles::{BaseRoleArn, Decision, Grant, Mode, Trace};

/// What is known of the node.
pub(crate) struct About<'a> {
    /// Its name.
    pub(crate) node: &'a str,
    /// What each rule says of a pod.
    pub(crate) trace: &'a dyn Fn(&Pod) -> Trace,
    /// What holds for a pod.
    pub(crate) mode: &'a dyn Fn(&Pod) -> Mode,
    /// Why a pod is the node in any case, if it is.
    pub(crate) is_node: &'a dyn Fn(&Pod) -> Option<&'static str>,
    /// Whether a pod may not ask without a token.
    pub(crate) denies_v1: &'a dyn Fn(&Pod) -> bool,
    /// Whether pods may read a path.
    pub(crate) is_for_pods: &'a dyn Fn(&str) -> bool,
    /// How sessions are asked for.
    pub(crate) plan: &'a SessionPlan,
    /// What AWS said of roles that were tried.
    pub(crate) trials: &'a Trials,
    /// What was decided last of workloads whose pods are gone.
    pub(crate) left: &'a HashMap<Who, Left>,
    /// What pods hold.
    pub(crate) sessions: &'a [SessionState],
    /// What bare role names are completed with.
    pub(crate) base: Option<&'a BaseRoleArn>,
    /// Who the agent is to AWS, and who makes its pods' tokens.
    pub(crate) known: Known<'a>,
}

/// The report on `pods`, and on whoever has `asked` and is gone.
pub(crate) fn compose(
    pods: &[Arc<Pod>],
    asked: &BTreeMap<Who, Counts>,
    about: &About<'_>,
) -> NodeReport {
    let mut all = BTreeMap::<Who, Vec<&Pod>>::new();
    for pod in pods {
        all.entry(Who::of(pod)).or_default().push(pod);
    }
    let gone = asked.keys().filter(|who| !all.contains_key(who)).cloned().collect::<Vec<_>>();
    all.extend(gone.into_iter().map(|who| (who, Vec::new())));
    let none = Counts::default();
    let workload = |(who, pods): (Who, Vec<&Pod>)| {
        let asked = asked.get(&who).unwrap_or(&none);
        about.workload(who, &pods, asked)
    };
    NodeReport { node: about.node.to_owned(), workloads: all.into_iter().map(workload).collect() }
}

/// What was found of one pod.
struct Found {
    outcome: Outcome,
    says: String,
    grant: Option<Grant>,
    role: Option<String>,
    said: Option<Said>,
    what_to_do: Option<String>,
    paste: Vec<Paste>,
}

impl Found {
    fn new(outcome: Outcome, says: impl Into<String>) -> Self {
        Self {
            outcome,
            says: says.into(),
            grant: None,
            role: None,
            said: None,
            what_to_do: None,
            paste: Vec::new(),
        }
    }
}

impl About<'_> {
    fn workload(&self, who: Who, pods: &[&Pod], asked: &Counts) -> Workload {
        let mut modes: Vec<_> = pods.iter().map(|pod| (self.mode)(pod).to_string()).collect();
        modes.sort();
        modes.dedup();
        let found = pods.iter().map(|pod| self.pod(pod, &who, asked));
        let worst = found.max_by_key(|found| found.outcome);
        let found = worst.unwrap_or_else(|| self.gone(&who, asked));
        let not_found = asked.others.keys().filter(|path| !self.finds(path));
        let said = found.said.as_ref();
        Workload {
            modes,
            pods: u64::try_from(pods.len()).unwrap_or(u64::MAX),
            outcome: found.outcome,
            says: found.says,
            rule: found.grant.as_ref().map(|grant| grant.rule.to_string()),
            role: found.role,
            session: said.map(|said| verdict(&said.as_it_is)),
            session_without_tags: said.and_then(|said| said.untagged.as_ref()).map(verdict),
            not_found: not_found.map(ToString::to_string).collect(),
            what_to_do: found.what_to_do,
            paste: found.paste,
            asked: asked.clone(),
            who,
        }
    }

    /// Directories above everything list what may be seen.
    fn finds(&self, path: &str) -> bool {
        matches!(path, "/" | "meta-data" | "meta-data/iam" | "meta-data/iam/info" | "dynamic")
            || (self.is_for_pods)(path)
    }

    fn pod(&self, pod: &Pod, who: &Who, asked: &Counts) -> Found {
        if let Some(why) = (self.is_node)(pod) {
            return Found::new(Outcome::Unchanged, why);
        }
        let trace = (self.trace)(pod);
        let mode = (self.mode)(pod);
        let found = match &trace.decision {
            Decision::Granted(grant) => self.granted(pod, grant, mode),
            Decision::Refused(refusal) => {
                let role = refusal.role.as_ref().map(ToString::to_string);
                Found { role, ..Found::new(Outcome::LosesAccess, refusal.to_string()) }
            }
            Decision::NotYet(missing) => Found::new(Outcome::Unknown, missing.to_string()),
            Decision::None => self.unmapped(pod, &trace, mode, who, asked),
        };
        if found.outcome == Outcome::HasRole && asked.is_v1() && (self.denies_v1)(pod) {
            let says = "it asks without a token (IMDSv1), which is denied";
            let what = "give it an SDK that knows IMDSv2, or allow it: --imds-v1 allow, and no annotation podrole.dev/imds-v1";
            return Found {
                outcome: Outcome::LosesAccess,
                says: says.into(),
                what_to_do: Some(what.into()),
                ..found
            };
        }
        found
    }

    fn granted(&self, pod: &Pod, grant: &Grant, mode: Mode) -> Found {
        let new = |outcome, says: String| Found {
            grant: Some(grant.clone()),
            role: grant.role().map(ToString::to_string),
            ..Found::new(outcome, says)
        };
        let request = match self.plan.request(pod, grant) {
            Ok(request) => request,
            Err(error) => return new(Outcome::LosesAccess, error.to_string()),
        };
        if mode == Mode::Enforce {
            let session = self.sessions.iter().find(|session| session.pod == pod.uid);
            let error = session.filter(|session| session.expiration.is_none());
            let error = error.and_then(|session| session.error.as_ref());
            return match error {
                Some(error) => {
                    self.refused(new(Outcome::LosesAccess, String::new()), &request, error)
                }
                None => new(Outcome::HasRole, "it is enforced, and has its role".into()),
            };
        }
        self.tried(new, &Who::of(pod), &request)
    }

    /// Of a workload whose pods are all gone from this node.
    fn gone(&self, who: &Who, asked: &Counts) -> Found {
        if !asked.wants_role() {
            let says = "none of its pods runs, and it asked for no role";
            return Found::new(Outcome::Unchanged, says);
        }
        match self.left.get(who) {
            Some(Left { decision: Decision::Granted(grant), request: Some(request) }) => {
                let new = |outcome, says| Found {
                    grant: Some(grant.clone()),
                    role: grant.role().map(ToString::to_string),
                    ..Found::new(outcome, says)
                };
                self.tried(new, who, request)
            }
            Some(Left { decision: Decision::Refused(refusal), .. }) => {
                Found::new(Outcome::LosesAccess, refusal.to_string())
            }
            Some(Left { decision: Decision::None, .. }) => self.unmapped_asks(who, asked),
            Some(Left { decision: Decision::Granted(_) | Decision::NotYet(_), .. }) | None => {
                Found::new(
                    Outcome::Unknown,
                    "it asked for a role, and none of its pods runs on this node: come again when one does",
                )
            }
        }
    }

    fn tried(
        &self,
        new: impl Fn(Outcome, String) -> Found,
        who: &Who,
        request: &SessionRequest,
    ) -> Found {
        let tried = Tried::of(request, &who.namespace, &who.service_account);
        let Some(said) = self.trials.said(&tried) else {
            return new(
                Outcome::Unknown,
                "AWS has not been asked for its role yet: come again in a minute".into(),
            );
        };
        let with = |found: Found| Found { said: Some(said.clone()), ..found };
        match (&said.as_it_is, &said.untagged) {
            (Ok(()), _) => with(new(Outcome::HasRole, "AWS gives it its role".into())),
            (Err(_), Some(Ok(()))) => {
                let outcome =
                    if falls_back(request) { Outcome::HasRole } else { Outcome::LosesAccess };
                let says = "AWS gives it its role without session tags alone: the role's trust policy lacks sts:TagSession";
                let what = "allow sts:TagSession beside sts:AssumeRole in the trust policy; or until then, run the agents with --session-tags=pod,untagged-fallback";
                with(Found {
                    what_to_do: Some(what.into()),
                    paste: self.trust(request),
                    ..new(outcome, says.into())
                })
            }
            (Err(error), _) if error.refusal().is_none() => {
                with(new(Outcome::Unknown, format!("AWS did not say: {}", Chain(error))))
            }
            (Err(error), _) => {
                with(self.refused(new(Outcome::LosesAccess, String::new()), request, error))
            }
        }
    }

    fn refused(&self, found: Found, request: &SessionRequest, error: &FetchError) -> Found {
        let advice = advise(request, error);
        let what_to_do = sentence(&advice).map(|text| {
            let text = text.strip_prefix("What to do: ").unwrap_or(&text);
            text.to_owned()
        });
        Found {
            says: format!("AWS refuses its role: {}", Chain(error)),
            what_to_do,
            paste: self.trust(request),
            ..found
        }
    }

    fn trust(&self, request: &SessionRequest) -> Vec<Paste> {
        let policies = trust::policies(request, self.known).into_iter();
        let paste = policies.map(|trust| {
            let role = trust.role.as_deref().unwrap_or("the role that the EKS association names");
            Paste {
                what: format!("Trust policy of {role}"),
                text: serde_json::to_string_pretty(&trust.policy).unwrap_or_default(),
            }
        });
        paste.collect()
    }

    fn unmapped(&self, pod: &Pod, trace: &Trace, mode: Mode, who: &Who, asked: &Counts) -> Found {
        if let Some(grant) = crate::app::trials::audited(trace) {
            let new = |outcome: Outcome, says: String| Found {
                grant: Some(grant.clone()),
                role: grant.role().map(ToString::to_string),
                ..Found::new(outcome, says)
            };
            let found = match self.plan.request(pod, grant) {
                Ok(request) => self.tried(new, who, &request),
                Err(error) => new(Outcome::LosesAccess, error.to_string()),
            };
            if found.outcome != Outcome::HasRole {
                return found;
            }
            let outcome =
                if asked.wants_role() { Outcome::LosesAccess } else { Outcome::Unchanged };
            return Found {
                outcome,
                says: "its RoleAssociation only tells (mode: Audit)".into(),
                what_to_do: Some(
                    "set `mode: Enforce` in the RoleAssociation, or leave mode out".into(),
                ),
                ..found
            };
        }
        if mode == Mode::Enforce {
            return Found::new(
                Outcome::Unchanged,
                "it is enforced, and nothing maps it: it has no role",
            );
        }
        if !asked.wants_role() {
            return Found::new(Outcome::Unchanged, "nothing maps it, and it has asked for no role");
        }
        self.unmapped_asks(who, asked)
    }

    /// Of what nothing maps, and asks for a role.
    fn unmapped_asks(&self, who: &Who, asked: &Counts) -> Found {
        let roles: Vec<&str> = asked.credentials.keys().map(|role| &**role).collect();
        let roles = roles.join(", ");
        let says = if roles.is_empty() {
            "nothing maps it, and it asks for a role".to_owned()
        } else {
            format!("nothing maps it, and it uses the credentials of {roles}")
        };
        Found {
            what_to_do: Some("apply a RoleAssociation with a role that may do what it needs, and let that role trust the agents".into()),
            paste: vec![Paste { what: "RoleAssociation".into(), text: self.association(who, asked) }],
            ..Found::new(Outcome::LosesAccess, says)
        }
    }

    fn association(&self, who: &Who, asked: &Counts) -> String {
        let Who { namespace, workload, service_account } = who;
        let name = format!("{namespace}.{service_account}");
        format!(
            "# for {namespace}/{workload}\napiVersion: podrole.dev/v1alpha1\nkind: RoleAssociation\nmetadata:\n  name: {name}\nspec:\n  namespace: {namespace}\n  serviceAccount: {service_account}\n  roleArn: {}",
            self.role_of(asked)
        )
    }

    /// The role that it named, unless that is the node's own: another is to be chosen then.
    fn role_of(&self, asked: &Counts) -> String {
        let fields: HashMap<usize, &str> =
            self.known.identity.into_iter().flat_map(|arn| arn.split(':').enumerate()).collect();
        let own = fields.get(&5).and_then(|it| it.split('/').nth(1)).unwrap_or_default();
        let mut named = asked.credentials.keys().filter(|role| ***role != *own);
        let named = named.next().filter(|_| asked.credentials.len() == 1);
        if let (Some(role), Some(base)) = (named, self.base)
            && let Ok(role) = crate::roles::annotations::role(role, Some(base))
        {
            return role.to_string();
        }
        let account = fields.get(&4).copied().filter(|it| !it.is_empty()).unwrap_or("ACCOUNT");
        format!("arn:aws:iam::{account}:role/ROLE-TO-CHOOSE")
    }
}

fn falls_back(request: &SessionRequest) -> bool {
    matches!(request, SessionRequest::AssumeRole(request) if request.untagged_fallback)
}

fn verdict(said: &Result<(), FetchError>) -> String {
    match said {
        Ok(()) => "granted".to_owned(),
        Err(error) => match error.refusal() {
            Some(_) => format!("refused: {}", Chain(error)),
            None => format!("not told: {}", Chain(error)),
        },
    }
}
