#!/usr/bin/env bash
# Installs the programs that the behaviour tests talk to, if one is missing; with "bench", the gates that `make bench`
# compares as well. Says what it does, starts no service and leaves none enabled.
set -euo pipefail

programs=(curl git haproxy gnutls-cli ip openssl prlimit setpriv prometheus prometheus-node-exporter promtool strace unshare valgrind)
packages=(curl git haproxy gnutls-bin iproute2 openssl prometheus prometheus-node-exporter strace util-linux valgrind)
services=(haproxy prometheus prometheus-node-exporter)

case "${1:-}" in
  "") ;;
  bench)
    programs+=(hitch nginx python3 stunnel4)
    packages+=(hitch libnginx-mod-stream nginx-light python3-venv stunnel4)
    services+=(hitch nginx stunnel4)
    ;;
  *)
    echo "usage: tests/peers.sh [bench]" >&2
    exit 2
    ;;
esac

# Debian keeps some of them where only root's PATH looks.
export PATH="$PATH:/usr/sbin:/sbin"

missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null || missing+=("$program")
done
# Debian's python3 makes no virtual environment without one more package.
if [ "${1:-}" = bench ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
  missing+=(python3-venv)
fi
if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all there"
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
echo "peers: done"
