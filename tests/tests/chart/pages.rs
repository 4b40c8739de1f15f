//! The pages say what works: helm's commands on them render, their manifests are valid, and each command
//! says what becomes of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::chart::{self, LEAST, object};
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::docs::{all, blocks, flags};
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;
use serde_json::Value;

/// The pages with commands of helm; paths as [`blocks`] takes them.
const PAGES: [&str; 4] =
    ["install-eks.md", "install-self-managed.md", "migrate-from-node-role.md", "../README.md"];

/// Of helm: what is of a cluster and not of the chart.
const OF_A_CLUSTER: [&str; 3] = ["--create-namespace", "--reuse-values", "--wait"];

/// The words of each command of a block.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    let word = |word: &str| word.trim_matches('\'').to_owned();
    lines.map(|line| line.split_whitespace().map(word).collect()).collect()
}

/// The same values on the chart alone.
fn rendered(command: &[String]) -> Result<String> {
    let installs = command.iter().any(|word| word == "--install");
    let words = command.iter().map(String::as_str).filter(|word| *word != "--install");
    let words: Vec<&str> = words.collect();
    let ["helm", verb @ ("install" | "upgrade"), release, chart, values @ ..] = words.as_slice()
    else {
        anyhow::bail!("not a command of helm that is known: {command:?}");
    };
    let mut arguments = vec!["template", *release, *chart];
    if *verb == "upgrade" && !installs {
        ensure!(values.contains(&"--reuse-values"), "loses the values: {command:?}");
        arguments.push(LEAST);
    }
    arguments.extend(values.iter().filter(|value| !OF_A_CLUSTER.contains(value)));
    chart::helm(&arguments)?.ok().with_context(|| format!("{command:?}"))
}

#[test]
fn the_commands_of_helm_render() -> Result<()> {
    for page in PAGES {
        let mut seen = 0;
        for block in blocks(page)?.iter().filter(|block| block.info == "sh helm") {
            for command in commands(&block.text) {
                let objects = chart::objects(&rendered(&command).context(page)?)?;
                object(&objects, "DaemonSet", "podrole")?;
                seen += 1;
            }
        }
        ensure!(seen > 0, "no command on {page}");
    }
    Ok(())
}

#[test]
fn the_values_on_the_pages_on_migration_are_their_flags() -> Result<()> {
    let place = tempfile::tempdir()?;
    for page in ["migrate-from-kube2iam.md", "migrate-from-kiam.md", "migrate-from-irsa.md"] {
        let blocks = blocks(page)?;
        let of = |info: &str| {
            let block = blocks.iter().find(|block| block.info == info);
            Ok::<_, anyhow::Error>(&block.with_context(|| format!("{page}: no {info}"))?.text)
        };
        let values = place.path().join(page);
        fs::write(&values, of("yaml values")?)?;
        let objects = chart::objects(&chart::template(&["--values", path(&values)?])?)?;
        let environment = crate::rendered::environment(&objects)?;
        ensure!(environment.contains(&("PODROLE_MODE".to_owned(), "audit".to_owned())), "{page}");
        for (flag, value) in flags(of("sh agent")?)? {
            let name = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
            let variable = (format!("PODROLE_{name}"), value);
            ensure!(environment.contains(&variable), "{page}: not {variable:?} in {environment:?}");
        }
    }
    Ok(())
}

fn yaml_with(page: &str, text: &str) -> Result<Value> {
    let path = chart::root().join("docs").join(page);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let blocks = page.split("```yaml\n").skip(1);
    let block =
        blocks.filter_map(|rest| rest.split("```").next()).find(|block| block.contains(text));
    Ok(serde_saphyr::from_str(block.with_context(|| format!("no {text}"))?)?)
}

#[test]
fn the_page_on_networks_has_the_examples() -> Result<()> {
    for (file, kind) in [
        ("networkpolicy.yaml", "kind: NetworkPolicy"),
        ("ciliumnetworkpolicy.yaml", "kind: CiliumClusterwideNetworkPolicy"),
    ] {
        let text = fs::read_to_string(chart::root().join("deploy/examples").join(file))?;
        let example: Value = serde_saphyr::from_str(&text)?;
        ensure!(yaml_with("networks.md", kind)? == example, "{file} is not what the page shows");
        let found = chart::invalid(&[example], &["1.25", "1.37"])?;
        ensure!(found.is_empty(), "{found:?}");
    }
    Ok(())
}

/// As somebody does who follows deploy/kustomize/README.md, beside a checkout.
#[test]
fn the_readme_of_the_kustomization_is_true() -> Result<()> {
    let place = tempfile::tempdir()?;
    let own = place.path().join("podrole");
    fs::create_dir(&own)?;
    let checkout = chart::root().join("deploy/kustomize");
    let mut copy = Command::new("cp");
    fs::create_dir(place.path().join("deploy"))?;
    copy.arg("-r").arg(&checkout).arg(place.path().join("deploy"));
    process::run(&mut copy, b"", PATIENCE)?.ok()?;
    let readme = fs::read_to_string(checkout.join("README.md"))?;
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    fs::write(own.join("kustomization.yaml"), block.context("no block")?)?;
    let objects = chart::objects(&chart::kustomize(path(&own)?)?)?;
    let agent = object(&objects, "DaemonSet", "podrole")?;
    let container = &agent["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().context("no image")?;
    ensure!(image.starts_with("123456789012.dkr.ecr.eu-west-1.amazonaws.com/podrole:"), "{image}");
    let environment = crate::rendered::environment(&objects)?;
    for (name, expected) in [("CLUSTER_NAME", "prod"), ("MODE", "audit"), ("BASE_ROLE_ARN", "auto")]
    {
        let name = format!("PODROLE_{name}");
        let value = environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        ensure!(value == Some(expected), "{name}: {value:?}");
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

#[test]
fn the_page_on_the_bare_binary_is_true() -> Result<()> {
    Cluster::with(|cluster| {
        let role = "arn:aws:iam::123456789012:role/pods/web";
        let pod = cluster.pod("web").annotation("iam.amazonaws.com/role", role).start()?;
        let blocks = blocks("../README.md")?;
        let block = blocks.iter().find(|block| block.info == "sh agent").context("no agent")?;
        let command = block.text.replace("\"$NODE_NAME\"", NODE);
        let flags = flags(&command)?;
        let agent = cluster.agent().without("--permitted-roles");
        let agent = flags.iter().fold(agent, |agent, (flag, value)| agent.set(flag, value));
        let _agent = agent.start()?;
        pod.wait_for_role("web")
    })
}

/// What is done with commands on pages; see `podrole_tests::docs`.
const MARKS: [&str; 6] = ["sh agent", "sh cluster", "sh helm", "sh run", "sh walk", "sh xtask"];

#[test]
fn every_command_is_run_or_needs_a_cluster() -> Result<()> {
    let root = chart::root();
    let tasks = fs::read_to_string(root.join("xtask/src/main.rs"))?.to_lowercase();
    let mut pages = vec![root.join("README.md")];
    for directory in ["docs", "deploy/iam", "deploy/kustomize"] {
        let files = fs::read_dir(root.join(directory))?.collect::<Result<Vec<_>, _>>()?;
        pages.extend(files.into_iter().map(|file| file.path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    ensure!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let shown = page.display();
        for block in all(&fs::read_to_string(&page)?)? {
            let language = block.info.split(' ').next().unwrap_or_default();
            if ["sh", "bash", "shell", "console"].contains(&language) {
                // What is printed has a name, by which tests/tests/troubleshooting.rs compares it.
                let is_printed = block.info.starts_with("console ");
                let marked = is_printed || MARKS.contains(&block.info.as_str());
                ensure!(marked, "{shown}: `{}` is none of {MARKS:?}:\n{}", block.info, block.text);
            }
            if block.info == "sh xtask" {
                for line in block.text.lines() {
                    let task = line.strip_prefix("cargo xtask ").and_then(|l| l.split(' ').next());
                    let known = task.is_some_and(|task| tasks.contains(&format!("    {task}")));
                    ensure!(known, "{shown}: no such task: {line}");
                }
            }
        }
    }
    Ok(())
}
