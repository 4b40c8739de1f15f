//! From the path of a cgroup to the pod that it is of. Pure.
//!
//! kubelet names pods' cgroups at a fixed depth (`pkg/kubelet/cm`: `pod_container_manager_linux.go`,
//! `cgroup_manager_linux.go`): right below the cgroup of all pods for a guaranteed pod, one deeper, below
//! the cgroup of its class, for any other. What lies below a pod's cgroup is the container runtime's
//! and the pod's own business, and is not looked at.

use std::ffi::OsStr;
use std::iter;
use std::path::{Path, PathBuf};

use super::pod_key::PodKey;

/// The classes that have a cgroup of their own.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// The pod that a cgroup belongs to. `pods` is the name of the cgroup of all pods, which says how the
/// others are named: systemd's slices bear the names of those above them.
#[must_use]
pub fn pod_of(pods: &str, below: &Path) -> Option<PodKey> {
    let mut names = below.iter().map(OsStr::to_str);
    let first = names.next()??;
    let own = own_name(pods, first)?;
    if CLASSES.contains(&own) {
        let second = names.next()??;
        return key(second, own_name(first, second)?);
    }
    key(first, own)
}

/// Where a pod's cgroup may be below that of all pods, whose name is `pods`.
pub fn places_of<'a>(pods: &'a str, pod: &'a PodKey) -> impl Iterator<Item = PathBuf> + 'a {
    let inside = move |above: &str| match stem(above) {
        None => format!("pod{pod}"),
        Some(above) => format!("{above}-pod{}.slice", pod.as_str().replace('-', "_")),
    };
    let class = move |class: &str| match stem(pods) {
        None => class.to_owned(),
        Some(above) => format!("{above}-{class}.slice"),
    };
    let classed = CLASSES.into_iter().map(class).map(move |class| {
        let pod = inside(&class);
        Path::new(&class).join(pod)
    });
    iter::once(PathBuf::from(inside(pods))).chain(classed)
}

/// What `name` adds to the name of the cgroup above it: all of it, or in a slice what stands before
/// `.slice` and after the name above and a dash (systemd.slice(5)).
fn own_name<'n>(above: &str, name: &'n str) -> Option<&'n str> {
    match stem(above) {
        None => Some(name),
        Some(above) => stem(name)?.strip_prefix(above)?.strip_prefix('-'),
    }
}

fn stem(slice: &str) -> Option<&str> {
    slice.strip_suffix(".slice")
}

fn key(name: &str, own: &str) -> Option<PodKey> {
    let text = own.strip_prefix("pod")?;
    if let Some(key) = PodKey::of_config_hash(text) {
        return Some(key);
    }
    // A dash in a slice's name would be a level of its own, so kubelet writes underscores there.
    match stem(name) {
        None => PodKey::of_uid(text),
        Some(_) if text.contains('-') => None,
        Some(_) => PodKey::of_uid(&text.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "f2a1c3d4-0011-4abc-8def-0123456789ab";
    const SLICED: &str = "f2a1c3d4_0011_4abc_8def_0123456789ab";
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "00000000-0000-4000-8000-000000000000";

    #[track_caller]
    fn check(pods: &str, below: &str, expected: Option<&str>) {
        let found = pod_of(pods, Path::new(below));
        assert_eq!(found.as_ref().map(PodKey::as_str), expected, "{pods}/{below}");
    }

    #[test]
    fn both_drivers_of_kubelet_are_known() {
        for class in ["", "burstable/", "besteffort/"] {
            check("kubepods", &format!("{class}pod{UID}/0a1b2c"), Some(UID));
            check("kubepods", &format!("{class}pod{UID}"), Some(UID));
        }
        let container = "cri-containerd-0a1b2c.scope";
        let slice = format!("kubepods-pod{SLICED}.slice/{container}");
        check("kubepods.slice", &slice, Some(UID));
        for class in CLASSES {
            let parent = format!("kubepods-{class}");
            let slice = format!("{parent}.slice/{parent}-pod{SLICED}.slice/{container}");
            check("kubepods.slice", &slice, Some(UID));
            let below = format!("kubelet-{parent}.slice/kubelet-{parent}-pod{SLICED}.slice");
            check("kubelet-kubepods.slice", &below, Some(UID));
        }
    }

    #[test]
    fn a_pod_is_found_where_it_may_be() {
        for pods in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice"] {
            for key in [PodKey::of_uid(UID).unwrap(), PodKey::of_config_hash(HASH).unwrap()] {
                let places: Vec<_> = places_of(pods, &key).collect();
                assert_eq!(places.len(), 3);
                for place in places {
                    assert_eq!(pod_of(pods, &place), Some(key), "{pods}/{}", place.display());
                }
            }
        }
    }

    #[test]
    fn static_pods_are_known_by_the_hash_of_their_configuration() {
        check("kubepods", &format!("burstable/pod{HASH}/c"), Some(HASH));
        check("kubepods.slice", &format!("kubepods-pod{HASH}.slice/c"), Some(HASH));
        let key = pod_of("kubepods", Path::new(&format!("pod{HASH}"))).unwrap();
        assert!(key.is_static());
        assert!(!pod_of("kubepods", Path::new(&format!("pod{UID}"))).unwrap().is_static());
    }

    #[test]
    fn nested_cgroups_are_the_pods_whatever_their_names() {
        check("kubepods", &format!("burstable/pod{UID}/c/docker/pod{OTHER}/x"), Some(UID));
        check("kubepods", &format!("pod{UID}/burstable/pod{OTHER}"), Some(UID));
        let nested = format!("kubepods-burstable.slice/kubepods-burstable-pod{OTHER}.slice");
        check("kubepods.slice", &format!("kubepods-pod{SLICED}.slice/c/{nested}"), Some(UID));
    }

    #[test]
    fn nothing_else_is_a_pods() {
        for below in [
            "",
            "self-test",
            "burstable",
            "burstable/self-test",
            "pod",
            "podx",
            &format!("self-test/pod{UID}"),
            &format!("burstable/burstable/pod{UID}"),
            &format!("guaranteed/pod{UID}"),
            &format!("xpod{UID}"),
            &format!("pod{SLICED}"),
            &format!("pod{UID}x"),
            &format!("pod{UID} (deleted)"),
            &format!("pod{}", UID.to_uppercase()),
            &format!("/pod{UID}"),
            &format!("../pod{UID}"),
            &format!("kubepods-pod{SLICED}.slice"),
        ] {
            check("kubepods", below, None);
        }
        for below in [
            format!("pod{UID}"),
            format!("pod{SLICED}.slice"),
            format!("kubepods-pod{UID}.slice"),
            format!("kubepods-pod{SLICED}.scope"),
            format!("other-kubepods-pod{SLICED}.slice"),
            format!("kubepods-burstable-pod{SLICED}.slice"),
            format!("kubepods-burstable.slice/kubepods-besteffort-pod{SLICED}.slice"),
            format!("burstable/kubepods-burstable-pod{SLICED}.slice"),
        ] {
            check("kubepods.slice", &below, None);
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(pods in ".{0,40}", below in ".{0,200}") {
            let _ = pod_of(&pods, Path::new(&below));
        }

        #[test]
        fn what_lies_below_a_pod_never_changes_whose_it_is(
            systemd: bool,
            class in proptest::option::of(0..2_usize),
            below in proptest::collection::vec(
                prop_oneof![
                    "[a-z0-9_.-]{1,20}",
                    Just(format!("pod{OTHER}")),
                    Just("burstable".to_owned()),
                ],
                0..4,
            ),
        ) {
            let class = class.map(|class| CLASSES[class]);
            let (pods, pod) = match (systemd, class) {
                (false, None) => ("kubepods", format!("pod{UID}")),
                (false, Some(class)) => ("kubepods", format!("{class}/pod{UID}")),
                (true, None) => ("kubepods.slice", format!("kubepods-pod{SLICED}.slice")),
                (true, Some(class)) => (
                    "kubepods.slice",
                    format!("kubepods-{class}.slice/kubepods-{class}-pod{SLICED}.slice"),
                ),
            };
            let path = Path::new(&pod).join(below.join("/"));
            let found = pod_of(pods, &path);
            prop_assert_eq!(found.as_ref().map(PodKey::as_str), Some(UID));
        }

        #[test]
        fn whatever_is_found_stands_in_the_path_at_a_depth_of_kubelets(
            below in "(burstable/|besteffort/|x/|pod[0-9a-f]{3}/)?(pod)?[0-9a-f]{31,33}(/[a-z]{1,5})?",
        ) {
            if let Some(key) = pod_of("kubepods", Path::new(&below)) {
                let name = format!("pod{key}");
                let at = Path::new(&below).iter().position(|part| part == name.as_str());
                prop_assert!(at.is_some_and(|at| at < 2), "{}", below);
            }
        }
    }
}
