#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of `cargo xtask image`: podrole's own crates are linked statically and name no
# directory of the checkout, and what they depend on is shared with `cargo xtask build`. What cargo asks of
# the compiler beforehand, of macros too, is not changed.
case " $* " in
*" --crate-name podrole "*)
    exec "$@" -Ctarget-feature=+crt-static --remap-path-prefix="$PODROLE_CHECKOUT"=/podrole
    ;;
*" --crate-name podrole_ebpf "*)
    exec "$@" --remap-path-prefix="$PODROLE_CHECKOUT"=/podrole
    ;;
*) exec "$@" ;;
esac
