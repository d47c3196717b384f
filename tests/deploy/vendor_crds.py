"""Writes crds/: what CustomResourceDefinitions say of the fields that deploy/ uses.

    .peers/venv/bin/python tests/deploy/vendor_crds.py PROJECT VERSION URL CRD.yaml...

For each CRD whose kind deploy/ has, every object of it is judged by the whole CRD first; a mistake ends the run. Then
the facts of the fields that deploy/ uses are written: names, types, bounds; no prose and nothing else of the file. So a
file is small, and a field that is new to deploy/ is a problem until it has been looked up in the project's CRD, here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import manifests
import schemas
from manifests import Object

PROSE = {"description", "example", "externalDocs", "title", "default"}
# Rules in CEL, which nothing here can evaluate.
PROSE.add("x-kubernetes-validations")


def used(schema: Object, instances: list[Any]) -> Object:
    """What a structural schema says of the fields that these instances have, and of those that it requires."""
    left_out = PROSE | {"properties", "items"}
    result = {key: value for key, value in schema.items() if key not in left_out and value != []}
    if "properties" in schema:
        result["properties"] = {
            name: used(one, [instance[name] for instance in instances if name in instance])
            for name, one in sorted(schema["properties"].items())
            if name in schema.get("required", []) or any(name in instance for instance in instances)
        }
    if "items" in schema:
        result["items"] = used(schema["items"], [one for instance in instances for one in instance])
    if isinstance(schema.get("additionalProperties"), dict):
        values = [value for instance in instances for value in instance.values()]
        result["additionalProperties"] = used(schema["additionalProperties"], values)
    return result


def objects(api_version: str, kind: str) -> list[Object]:
    """Every object of this kind in deploy/, without what is the same for all kinds."""
    found = [
        {key: value for key, value in one.items() if key not in ("apiVersion", "kind", "metadata")}
        for rendered in manifests.all_rendered()
        for one in rendered.kind(kind)
        if one["apiVersion"] == api_version
    ]
    return [json.loads(text) for text in sorted({json.dumps(one, sort_keys=True) for one in found})]


def main(project: str, version: str, url: str, *files: str) -> None:
    for name in files:
        for crd in manifests.strict_yaml(Path(name).read_text()):
            group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
            for served in crd["spec"]["versions"]:
                schema = served["schema"]["openAPIV3Schema"]
                whole = {key: value for key, value in schema.items() if key != "properties"}
                top = {"apiVersion", "kind", "metadata"}
                whole["properties"] = {key: one for key, one in schema["properties"].items() if key not in top}
                whole["required"] = [one for one in schema.get("required", []) if one not in top]
                api_version = f"{group}/{served['name']}"
                instances = objects(api_version, kind)
                if not instances:
                    print(f"{name}: deploy/ has no {api_version} {kind}")
                    continue
                for one in instances:
                    for error in schemas.validator(whole).iter_errors(one):
                        path = ".".join(map(str, error.absolute_path))
                        raise SystemExit(f"{api_version} {kind}: {path}: {error.message} ({project} {version})")
                facts = {
                    "project": project,
                    "version": version,
                    "url": url,
                    "apiVersion": api_version,
                    "kind": kind,
                    "scope": crd["spec"]["scope"],
                    "schema": used(whole, instances),
                }
                target = schemas.CRDS / f"{kind.lower()}.{group}.json"
                target.write_text(json.dumps(facts, separators=(",", ":"), sort_keys=False) + "\n")
                print(f"{target.relative_to(manifests.ROOT)}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
