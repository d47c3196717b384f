"""Are the scripts, the Dockerfile and the pages sound, and what verify.sh would put into a cluster too?"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import documents
import manifests
import pod_security
import schemas
from manifests import DEPLOY, ROOT, Object


def shell_scripts() -> list[Path]:
    """Every shell script that git has or would have: by its name, or by its first line."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    paths = [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name]
    return [path for path in paths if path.is_file() and _is_shell(path)]


def _is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(200)
    return path.suffix == ".sh" or bool(re.match(rb"#!.*\b(ba|da)?sh\b", first))


def lint(*command: object) -> str:
    """What a linter has against its files; nothing if they are sound."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr if done.returncode else ""


def shellcheck(*paths: Path) -> str:
    program = shutil.which("shellcheck")
    if program is None:
        raise FileNotFoundError("shellcheck: run tests/peers.sh")
    return lint(program, "--severity=style", *paths)


def hadolint(path: Path) -> str:
    return lint(manifests.tool("hadolint"), "--failure-threshold", "style", path)


def verify_objects() -> list[Object]:
    """The objects that verify.sh writes out itself, with sample values in place of its variables."""
    text = (DEPLOY / "verify.sh").read_text()
    found = []
    for body in re.findall(r"<<YAML\b.*?\n(.*?)^YAML$", text, flags=re.MULTILINE | re.DOTALL):
        variables = sorted(set(re.findall(r"\$\{?(\w+)", body)))
        # Lists that the script quotes itself stay lists.
        values = {name: '"sample", ' if name == "arguments" else "sample" for name in variables}
        script = "set -eu\ncat <<YAML\n" + body + "YAML\n"
        done = subprocess.run(
            ["bash", "-c", script], env=values | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30
        )
        if done.returncode != 0:
            raise AssertionError(f"deploy/verify.sh: a document of it does not expand: {done.stderr}")
        found += manifests.strict_yaml(done.stdout)
    return found


class Scripts(unittest.TestCase):
    maxDiff = None

    def test_every_shell_script_is_sound(self) -> None:
        scripts = shell_scripts()
        names = {str(path.relative_to(ROOT)) for path in scripts}
        self.assertLessEqual({".ci/run", "tests/peers.sh", "deploy/verify.sh"}, names)
        self.assertEqual(shellcheck(*scripts), "")

    def test_an_unsound_script_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bad.sh"
            path.write_text("#!/usr/bin/env bash\nrm -r $1/*\n")
            self.assertTrue(_is_shell(path))
            self.assertIn("SC2086", shellcheck(path))

    def test_the_dockerfile_is_sound(self) -> None:
        self.assertEqual(hadolint(ROOT / "Dockerfile"), "")

    def test_an_unsound_dockerfile_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "Dockerfile"
            path.write_text("FROM debian:latest\nRUN cd /tmp\n")
            self.assertIn("DL3007", hadolint(path))

    def test_the_image_is_as_the_manifests_take_it_to_be(self) -> None:
        """The user, the path of the binary in probes, and the version in the image's name."""
        last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
        self.assertRegex(last_stage, r"(?m)^USER 65532:65532$")
        self.assertRegex(last_stage, r'(?m)^ENTRYPOINT \["/portcullis"\]$')
        (version,) = re.findall(r'(?m)^version = "(.*)"$', (ROOT / "Cargo.toml").read_text())
        gates = [pod.gate() for rendered in manifests.all_rendered() for pod in rendered.pods()]
        images = {one["image"] for one in gates if one is not None}
        self.assertEqual(images, {f"ghcr.io/portcullis/portcullis:{version}"})


class Verify(unittest.TestCase):
    maxDiff = None

    def test_what_verify_makes_is_valid_and_restricted(self) -> None:
        made = verify_objects()
        self.assertEqual(sorted(one["kind"] for one in made), ["Job", "Namespace"])
        for one in made:
            with self.subTest(kind=one["kind"]):
                self.assertEqual(schemas.object_problems(one), [])
                template = manifests.pod_template(one)
                if template is not None:
                    self.assertEqual(list(map(str, pod_security.violations(template))), [])


class Pages(unittest.TestCase):
    maxDiff = None

    def test_what_the_pages_show_exists(self) -> None:
        for path in [DEPLOY / "README.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            with self.subTest(page=str(path.relative_to(ROOT))):
                self.assertEqual(documents.problems(path), [])

    def test_each_mistake_in_a_page_is_found(self) -> None:
        mistakes = [
            ("see [this](no-such-page.md)", "link to no-such-page.md"),
            ("apply `deploy/overlays/no-such-overlay`", "deploy/overlays/no-such-overlay: no such"),
            ("it listens on 54889", "port 54889"),
            ("```sh\nkubectl -n portculis get pods\n```", "namespace portculis"),
            ("```sh\nkubectl -n portcullis logs \\\n  daemonset/gate\n```", "daemonset/gate"),
            ("```sh\nkubectl create secret generic portcullis-certs\n```", "Secret portcullis-certs"),
            ("```sh\nportcullis serv\n```", "no such command"),
            ("```console\n$ portcullis serv\nserv is not a command\n```", "portcullis serv: there is no such command"),
            ("```sh\nkubectl exec pod -- /portcullis prob\n```", "portcullis prob: there is no such command"),
            ("```sh\nportcullis serve --alow-dns x\n```", "no flag --alow-dns"),
            ("```sh\nportcullis pki issue client x --dsn y\n```", "no flag --dsn"),
            ("```yaml\na: [\n```", "does not parse"),
            (
                "```yaml\nkind: Kustomization\nresources: [x/deploy/overlays/none?ref=v1]\n```",
                "no deploy/overlays/none",
            ),
            ("```yaml\napiVersion: v1\nkind: ConfigMap\ndatas: {}\n```", "datas"),
        ]
        for text, words in mistakes:
            with self.subTest(text=text):
                self.assertIn(words, "\n".join(documents.problems(DEPLOY / "README.md", text)))


if __name__ == "__main__":
    unittest.main()
