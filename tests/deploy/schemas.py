"""Validates objects against the schemas of Kubernetes and of the projects whose custom resources deploy/ uses.

What goes in: an object. What comes out: what its API would refuse or drop. A field that no schema knows is a problem:
an API server drops it silently from custom resources, and what was meant by it with it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError

from manifests import Object, Rendered

# The oldest and the newest Kubernetes that deploy/ is for; deploy/README.md names the same.
OLDEST, NEWEST = "1.29", "1.37"

CRDS = Path(__file__).parent / "crds"


def problems(rendered: Rendered) -> list[str]:
    """What the APIs would refuse or drop, over all objects."""
    found = []
    for one in rendered.objects:
        found += [f"{rendered.where(one)}: {problem}" for problem in object_problems(one)]
    return found


def object_problems(one: Object) -> list[str]:
    return list(_object_problems(json.dumps(one, sort_keys=True)))


@functools.cache
def _object_problems(text: str) -> tuple[str, ...]:
    """Judged once for each different object: most combinations share most of theirs."""
    one = json.loads(text)
    if is_core(one["apiVersion"]):
        return tuple(problem for version in (OLDEST, NEWEST) for problem in core_problems(one, version))
    return tuple(custom_problems(one))


def is_core(api_version: str) -> bool:
    """Whether Kubernetes itself serves this API; its groups have no dot, or end in k8s.io."""
    group = api_version.rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def core_problems(one: Object, version: str) -> list[str]:
    """What Kubernetes of this version would refuse, with `--validate=strict`."""
    try:
        judged_by = kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{_path(error)}: {error.message} (Kubernetes {version})"]
    except SchemaNotFoundError as error:
        return [f"{error.message}; is apiVersion {one['apiVersion']} right?"]
    # The package falls back to an older version if it lacks this one.
    if judged_by != version:
        raise AssertionError(f"kubernetes-validate has no schemas of Kubernetes {version}, but of {judged_by}")
    return []


def custom_problems(one: Object) -> list[str]:
    """What the project's CustomResourceDefinition would refuse or drop."""
    kind, api_version = one["kind"], one["apiVersion"]
    schema = custom_schemas().get((api_version, kind))
    if schema is None:
        known = ", ".join(sorted(" ".join(name) for name in custom_schemas()))
        return [f"no schema of {api_version} {kind} in tests/deploy/crds, which has {known}; see its README.md"]
    body = {key: value for key, value in one.items() if key not in ("apiVersion", "kind", "metadata")}
    found = [f"{_path(error)}: {error.message}" for error in validator(schema).iter_errors(body)]
    # Kubernetes judges the metadata of every kind alike.
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": one["metadata"]}
    return sorted(found) + core_problems(plain, NEWEST)


@functools.cache
def custom_schemas() -> dict[tuple[str, str], Object]:
    """The schemas in crds/, by apiVersion and kind."""
    files = [json.loads(path.read_text()) for path in sorted(CRDS.glob("*.json"))]
    return {(one["apiVersion"], one["kind"]): one["schema"] for one in files}


def validator(schema: Object) -> jsonschema.Validator:
    """A validator that judges as an API server would, and takes what would be dropped as a mistake."""
    return _Validator(closed(schema))


def closed(schema: Any) -> Any:
    """A structural schema in which unknown fields are refused rather than dropped.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
    """
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {name: closed(one) for name, one in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if name in schema:
            result[name] = closed(schema[name])
    kept = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if schema.get("type") == "object" and "additionalProperties" not in schema and not kept:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in result:
        kinds = result["type"] if isinstance(result["type"], list) else [result["type"]]
        result["type"] = [*kinds, "null"]
    return result


def _no_doubles(_: Any, list_type: str, instance: Any, schema: Object) -> Any:
    """Entries of a `set`, and the keys of a `map`, stand once: an API server refuses doubles."""
    if list_type not in ("set", "map") or not isinstance(instance, list):
        return
    names = schema.get("x-kubernetes-list-map-keys", [])
    keys = [[one.get(name) for name in names] if names and isinstance(one, dict) else one for one in instance]
    for at, key in enumerate(keys):
        if key in keys[:at]:
            yield jsonschema.ValidationError(f"{key!r} stands twice in a list of type {list_type}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"x-kubernetes-list-type": _no_doubles})


def _path(error: jsonschema.ValidationError) -> str:
    return ".".join(str(step) for step in error.absolute_path) or "object"
