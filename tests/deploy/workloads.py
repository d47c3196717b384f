"""Whether each pod has what it refers to, and the gate what it needs to serve.

What goes in: what one combination renders to. What comes out: where two places disagree, with both values. Schemas
cannot see this: each place is valid by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import facts
import gate
from manifests import Object, Pod, Rendered, containers, namespace_of, selects

# What the gate is to be content with: the limits of the plain relay that it replaces.
MOST_CPU, MOST_MEMORY = 0.1, 100 * 2**20
# Time between the last session that is cut and SIGKILL.
SPARE_SECONDS = 5
CRITICAL = {"system-node-critical", "system-cluster-critical"}


# --- what a pod refers to


def namespaces(rendered: Rendered) -> list[str]:
    """Every namespace that something is put into exists."""
    made = {one["metadata"]["name"] for one in rendered.kind("Namespace")}
    return [
        f"{rendered.where(one, 'metadata.namespace')} is {namespace_of(one)}, which nothing makes; there is {made}"
        for one in rendered.objects
        if namespace_of(one) not in {None} | made | facts.OTHER_NAMESPACES
    ]


def selectors(rendered: Rendered) -> list[str]:
    """Every workload selects its own pods, and no other workload's."""
    found = []
    pods = list(rendered.pods())
    for pod in pods:
        selector = pod.owner["spec"].get("selector")
        for other in pods if selector else []:
            if selects(other.labels, selector) != (other.owner is pod.owner):
                verb = "does not select its own" if other.owner is pod.owner else "selects another's"
                found.append(f"{pod.where('spec.selector')} {selector} {verb} pods, with labels {other.labels}")
    return found


def accounts(rendered: Rendered) -> list[str]:
    """Every ServiceAccount exists, and no pod gets a token."""
    found = []
    for pod in rendered.pods():
        name = pod.spec.get("serviceAccountName", "default")
        account = rendered.get("ServiceAccount", name, pod.namespace)
        # Every namespace has the account "default".
        if account is None and name != "default":
            found.append(f"{pod.where('serviceAccountName')} is {name}: no such ServiceAccount in {pod.namespace}")
        token = pod.spec.get("automountServiceAccountToken", (account or {}).get("automountServiceAccountToken"))
        if token is not False:
            found.append(
                f"{pod.where('automountServiceAccountToken')} is {token}; the gate asks the API nothing: false"
            )
    return found


def volumes(rendered: Rendered) -> list[str]:
    """Every volume has its source and is used; every mount has its volume, and is a whole folder."""
    found = []
    secrets, configs = facts.secrets(rendered), {}
    for one in rendered.kind("ConfigMap"):
        configs[(namespace_of(one), one["metadata"]["name"])] = set(one.get("data", {}))
    for pod in rendered.pods():
        mounts = [mount for one in containers(pod.spec) for mount in one.get("volumeMounts", [])]
        names = {volume["name"] for volume in pod.spec.get("volumes", [])}
        for mount in mounts:
            if mount["name"] not in names:
                found.append(f"{pod.where('volumeMounts')}: {mount['name']}: no such volume; there are {sorted(names)}")
            if "subPath" in mount or "subPathExpr" in mount:
                found.append(f"{pod.where('volumeMounts')}: {mount['name']}: a subPath never changes; mount the folder")
            if not mount.get("readOnly"):
                found.append(f"{pod.where('volumeMounts')}: {mount['name']}: writable; set readOnly: true")
        for volume in pod.spec.get("volumes", []):
            path = pod.where(f"volumes: {volume['name']}")
            if volume["name"] not in {mount["name"] for mount in mounts}:
                found.append(f"{path}: mounted nowhere; delete it")
            if "configMap" in volume:
                found += _source(path, "ConfigMap", volume["configMap"]["name"], volume["configMap"], configs, pod)
            if "secret" in volume:
                found += _source(path, "Secret", volume["secret"]["secretName"], volume["secret"], secrets, pod)
            if "csi" in volume:
                found += _driver(path, volume["csi"], rendered, pod)
    return found


def _source(path: str, kind: str, name: str, source: Object, there: dict[Any, set[str]], pod: Pod) -> Iterator[str]:
    keys = there.get((pod.namespace, name))
    if keys is None:
        yield f"{path}: no {kind} {name} in {pod.namespace}; there are {sorted(map(str, there))}"
        return
    for item in source.get("items", []):
        if item["key"] not in keys:
            yield f"{path}: {kind} {name} has no key {item['key']}; it has {sorted(keys)}"


def _driver(path: str, csi: Object, rendered: Rendered, pod: Pod) -> Iterator[str]:
    """What cert-manager's driver is asked for: https://cert-manager.io/docs/usage/csi-driver/."""
    attributes = {key.rpartition("/")[2]: value for key, value in csi.get("volumeAttributes", {}).items()}
    if csi["driver"] != gate.CSI_DRIVER or csi.get("readOnly") is not True:
        yield f"{path}: csi is {csi['driver']}, readOnly {csi.get('readOnly')}; want {gate.CSI_DRIVER}, readOnly true"
    kind, name = attributes.get("issuer-kind", "Issuer"), attributes.get("issuer-name", "")
    if rendered.get(kind, name, pod.namespace if kind == "Issuer" else None) is None:
        yield f"{path}: issuer-name {name}: no such {kind} in {pod.namespace}"
    group = str(pod.spec.get("securityContext", {}).get("fsGroup"))
    if attributes.get("fs-group") != group:
        yield f"{path}: fs-group is {attributes.get('fs-group')}, fsGroup of the pod {group}: the gate could not read"
    if "server auth" not in attributes.get("key-usages", ""):
        yield f"{path}: key-usages is {attributes.get('key-usages')}, without server auth"


# --- what the gate needs to serve


def probes(rendered: Rendered) -> list[str]:
    """Probes ask the gate's own admin listener by its own command: the kubelet has no certificate."""
    found = []
    admin = gate.defaults()["--admin"]
    for pod in facts.gates(rendered):
        container = pod.gate() or {}
        probes_there = {name: one for name, one in container.items() if name.endswith("Probe")}
        if "livenessProbe" not in probes_there:
            found.append(f"{pod.where('livenessProbe')}: none")
        for name, probe in probes_there.items():
            command = probe.get("exec", {}).get("command", [])
            wanted = ["/portcullis", "probe", "--ready" if name == "readinessProbe" else "--live"]
            if command != wanted:
                found.append(f"{pod.where(name)} runs {command}; want {wanted}")
        if facts.admin_of(pod) != admin:
            found.append(f"{pod.where()}: admin is {facts.admin_of(pod)}, while `portcullis probe` asks {admin}")
    return found


def lifetimes(rendered: Rendered) -> list[str]:
    """A drain is over before SIGKILL."""
    found = []
    for pod in facts.gates(rendered):
        drain = facts.seconds(facts.config(pod).get("drain_timeout", gate.defaults()["--drain-timeout"]))
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        if grace < drain + SPARE_SECONDS:
            found.append(
                f"{pod.where('terminationGracePeriodSeconds')} is {grace}, drain_timeout {drain:g}s: "
                f"{SPARE_SECONDS}s between them at least"
            )
    return found


def resources(rendered: Rendered) -> list[str]:
    """The gate is within the limits of what it replaces; every container has requests and limits."""
    found = []
    most = {"cpu": MOST_CPU, "memory": MOST_MEMORY}
    for pod in rendered.pods():
        for one in containers(pod.spec):
            for sort in ("requests", "limits"):
                for name, bound in most.items():
                    value = one.get("resources", {}).get(sort, {}).get(name)
                    if value is None or facts.quantity(value) > bound:
                        path = pod.where(f"container {one['name']}: resources.{sort}.{name}")
                        found.append(f"{path} is {value}; want 100m of cpu and 100Mi of memory at most")
    return found


def priorities(rendered: Rendered) -> list[str]:
    """A critical priority outside kube-system has the quota that lets it in."""
    found = []
    for pod in rendered.pods():
        priority = pod.spec.get("priorityClassName")
        if priority not in CRITICAL or pod.namespace == "kube-system":
            continue
        scopes = [
            expression
            for quota in rendered.kind("ResourceQuota")
            if namespace_of(quota) == pod.namespace
            for expression in quota["spec"].get("scopeSelector", {}).get("matchExpressions", [])
        ]
        if not any(one["scopeName"] == "PriorityClass" and priority in one.get("values", []) for one in scopes):
            found.append(
                f"{pod.where('priorityClassName')} is {priority}: no ResourceQuota of {pod.namespace} permits it"
            )
    return found


def hardening(rendered: Rendered) -> list[str]:
    """What no Pod Security level asks for: a read-only root, one user everywhere, no injected variables."""
    found = []
    for pod in rendered.pods():
        if pod.spec.get("enableServiceLinks") is not False:
            found.append(f"{pod.where('enableServiceLinks')}: a Service's variables could name settings; set false")
        for one in containers(pod.spec):
            context = one.get("securityContext", {})
            if context.get("readOnlyRootFilesystem") is not True:
                found.append(f"{pod.where('container ' + one['name'])}: readOnlyRootFilesystem is not true")
    for pod in facts.gates(rendered):
        context = pod.spec.get("securityContext", {}) | (pod.gate() or {}).get("securityContext", {})
        ids = [context.get(name) for name in ("runAsUser", "runAsGroup", "fsGroup")]
        if ids != [65532] * 3:
            found.append(f"{pod.where('runAsUser, runAsGroup, fsGroup')} are {ids}; the image's user is 65532")
    return found


# --- the configuration


def routes(rendered: Rendered) -> list[str]:
    """The routes listen on the container's ports; one of them lends the admin listener, which is open nowhere."""
    found = []
    for pod in facts.gates(rendered):
        config, container = facts.config(pod), pod.gate() or {}
        there = {port["containerPort"]: port["name"] for port in container.get("ports", [])}
        wanted = facts.listen_ports(pod)
        if set(there) != set(wanted):
            found.append(f"{pod.where('ports')} are {sorted(there)}; the routes listen on {sorted(wanted)}")
        if len(set(there.values())) != len(there):
            found.append(f"{pod.where('ports')}: two have one name: {there}")
        own = [one for one in config.get("route", []) if one["target"] == facts.admin_of(pod)]
        if [one["name"] for one in own] != ["portcullis"]:
            found.append(
                f"{pod.where()}: the routes to the admin listener {facts.admin_of(pod)}: {own}; want one, portcullis"
            )
        if config.get("tls", {}) and {f"--{key.replace('_', '-')}" for key in config["tls"]} & set(_PATHS):
            found.append(f"{pod.where()}: [tls] names a path; the defaults are where the Secret is mounted")
        mount = next((one["mountPath"] for one in container.get("volumeMounts", []) if "tls" in one["name"]), None)
        for flag in _PATHS:
            if gate.defaults()[flag].rpartition("/")[0] != mount:
                found.append(f"{pod.where('volumeMounts')}: {mount}; the gate's default of {flag} is elsewhere")
    return found


_PATHS = ("--cert", "--key", "--client-ca")


def reserved(rendered: Rendered) -> list[str]:
    """A pod that keeps ports from outgoing connections keeps those of its gate: the listeners, and the admin's."""
    found = []
    for pod in facts.gates(rendered):
        for sysctl in pod.spec.get("securityContext", {}).get("sysctls", []):
            kept: set[int] = set()
            for first, _, last in (part.partition("-") for part in sysctl["value"].split(",")):
                kept |= set(range(int(first), int(last or first) + 1))
            missing = {*facts.listen_ports(pod), int(facts.admin_of(pod).rpartition(":")[2])} - kept
            if sysctl["name"] == "net.ipv4.ip_local_reserved_ports" and missing:
                found.append(f"{pod.where('sysctls')}: {sysctl['value']}: without {sorted(missing)}")
    return found


def served(rendered: Rendered) -> list[str]:
    """The binary itself takes the pod's arguments and files, and admits whom it should and nobody else."""
    found = []
    for pod in facts.gates(rendered):
        names = facts.server_names(rendered)
        found += [f"{pod.where()}: {problem}" for problem in gate.check(pod, names)]
        if found:
            continue
        for clients, wanted in [(facts.client_names(rendered), True), (("stranger.monitoring.svc",), False)]:
            verdicts = gate.admitted(pod, names, clients)
            if set(verdicts) != {one["name"] for one in facts.config(pod)["route"]}:
                found.append(f"{pod.where()}: portcullis explain speaks of the routes {sorted(verdicts)}")
            found += [
                f"{pod.where()}: route {route} {'admits' if verdict else 'refuses'} a client with the names {clients}"
                for route, verdict in verdicts.items()
                if verdict != wanted
            ]
    return found


CHECKS = [
    namespaces,
    selectors,
    accounts,
    volumes,
    probes,
    lifetimes,
    resources,
    priorities,
    hardening,
    routes,
    reserved,
    served,
]
