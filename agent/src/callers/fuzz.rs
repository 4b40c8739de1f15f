//! What the fuzzers try in this room: no path of a cgroup is taken for a pod's unless kubelet's names
//! stand in it, where kubelet puts them.

use std::path::Path;

use super::cgroup_path::pod_of;

/// The name of the cgroup of all pods, and on the next line a path below it.
pub(crate) fn cgroup_path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((pods, below)) = text.split_once('\n') else { return };
    let Some(key) = pod_of(pods, Path::new(below)) else { return };
    let key = key.as_str();
    assert!(key.len() >= 32 && key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{key:?}");
    let names: Vec<_> = Path::new(below).iter().take(2).collect();
    let spelled = |name: &&std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.contains(&format!("pod{key}"))
            || name.contains(&format!("pod{}", key.replace('-', "_")))
    };
    assert!(names.iter().any(spelled), "{key} in {below:?} of {pods:?}");
    let nested = format!("{below}/pod00000000-0000-4000-8000-000000000000");
    let of_nested = pod_of(pods, Path::new(&nested));
    assert!(of_nested.is_some_and(|nested| nested.as_str() == key), "{nested:?} is another's");
}
