#!/usr/bin/env bash
# Builds librdkafka and this suite (Cargo.lock pins both), and runs it.
#
#   run.sh --bootstrap 127.0.0.1:9092 --data FLIGHTS.jsonl [--rows N] [--broker weir|kafka] [--only CHECK]
#   run.sh build
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${WEIR_CACHE:-$HOME/.cache/weir}/rdkafka
cargo build --quiet --locked --manifest-path "$here/Cargo.toml"
[[ ${1:-} == build ]] && exit 0
exec "$CARGO_TARGET_DIR/debug/weir-compat-rdkafka" "$@"
