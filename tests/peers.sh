#!/usr/bin/env bash
# Installs the programs that the tests talk to, if one is missing: Debian packages, and what tests/requirements.txt names
# into .peers/venv; with "bench", the gates that `make bench` compares as well. Says what it does, starts no service and
# leaves none enabled.
set -euo pipefail
cd "$(dirname "$0")/.."

programs=(bwrap curl git haproxy gnutls-cli ip openssl prlimit setpriv prometheus prometheus-node-exporter promtool python3
  readelf shellcheck strace unshare valgrind)
packages=(binutils bubblewrap curl git haproxy gnutls-bin iproute2 openssl prometheus prometheus-node-exporter python3
  python3-venv shellcheck strace util-linux valgrind)
services=(haproxy prometheus prometheus-node-exporter)

case "${1:-}" in
  "") ;;
  bench)
    programs+=(hitch nginx stunnel4)
    packages+=(hitch libnginx-mod-stream nginx-light stunnel4)
    services+=(hitch nginx stunnel4)
    ;;
  *)
    echo "usage: tests/peers.sh [bench]" >&2
    exit 2
    ;;
esac

# Debian keeps some of them where only root's PATH looks.
export PATH="$PATH:/usr/sbin:/sbin"

# A copy of the requirements is left in the environment once all of them are in: the same ones are not installed again.
environment() {
  local venv=.peers/venv wanted=tests/requirements.txt
  if cmp -s "$wanted" "$venv/requirements.txt" && "$venv/bin/python" -c 'import yaml'; then
    echo "peers: $venv is as $wanted says"
    return
  fi
  echo "peers: making $venv as $wanted says"
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Only wheels: nothing of a package runs while it is installed.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --requirement "$wanted"
  "$venv/bin/pip" check
  cp "$wanted" "$venv/requirements.txt"
}

missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null || missing+=("$program")
done
# A program of its own is not all that it takes: Debian keeps this module in a package apart.
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all programs are there"
  environment
  exit 0
fi

echo "peers: missing: ${missing[*]}"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "peers: cannot install them without root and apt-get. As root, on Debian or Ubuntu:" >&2
  echo "  apt-get install --no-install-recommends ${packages[*]}" >&2
  exit 1
fi

wanted=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || wanted+=("$package")
done
echo "peers: installing the Debian packages ${wanted[*]}"

# Debian starts a service when it installs it; this policy says no, unless the machine has a policy already.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  echo "peers: $policy keeps services from starting meanwhile"
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt_get=(apt-get -qq -o DPkg::Lock::Timeout=300)
"${apt_get[@]}" update
"${apt_get[@]}" install -y --no-install-recommends "${wanted[@]}" >/dev/null

if [ -d /run/systemd/system ]; then
  for service in "${services[@]}"; do
    case " ${wanted[*]} " in
      *" $service "*)
        echo "peers: disabling $service, which the tests start themselves"
        systemctl disable --now --quiet "$service" || true
        ;;
    esac
  done
fi
environment
echo "peers: done"
