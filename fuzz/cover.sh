#!/bin/sh
# RUSTC_WRAPPER: compiles this program's readers and the fuzz targets so that libFuzzer sees which branches an input takes, with
# checks of overflow and of assertions; everything else as usual. The flags are those of cargo-fuzz that a stable compiler has.
case " $* " in
*" --crate-name vipaint_zoo "* | *" --crate-name vipaint_core "* | *" --crate-name vipaint_train "* | \
    *" --crate-name checkpoint "* | *" --crate-name idx "* | *" --crate-name posterior "* | *" --crate-name message "* | \
    *" --crate-name prior "*)
    exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
        -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks
    ;;
*) exec "$@" ;;
esac
