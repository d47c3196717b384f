"""Whether the parts of deploy/ that work together mean the same thing: certificates, monitors, policies, Prometheus.

What goes in: what one combination renders to, or a plain file. What comes out: where two places disagree, with both
values. Here stands the list of all checks, those of `workloads` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import facts
import workloads
from manifests import DEPLOY, Object, Rendered, namespace_of, selects, strict_yaml

Check = Callable[[Rendered], list[str]]


def all_problems(rendered: Rendered) -> list[str]:
    return [problem for check in CHECKS for problem in check(rendered)]


def certificates(rendered: Rendered) -> list[str]:
    """Every Certificate has its issuer, a Secret of its own and time to be renewed; leaves serve one end only."""
    found = []
    made: dict[Any, str] = {}
    for one in rendered.kind("Certificate"):
        spec, place = one["spec"], (namespace_of(one), one["spec"]["secretName"])
        issuer = spec["issuerRef"]
        scope = namespace_of(one) if issuer.get("kind", "Issuer") == "Issuer" else None
        if rendered.get(issuer.get("kind", "Issuer"), issuer["name"], scope) is None:
            found.append(f"{rendered.where(one, 'spec.issuerRef')} {issuer}: there is none")
        if place in made:
            found.append(f"{rendered.where(one, 'spec.secretName')} is {place[1]}, which {made[place]} writes too")
        made[place] = one["metadata"]["name"]
        if facts.seconds(spec.get("renewBefore", "0s")) >= facts.seconds(spec.get("duration", "2160h")):
            found.append(f"{rendered.where(one, 'spec.renewBefore')}: not below duration")
        auths = {use for use in spec.get("usages", []) if use.endswith(" auth")}
        if not spec.get("isCA") and (len(auths) != 1 or not spec.get("dnsNames")):
            path = rendered.where(one, "spec")
            found.append(f"{path}: usages {auths}, dnsNames {spec.get('dnsNames')}; want one auth, and a name")
    for one in rendered.kind("Issuer", "ClusterIssuer"):
        secret = one["spec"].get("ca", {}).get("secretName")
        # A ClusterIssuer's Secret lies in cert-manager's own namespace: https://cert-manager.io/docs/configuration/ca/.
        if secret and (namespace_of(one) or "cert-manager", secret) not in made:
            found.append(f"{rendered.where(one, 'spec.ca.secretName')} is {secret}, which no Certificate writes there")
    return found


# --- who scrapes, and who may reach


def monitors(rendered: Rendered) -> list[str]:
    """Every PodMonitor finds pods, asks for ports that some form of the gate has, and can read its credentials."""
    found: list[str] = []
    for one in rendered.kind("PodMonitor"):
        spec = one["spec"]
        for endpoint in spec["podMetricsEndpoints"]:
            tls = endpoint.get("tlsConfig", {})
            found += _credentials(rendered, one, tls)
            if (tls.get("serverName"),) != facts.server_names(rendered):
                path = rendered.where(one, "serverName")
                names = facts.server_names(rendered)
                found.append(f"{path} is {tls.get('serverName')}; the gates' certificate is for {names}")
            if endpoint.get("scheme") != "https":
                found.append(f"{rendered.where(one, 'scheme')} is {endpoint.get('scheme')}; the gate speaks TLS only")
            replaced = _ports_of_addresses(endpoint.get("relabelings", []))
            if replaced - {port for pod in facts.gates(rendered) for port in facts.listen_ports(pod)}:
                found.append(f"{rendered.where(one, 'relabelings')}: ports {replaced}: the gate listens elsewhere")
            if "port" in endpoint and endpoint["port"] not in facts.all_port_names():
                path = rendered.where(one, "port")
                found.append(f"{path} {endpoint['port']}: no gate has it; there are {facts.all_port_names()}")
        # Those that look for others' pods say by a port number where the gate is.
        if "namespaceSelector" not in spec:
            picked = [pod for pod in rendered.pods() if selects(pod.labels, spec["selector"])]
            if not picked or any(pod.namespace != namespace_of(one) for pod in picked):
                found.append(f"{rendered.where(one, 'spec.selector')} {spec['selector']} selects no pods beside it")
            asked = {endpoint.get("port") for endpoint in spec["podMetricsEndpoints"]}
            for pod in picked:
                # etcd is asked for by a PodMonitor of its own, where it runs.
                there = {port["name"] for port in (pod.gate() or {}).get("ports", [])} - {"etcd"}
                if there - asked:
                    found.append(f"{rendered.where(one)}: nobody scrapes {sorted(there - asked)} of {pod.where()}")
    return found


def _credentials(rendered: Rendered, one: Object, tls: Object) -> Iterator[str]:
    selectors_there = {
        "tls.crt": tls.get("cert", {}).get("secret"),
        "ca.crt": tls.get("ca", {}).get("secret"),
        "tls.key": tls.get("keySecret"),
    }
    for key, chosen in selectors_there.items():
        if chosen is None or chosen["key"] != key:
            yield f"{rendered.where(one, 'tlsConfig')}: {chosen}; want the key {key}"
            continue
        place = (namespace_of(one), chosen["name"])
        clients = {
            (namespace_of(each), each["spec"]["secretName"])
            for each in rendered.kind("Certificate")
            if "client auth" in each["spec"].get("usages", [])
        }
        if place not in clients:
            path = rendered.where(one, "tlsConfig")
            yield f"{path}: Secret {place}: the client certificates are in {sorted(clients)}"


def _ports_of_addresses(relabelings: list[Object]) -> set[int]:
    """The ports that relabelling puts into targets' addresses; of the operator's spelling and of Prometheus' own."""
    rules = [one for one in relabelings if "__address__" in (one.get("targetLabel"), one.get("target_label"))]
    return {int(port) for one in rules for port in re.findall(r":(\d+)$", one.get("replacement", ""))}


def policies(rendered: Rendered) -> list[str]:
    """NetworkPolicies select the gate and leave its ports open; host policies close all of them, and no others."""
    found = []
    for one in rendered.kind("NetworkPolicy"):
        picked = [pod for pod in facts.gates(rendered) if selects(pod.labels, one["spec"]["podSelector"])]
        if not picked or any(pod.namespace != namespace_of(one) for pod in picked):
            found.append(f"{rendered.where(one, 'spec.podSelector')} {one['spec']['podSelector']} selects no gate")
        open_ports = {port["port"] for rule in one["spec"].get("ingress", []) for port in rule.get("ports", [])}
        for pod in picked:
            if pod.spec.get("hostNetwork"):
                found.append(f"{rendered.where(one)}: undefined for pods in the node's network, as {pod.where()} is")
            ports = (pod.gate() or {}).get("ports", [])
            closed = [port for port in ports if not {port["name"], port["containerPort"]} & open_ports]
            unknown = open_ports - {port[key] for port in ports for key in ("name", "containerPort")}
            if closed or unknown:
                found.append(f"{rendered.where(one, 'ports')} {sorted(map(str, open_ports))}: not the gate's, {ports}")
    for one, ports in _host_policies(rendered):
        if not any(pod.spec.get("hostNetwork") for pod in facts.gates(rendered)):
            found.append(f"{rendered.where(one)}: closes nodes, and no gate is in a node's network")
        if ports != facts.all_host_ports():
            wanted = sorted(facts.all_host_ports())
            found.append(f"{rendered.where(one, 'ports')} {sorted(ports)}; gates on nodes listen on {wanted}")
    return found


def _host_policies(rendered: Rendered) -> Iterator[tuple[Object, set[int]]]:
    """Each rule of a host policy with its ports."""
    for one in rendered.kind("CiliumClusterwideNetworkPolicy"):
        for rule in one["spec"].get("ingress", []) + one["spec"].get("ingressDeny", []):
            yield one, {int(port["port"]) for to in rule.get("toPorts", []) for port in to["ports"]}
    for one in rendered.kind("GlobalNetworkPolicy"):
        for rule in one["spec"]["ingress"]:
            yield one, set(rule.get("destination", {}).get("ports", []))


def rules(rendered: Rendered) -> list[str]:
    """A PrometheusRule has the rules of the plain files, all of them and no others."""
    wanted = [group for name in ("recording.yml", "alerts.yml") for group in _rule_file(name)]
    return [
        f"{rendered.where(one, 'spec.groups')}: not deploy/prometheus/'s; run deploy/prometheus/operator-rules.sh"
        for one in rendered.kind("PrometheusRule")
        if _comparable(one["spec"]["groups"]) != _comparable(wanted)
    ]


def _rule_file(name: str) -> list[Object]:
    return strict_yaml((DEPLOY / "prometheus" / name).read_text())[0]["groups"]


def _comparable(groups: list[Object]) -> list[Object]:
    """Without the white space of expressions: kustomize writes folded text with lines of its own."""
    return [
        group | {"rules": [rule | {"expr": " ".join(str(rule["expr"]).split())} for rule in group["rules"]]}
        for group in groups
    ]


CHECKS: list[Check] = [
    *workloads.CHECKS,
    certificates,
    monitors,
    policies,
    rules,
]


# --- the plain Prometheus


def prometheus_problems(config: Object) -> list[str]:
    """What a Prometheus without the operator is told, against what the gates have."""
    found = []
    for job in config["scrape_configs"]:
        where, tls = f"deploy/prometheus/prometheus.yml: job {job['job_name']}", job.get("tls_config", {})
        if job.get("scheme") != "https" or (tls.get("server_name"),) != facts.SERVER_NAMES:
            said = f"{job.get('scheme')}, server_name {tls.get('server_name')}"
            found.append(f"{where}: {said}; want https, {facts.SERVER_NAMES[0]}")
        files = [tls.get(key, "").rpartition("/") for key in ("ca_file", "cert_file", "key_file")]
        if [name for _, _, name in files] != ["ca.crt", "tls.crt", "tls.key"]:
            found.append(f"{where}: tls_config {tls}: want ca.crt, tls.crt and tls.key of the mounted Secret")
        if len({folder for folder, _, _ in files}) != 1:
            found.append(f"{where}: tls_config {tls}: one Secret is one folder")
        relabelled = _ports_of_addresses(job.get("relabel_configs", []))
        found += [f"{where}: {problem}" for problem in (_elsewhere(relabelled) if relabelled else _on_gates(job))]
    return found


def _elsewhere(relabelled: set[int]) -> Iterator[str]:
    """Of a job that finds others' pods, and takes the gate's port on their node."""
    if not relabelled <= facts.all_host_ports():
        yield f"ports {sorted(relabelled)} of addresses; gates on nodes listen on {sorted(facts.all_host_ports())}"


def _on_gates(job: Object) -> Iterator[str]:
    """Of a job that finds the gates' own pods."""
    labels = {f"{key}={value}" for pod in facts.every_gate() for key, value in pod.labels.items()}
    homes = {pod.namespace for pod in facts.every_gate()}
    names = {rule["regex"] for rule in job.get("relabel_configs", []) if rule.get("action") == "keep"}
    if not names or not names <= set(facts.all_port_names()):
        yield f"keeps the ports {sorted(names)}; gates have {facts.all_port_names()}"
    for service in job.get("kubernetes_sd_configs", []):
        if set(service.get("namespaces", {}).get("names", [])) != homes:
            yield f"namespaces {service.get('namespaces')}; the gates are in {sorted(map(str, homes))}"
        for selector in service.get("selectors", []):
            if not set(selector.get("label", "").split(",")) <= labels:
                yield f"selector {selector.get('label')}; the gates have {sorted(labels)}"
