"""Renders deploy/ with kubectl's kustomize, each combination once, and finds things in what came out.

What goes in: the folders under deploy/. What comes out: a `Rendered` for each combination that a user would apply. A
module of its own so that every question is asked of the same objects, those that `kubectl apply -k` would send.
"""

from __future__ import annotations

import copy
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

# Kubernetes objects are trees of JSON values.
Object = dict[str, Any]

# What a component is for: the gate in the node's network, the gate beside an application, or one overlay only.
HOST, SIDECAR, ANY = "host", "sidecar", "any"
MEANT_FOR = {
    "calico": HOST,
    "cert-manager": ANY,
    "cert-manager-cluster-issuer": ANY,
    "cilium": HOST,
    "csi-driver": HOST,
    "network-policy": SIDECAR,
    "prometheus-operator": ANY,
    "prometheus-operator-etcd": "overlays/kubeadm",
    # Takes a kustomization with Deployments: overlays/sidecar is one.
    "sidecar": "overlays/sidecar",
}
# Components that change what another one brings.
NEEDS = {
    "cert-manager-cluster-issuer": "cert-manager",
    "csi-driver": "cert-manager",
    "prometheus-operator": "cert-manager",
}
# Components that exclude each other: two networks; and the cluster issuer takes from the namespace what the others use.
RIVALS = [
    {"cilium", "calico"},
    {"cert-manager-cluster-issuer", "csi-driver"},
    {"cert-manager-cluster-issuer", "prometheus-operator"},
    {"cert-manager-cluster-issuer", "prometheus-operator-etcd"},
]


def tool(name: str) -> Path:
    """A program of the environment that runs these tests."""
    path = Path(sys.prefix) / "bin" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: run tests/peers.sh, then the tests with .peers/venv/bin/python")
    return path


def strict_yaml(text: str) -> list[Any]:
    """Documents of a YAML text in which no key stands twice: the last one would win, silently."""
    return [document for document in yaml.load_all(text, Loader=_NoDuplicates) if document is not None]


class _NoDuplicates(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = sorted({key for key in keys if isinstance(key, str) and keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"keys given twice: {twice}", node.start_mark)
        return dict(super().construct_mapping(node, deep))


@dataclass(frozen=True)
class Combination:
    """A base or an overlay, with components on top, as a user's kustomization would name them."""

    base: str
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " + ".join([self.base, *self.components])


@dataclass
class Rendered:
    """What `kubectl apply -k` would send for a combination."""

    combination: Combination
    objects: list[Object] = field(default_factory=list)

    def changed(self, change: Callable[[Rendered], object]) -> Rendered:
        """A copy with something changed, to see that a check finds it."""
        other = Rendered(self.combination, copy.deepcopy(self.objects))
        change(other)
        if other.objects == self.objects:
            raise AssertionError(f"{self.combination}: the change changed nothing; fix the change")
        return other

    def kind(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        found = [one for one in self.kind(kind) if one["metadata"]["name"] == name]
        return next((one for one in found if namespace in (None, namespace_of(one))), None)

    def the(self, kind: str) -> Object:
        """The only object of its kind."""
        found = self.kind(kind)
        if len(found) != 1:
            raise AssertionError(f"{self.combination}: {len(found)} objects of kind {kind}, one is expected")
        return found[0]

    def where(self, one: Object, path: str = "") -> str:
        """How a problem begins: which combination, which object, which field."""
        name = "/".join(filter(None, [namespace_of(one), one["metadata"].get("name", "?")]))
        return f"{self.combination}: {one['kind']} {name}" + (f": {path}" if path else "")

    def pods(self) -> Iterator[Pod]:
        """Every pod template."""
        for one in self.objects:
            template = pod_template(one)
            if template is not None:
                yield Pod(self, one, template)


@dataclass
class Pod:
    """A pod template, and the object that it is of."""

    rendered: Rendered
    owner: Object
    template: Object

    @property
    def spec(self) -> Object:
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.template.get("metadata", {}).get("labels", {})

    @property
    def namespace(self) -> str | None:
        return namespace_of(self.owner)

    def where(self, path: str = "") -> str:
        return self.rendered.where(self.owner, path)

    def gate(self) -> Object | None:
        """The container that serves, if there is one."""
        return next((one for one in containers(self.spec) if one.get("args", [None])[0] == "serve"), None)

    def config_map_of(self, volume_name: str) -> Object | None:
        for volume in self.spec.get("volumes", []):
            if volume["name"] == volume_name and "configMap" in volume:
                return self.rendered.get("ConfigMap", volume["configMap"]["name"], self.namespace)
        return None


def namespace_of(one: Object) -> str | None:
    return one["metadata"].get("namespace")


def pod_template(one: Object) -> Object | None:
    if one["kind"] == "Pod":
        return one
    if one["kind"] == "CronJob":
        return one["spec"]["jobTemplate"]["spec"]["template"]
    template = one.get("spec", {}).get("template") if isinstance(one.get("spec"), dict) else None
    return template if isinstance(template, dict) and "containers" in template.get("spec", {}) else None


def containers(spec: Object) -> list[Object]:
    """Containers of every sort: the first ones too, some of which stay."""
    sorts = ("initContainers", "containers", "ephemeralContainers")
    return [one for sort in sorts for one in spec.get(sort, [])]


def selects(labels: dict[str, str], selector: Object) -> bool:
    """Whether a label selector picks these labels: matchLabels, and of expressions those that are used here."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions", []):
        has, values = one["key"] in labels, one.get("values", [])
        holds = {
            "In": labels.get(one["key"]) in values,
            "NotIn": labels.get(one["key"]) not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }[one["operator"]]
        if not holds:
            return False
    return True


def overlays() -> list[str]:
    return sorted(f"overlays/{one.parent.name}" for one in DEPLOY.glob("overlays/*/kustomization.yaml"))


def components() -> list[str]:
    return sorted(one.parent.name for one in DEPLOY.glob("components/*/kustomization.yaml"))


def included(base: str) -> set[str]:
    """The components that a base or an overlay already has."""
    folder = DEPLOY / base
    kustomization = strict_yaml((folder / "kustomization.yaml").read_text())[0]
    found = {Path(one).name for one in kustomization.get("components", [])}
    for resource in kustomization.get("resources", []):
        other = (folder / resource).resolve()
        if other.is_dir():
            found |= included(str(other.relative_to(DEPLOY.resolve())))
    return found


def combinations() -> list[Combination]:
    """Everything alone, every component on all that it is meant for, and as many components at once as go together."""
    wanted = []
    for base in ["base", *overlays()]:
        has = included(base)
        free = [one for one in components() if one not in has and meant(one, base, has)]
        wanted.append(Combination(base))
        wanted += [Combination(base, _with_needs([one], has)) for one in free]
        for first in free:
            # Each component gets its turn as the one that is chosen among rivals.
            chosen = [first]
            for one in free:
                if one not in chosen and not any(one in pair and pair & {*chosen, *has} for pair in RIVALS):
                    chosen.append(one)
            wanted.append(Combination(base, _with_needs(sorted(chosen), has)))
    return list(dict.fromkeys(wanted))


def meant(component: str, base: str, has: set[str]) -> bool:
    if component not in MEANT_FOR:
        raise AssertionError(f"components/{component}: say in MEANT_FOR of tests/deploy/manifests.py what it is for")
    return MEANT_FOR[component] in (ANY, base, SIDECAR if "sidecar" in has else HOST)


def _with_needs(names: list[str], has: set[str]) -> tuple[str, ...]:
    """The components in an order that kustomize can take: what is changed before what changes it."""
    needed = [NEEDS[one] for one in names if one in NEEDS and NEEDS[one] not in has]
    return tuple(dict.fromkeys(needed + names))


@functools.cache
def rendered() -> dict[Combination, Rendered | str]:
    """Every combination: what it renders to, or what kubectl says against it. Rendered once for all tests."""
    with tempfile.TemporaryDirectory(prefix="portcullis-deploy-") as folder:
        # In a copy, since kustomize takes no absolute paths. It also shows that deploy/ needs nothing from outside.
        shutil.copytree(DEPLOY, Path(folder) / "deploy")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            wanted = combinations()
            return dict(zip(wanted, pool.map(lambda one: build(Path(folder), one), wanted), strict=True))


def build(folder: Path, combination: Combination) -> Rendered | str:
    """Renders a combination from `folder`, which has a copy of deploy/."""
    place = folder / "deploy" / combination.base
    if combination.components:
        place = folder / "users" / re.sub(r"[^a-z0-9]+", "-", str(combination))
        place.mkdir(parents=True)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"../../deploy/{combination.base}"],
            "components": [f"../../deploy/components/{one}" for one in combination.components],
        }
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(place, combination)


def kustomize(place: Path, combination: Combination) -> Rendered | str:
    """Renders a folder; a warning counts as a failure."""
    done = subprocess.run([tool("kubectl"), "kustomize", place], capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or done.stderr.strip():
        return f"{combination}: kubectl kustomize: {done.stderr.strip() or f'exit {done.returncode}'}"
    return Rendered(combination, strict_yaml(done.stdout))


def all_rendered() -> list[Rendered]:
    """Every combination that builds; `test_build` is about those that do not."""
    return [one for one in rendered().values() if isinstance(one, Rendered)]


def one_rendered(base: str, *names: str) -> Rendered:
    """The smallest combination of this base that has these components."""
    found = [
        one
        for one in all_rendered()
        if one.combination.base == base and set(names) <= set(one.combination.components) | included(base)
    ]
    if not found:
        raise AssertionError(f"nothing that builds has {base} with {', '.join(names)}; see deploy/ and RIVALS")
    return min(found, key=lambda one: len(one.combination.components))
