//! A container engine inside of a pod (docker-in-docker): containers with a network of their own behind
//! the pod's, which the pod forwards and masquerades for.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use crate::netns::Namespace;
use crate::place::Place;
use crate::pod::Pod;
use crate::process;
use crate::wait::PATIENCE;

/// The address of the container.
pub const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);

/// One container of the engine.
#[derive(Debug)]
pub struct Container {
    namespace: Namespace,
    place: Place,
}

impl Container {
    /// Makes the container and the pod's way out for it.
    pub fn start(pod: &Pod<'_>) -> Result<Self> {
        let outer = pod.namespace_file()?;
        let namespace = Namespace::new(&format!("{outer}-nested"))?;
        pod.ip(&format!(
            "\
            link add docker0 address 02:00:00:00:03:01 type veth \
                peer name eth0 address 02:00:00:00:03:02 netns {}\n\
            address add 172.17.0.1/24 dev docker0\n\
            link set docker0 up\n\
            neighbour replace {CONTAINER} lladdr 02:00:00:00:03:02 dev docker0\n",
            namespace.name()
        ))?;
        namespace.ip(&format!(
            "\
            address add {CONTAINER}/24 dev eth0\n\
            link set eth0 up\n\
            neighbour replace 172.17.0.1 lladdr 02:00:00:00:03:01 dev eth0\n\
            route add default via 172.17.0.1\n"
        ))?;
        run(pod, "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"], "")?;
        let rules = "table ip engine { chain output { type nat hook postrouting priority 100; \
                     ip saddr 172.17.0.0/24 masquerade; }\n}\n";
        run(pod, "nft", &["-f", "-"], rules)?;
        let cgroup = pod.cgroup.join("docker").join(format!("{:064x}", 1));
        fs::create_dir_all(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let place = Place { namespace: namespace.path(), cgroup };
        Ok(Self { namespace, place })
    }

    /// Where its processes run.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its network alone, without its cgroup.
    #[must_use]
    pub fn into_namespace(self) -> Namespace {
        self.namespace
    }
}

fn run(place: &Place, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = place.command(program)?;
    let finished = process::run(command.args(arguments), input.as_bytes(), PATIENCE)?;
    finished.ok().with_context(|| format!("{program} {}", arguments.join(" ")))?;
    Ok(())
}
