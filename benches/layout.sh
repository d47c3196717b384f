#!/usr/bin/env bash
# Writes .cargo/layout.ld: the functions that a serving gate runs, which the linker of the static program lays side
# by side. The kernel maps a program in pieces of 64 KiB; scattered among all that only the other commands need, these
# functions would keep nearly all of the file in memory.
#
# Names that a newer compiler or dependency no longer has match nothing, and a function that is missing here is merely
# further away: the list costs memory when it ages, nothing else.
#
# usage: benches/layout.sh PROGRAM, the static program with its symbols; `make layout` builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

gate=${1:?the static program with its symbols is missing: make layout}
layout=.cargo/layout.ld
place=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$place"' EXIT
pki() { "$gate" pki "$@" --dir "$place/pki" >/dev/null; }
pki init
pki issue server gate --dns localhost --ip 127.0.0.1
pki issue client friend stranger revoked
"$gate" pki revoke --dir "$place/pki" "$place/pki/revoked/tls.crt" >/dev/null

# The last match of a pattern in a log that is still being written.
await() {
  for _ in $(seq 300); do
    sed -n "s/.*$1.*/\1/p" "$2" | tail -n 1 | grep . && return
    sleep 0.1
  done
  echo "layout: $2 never said $1" >&2
  cat "$2" >&2
  return 1
}

mkdir "$place/pages"
head -c 102400 /dev/zero >"$place/pages/metrics"
python3 -u -m http.server --bind 127.0.0.1 --directory "$place/pages" 0 >"$place/target.log" 2>&1 &
port=$(await 'port \([0-9]*\)' "$place/target.log")

valgrind --tool=callgrind --demangle=no --callgrind-out-file="$place/calls" "$gate" serve \
  --listen 127.0.0.1:0 --admin 127.0.0.1:0 --target "127.0.0.1:$port" --allow-dns friend --tls-min 1.2 \
  --cert "$place/pki/gate/tls.crt" --key "$place/pki/gate/tls.key" --client-ca "$place/pki/ca.crt" \
  --client-crl "$place/pki/ca.crl" --log-format json >"$place/gate.log" 2>&1 &
gate_pid=$!
listens=$(await '"event":"listening".*"address":"\([^"]*\)"' "$place/gate.log")
admin=$(await '"event":"admin_listening","address":"\([^"]*\)"' "$place/gate.log")

as() {
  local client=$1
  shift
  curl -sS --max-time 30 --cacert "$place/pki/ca.crt" --cert "$place/pki/$client/tls.crt" \
    --key "$place/pki/$client/tls.key" "$@" "https://$listens/metrics" -o /dev/null
}
refused() {
  ! "$@" 2>/dev/null || { echo "layout: let in: $*" >&2; exit 1; }
}
work() {
  as friend
  as friend --tls-max 1.2
  as friend --curves P-256 --data-binary "@$place/pages/metrics"
  refused as stranger
  refused as revoked
  refused curl -sS --max-time 30 --cacert "$place/pki/ca.crt" "https://$listens/metrics"
  for page in metrics readyz livez; do
    curl -fsS --max-time 30 "http://$admin/$page" -o /dev/null
  done
}
work
pki issue server gate --dns localhost --ip 127.0.0.1 --force
await '"event":"\(reloaded\)"' "$place/gate.log" >/dev/null
work
kill -TERM "$gate_pid"
wait "$gate_pid"

{
  echo '/* What a serving gate runs; "make layout" writes it, and benches/layout.sh says why. */'
  echo 'SECTIONS { .text.serve : {'
  # Without hashes and versions, which differ in the next build, and without callgrind's marks of recursion. The C
  # library has no section for each function: its names match nothing.
  sed -nE 's/^c?fn=\([0-9]+\) ([A-Za-z_].*)/\1/p' "$place/calls" |
    sed -E "s/'[0-9]+$//; s/17h[0-9a-f]{16}E.*/17h*/; s/Cs[0-9A-Za-z]+_/Cs*_/g; s/aws_lc_[0-9_]+_/aws_lc_*_/" |
    LC_ALL=C sort -u | sed 's/.*/*(.text*.&)/'
  echo '} } INSERT BEFORE .text;'
} >"$place/layout.ld"
mv "$place/layout.ld" "$layout"
# The linker's scripts are not among what cargo watches.
touch src/main.rs
echo "layout: $(grep -c '^\*' "$layout") functions in $layout"
