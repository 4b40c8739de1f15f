//! Prints the definition of `RoleAssociation` as YAML: `cargo xtask manifests` keeps it in `deploy/crds`.

use std::io::{self, Write as _};

use kube::CustomResourceExt as _;
use podrole::roles::associations::RoleAssociation;

fn main() -> anyhow::Result<()> {
    let yaml = serde_saphyr::to_string(&RoleAssociation::crd())?;
    io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
