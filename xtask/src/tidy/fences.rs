//! Each foreign world is known to a few files of the agent: the kernel, Kubernetes, AWS, HTTP.

use std::path::Path;

use super::{Finding, SourceFile};
use crate::rust_source::is_of_word;

struct Fence {
    /// Names of crates, or the beginning of names when they end in `*`; or a keyword.
    words: &'static [&'static str],
    /// Files below `agent/src` that may use them, by the beginning of their paths.
    inside: &'static [&'static str],
    /// Of those, files that may not.
    outside: &'static [&'static str],
}

const FENCES: [Fence; 6] = [
    Fence { words: &["aya", "aya_*"], inside: &["kernel"], outside: &[] },
    Fence {
        words: &["kube", "k8s_openapi"],
        inside: &[
            "app",
            "callers/watch",
            "credentials/token_request",
            "roles/associations",
            "roles/lookups/watches",
            "operate/events",
            "operate/node_object",
        ],
        outside: &[],
    },
    Fence {
        words: &["aws_config", "aws_sdk_*", "aws_smithy_*"],
        inside: &["credentials/"],
        outside: &[
            "credentials/broker",
            "credentials/plan",
            "credentials/session",
            "credentials/token_file",
            "credentials/token_request",
            "credentials/tokens",
        ],
    },
    Fence {
        words: &["hyper", "hyper_util"],
        inside: &["metadata/server", "metadata/upstream", "operate/admin"],
        outside: &[],
    },
    Fence { words: &["prometheus_client"], inside: &["operate/metrics"], outside: &[] },
    Fence { words: &["unsafe"], inside: &["kernel"], outside: &[] },
];

pub(super) fn fences(file: &SourceFile) -> Vec<Finding> {
    let Ok(path) = file.path.strip_prefix("agent/src") else { return Vec::new() };
    let closed = || FENCES.iter().filter(|fence| !fence.admits(path));
    let words = words(&file.code).filter(|(offset, word)| is_use(&file.code, *offset, word));
    let refused = words.filter_map(|(offset, word)| {
        let fence = closed().find(|fence| fence.is_about(word))?;
        let places = fence.inside.join(", ");
        Some(file.at(offset, format!("`{word}` belongs only in {places} of agent/src")))
    });
    refused.collect()
}

impl Fence {
    fn admits(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        let below = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        below(self.inside) && !below(self.outside)
    }

    fn is_about(&self, word: &str) -> bool {
        self.words.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => word.starts_with(beginning),
            None => word == *name,
        })
    }
}

/// The words of the code with the bytes where they begin.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = code.split_inclusive(|c| !is_of_word(c)).scan(0, |end, piece| {
        let start = *end;
        *end += piece.len();
        Some((start, piece.trim_end_matches(|c| !is_of_word(c))))
    });
    pieces.filter(|(_, word)| !word.is_empty())
}

/// Whether the word stands where a crate's name does: at the root of a path, or alone in a `use`.
fn is_use(code: &str, offset: usize, word: &str) -> bool {
    let before = code.get(..offset).unwrap_or_default().trim_end();
    let after = code.get(offset + word.len()..).unwrap_or_default().trim_start();
    let root = !before.ends_with("::") || before.ends_with("=::") || before.ends_with("use ::");
    let named = ["use", "extern crate"].iter().any(|keyword| before.ends_with(keyword));
    word == "unsafe" || root && (after.starts_with("::") || named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, refused: &[&str]) {
        let findings = fences(&SourceFile::new(format!("agent/src/{path}"), text));
        let words: Vec<_> =
            findings.iter().filter_map(|finding| finding.message.split('`').nth(1)).collect();
        assert_eq!(words, refused, "{path}: {text}");
    }

    #[test]
    fn a_crate_is_used_in_its_places() {
        check("kernel/loader.rs", "use aya::Ebpf; unsafe {}", &[]);
        check("callers/watch.rs", "use kube::Api; use k8s_openapi::api;", &[]);
        check("callers/watch/tests.rs", "use kube::Api;", &[]);
        check("credentials/sts.rs", "aws_sdk_sts::Client::new()", &[]);
        check("metadata/server.rs", "use hyper_util::rt::TokioIo;", &[]);
    }

    #[test]
    fn a_crate_is_found_elsewhere() {
        check("callers/attest.rs", "use aya::maps;", &["aya"]);
        check("roles/decide.rs", "fn f(x: &kube::Error) {}", &["kube"]);
        check("credentials/broker.rs", "use aws_sdk_sts as sts;", &["aws_sdk_sts"]);
        check("credentials/sts.rs", "use kube::Client;", &["kube"]);
        check(
            "metadata/handler.rs",
            "use hyper::Request;\nuse aya_obj::btf;",
            &["hyper", "aya_obj"],
        );
        check("metadata/protocol.rs", "unsafe { f() }", &["unsafe"]);
    }

    #[test]
    fn other_things_of_the_same_name_are_fine() {
        check("roles/decide.rs", "let kube = settings.kube; f(kube); crate::x::kube::y();", &[]);
        check("metadata/handler.rs", "// hyper::Request\n#![forbid(unsafe_code)]", &[]);
    }
}
