//! Reports put together, and how they look.

use super::*;
use crate::callers::pods::Pod;
use crate::callers::workload;

fn who(name: &str) -> Who {
    let workload = workload::Workload::of(name, None, |_| None);
    Who::of(&Pod { namespace: "shop".into(), workload, ..Pod::fixture("uid", &[]) })
}

fn workload(name: &str, outcome: Outcome) -> Workload {
    Workload {
        who: who(name),
        modes: vec!["audit".into()],
        pods: 1,
        asked: Counts { role_lists: 2, ..Counts::default() },
        outcome,
        says: format!("{name} says"),
        rule: None,
        role: None,
        session: None,
        session_without_tags: None,
        not_found: Vec::new(),
        what_to_do: None,
        paste: Vec::new(),
    }
}

fn node(node: &str, workloads: Vec<Workload>) -> NodeReport {
    NodeReport { node: node.into(), workloads }
}

#[test]
fn of_several_nodes_the_worst_counts_and_counts_add_up() {
    let told = vec![
        node("b", vec![workload("web", Outcome::HasRole), workload("api", Outcome::HasRole)]),
        node("a", vec![workload("web", Outcome::LosesAccess)]),
    ];
    let report = Report::of(told, Vec::new());
    assert_eq!(report.nodes, ["a", "b"]);
    let [api, web] = report.workloads.as_slice() else { panic!("{report:?}") };
    assert_eq!((api.outcome, api.pods), (Outcome::HasRole, 1));
    assert_eq!((web.outcome, web.pods, web.asked.role_lists), (Outcome::LosesAccess, 2, 4));
    assert!(!report.is_good());
}

#[test]
fn an_agent_that_does_not_tell_is_not_good() {
    let good = vec![node("a", vec![workload("web", Outcome::HasRole)])];
    assert!(Report::of(good.clone(), Vec::new()).is_good());
    let missing = Unanswered { node: "b".into(), error: "late".into() };
    let report = Report::of(good, vec![missing]);
    assert!(!report.is_good());
    assert!(report.show(Paint::none()).contains("b has not told: late"));
}

#[test]
fn it_fits_a_terminal_and_shows_what_to_paste() {
    let paste =
        Paste { what: "RoleAssociation".into(), text: "kind: RoleAssociation\nspec:".into() };
    let loses = Workload {
        what_to_do: Some("apply it".into()),
        paste: vec![paste],
        not_found: vec!["user-data".into()],
        ..workload("web", Outcome::LosesAccess)
    };
    let report =
        Report::of(vec![node("a", vec![loses, workload("api", Outcome::Unchanged)])], vec![]);
    let text = report.show(Paint::none());
    assert!(text.contains("1 would lose access"), "{text}");
    assert!(text.contains("shop/Pod/web") && text.contains("LOSES ACCESS"), "{text}");
    assert!(text.contains("What to do: apply it\n  RoleAssociation:\n    kind: "), "{text}");
    assert!(text.contains("user-data") && !text.contains("api says"), "{text}");
}
