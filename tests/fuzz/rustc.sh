#!/bin/sh
# Stands before rustc when `cargo xtask fuzz` builds: podrole itself is compiled with the counters that
# libFuzzer is guided by, and optimised. All else is as other builds have it, and is shared with them.
case " $* " in
*" --crate-name podrole "*" --crate-type lib "*)
    exec "$@" -Copt-level=2 -Cdebug-assertions=yes -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
# Examples of podrole's are built along and never run here: they have no libFuzzer to link with.
*" agent/examples/"*)
    exec "$@" -Clink-arg=-Wl,--unresolved-symbols=ignore-all
    ;;
*) exec "$@" ;;
esac
