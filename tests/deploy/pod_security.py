"""Computes the Pod Security level of a pod: "privileged", "baseline" or "restricted".

The controls are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/, as the API server's
admission has them: https://github.com/kubernetes/kubernetes/tree/master/staging/src/k8s.io/pod-security-admission/policy.
Where the supported versions differ, the strictest counts, so that a level holds on each of them: the hosts of probes
are judged as since 1.34, sysctls and SELinux types as in 1.29.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from manifests import Object, containers

LEVELS = ("privileged", "baseline", "restricted")

ADDABLE = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
SELINUX_TYPES = {"container_t", "container_init_t", "container_kvm_t"}
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")


@dataclass(frozen=True)
class Violation:
    """A value that a level does not allow."""

    control: str
    level: str
    path: str
    value: Any

    def __str__(self) -> str:
        return f"{self.path} is {self.value!r}, which {self.level} forbids ({self.control})"


def level(template: Object) -> str:
    """The strictest level that allows this pod."""
    broken = {one.level for one in violations(template)}
    return "privileged" if "baseline" in broken else "baseline" if "restricted" in broken else "restricted"


def violations(template: Object) -> list[Violation]:
    """Everything that keeps a pod from "restricted"; of level "baseline" what keeps it even from that."""
    found = [Violation(control, "baseline", path, value) for control, path, value in _baseline(template)]
    return found + [Violation(control, "restricted", path, value) for control, path, value in _restricted(template)]


_Found = Iterator[tuple[str, str, Any]]


def _contexts(spec: Object) -> Iterator[tuple[str, Object]]:
    """The security contexts of the pod and of each of its containers, with where they stand."""
    yield "spec.securityContext", spec.get("securityContext") or {}
    for one in containers(spec):
        yield f"container {one['name']}: securityContext", one.get("securityContext") or {}


def _baseline(template: Object) -> _Found:
    spec = template["spec"]
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield "Host Namespaces", f"spec.{name}", True
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield "HostPath Volumes", f"volume {volume['name']}: hostPath", volume["hostPath"]
    for sysctl in (spec.get("securityContext") or {}).get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield "Sysctls", "spec.securityContext.sysctls", sysctl["name"]
    for key, value in template.get("metadata", {}).get("annotations", {}).items():
        allowed = value in ("", "runtime/default") or value.startswith("localhost/")
        if key.startswith(APPARMOR_ANNOTATION) and not allowed:
            yield "AppArmor", f"metadata.annotations[{key}]", value
    for path, context in _contexts(spec):
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield "HostProcess", f"{path}.windowsOptions.hostProcess", True
        if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
            yield "Seccomp", f"{path}.seccompProfile.type", "Unconfined"
        if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
            yield "AppArmor", f"{path}.appArmorProfile.type", "Unconfined"
        selinux = context.get("seLinuxOptions") or {}
        if selinux.get("type") and selinux["type"] not in SELINUX_TYPES:
            yield "SELinux", f"{path}.seLinuxOptions.type", selinux["type"]
        for name in ("user", "role"):
            if selinux.get(name):
                yield "SELinux", f"{path}.seLinuxOptions.{name}", selinux[name]
        if context.get("privileged"):
            yield "Privileged Containers", f"{path}.privileged", True
        for name in (context.get("capabilities") or {}).get("add") or []:
            if name not in ADDABLE:
                yield "Capabilities", f"{path}.capabilities.add", name
        if context.get("procMount") not in (None, "", "Default"):
            yield "/proc Mount Type", f"{path}.procMount", context["procMount"]
    for one in containers(spec):
        for port in one.get("ports", []):
            if port.get("hostPort"):
                yield "Host Ports", f"container {one['name']}: ports.hostPort", port["hostPort"]
        handlers = {name: one.get(name) for name in PROBES}
        handlers |= {f"lifecycle.{name}": (one.get("lifecycle") or {}).get(name) for name in HOOKS}
        for name, handler in handlers.items():
            for action in ("httpGet", "tcpSocket"):
                host = ((handler or {}).get(action) or {}).get("host")
                if host:
                    yield "Host Probes / Lifecycle Hooks", f"container {one['name']}: {name}.{action}.host", host


def _restricted(template: Object) -> _Found:
    spec = template["spec"]
    for volume in spec.get("volumes", []):
        sorts = set(volume) - {"name"}
        if not sorts <= RESTRICTED_VOLUMES:
            yield "Volume Types", f"volume {volume['name']}", sorted(sorts)
    of_pod = spec.get("securityContext") or {}
    for path, context in _contexts(spec):
        if context.get("runAsUser") == 0:
            yield "Running as Non-root user", f"{path}.runAsUser", 0
    for one in containers(spec):
        path, context = f"container {one['name']}: securityContext", one.get("securityContext") or {}
        if context.get("allowPrivilegeEscalation") is not False:
            yield "Privilege Escalation", f"{path}.allowPrivilegeEscalation", context.get("allowPrivilegeEscalation")
        # What a container says counts before what the pod says.
        non_root = context.get("runAsNonRoot", of_pod.get("runAsNonRoot"))
        if non_root is not True:
            yield "Running as Non-root", f"{path}.runAsNonRoot", non_root
        seccomp = (context.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type")
        if seccomp not in ("RuntimeDefault", "Localhost"):
            yield "Seccomp", f"{path}.seccompProfile.type", seccomp
        capabilities = context.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []):
            yield "Capabilities", f"{path}.capabilities.drop", capabilities.get("drop")
        added = set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}
        if added:
            yield "Capabilities", f"{path}.capabilities.add", sorted(added)
