//! How kubelet and the container runtimes name the cgroups of pods and containers.

use std::path::{Path, PathBuf};

/// Who makes the cgroups (`KubeletConfiguration`, `cgroupDriver` and `cgroupRoot`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// `cgroupfs`: kubelet itself.
    Cgroupfs,
    /// `systemd`, which writes the whole way from the root into each name.
    Systemd,
    /// `systemd` below a `cgroupRoot` of `/kubelet`, as in kind.
    SystemdBelow,
}

/// The quality-of-service class of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Right below the cgroup of all pods.
    Guaranteed,
    /// In the cgroup `burstable`.
    Burstable,
    /// In the cgroup `besteffort`.
    BestEffort,
}

/// Who makes the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd
    Containerd,
    /// CRI-O
    Crio,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cgroupfs, Self::Systemd, Self::SystemdBelow];

    /// The cgroup of all pods, below the hierarchy's root.
    #[must_use]
    pub fn root(self) -> &'static Path {
        Path::new(match self {
            Self::Cgroupfs => "kubepods",
            Self::Systemd => "kubepods.slice",
            Self::SystemdBelow => "kubelet.slice/kubelet-kubepods.slice",
        })
    }

    /// The cgroup of a pod, below that of all pods. `id` is the UID, or a static pod's hash.
    #[must_use]
    pub fn pod(self, quality: Quality, id: &str) -> PathBuf {
        let class = match quality {
            Quality::Guaranteed => None,
            Quality::Burstable => Some("burstable"),
            Quality::BestEffort => Some("besteffort"),
        };
        let prefix = match self {
            Self::Cgroupfs => {
                return class.map(PathBuf::from).unwrap_or_default().join(format!("pod{id}"));
            }
            Self::Systemd => "kubepods",
            Self::SystemdBelow => "kubelet-kubepods",
        };
        // A dash in a slice's name stands for a level of the hierarchy (systemd.slice(5)).
        let id = id.replace('-', "_");
        match class {
            Some(class) => PathBuf::from(format!("{prefix}-{class}.slice"))
                .join(format!("{prefix}-{class}-pod{id}.slice")),
            None => PathBuf::from(format!("{prefix}-pod{id}.slice")),
        }
    }

    /// The cgroup of a container, below its pod's.
    #[must_use]
    pub fn container(self, runtime: Runtime, id: &str) -> String {
        match (self, runtime) {
            (Self::Cgroupfs, Runtime::Containerd) => id.to_owned(),
            (Self::Cgroupfs, Runtime::Crio) => format!("crio-{id}"),
            (Self::Systemd | Self::SystemdBelow, Runtime::Containerd) => {
                format!("cri-containerd-{id}.scope")
            }
            (Self::Systemd | Self::SystemdBelow, Runtime::Crio) => format!("crio-{id}.scope"),
        }
    }
}

impl Quality {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Guaranteed, Self::Burstable, Self::BestEffort];
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b1a7e0e-4f5f-4d6a-9c3b-2f6c1a9d8e7f";

    #[test]
    fn cgroupfs_names_are_kubelets() {
        let pod = Driver::Cgroupfs.pod(Quality::Burstable, UID);
        assert_eq!(pod, Path::new("burstable").join(format!("pod{UID}")));
        let pod = Driver::Cgroupfs.pod(Quality::Guaranteed, UID);
        assert_eq!(pod, Path::new(&format!("pod{UID}")));
    }

    #[test]
    fn systemd_names_hold_the_way_from_the_root() {
        let slice = "kubepods-besteffort-pod0b1a7e0e_4f5f_4d6a_9c3b_2f6c1a9d8e7f.slice";
        let pod = Driver::Systemd.pod(Quality::BestEffort, UID);
        assert_eq!(pod, Path::new("kubepods-besteffort.slice").join(slice));
        let pod = Driver::SystemdBelow.pod(Quality::Guaranteed, "abc");
        assert_eq!(pod, Path::new("kubelet-kubepods-podabc.slice"));
    }
}
