"""What deploy/ says of gates: their ports, names, Secrets and settings, each read in one way.

What goes in: a pod, or what a combination renders to. What comes out: plain values, for the checks to compare.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import gate
from manifests import Object, Pod, Rendered, all_rendered, namespace_of

# Whom the routes admit if nothing says otherwise, and what a gate's certificate is for: with no Certificate in sight.
CLIENT_NAMES = ("prometheus.monitoring.svc",)
SERVER_NAMES = ("portcullis.internal",)
SECRET_KEYS = {"tls.crt", "tls.key", "ca.crt"}
# A user makes it where no component does: the README says how.
OWN_SECRETS = {("portcullis", "portcullis-tls")}
# Namespaces that others make.
OTHER_NAMESPACES = {"cert-manager", "monitoring"}


def server_names(rendered: Rendered) -> tuple[str, ...]:
    """The DNS names that the gates' certificate has."""
    for pod in rendered.pods():
        for volume in pod.spec.get("volumes", []):
            names = volume.get("csi", {}).get("volumeAttributes", {}).get(f"{gate.CSI_DRIVER}/dns-names")
            if names:
                return tuple(names.split(","))
    return _leaf_names(rendered, "server auth") or SERVER_NAMES


def client_names(rendered: Rendered) -> tuple[str, ...]:
    """The DNS names that Prometheus' certificate has."""
    return _leaf_names(rendered, "client auth") or CLIENT_NAMES


def _leaf_names(rendered: Rendered, usage: str) -> tuple[str, ...]:
    leaves = [one["spec"] for one in rendered.kind("Certificate") if usage in one["spec"].get("usages", [])]
    return tuple(name for spec in leaves for name in spec.get("dnsNames", []))


def secrets(rendered: Rendered) -> dict[Any, set[str]]:
    """The Secrets that there will be, with their keys: those of Certificates, and the one that a user makes."""
    made = {(namespace_of(one), one["spec"]["secretName"]): SECRET_KEYS for one in rendered.kind("Certificate")}
    return made if made else dict.fromkeys(OWN_SECRETS, SECRET_KEYS)


def every_gate() -> list[Pod]:
    """The gates of all combinations."""
    return [pod for rendered in all_rendered() for pod in gates(rendered)]


def all_port_names() -> list[str]:
    return sorted({port["name"] for pod in every_gate() for port in (pod.gate() or {}).get("ports", [])})


def all_host_ports() -> set[int]:
    """The ports that gates in a node's network listen on, in any form that deploy/ has."""
    return {port for pod in every_gate() if pod.spec.get("hostNetwork") for port in listen_ports(pod)}


def gates(rendered: Rendered) -> list[Pod]:
    return [pod for pod in rendered.pods() if pod.gate() is not None]


def config(pod: Pod) -> Object:
    """The gate's configuration, from the ConfigMap and at the path that its arguments name."""
    container = pod.gate() or {}
    arguments = container["args"]
    path = arguments[arguments.index("--config") + 1]
    for mount in container["volumeMounts"]:
        name = path.removeprefix(mount["mountPath"] + "/")
        config_map = pod.config_map_of(mount["name"])
        if name != path and config_map is not None:
            return tomllib.loads(config_map.get("data", {}).get(name, ""))
    return {}


def listen_ports(pod: Pod) -> list[int]:
    return [int(one["listen"].rpartition(":")[2]) for one in config(pod).get("route", [])]


def admin_of(pod: Pod) -> str:
    return config(pod).get("admin", gate.defaults()["--admin"])


def seconds(text: str) -> float:
    """A duration of the gate's, of Go's or of Prometheus': 20s, 2160h, 1h30m."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"([\d.]+)(ms|s|m|h|d)", text)
    if not parts or "".join(value + unit for value, unit in parts) != text:
        raise AssertionError(f"{text!r}: not a duration as 20s or 2160h")
    return sum(float(value) * units[unit] for value, unit in parts)


def quantity(value: str | int | float) -> float:
    """A quantity of Kubernetes': 100m, 0.5, 100Mi."""
    parts = re.fullmatch(r"([\d.]+)(m|k|M|G|Ki|Mi|Gi)?", str(value))
    if parts is None:
        raise AssertionError(f"{value!r}: not a quantity as 100m or 100Mi")
    units = {None: 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return float(parts[1]) * units[parts[2]]
