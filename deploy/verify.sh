#!/usr/bin/env bash
# Tries the gate in a real cluster, from inside, and says PASS or FAIL for each step. `--help` says the rest.
# Runs with bash 3.2 and LibreSSL too, as macOS has them.
set -euo pipefail
umask 077

deploy=$(cd "$(dirname "$0")" && pwd -P)
overlay=$deploy/base
namespace=portcullis-verify
image=
pull_policy=IfNotPresent
timeout=180
keep=no

usage() {
  cat <<'TEXT'
Usage: deploy/verify.sh [OPTIONS]

Applies an overlay to the cluster of the current kubectl context, in a namespace of its own, and tries the gate with
Jobs that run the gate's own image. Then it removes the namespace again, also after Ctrl-C.

  --image IMAGE         the gate's image, name:tag or name@digest  [default: as the overlay says]
  --pull-policy POLICY  Always, IfNotPresent or Never: with Never the image must be on the nodes  [IfNotPresent]
  --overlay DIR         what to apply  [deploy/base: the gate with its own metrics as its only route]
  --namespace NAME      the namespace to make; an existing one is never touched  [portcullis-verify]
  --timeout SECONDS     how long a step may take  [180]
  --keep                leave the namespace, to look around; it says how to remove it
  -h, --help            this text

It needs kubectl and openssl. It does not need cert-manager, a registry, or Prometheus: the certificates are its own,
and live for two days. Only namespaced core objects are applied: certificates, monitors, rules and network policies of
the overlay are left out, whose tests deploy/README.md has. A gate that runs in the cluster already holds the ports of
the nodes: remove it first.

Exit status: 0 every step passed; 1 a step failed; 2 nothing was tried.
TEXT
}

die() {
  printf 'verify.sh: %s\n' "$*" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --image | --pull-policy | --overlay | --namespace | --timeout)
      if [ $# -lt 2 ] || [ -z "$2" ]; then die "$1: needs a value; see --help"; fi
      ;;
  esac
  case $1 in
    --image) image=$2; shift 2 ;;
    --pull-policy) pull_policy=$2; shift 2 ;;
    --overlay) overlay=$(cd "$2" 2>/dev/null && pwd -P) || die "--overlay: \"$2\": no such folder"; shift 2 ;;
    --namespace) namespace=$2; shift 2 ;;
    --timeout) timeout=$2; shift 2 ;;
    --keep) keep=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) die "\"$1\": unknown; see --help" ;;
  esac
done
case $pull_policy in Always | IfNotPresent | Never) ;; *) die "--pull-policy: \"$pull_policy\": write Always, IfNotPresent or Never" ;; esac
case $timeout in '' | *[!0-9]* | 0) die "--timeout: \"$timeout\": write a number of seconds" ;; esac
for program in kubectl openssl; do
  command -v "$program" >/dev/null || die "$program is not on the PATH; install it"
done
context=$(kubectl config current-context) || die "kubectl has no current context; choose one with kubectl config use-context"

work=$(cd "$(mktemp -d)" && pwd -P)
# What marks the namespace as made by this very run.
run=$(openssl rand -hex 8)

# shellcheck disable=SC2317  # the trap calls these two
owner() {
  kubectl get namespace "$namespace" --ignore-not-found -o 'jsonpath={.metadata.annotations.portcullis-verify}'
}

# shellcheck disable=SC2317
clean_up() {
  status=$?
  trap '' INT TERM
  trap - EXIT
  if [ "$(owner 2>/dev/null)" = "$run" ]; then
    if [ "$keep" = yes ]; then
      printf '\nThe namespace stays; remove it with: kubectl delete namespace %s\n' "$namespace"
    elif kubectl delete namespace "$namespace" --timeout="${timeout}s" >"$work/deleted" 2>&1; then
      printf '\nRemoved the namespace %s and all in it.\n' "$namespace"
    else
      printf '\nverify.sh: the namespace %s could not be removed: %s\n' "$namespace" "$(cat "$work/deleted")" >&2
      [ "$status" -ne 0 ] || status=1
    fi
  fi
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- What is applied

render() {
  # kustomize takes no absolute path, so the way leads over the root.
  up=$(printf '%s' "$work" | sed 's|/[^/]*|../|g')
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
    printf 'namespace: "%s"\nresources: ["%s%s"]\n' "$namespace" "$up" "${overlay#/}"
    if [ -n "$image" ]; then
      printf 'images:\n  - name: ghcr.io/portcullis/portcullis\n'
      # A colon before the last slash is a registry's port, and no tag.
      case ${image##*/} in
        *@*) printf '    newName: "%s"\n    digest: "%s"\n' "${image%@*}" "${image##*@}" ;;
        *:*) printf '    newName: "%s"\n    newTag: "%s"\n' "${image%:*}" "${image##*:}" ;;
        *) printf '    newName: "%s"\n    newTag: latest\n' "$image" ;;
      esac
    fi
    # What is neither core nor "apps".
    printf 'patches:\n  - target: {group: ".*[.](io|com)"}\n'
    printf '    patch: "{%s: delete, apiVersion: any/v1, kind: Any, metadata: {name: any}}"\n' "\$patch"
  } >"$work/kustomization.yaml"
  kubectl kustomize "$work" | sed "s/imagePullPolicy: .*/imagePullPolicy: $pull_policy/"
}

# --- Certificates

key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

# authority DIR NAME
authority() {
  mkdir -p "$1"
  printf '[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=%s\n[ext]\n%s\n%s\n%s\n' "$2" \
    basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign subjectKeyIdentifier=hash >"$1/cnf"
  key "$1/tls.key"
  openssl req -new -x509 -sha256 -days 2 -config "$1/cnf" -extensions ext -key "$1/tls.key" -out "$1/tls.crt"
}

# issue DIR AUTHORITY_DIR USAGE SAN: a folder in the shape of a Secret
issue() {
  mkdir -p "$1"
  printf '[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=portcullis verify\n[ext]\n%s\n%s\n%s\n%s\n' \
    basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "extendedKeyUsage=$3" "subjectAltName=$4" >"$1/cnf"
  key "$1/tls.key"
  openssl req -new -sha256 -config "$1/cnf" -key "$1/tls.key" -out "$1/csr"
  openssl x509 -req -sha256 -days 2 -in "$1/csr" -CA "$2/tls.crt" -CAkey "$2/tls.key" \
    -set_serial "0x1$(openssl rand -hex 15)" -extfile "$1/cnf" -extensions ext -out "$1/tls.crt" 2>/dev/null
  cp "$work/ca/tls.crt" "$1/ca.crt"
}

# secret NAME DIR: as YAML
secret() {
  printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: kubernetes.io/tls\ndata:\n' "$1" "$namespace"
  for file in tls.crt tls.key ca.crt; do
    printf '  %s: %s\n' "$file" "$(base64 <"$2/$file" | tr -d '\n')"
  done
}

apply() {
  kubectl apply --server-side --field-manager=portcullis-verify -f - >/dev/null
}

# --- Steps

step=
failed=0

pass() {
  printf 'PASS  %s\n' "$step"
}

# fail REASON...
fail() {
  failed=1
  printf 'FAIL  %s\n' "$step"
  printf '%s\n' "$@" | sed 's/^/      /'
}

in_namespace() {
  kubectl --namespace "$namespace" "$@"
}

# gate JSONPATH: of the pod that is scraped
gate() {
  in_namespace get pods -l app.kubernetes.io/name=portcullis -o "jsonpath={.items[0]$1}"
}

# What the cluster says of pods that do not come up. $1 selects them.
complaints() {
  in_namespace get pods -l "$1" -o 'jsonpath={range .items[*]}{.metadata.name}{": "}{.status.phase}{" "}{.status.conditions[*].message}{" "}{.status.initContainerStatuses[*].state.waiting.reason}{" "}{.status.containerStatuses[*].state.waiting.reason}{" "}{.status.containerStatuses[*].state.waiting.message}{"\n"}{end}' 2>&1 | head -5
  in_namespace get events --field-selector type=Warning -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}' 2>&1 | sort -u | tail -5
}

jobs=0
verdict=
log=$work/log

# scrape SECRET ARGUMENT...: in a Job; sets verdict to succeeded, failed or unknown, and writes what it said to the log
scrape() {
  jobs=$((jobs + 1))
  name=scrape-$jobs
  client=$1
  shift
  arguments=
  for argument in scrape --timeout 10s --ca /etc/portcullis/client/ca.crt "$@"; do
    arguments="$arguments\"$argument\", "
  done
  verdict=unknown
  : >"$log"
  kubectl create -f - >/dev/null <<YAML || { echo "the Job could not be created" >"$log"; return 0; }
apiVersion: batch/v1
kind: Job
metadata:
  name: $name
  namespace: $namespace
spec:
  backoffLimit: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/name: portcullis-verify
        portcullis-verify: $name
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      nodeSelector:
        kubernetes.io/os: linux
      tolerations:
        - operator: Exists
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: scrape
          image: "$gate_image"
          imagePullPolicy: $pull_policy
          args: [${arguments%, }]
          resources:
            requests: {cpu: 20m, memory: 32Mi}
            limits: {cpu: 100m, memory: 100Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: client
              mountPath: /etc/portcullis/client
              readOnly: true
      volumes:
        - name: client
          secret:
            secretName: $client
            defaultMode: 0440
YAML
  end=$((SECONDS + timeout))
  while [ "$SECONDS" -lt "$end" ]; do
    case $(in_namespace get job "$name" -o 'jsonpath={.status.succeeded}/{.status.failed}') in
      1/*) verdict=succeeded; break ;;
      /1) verdict=failed; break ;;
    esac
    sleep 1
  done
  if [ "$verdict" = unknown ]; then
    { echo "the Job was not over after ${timeout}s:"; complaints "portcullis-verify=$name"; } >"$log"
  else
    in_namespace logs "job/$name" >"$log" 2>&1 || true
  fi
  return 0
}

with_certificate=(--cert /etc/portcullis/client/tls.crt --key /etc/portcullis/client/tls.key)

# admitted TEXT: the last scrape must have succeeded, with TEXT in the answer
admitted() {
  if [ "$verdict" != succeeded ]; then
    fail "the scrape should have succeeded and did not:" "$(tail -5 "$log")"
  elif ! grep -q "$1" "$log"; then
    fail "the answer has no \"$1\" in it, so it is not the gate's metrics:" "$(head -5 "$log")"
  else
    pass
  fi
}

# refused WORDS: the last scrape must have failed, for the reason that has WORDS in it
refused() {
  if [ "$verdict" = succeeded ]; then
    fail "the scrape should have been refused and was answered:" "$(head -3 "$log")"
  elif [ "$verdict" = unknown ] || ! grep -q "$1" "$log"; then
    fail "the scrape should have been refused with \"$1\", but:" "$(tail -5 "$log")"
  else
    pass
  fi
}

# --- The trial

render >"$work/objects.yaml" || die "$overlay does not build with kubectl kustomize; see above"
kinds=$(sed -n 's/^kind: //p' "$work/objects.yaml" | sort)
others=$(grep -vxE 'Namespace|ResourceQuota|ServiceAccount|ConfigMap|Secret|Service|DaemonSet|Deployment' <<<"$kinds") || true
[ -z "$others" ] || die "$overlay has objects that might live outside of the namespace; leave them out of what is verified: $others"
workload=$(grep -xE 'DaemonSet|Deployment' <<<"$kinds" | tr '[:upper:]' '[:lower:]') || true
case $workload in
  daemonset | deployment) ;;
  *) die "$overlay has no DaemonSet or Deployment, or more than one, and just one is the gate's" ;;
esac

authority "$work/ca" "portcullis verify CA"
authority "$work/stranger-ca" "portcullis verify stranger CA"
issue "$work/server" "$work/ca" serverAuth DNS:portcullis.internal
issue "$work/renewed" "$work/ca" serverAuth DNS:portcullis.internal,DNS:renewed.portcullis.internal
issue "$work/client" "$work/ca" clientAuth DNS:prometheus.monitoring.svc
issue "$work/other" "$work/ca" clientAuth DNS:not-prometheus.monitoring.svc
issue "$work/stranger" "$work/stranger-ca" clientAuth DNS:prometheus.monitoring.svc

kubectl create -f - >/dev/null <<YAML || die "the namespace $namespace could not be made; one that exists is never touched: remove it, or name another with --namespace"
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  annotations:
    portcullis-verify: $run
YAML
printf 'context %s, namespace %s\n\n' "$context" "$namespace"

step="apply"
if {
  secret portcullis-tls "$work/server"
  for client in client other stranger; do echo ---; secret "verify-$client" "$work/$client"; done
  echo ---
  cat "$work/objects.yaml"
} | apply 2>"$log"; then
  pass
else
  fail "$(cat "$log")"
  exit 1
fi

step="every gate comes up and is ready"
if ! in_namespace rollout status "$workload/portcullis" --timeout="${timeout}s" >"$log" 2>&1; then
  fail "$(tail -2 "$log")" "$(complaints app.kubernetes.io/name=portcullis)" "$(in_namespace logs "$workload/portcullis" -c portcullis --tail=5 2>&1)"
  exit 1
elif ! address=$(gate .status.podIP 2>"$log") || [ -z "$address" ]; then
  fail "there is no pod; does any node match the overlay's nodeSelector?" "$(cat "$log")"
  exit 1
fi
pass
case $address in *:*) address="[$address]" ;; esac
gate_image=$(gate '.spec.containers[?(@.name=="portcullis")].image'; gate '.spec.initContainers[?(@.name=="portcullis")].image')
before=$(gate .metadata.uid)
url=https://$address:54901/metrics

step="a scrape with Prometheus' certificate is answered"
scrape verify-client "${with_certificate[@]}" --server-name portcullis.internal "$url"
admitted portcullis_build_info

step="a scrape without a certificate is refused"
scrape verify-client --no-cert --server-name portcullis.internal "$url"
refused certificate_required

step="a certificate of the right CA with another name is refused"
scrape verify-other "${with_certificate[@]}" --server-name portcullis.internal "$url"
refused access_denied

step="a certificate of another CA with the right name is refused"
scrape verify-stranger "${with_certificate[@]}" --server-name portcullis.internal "$url"
refused unknown_ca

step="the admin listener is not reachable from another host"
scrape verify-client --no-cert "https://$address:54900/"
refused "while connecting"

step="a renewed certificate is served, by the same process"
renewed=(--server-name renewed.portcullis.internal "$url")
scrape verify-client "${with_certificate[@]}" "${renewed[@]}"
if [ "$verdict" != failed ] || ! grep -q renewed.portcullis.internal "$log"; then
  fail "the name that only the renewed certificate has should not be served yet, but:" "$(tail -5 "$log")"
elif ! secret portcullis-tls "$work/renewed" | apply 2>"$log"; then
  fail "the Secret could not be changed:" "$(cat "$log")"
else
  # The kubelet brings a changed Secret to the node within a minute or so.
  last=$((SECONDS + timeout))
  while scrape verify-client "${with_certificate[@]}" "${renewed[@]}" && [ "$verdict" = failed ] && [ "$SECONDS" -lt "$last" ]; do
    sleep 1
  done
  if [ "$verdict" != succeeded ]; then
    fail "the renewed certificate was not served within ${timeout}s:" "$(tail -5 "$log")"
  elif [ "$(gate .metadata.uid)" != "$before" ]; then
    fail "the pod is another one, so this shows nothing about following a renewal"
  elif [ "$(gate '.status.containerStatuses[?(@.name=="portcullis")].restartCount'; gate '.status.initContainerStatuses[?(@.name=="portcullis")].restartCount')" != 0 ]; then
    fail "the gate was restarted meanwhile:" "$(in_namespace logs "$workload/portcullis" -c portcullis --previous --tail=5 2>&1)"
  else
    pass
  fi
fi

exit "$failed"
