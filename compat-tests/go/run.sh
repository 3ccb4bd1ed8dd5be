#!/usr/bin/env bash
# Builds (go.sum pins every module) and runs the suite of the Go clients.
#
#   run.sh --client franz-go|sarama --bootstrap 127.0.0.1:9092 [--data FLIGHTS.jsonl] [--rows N] [--broker weir|kafka] [--only CHECK]
#   run.sh build
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/go
mkdir -p "$cache"
(
  flock 9
  cd "$here"
  GOFLAGS=-mod=readonly go build -o "$cache/suite.new" .
  cmp -s "$cache/suite.new" "$cache/suite" || mv "$cache/suite.new" "$cache/suite"
) 9>"$cache/build.lock"
[[ ${1:-} == build ]] && exit 0
exec "$cache/suite" "$@"
