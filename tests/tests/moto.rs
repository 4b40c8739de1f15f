//! Against an STS that nobody here wrote: `moto`, as a server. It ignores tags and refuses nothing,
//! so it checks the form on the wire, and by `GetCallerIdentity` that each client's keys are its own pod's
//! role and session.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podrole_tests::clients::{Credentials, FEW};
use podrole_tests::cluster::Cluster;
use podrole_tests::pod::token::IRSA;
use podrole_tests::process::{self, Process};
use podrole_tests::{aws::role_arn, curl, wait};

const HOST: &str = "10.0.0.1";
const PORT: &str = "5000";
const URL: &str = "http://10.0.0.1:5000";
const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

fn tool(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).with_context(|| format!("{variable} is not set"))?;
    Ok(path.into())
}

fn start(cluster: &Cluster) -> Result<Process> {
    let outside = cluster.outside_place();
    let mut command = outside.command(tool("PODROLE_PYTHON")?)?;
    command.env("PYTHONPATH", tool("PODROLE_CLIENTS")?.join("moto"));
    command.args(["-m", "moto.server", "-H", HOST, "-p", PORT]);
    command.env("MOTO_IAM_LOAD_MANAGED_POLICIES", "false");
    let log = cluster.directory().join("moto.log");
    let moto = Process::spawn("moto", &mut command, &log)?;
    wait::until_true("moto", || Ok(curl::request(&outside, "GET", URL, &[], "").is_ok()))?;
    Ok(moto)
}

/// Who moto says that the holder of these keys is.
fn identity(cluster: &Cluster, keys: &Credentials) -> Result<String> {
    let mut command = cluster.outside_place().command(tool("PODROLE_PYTHON_BIN")?.join("aws"))?;
    command.args(["sts", "get-caller-identity", "--query", "Arn", "--output", "text"]);
    command.args(["--region", "us-west-2", "--endpoint-url", URL]);
    command.env("AWS_ACCESS_KEY_ID", &keys.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key);
    command.env("AWS_SESSION_TOKEN", &keys.token);
    let finished = process::run(&mut command, b"", Duration::from_mins(1))?;
    Ok(finished.ok()?.trim().to_owned())
}

#[test]
fn each_clients_keys_are_its_own_role_and_session_to_moto() -> Result<()> {
    Cluster::with(|cluster| {
        let _moto = start(cluster)?;
        let pay = role_arn("pay");
        cluster.kubernetes.ensure_service_account("shop", "pay", &[(ROLE_ARN, &pay)])?;
        let cart = cluster.pod("cart").namespace("shop").role("cart").start()?;
        let batch = cluster.pod("batch").namespace("reports").role("batch").start()?;
        let pay =
            cluster.pod("pay").namespace("shop").service_account("pay").token(IRSA).start()?;
        let _agent = cluster.agent().env("AWS_ENDPOINT_URL_STS", URL).start()?;
        for pod in [&cart, &batch, &pay] {
            let (namespace, name) = (&pod.namespace, &pod.name);
            let own = format!("arn:aws:sts::444455556666:assumed-role/{name}/{namespace}@{name}");
            for client in FEW {
                let found = pod.credentials_by(client)?.with_context(|| client.name.to_owned())?;
                assert_eq!(identity(cluster, &found)?, own, "{} in {name}", client.name);
            }
        }
        Ok(())
    })
}
