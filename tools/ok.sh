#!/bin/sh
# Everything that must hold before a commit, in under a minute: format, lint, types, house rules, unit tests.
# `checks` as argument leaves the unit tests out: npm test has them in a stage of its own.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/node_modules/.bin:$PATH
failed=''

check() {
  name=$1
  shift
  started=$(date +%s%N)
  if output=$("$@" 2>&1); then
    printf '  ok    %-7s %5d ms\n' "$name" $((($(date +%s%N) - started) / 1000000))
  else
    printf '  FAIL  %-7s\n%s\n' "$name" "$output"
    failed="$failed $name"
  fi
}

check format prettier --check --cache --log-level=warn .
check lint oxlint --type-aware --deny-warnings
check types tsc -p tsconfig.json
check tidy node tools/tidy.ts
[ "${1:-}" = checks ] || check unit npm run --silent unit
[ -z "$failed" ] || { echo "Not ok:$failed" >&2; exit 1; }
