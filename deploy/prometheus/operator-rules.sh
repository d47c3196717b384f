#!/usr/bin/env bash
# Writes components/prometheus-operator/rules.yaml from recording.yml and alerts.yml, which are the one place to change
# a rule. With --check it writes nothing and fails if the file is not what it would write.
set -euo pipefail
cd "$(dirname "$0")"

rules=../components/prometheus-operator/rules.yaml

render() {
  cat <<'YAML'
# Written by deploy/prometheus/operator-rules.sh from recording.yml and alerts.yml there; change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: portcullis
  namespace: portcullis
  labels:
    app.kubernetes.io/name: portcullis
spec:
  groups:
YAML
  for file in recording.yml alerts.yml; do
    grep -q '^groups:$' "$file" || { echo "$PWD/$file: no line that is just \"groups:\"; write one" >&2; return 1; }
    sed -e '1,/^groups:$/d' -e 's/^\(.\)/  \1/' "$file"
  done
}

rendered=$(render)
case "${1:-}" in
  "") printf '%s\n' "$rendered" >"$rules" ;;
  --check)
    diff -u "$rules" - <<<"$rendered" || {
      echo "deploy/components/prometheus-operator/rules.yaml is stale: run deploy/prometheus/operator-rules.sh" >&2
      exit 1
    }
    ;;
  *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac
