"""Is every pod of the Pod Security level that its namespace enforces, no more and no less?"""

from __future__ import annotations

import copy
import functools
import unittest
from collections.abc import Callable
from typing import Any

import manifests
import pod_security
from manifests import Object, Rendered

LABEL = "pod-security.kubernetes.io/"


def problems(rendered: Rendered) -> list[str]:
    found = []
    levels: dict[str, str] = {}
    for pod in rendered.pods():
        level = pod_security.level(pod.template)
        # A namespace has to let in the one that needs most.
        levels[str(pod.namespace)] = min(levels.get(str(pod.namespace), level), level, key=pod_security.LEVELS.index)
    for name, level in levels.items():
        namespace = rendered.get("Namespace", name)
        labels = (namespace or {"metadata": {}})["metadata"].get("labels", {})
        for mode in ("enforce", "audit", "warn"):
            said = labels.get(LABEL + mode)
            if said != level or labels.get(f"{LABEL}{mode}-version") != "latest":
                found.append(
                    f"{rendered.combination}: Namespace {name}: {LABEL}{mode} is {said}, its pods are {level}: "
                    f"{_why(rendered, name)}; want {level}, with {mode}-version latest"
                )
    return found


def _why(rendered: Rendered, namespace: str) -> str:
    pods = [pod for pod in rendered.pods() if pod.namespace == namespace]
    return "; ".join(f"{pod.where()}: {one}" for pod in pods for one in pod_security.violations(pod.template))


class Levels(unittest.TestCase):
    maxDiff = None

    def test_every_namespace_enforces_the_level_of_its_pods(self) -> None:
        for rendered in manifests.all_rendered():
            with self.subTest(combination=str(rendered.combination)):
                self.assertEqual(problems(rendered), [])

    def test_the_sidecar_form_is_restricted(self) -> None:
        pods = list(manifests.one_rendered("overlays/sidecar").pods())
        self.assertEqual([pod_security.level(pod.template) for pod in pods], ["restricted"])

    def test_the_gate_on_a_node_is_restricted_but_for_the_network_of_the_node(self) -> None:
        for base in ("base", "overlays/gke-metadata-server", "overlays/kubeadm"):
            with self.subTest(base=base):
                (pod,) = manifests.one_rendered(base).pods()
                found = [one.path for one in pod_security.violations(pod.template)]
                self.assertEqual(found, ["spec.hostNetwork"])

    def test_the_plain_scrape_is_restricted(self) -> None:
        (job,) = manifests.strict_yaml((manifests.DEPLOY / "scrape.yaml").read_text())
        self.assertEqual(pod_security.violations(job["spec"]["template"]), [])

    def test_a_namespace_that_says_another_level_is_found(self) -> None:
        for base, wrong in (("base", "baseline"), ("base", "restricted"), ("overlays/sidecar", "privileged")):
            with self.subTest(base=base, wrong=wrong):
                change = functools.partial(_label, f"{LABEL}enforce", wrong)
                rendered = manifests.one_rendered(base).changed(change)
                self.assertIn(f"enforce is {wrong}", "\n".join(problems(rendered)))

    def test_a_sidecar_in_the_network_of_the_node_is_found(self) -> None:
        def change(rendered: Rendered) -> None:
            next(rendered.pods()).spec["hostNetwork"] = True

        rendered = manifests.one_rendered("overlays/sidecar").changed(change)
        self.assertIn("spec.hostNetwork", "\n".join(problems(rendered)))


def _label(key: str, value: str, rendered: Rendered) -> None:
    rendered.the("Namespace")["metadata"]["labels"][key] = value


def good() -> Object:
    """The smallest pod that is "restricted"."""
    return {
        "metadata": {"annotations": {}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "initContainers": [{"name": "first", "securityContext": dict(_CONTEXT)}],
            "containers": [{"name": "main", "securityContext": dict(_CONTEXT)}],
        },
    }


_CONTEXT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_HTTP, _TCP = {"httpGet": {"host": "127.0.0.1", "port": 1}}, {"tcpSocket": {"host": "127.0.0.1", "port": 1}}
_APPARMOR = pod_security.APPARMOR_ANNOTATION + "main"

# Where a value is put, the value, and the level that is left. Paths begin in the pod's spec; `main` and `first` are its
# containers, and `pod` is its security context.
CONTROLS: list[tuple[str, Any, str]] = [
    ("spec.hostNetwork", True, "privileged"),
    ("spec.hostNetwork", False, "restricted"),
    ("spec.hostPID", True, "privileged"),
    ("spec.hostIPC", True, "privileged"),
    ("spec.volumes", [{"name": "v", "hostPath": {"path": "/"}}], "privileged"),
    ("spec.volumes", [{"name": "v", "nfs": {"server": "s", "path": "/"}}], "baseline"),
    ("spec.volumes", [{"name": "v", "csi": {"driver": "d"}}], "restricted"),
    ("spec.volumes", [{"name": "v", "projected": {}}, {"name": "w", "emptyDir": {}}], "restricted"),
    ("main.ports", [{"containerPort": 1, "hostPort": 1}], "privileged"),
    ("main.ports", [{"containerPort": 1, "hostPort": 0}], "restricted"),
    ("pod.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "privileged"),
    ("pod.sysctls", [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "1"}], "restricted"),
    ("pod.windowsOptions", {"hostProcess": True}, "privileged"),
    ("main.securityContext.windowsOptions", {"hostProcess": True}, "privileged"),
    ("main.securityContext.privileged", True, "privileged"),
    ("first.securityContext.privileged", True, "privileged"),
    ("main.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "privileged"),
    ("main.securityContext.capabilities", {"drop": ["ALL"], "add": ["CHOWN"]}, "baseline"),
    ("main.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "restricted"),
    ("main.securityContext.capabilities", {"drop": ["NET_RAW"]}, "baseline"),
    ("first.securityContext.capabilities", None, "baseline"),
    ("main.securityContext.procMount", "Unmasked", "privileged"),
    ("main.securityContext.procMount", "Default", "restricted"),
    ("pod.seLinuxOptions", {"type": "spc_t"}, "privileged"),
    ("pod.seLinuxOptions", {"type": "container_t"}, "restricted"),
    ("main.securityContext.seLinuxOptions", {"user": "system_u"}, "privileged"),
    ("main.securityContext.seLinuxOptions", {"role": "system_r"}, "privileged"),
    ("pod.seccompProfile", {"type": "Unconfined"}, "privileged"),
    ("pod.seccompProfile", None, "baseline"),
    ("pod.seccompProfile", {"type": "Localhost", "localhostProfile": "p"}, "restricted"),
    ("main.securityContext.seccompProfile", {"type": "Unconfined"}, "privileged"),
    ("pod.appArmorProfile", {"type": "Unconfined"}, "privileged"),
    ("main.securityContext.appArmorProfile", {"type": "Unconfined"}, "privileged"),
    ("main.securityContext.appArmorProfile", {"type": "RuntimeDefault"}, "restricted"),
    (f"annotations|{_APPARMOR}", "unconfined", "privileged"),
    (f"annotations|{_APPARMOR}", "localhost/p", "restricted"),
    ("main.livenessProbe", _HTTP, "privileged"),
    ("main.readinessProbe", _TCP, "privileged"),
    ("first.startupProbe", _HTTP, "privileged"),
    ("main.lifecycle", {"preStop": _HTTP}, "privileged"),
    ("main.lifecycle", {"postStart": _TCP}, "privileged"),
    ("main.livenessProbe", {"httpGet": {"port": 1}}, "restricted"),
    ("main.livenessProbe", {"exec": {"command": ["c"]}}, "restricted"),
    ("main.securityContext.allowPrivilegeEscalation", None, "baseline"),
    ("main.securityContext.allowPrivilegeEscalation", True, "baseline"),
    ("pod.runAsNonRoot", None, "baseline"),
    ("main.securityContext.runAsNonRoot", False, "baseline"),
    ("main.securityContext.runAsNonRoot", True, "restricted"),
    ("pod.runAsUser", 0, "baseline"),
    ("first.securityContext.runAsUser", 0, "baseline"),
    ("pod.runAsUser", 65532, "restricted"),
]


class Controls(unittest.TestCase):
    """The implementation, control by control."""

    maxDiff = None

    def test_the_good_pod_is_restricted(self) -> None:
        self.assertEqual(pod_security.level(good()), "restricted")

    def test_each_value_has_its_level(self) -> None:
        for path, value, level in CONTROLS:
            with self.subTest(path=path, value=value):
                template = copy.deepcopy(good())
                _put(template, path, value)
                found = [str(one) for one in pod_security.violations(template)]
                self.assertEqual(pod_security.level(template), level, found)

    def test_every_control_is_in_the_table(self) -> None:
        """Each control of the standards has a value here that breaks it."""
        broken: set[tuple[str, str]] = set()
        for path, value, _ in CONTROLS:
            template = copy.deepcopy(good())
            _put(template, path, value)
            broken |= {(one.level, one.control) for one in pod_security.violations(template)}
        baseline = {
            "HostProcess", "Host Namespaces", "Privileged Containers", "Capabilities", "HostPath Volumes", "Host Ports",
            "Host Probes / Lifecycle Hooks", "AppArmor", "SELinux", "/proc Mount Type", "Seccomp", "Sysctls",
        }  # fmt: skip
        restricted = {
            "Volume Types", "Privilege Escalation", "Running as Non-root", "Running as Non-root user", "Seccomp",
            "Capabilities",
        }  # fmt: skip
        wanted = {("baseline", one) for one in baseline} | {("restricted", one) for one in restricted}
        self.assertEqual(broken, wanted)


def _put(template: Object, path: str, value: Any) -> None:
    """Sets a value, or removes what is there if it is None."""
    spec = template["spec"]
    if path.startswith("annotations|"):
        place, key = template["metadata"]["annotations"], path.partition("|")[2]
    else:
        first, *steps = path.split(".")
        starts: dict[str, Callable[[], Object]] = {
            "spec": lambda: spec,
            "pod": lambda: spec["securityContext"],
            "main": lambda: spec["containers"][0],
            "first": lambda: spec["initContainers"][0],
        }
        place = starts[first]()
        for step in steps[:-1]:
            place = place[step]
        key = steps[-1]
    if value is None:
        del place[key]
    else:
        place[key] = copy.deepcopy(value)


if __name__ == "__main__":
    unittest.main()
