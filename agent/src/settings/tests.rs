//! Flags as people write them.

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use crate::credentials::plan::SessionTags;
use crate::roles::Mode;

use super::*;

fn settings(flags: &[&str]) -> Result<Settings, Mistakes> {
    let line = ["podrole", "agent"].iter().chain(flags);
    match Arguments::try_parse_from(line).unwrap().command {
        Command::Agent(arguments) => Settings::from_arguments(*arguments),
        _ => panic!("not the agent"),
    }
}

/// The least that is enough, and `flags`.
fn with(flags: &[&str]) -> Result<Settings, Mistakes> {
    settings(&[&["--node-name=n", "--cluster-name=c"], flags].concat())
}

#[track_caller]
fn refused(flags: &[&str], flag: &str, what: &str) {
    let mistakes = with(flags).unwrap_err().to_string();
    let line = mistakes.lines().find(|line| line.contains(flag));
    assert!(line.is_some_and(|line| line.contains(what)), "{mistakes}");
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let settings = with(&[]).unwrap();
    assert_eq!(settings.kernel.bpf_fs, PathBuf::from("/sys/fs/bpf"));
    assert_eq!(settings.state_dir, PathBuf::from("/var/lib/podrole"));
    assert_eq!(settings.kernel.metadata.v4, Some(Ipv4Addr::new(169, 254, 169, 254)));
    assert_eq!(settings.kernel.metadata.v6, Some("fd00:ec2::254".parse().unwrap()));
    assert_eq!(settings.plan.tags, SessionTags::Pod);
    assert_eq!(settings.plan.duration, Duration::from_hours(1));
    assert_eq!(&*settings.rules.keys.role, "iam.amazonaws.com/role");
    assert!(settings.kernel.listen.is_none());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let flags = ["--session-duration=1m", "--listen=nowhere", "--base-role-arn=x", "--bpf-fs=bpf"];
    let mistakes = settings(&flags).unwrap_err().to_string();
    for flag in [
        "--node-name",
        "--cluster-name",
        "--session-duration",
        "--listen",
        "--base-role-arn",
        "--bpf-fs",
    ] {
        assert!(mistakes.contains(flag), "{flag} is missing in: {mistakes}");
    }
}

#[test]
fn listen_takes_one_address_of_each_family() {
    let listen =
        with(&["--listen=10.0.0.10", "--listen=[fd00::10]:99"]).unwrap().kernel.listen.unwrap();
    assert_eq!(listen.v4, "10.0.0.10:16925".parse().unwrap());
    assert_eq!(listen.v6, Some("[fd00::10]:99".parse().unwrap()));
    let v6 = with(&["--listen=10.0.0.10", "--listen=fd00::10"]).unwrap().kernel.listen.unwrap().v6;
    assert_eq!(v6, Some("[fd00::10]:16925".parse().unwrap()));
    refused(&["--listen=10.0.0.10", "--listen=10.0.0.11"], "--listen", "second address");
    refused(&["--listen=fd00::10"], "--listen", "IPv4");
    refused(&["--listen=127.0.0.1"], "--listen", "cannot be redirected");
    refused(&["--listen=0.0.0.0"], "--listen", "cannot be redirected");
}

#[test]
fn metadata_addresses_are_real_ones() {
    let only_v4 = with(&["--metadata-address=169.254.169.254"]).unwrap().kernel.metadata;
    assert_eq!(only_v4.v6, None);
    refused(&["--metadata-address=here"], "--metadata-address", "no IP address");
    refused(&["--metadata-address=::"], "--metadata-address", "cannot be");
    refused(&["--metadata-address=::ffff:169.254.169.254"], "--metadata-address", "cannot be");
    refused(&["--metadata-address=1.2.3.4,1.2.3.5"], "--metadata-address", "second");
}

#[test]
fn durations_are_those_that_sts_takes() {
    assert_eq!(with(&["--session-duration=90m"]).unwrap().plan.duration.as_secs(), 5400);
    for bad in ["14m", "13h", "-1h", "1", "an hour", ""] {
        refused(&[&format!("--session-duration={bad}")], "--session-duration", "15m to 12h");
    }
}

#[test]
fn a_cluster_name_is_needed_only_for_tags() {
    let mistakes = settings(&["--node-name=n"]).unwrap_err().to_string();
    assert!(mistakes.contains("--cluster-name: required"), "{mistakes}");
    let untagged = settings(&["--node-name=n", "--session-tags=none"]).unwrap();
    assert_eq!(untagged.plan.cluster_name, None);
    let mistakes = settings(&["--node-name=n", "--cluster-name=a\nb"]).unwrap_err().to_string();
    assert!(mistakes.contains("no session tag"), "{mistakes}");
    refused(&["--cluster-arn=prod"], "--cluster-arn", "no ARN");
    refused(&["--cluster-arn=arn:aws:eks:us-west-2::cluster/c"], "--cluster-arn", "no ARN");
}

#[test]
fn session_tags_may_be_left_out_where_they_are_refused() {
    let of = |value: &str| {
        let plan = with(&[&format!("--session-tags={value}")]).unwrap().plan;
        (plan.tags, plan.untagged_fallback)
    };
    assert_eq!(of("workload"), (SessionTags::Workload, false));
    assert_eq!(of("pod,untagged-fallback"), (SessionTags::Pod, true));
    refused(&["--session-tags=some"], "--session-tags", "unknown");
    refused(&["--session-tags=pod,none"], "--session-tags", "unknown");
    refused(&["--session-tags=none,untagged-fallback"], "--session-tags", "leave one");
    assert!(!with(&[]).unwrap().plan.transitive);
    assert!(with(&["--transitive-session-tags=true"]).unwrap().plan.transitive);
    refused(&["--transitive-session-tags=1"], "--transitive-session-tags", "neither");
}

#[test]
fn tokens_are_those_of_kubelet_unless_others_are_asked_for() {
    let defaults = with(&[]).unwrap();
    assert_eq!(defaults.kubelet_dir, PathBuf::from("/var/lib/kubelet"));
    assert!(!defaults.plan.token_requests);
    assert!(with(&["--service-account-tokens=request"]).unwrap().plan.token_requests);
    refused(&["--service-account-tokens=all"], "--service-account-tokens", "unknown");
    refused(&["--kubelet-dir=kubelet"], "--kubelet-dir", "absolute");
}

#[test]
fn each_flag_is_an_environment_variable_too() {
    let podrole = Arguments::command();
    for command in podrole.get_subcommands().filter(|command| !command.is_hide_set()) {
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(name) = flag.get_long().filter(|name| *name != "help") else { continue };
            let variable = format!("PODROLE_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(flag.get_env(), Some(variable.as_ref()), "--{name}");
        }
    }
}

#[test]
fn host_network_pods_are_the_node_unless_told_otherwise() {
    let default = with(&[]).unwrap().host_network();
    assert_eq!(default.pods, HostNetworkPods::Node);
    assert_eq!(default.exempt, ["kube-system/*".parse().unwrap()]);
    let settings = with(&["--host-network-pods=deny", "--host-network-exempt="]).unwrap();
    assert_eq!(settings.host_network().pods, HostNetworkPods::Deny);
    assert_eq!(settings.host_network().exempt, []);
    refused(&["--host-network-pods=all"], "--host-network-pods", "`mapped`");
    refused(&["--host-network-exempt=shop"], "--host-network-exempt", "NAMESPACE/SERVICEACCOUNT");
}

#[test]
fn only_hooks_that_can_be_done_without_may_be_missing() {
    assert_eq!(with(&[]).unwrap().kernel.may_lack, []);
    let settings = with(&["--allow-missing-guards=forward"]).unwrap();
    assert_eq!(settings.kernel.may_lack, [Hook::Forward]);
    refused(&["--allow-missing-guards=connect"], "--allow-missing-guards", "`forward`");
}

#[test]
fn the_forward_guards_hook_is_the_kernels_unless_it_is_named() {
    assert_eq!(with(&[]).unwrap().kernel.forward_hook, None);
    let settings = with(&["--forward-hook=clsact"]).unwrap();
    assert_eq!(settings.kernel.forward_hook, Some(ForwardHook::Clsact));
    refused(&["--forward-hook=xdp"], "--forward-hook", "`clsact`");
}

#[test]
fn attach_takes_the_kernels_flags_and_tells_all_mistakes_at_once() {
    let attach = |flags: &[&str]| {
        let line = ["podrole", "attach"].iter().chain(flags);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Attach(arguments) => AttachSettings::from_arguments(*arguments),
            _ => panic!("not attach"),
        }
    };
    assert!(!attach(&[]).unwrap().wait);
    assert!(attach(&["--wait", "--listen=10.0.0.10"]).unwrap().wait);
    let mistakes = attach(&["--listen=nowhere", "--bpf-fs=bpf", "--log-level=a=b=c"]);
    let mistakes = mistakes.unwrap_err().to_string();
    for flag in ["--listen", "--bpf-fs", "--log-level"] {
        assert!(mistakes.contains(flag), "{flag} is missing in: {mistakes}");
    }
}

#[test]
fn pods_are_enforced_unless_told_otherwise() {
    let default = with(&[]).unwrap().modes;
    assert_eq!(default.mode, Mode::Enforce);
    assert!(default.audit_namespaces.is_empty());
    assert_eq!(with(&["--mode=audit"]).unwrap().modes.mode, Mode::Audit);
    refused(&["--mode=Audit"], "--mode", "`audit`");
    refused(&["--mode=permissive"], "--mode", "unknown");
    let named = with(&["--audit-namespaces=shop,ci"]).unwrap().modes.audit_namespaces;
    assert!(named.contains("shop") && named.contains("ci") && named.len() == 2);
    refused(&["--audit-namespaces=team-*"], "--audit-namespaces", "wildcard");
}
