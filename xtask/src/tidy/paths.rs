//! No file names a directory of somebody's machine, or the host that packages come from: both are
//! other ones elsewhere.

use super::{Finding, SourceFile};

/// In pieces, so that this file does not break its own rule.
const DIRECTORIES: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const HOSTS: [&str; 8] = [
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("pypi.", "org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("proxy.", "golang.org"),
];

pub(super) fn machine_paths_and_hosts(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    let named = lines.filter_map(|(number, line)| Some((number, names(line)?)));
    named.map(|(number, what)| file.in_line(number, format!("names {what}"))).collect()
}

/// What a line names of one machine.
fn names(line: &str) -> Option<&'static str> {
    let directory = DIRECTORIES.into_iter().find(|directory| begins_a_path(line, directory));
    directory.or_else(|| HOSTS.into_iter().find(|host| line.contains(host)))
}

/// Whether the line has an absolute path below that directory.
fn begins_a_path(line: &str, directory: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "._-/}*~".contains(c);
    line.match_indices(directory).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        !before.ends_with(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(names(&["cat /wo", "rk/x"].concat()), Some(DIRECTORIES[0]));
        assert_eq!(names(&["\"/ro", "ot/.cache\""].concat()), Some(DIRECTORIES[1]));
    }

    #[test]
    fn the_same_words_inside_a_path_are_fine() {
        assert_eq!(names(&["frame/wo", "rk/x ~/ro", "ot/y"].concat()), None);
        assert_eq!(names("https://crates.io/crates/aya"), None);
    }

    #[test]
    fn hosts_of_registries_are_found() {
        assert_eq!(names(&["https://pypi.", "org/simple"].concat()), Some(HOSTS[2]));
    }
}
