#!/usr/bin/env bash
# rustc for this workspace's crates, which then count the edges of their code (see fuzz.sh). Tests only: whoever links them has to be told
# where the counters are, as protocol/tests/fuzz/coverage.rs is.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Clink-arg=-Wl,-z,nostart-stop-gc -Ccodegen-units=1
