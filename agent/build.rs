//! Embeds the eBPF programs, which `cargo xtask build` builds and names in `PODROLE_EBPF_OBJECT`.
//!
//! Without it an empty object stands in, so that `cargo check`, `clippy` and `test` need no toolchain
//! for the BPF target; the agent refuses to run with that one.

use std::path::Path;
use std::{env, fs, io};

const OBJECT: &str = "PODROLE_EBPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let embedded = Path::new(&out).join("podrole-programs");
    match env::var_os(OBJECT) {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", Path::new(&object).display());
            fs::copy(object, embedded)?;
        }
        None => fs::write(embedded, [])?,
    }
    Ok(())
}
