"""Whether a Markdown page says what is so: paths, commands, flags, names, ports and manifests that it shows.

What goes in: a page's text. What comes out: what in it does not exist. A reader pastes these lines into a cluster, so
they are held to what is rendered and to the binary's own manual pages.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import facts
import gate
import manifests
import schemas
from manifests import DEPLOY, ROOT

# What kubectl calls the kinds that deploy/ has, short names included.
KINDS = {
    "certificate": "Certificate",
    "clusterissuer": "ClusterIssuer",
    "cm": "ConfigMap",
    "configmap": "ConfigMap",
    "daemonset": "DaemonSet",
    "deployment": "Deployment",
    "ds": "DaemonSet",
    "issuer": "Issuer",
    "networkpolicy": "NetworkPolicy",
    "podmonitor": "PodMonitor",
    "prometheusrule": "PrometheusRule",
}
# Where a shell expects a command's name, and after the `--` of `kubectl exec`.
_INVOKED = re.compile(r"(?:^|[;|&(]|\bdo|\bthen|--)\s*/?portcullis ([a-z]+)([^;|&#]*)")
# Kinds that are read by a program, not served by an API.
NOT_SERVED = {"Kustomization", "Component"}


def problems(path: Path, text: str | None = None) -> list[str]:
    text = path.read_text() if text is None else text
    name = path.relative_to(ROOT)
    found = [*_links(path, text), *_paths(text), *_ports(text)]
    for language, block in blocks(text):
        if language in ("yaml", "yml"):
            found += _manifests(path, block)
        elif language in ("sh", "bash", "shell", "console"):
            found += _commands(block, prompted=language == "console")
    return [f"{name}: {one}" for one in found]


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page, each with its language."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)


def _links(path: Path, text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not (path.parent / target).exists():
            yield f"link to {target}: no such file"


def _paths(text: str) -> Iterator[str]:
    """Paths of the repository, as they are named in prose and in commands."""
    for target in sorted(set(re.findall(r"(?<![\w/.-])(deploy/[\w./-]*\w)", text))):
        if not (ROOT / target).exists():
            yield f"{target}: no such file or folder"


def _ports(text: str) -> Iterator[str]:
    for port in sorted({int(one) for one in re.findall(r"(?<![\w.])(5[45]\d{3})(?!\w)", text)} - known_ports()):
        yield f"port {port}: neither a gate nor a target has it; there are {sorted(known_ports())}"


@functools.cache
def known_ports() -> frozenset[int]:
    """The ports of all routes and targets, and those of the binary's defaults."""
    texts = list(gate.defaults().values())
    for rendered in manifests.all_rendered():
        texts += [text for one in rendered.kind("ConfigMap") for text in one.get("data", {}).values()]
    return frozenset(int(port) for text in texts for port in re.findall(r":(\d{4,5})\b", text))


def _manifests(path: Path, block: str) -> Iterator[str]:
    try:
        documents = manifests.strict_yaml(block)
    except yaml.YAMLError as error:
        yield f"a YAML block does not parse: {error}\n{block}"
        return
    for one in documents:
        if not isinstance(one, dict) or "kind" not in one:
            continue
        if one["kind"] not in NOT_SERVED:
            yield from (f"{one['kind']} in a block: {problem}" for problem in schemas.object_problems(one))
            continue
        for reference in [*one.get("resources", []), *one.get("components", [])]:
            # Of a URL, the part that is a path of this repository.
            inside = re.sub(r"\?.*$", "", reference).rpartition("deploy/")[2]
            if "deploy/" in reference and not (DEPLOY / inside).exists():
                yield f"{one['kind']} in a block: {reference}: there is no deploy/{inside}"


def _commands(block: str, prompted: bool) -> Iterator[str]:
    """What is wrong with the commands of a block; `prompted`, answers stand between them."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    for line in lines:
        line = line.strip()
        if prompted and not line.startswith("$ "):
            continue
        line = line.removeprefix("$ ")
        if "kubectl" in line:
            yield from _kubectl(line)
        for command, rest in _INVOKED.findall(line):
            yield from _gate_command(command, rest)


def _kubectl(line: str) -> Iterator[str]:
    namespaces = known_namespaces()
    for name in re.findall(r"(?:-n|--namespace)[ =]([a-z][\w-]*)", line):
        if name not in namespaces:
            yield f"namespace {name}: there are {sorted(namespaces)}, in: {line}"
    for kind, name in re.findall(r"\b([a-z]+)/([a-z][\w.-]*)", line):
        if kind in KINDS and not any(one.get(KINDS[kind], name) for one in manifests.all_rendered()):
            yield f"{kind}/{name}: deploy/ makes none, in: {line}"
    for name in re.findall(r"\bsecrets?[ /](?:generic |tls )?(portcullis[\w-]*)", line):
        if name not in known_secrets():
            yield f"Secret {name}: there are {sorted(known_secrets())}, in: {line}"


@functools.cache
def known_namespaces() -> frozenset[str]:
    made = {one["metadata"]["name"] for rendered in manifests.all_rendered() for one in rendered.kind("Namespace")}
    return frozenset(made | facts.OTHER_NAMESPACES | {"kube-system", "default"})


@functools.cache
def known_secrets() -> frozenset[str]:
    made = {one["spec"]["secretName"] for rendered in manifests.all_rendered() for one in rendered.kind("Certificate")}
    return frozenset(made | {name for _, name in facts.OWN_SECRETS})


def _gate_command(command: str, rest: str) -> Iterator[str]:
    page = manual(command)
    if page is None:
        yield f"portcullis {command}: there is no such command"
        return
    words = rest.split()
    # `pki` has commands of its own.
    deeper = manual(f"{command} {words[0]}") if command == "pki" and words else None
    for flag in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest):
        if flag not in (deeper or page):
            yield f"portcullis {command}: no flag {flag}"


@functools.cache
def manual(command: str) -> str | None:
    """The manual page of a command; none if there is no such command."""
    try:
        return gate.run(*command.split(), "--help")
    except AssertionError:
        return None
