"""Runs the gate's binary on a pod's files, laid out as the kubelet would.

What goes in: a pod of deploy/. What comes out: what `portcullis check` and `portcullis explain` say of it, at the very
paths that the pod mounts. Names no setting of the gate: the pod's own arguments and files do.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from manifests import ROOT, Object, Pod

# https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
DOWNWARD = {"status.hostIP": "192.0.2.7", "status.podIP": "198.51.100.7", "spec.nodeName": "node-7"}

CSI_DRIVER = "csi.cert-manager.io"
CSI_FILES = {"certificate-file": "tls.crt", "privatekey-file": "tls.key", "ca-file": "ca.crt"}


def binary() -> Path:
    path = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "portcullis"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: build it with `cargo build`")
    return path


def run(*arguments: object, cwd: Path | None = None) -> str:
    done = subprocess.run([binary(), *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=cwd)
    if done.returncode != 0:
        raise AssertionError(f"portcullis {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr}")
    return done.stdout


@functools.cache
def defaults() -> dict[str, str]:
    """The defaults of `portcullis serve`, by flag, as its manual page says them."""
    found, flag = {}, None
    for line in run("serve", "--help").splitlines():
        if named := re.match(r" {2,6}(--[a-z-]+)", line):
            flag = named[1]
        elif (default := re.match(r" +\[default: (.*)\]$", line)) and flag:
            found[flag] = default[1]
    return found


class Pki:
    """A CA, certificates of gates and of clients by their DNS names; made with the gate's own `pki`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="portcullis-pki-")
        run("pki", "init", "--dir", self._folder.name)

    def issue(self, purpose: str, names: tuple[str, ...]) -> Path:
        """The folder with tls.crt, tls.key and ca.crt."""
        folder = Path(self._folder.name) / f"{purpose}-{'+'.join(names)}"
        if not folder.exists():
            flags = [flag for name in names for flag in ("--dns", name)]
            run("pki", "issue", "--dir", self._folder.name, purpose, folder.name, *flags)
        return folder


@functools.cache
def pki() -> Pki:
    return Pki()


def check(pod: Pod, server_names: tuple[str, ...]) -> list[str]:
    """What `portcullis check` has against the pod: why it would not serve, and what it warns of."""
    done = _in_pod(pod, server_names, "check")
    if done.returncode != 0:
        return [f"portcullis check: {done.stderr.strip()}"]
    warnings = re.split(r"^Warnings: .*$", done.stdout, flags=re.MULTILINE)
    said = re.findall(r"^  - (.*(?:\n    .*)*)", warnings[1], flags=re.MULTILINE) if len(warnings) > 1 else []
    # Ephemeral ports are a matter of the machine that the test runs on, not of the pod.
    said = [one for one in (" ".join(one.split()) for one in said) if "net.ipv4.ip_local_port_range" not in one]
    return ["portcullis check warns: " + one for one in said]


def admitted(pod: Pod, server_names: tuple[str, ...], client_names: tuple[str, ...]) -> dict[str, bool]:
    """For each route whether a client with these DNS names is let in, as `portcullis explain` has it."""
    client = pki().issue("client", client_names) / "tls.crt"
    done = _in_pod(pod, server_names, "explain", "--client-cert", str(client))
    if done.returncode not in (0, 3):
        raise AssertionError(f"{pod.where()}: portcullis explain: exit {done.returncode}: {done.stderr}")
    verdicts = re.findall(r"^Route (\S+) at .*\n  verdict +(.*)$", done.stdout, flags=re.MULTILINE)
    return {route: verdict == "let in" for route, verdict in verdicts}


def _in_pod(pod: Pod, server_names: tuple[str, ...], command: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs another command of the gate with the arguments, variables and files that the pod gives to `serve`."""
    container = pod.gate()
    if container is None:
        raise AssertionError(f"{pod.where()}: no container with the argument serve")
    files = {}
    for volume in pod.spec.get("volumes", []):
        files[volume["name"]] = volume_files(pod, volume, server_names)
    mounts = [(one["mountPath"], *files.get(one["name"], ({}, 0))) for one in container.get("volumeMounts", [])]
    arguments = [command, *container["args"][1:], *more]
    return _run_mounted(json.dumps([mounts, environment(container), arguments]))


@functools.cache
def _run_mounted(text: str) -> subprocess.CompletedProcess[str]:
    """Once for each different pod: most combinations have the same."""
    mounts, variables, arguments = json.loads(text)
    with tempfile.TemporaryDirectory(prefix="portcullis-pod-") as folder:
        for mount_path, files, mode in mounts:
            if not mount_path.startswith("/etc/"):
                raise AssertionError(f"mountPath {mount_path}: only /etc is stood in for; extend _run_mounted")
            _mount(Path(folder) / mount_path.lstrip("/"), files, mode)
        (Path(folder) / "etc").mkdir(exist_ok=True)
        # In a mount namespace of its own, so that the files stand at the very paths that the pod has.
        script = 'mount --bind "$1" /etc && shift && exec "$@"'
        wrap = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", f"{folder}/etc"]
        path = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
        return subprocess.run(
            [*wrap, str(binary()), *arguments], capture_output=True, text=True, timeout=60, env=path | variables
        )


def _mount(folder: Path, files: dict[str, str], mode: int) -> None:
    """A volume as the kubelet lays it out: a folder that it swaps as a whole, behind links."""
    now = folder / "..2026_01_02_03_04_05.6"
    now.mkdir(parents=True)
    (folder / "..data").symlink_to(now.name)
    for name, text in files.items():
        (now / name).write_text(text)
        (now / name).chmod(mode)
        (folder / name).symlink_to(f"..data/{name}")


def environment(container: Object) -> dict[str, str]:
    found = {}
    for one in container.get("env", []):
        path = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        found[one["name"]] = DOWNWARD[path] if path else one["value"]
    return found


def volume_files(pod: Pod, volume: Object, server_names: tuple[str, ...]) -> tuple[dict[str, str], int]:
    """The files of a volume and their mode: of a ConfigMap, a Secret, or cert-manager's driver."""
    issued = {one: (pki().issue("server", server_names) / one).read_text() for one in CSI_FILES.values()}
    if "configMap" in volume:
        source = volume["configMap"]
        config_map = pod.rendered.get("ConfigMap", source["name"], pod.namespace)
        return _items(source, (config_map or {}).get("data", {})), source.get("defaultMode", 0o644)
    if "secret" in volume:
        return _items(volume["secret"], issued), volume["secret"].get("defaultMode", 0o644)
    if volume.get("csi", {}).get("driver") == CSI_DRIVER:
        attributes = volume["csi"].get("volumeAttributes", {})
        names = {attributes.get(f"{CSI_DRIVER}/{key}", default): issued[default] for key, default in CSI_FILES.items()}
        return names, 0o440
    return {}, 0


def _items(source: Object, data: dict[str, str]) -> dict[str, str]:
    if "items" not in source:
        return data
    return {one["path"]: data[one["key"]] for one in source["items"] if one["key"] in data}
