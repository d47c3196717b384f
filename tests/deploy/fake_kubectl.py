"""A cluster of one node, as far as deploy/verify.sh can see: the command line and standard input of kubectl in, its
output and exit status out.

Pods are local processes of the true binaries, with the arguments, the environment, the user and the mounted Secrets and
ConfigMaps that the manifests say; a changed Secret arrives by the kubelet's swap of `..data`. What it does not know, an
object or a flag, is an error, so that verify.sh cannot lean on what no cluster has. It wants a network namespace and a
mount namespace of its own (test_verify.py makes them), and keeps its state in the folder $FAKE_CLUSTER:

  images.json   image name -> program, the node's own image store
  faults        words for what goes wrong: stuck (no Secret is ever updated), restart (the gate is restarted when one is)
"""

import argparse
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

CLUSTER = Path(os.environ["FAKE_CLUSTER"])
NODE_IP = os.environ["FAKE_NODE_IP"]
NODE_LABELS = {"kubernetes.io/os": "linux"}
OBJECTS = CLUSTER / "objects.json"
CLUSTER_SCOPED = {"Namespace"}
NAMESPACED = {"ConfigMap", "DaemonSet", "Deployment", "Job", "ResourceQuota", "Secret", "ServiceAccount"}


class Refused(Exception):
    """What kubectl would print, to exit 1."""


# --- The store: (kind, namespace, name) -> object


def load():
    return {tuple(entry["key"]): entry["object"] for entry in json.loads(OBJECTS.read_text())} if OBJECTS.exists() else {}


def save(objects):
    OBJECTS.write_text(json.dumps([{"key": list(key), "object": value} for key, value in objects.items()]))


def key_of(document):
    kind, metadata = document["kind"], document["metadata"]
    if kind in CLUSTER_SCOPED:
        return kind, "", metadata["name"]
    if kind not in NAMESPACED:
        raise Refused(f'no matches for kind "{kind}" in version "{document["apiVersion"]}"')
    return kind, metadata["namespace"], metadata["name"]


def admit(objects, document):
    kind, namespace, name = key = key_of(document)
    if namespace and ("Namespace", "", namespace) not in objects:
        raise Refused(f'Error from server (NotFound): namespaces "{namespace}" not found')
    return key


def documents():
    import yaml

    return [document for document in yaml.safe_load_all(sys.stdin) if document]


def create(objects):
    for document in documents():
        key = admit(objects, document)
        if key in objects:
            raise Refused(f'Error from server (AlreadyExists): "{key[2]}" already exists')
        objects[key] = document
        if document["kind"] == "Job":
            start(objects, document, f"{key[2]}-pod")


def apply(objects):
    changed = []
    for document in documents():
        key = admit(objects, document)
        before = objects.get(key)
        if before and document["kind"] == "Namespace":
            merged = {**before["metadata"].get("annotations", {}), **document["metadata"].get("annotations", {})}
            document["metadata"]["annotations"] = merged
        objects[key] = document
        if before and document["kind"] in ("Secret", "ConfigMap") and before != document:
            changed.append(key)
    for document in list(objects.values()):
        if document["kind"] in ("DaemonSet", "Deployment") and "fake" not in document:
            selector = document["spec"]["template"]["spec"].get("nodeSelector", {})
            document["fake"] = {}
            if selector.items() <= NODE_LABELS.items():
                start(objects, document, f"{document['metadata']['name']}-pod")
    for key in changed:
        kubelet_updates(objects, key)


# --- The kubelet


def data_of(document):
    plain = {name: text.encode() for name, text in document.get("data", {}).items()}
    return {name: base64.b64decode(value) for name, value in plain.items()} if document["kind"] == "Secret" else plain


def write_volume(folder, document, mode, group):
    """In the layout of the kubelet: file -> ..data/file -> ..<generation>/file, swapped by one rename."""
    folder.mkdir(parents=True, exist_ok=True)
    generation = folder / f"..{uuid.uuid4().hex}"
    generation.mkdir()
    for name, content in data_of(document).items():
        path = generation / name
        path.write_bytes(content)
        path.chmod(mode)
        if may_change_user():
            os.chown(path, 0, group)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    fresh = folder / "..data_tmp"
    fresh.symlink_to(generation.name)
    fresh.rename(folder / "..data")


def volumes(pod):
    for volume in pod["spec"].get("volumes", []):
        if "secret" in volume:
            source, key = volume["secret"], ("Secret", pod["namespace"], volume["secret"]["secretName"])
        elif "configMap" in volume:
            source, key = volume["configMap"], ("ConfigMap", pod["namespace"], volume["configMap"]["name"])
        else:
            raise Refused(f"the fake knows no volume like {volume}")
        yield volume["name"], key, source.get("defaultMode", 0o644)


def folder_of(pod, volume):
    return CLUSTER / "volumes" / pod["name"] / volume


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def may_change_user():
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 65536


def start(objects, owner, name):
    template = owner["spec"]["template"]
    namespace = owner["metadata"]["namespace"]
    pod = {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"], "spec": template["spec"]}
    pod.update(uid=uuid.uuid4().hex, restarts=0, waiting=None)
    owner["fake"] = pod
    group = template["spec"]["securityContext"]["fsGroup"]
    for volume, key, mode in volumes(pod):
        if key not in objects:
            pod["waiting"] = f'MountVolume.SetUp failed: {key[0]} "{key[2]}" not found'
            return
        write_volume(folder_of(pod, volume), objects[key], mode, group)
    store = json.loads((CLUSTER / "images.json").read_text())
    for container in containers(pod):
        if container["image"] not in store:
            never = container["imagePullPolicy"] == "Never"
            pod["waiting"] = f'{"ErrImageNeverPull" if never else "ErrImagePull"}: no image "{container["image"]}" here'
            return
    for container in containers(pod):
        run(pod, container, store[container["image"]])


def run(pod, container, program):
    """Starts it with its mounts in place, and a waiter that writes its exit status."""
    environment = {"PATH": os.environ["PATH"]}
    for variable in container.get("env", []):
        if variable.get("valueFrom") != {"fieldRef": {"fieldPath": "status.hostIP"}}:
            raise Refused(f"the fake knows no variable like {variable}")
        environment[variable["name"]] = NODE_IP
    mounts = "".join(
        f"mkdir -p {mount['mountPath']}; mount --bind {folder_of(pod, mount['name'])} {mount['mountPath']}; "
        for mount in container.get("volumeMounts", [])
    )
    context = {**pod["spec"]["securityContext"], **container["securityContext"]}
    user, group = context["runAsUser"], context["runAsGroup"]
    become = f"setpriv --reuid {user} --regid {group} --groups {context['fsGroup']} --no-new-privs --bounding-set -all --inh-caps -all "
    command = ["sh", "-ec", f'mount -t tmpfs none /etc; {mounts}exec {become if may_change_user() else ""}"$@"', "sh", program]
    base = str(CLUSTER / f"{pod['name']}.{container['name']}")
    waiter = subprocess.Popen(
        ["sh", "-c", 'base=$1; shift; "$@" >"$base.log" 2>&1 & echo $! >"$base.pid"; wait $!; echo $? >"$base.rc"', "sh", base]
        + ["unshare", "--mount", *command, *container.get("args", [])],
        env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    if pod["spec"].get("restartPolicy") == "Never":
        try:
            waiter.wait(2)
        except subprocess.TimeoutExpired:
            pass  # `get job` looks again


def read(pod, container, suffix):
    path = CLUSTER / f"{pod['name']}.{container}.{suffix}"
    return path.read_text().strip() if path.exists() else ""


def stop(pod):
    for container in containers(pod):
        pid = read(pod, container["name"], "pid")
        if pid and not read(pod, container["name"], "rc"):
            os.kill(int(pid), signal.SIGKILL)
            wait_for(lambda: read(pod, container["name"], "rc"), 10)


def kubelet_updates(objects, changed):
    faults = (CLUSTER / "faults").read_text().split()
    for owner in objects.values():
        pod = owner.get("fake")
        if not pod or owner["kind"] == "Job":
            continue
        for volume, key, mode in volumes(pod):
            if key != changed or "stuck" in faults:
                continue
            write_volume(folder_of(pod, volume), objects[key], mode, pod["spec"]["securityContext"]["fsGroup"])
            if "restart" in faults:
                stop(pod)
                store = json.loads((CLUSTER / "images.json").read_text())
                for container in containers(pod):
                    (CLUSTER / f"{pod['name']}.{container['name']}.rc").unlink(missing_ok=True)
                    run(pod, container, store[container["image"]])
                pod["restarts"] += 1


def ready(pod):
    """By the readiness probe, where there is one: that command, run."""
    store = json.loads((CLUSTER / "images.json").read_text())
    for container in containers(pod):
        if pod["waiting"] or read(pod, container["name"], "rc"):
            return False
        probe = container.get("readinessProbe")
        if probe and subprocess.run([store[container["image"]], *probe["exec"]["command"][1:]], capture_output=True).returncode:
            return False
    return True


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


# --- What get shows


def shown_pod(pod):
    def statuses(group):
        waiting = {"waiting": {"reason": pod["waiting"]}} if pod["waiting"] else {}
        return [{"name": c["name"], "restartCount": pod["restarts"], "state": waiting} for c in pod["spec"].get(group, [])]

    return {
        "metadata": {"name": pod["name"], "uid": pod["uid"], "labels": pod["labels"]},
        "spec": pod["spec"],
        "status": {
            "phase": "Pending" if pod["waiting"] else "Running",
            "podIP": NODE_IP,
            "containerStatuses": statuses("containers"),
            "initContainerStatuses": statuses("initContainers"),
        },
    }


def shown_job(job):
    status = read(job["fake"], "scrape", "rc")
    return {"status": {"succeeded": 1} if status == "0" else {"failed": 1} if status else {}}


def fields(value, path):
    """JSONPath as kubectl has it, as far as it is needed: .name, [0], [*], [?(@.name=="x")]."""
    found = [value]
    for name, index, wanted in re.findall(r'\.([\w-]+)|\[(\d+|\*)\]|\[\?\(@\.name=="([\w-]+)"\)\]', path):
        if name:
            found = [item[name] for item in found if name in item]
        elif index == "*":
            found = [inner for item in found for inner in item]
        elif index:
            if any(int(index) >= len(item) for item in found):
                raise Refused("error: error executing jsonpath: array index out of bounds")
            found = [item[int(index)] for item in found]
        else:
            found = [inner for item in found for inner in item if inner.get("name") == wanted]
    return found


def jsonpath(template, value):
    loop = re.fullmatch(r"\{range (.*?)\}(.*)\{end\}", template)
    if loop:
        return "".join(jsonpath(loop[2], item) for item in fields(value, loop[1]))
    out = ""
    for expression, literal in re.findall(r"\{(.*?)\}|([^{]+)", template):
        if expression.startswith('"'):
            out += json.loads(expression)
        else:
            out += literal + (" ".join(str(item) for item in fields(value, expression)) if expression else "")
    return out


# --- The command line


def owners(objects, namespace):
    return [o for key, o in objects.items() if key[1] == namespace and o.get("fake")]


def get(objects, options):
    if options.what == "namespace":
        namespace = objects.get(("Namespace", "", options.name))
        if namespace is None:
            if options.ignore_not_found:
                return ""
            raise Refused(f'Error from server (NotFound): namespaces "{options.name}" not found')
        value = namespace
    elif options.what == "job":
        value = shown_job(objects["Job", options.namespace, options.name])
    elif options.what == "pods":
        wanted = dict(pair.split("=") for pair in options.selector.split(","))
        pods = [owner["fake"] for owner in owners(objects, options.namespace)]
        value = {"items": [shown_pod(pod) for pod in pods if wanted.items() <= pod["labels"].items()]}
    elif options.what == "events":
        value = {"items": []}
    else:
        raise Refused(f'error: the server doesn\'t have a resource type "{options.what}"')
    return jsonpath(options.output.removeprefix("jsonpath="), value)


def workload(objects, options):
    kind, name = options.what.split("/")
    kinds = {"daemonset": "DaemonSet", "deployment": "Deployment", "job": "Job"}
    return objects[kinds[kind], options.namespace, name]


def rollout(objects, options):
    owner = workload(objects, options)
    pod = owner["fake"]
    if pod and not wait_for(lambda: ready(pod), float(options.timeout.removesuffix("s"))):
        raise Refused("error: timed out waiting for the condition")
    return "successfully rolled out\n"


def logs(objects, options):
    pod = workload(objects, options)["fake"]
    return read(pod, options.container or pod["spec"]["containers"][0]["name"], "log") + "\n"


def delete(objects, options):
    if ("Namespace", "", options.name) not in objects:
        raise Refused(f'Error from server (NotFound): namespaces "{options.name}" not found')
    for owner in owners(objects, options.name):
        stop(owner["fake"])
    for key in [key for key in objects if options.name in (key[1], key[2] if key[0] == "Namespace" else None)]:
        del objects[key]
    return f'namespace "{options.name}" deleted\n'


def parse(arguments):
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    parser.add_argument("--namespace")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("config").add_argument("what", choices=["current-context"])
    commands.add_parser("create").add_argument("-f", choices=["-"], required=True)
    command = commands.add_parser("apply")
    command.add_argument("-f", choices=["-"], required=True)
    command.add_argument("--server-side", action="store_true", required=True)
    command.add_argument("--field-manager", required=True)
    command = commands.add_parser("get")
    command.add_argument("what")
    command.add_argument("name", nargs="?")
    command.add_argument("-l", dest="selector")
    command.add_argument("-o", dest="output", required=True)
    command.add_argument("--ignore-not-found", action="store_true")
    command.add_argument("--field-selector")
    command = commands.add_parser("rollout")
    command.add_argument("verb", choices=["status"])
    command.add_argument("what")
    command.add_argument("--timeout", required=True)
    command = commands.add_parser("logs")
    command.add_argument("what")
    command.add_argument("-c", dest="container")
    command.add_argument("--tail")
    command.add_argument("--previous", action="store_true")
    command = commands.add_parser("delete")
    command.add_argument("what", choices=["namespace"])
    command.add_argument("name")
    command.add_argument("--timeout")
    return parser.parse_args(arguments)


def main():
    os.umask(0o022)  # The caller's is its own affair.
    if sys.argv[1] == "kustomize":
        os.execv(os.environ["FAKE_REAL_KUBECTL"], ["kubectl", *sys.argv[1:]])
    options = parse(sys.argv[1:])
    objects = load()
    commands = {"get": get, "rollout": rollout, "logs": logs, "delete": delete}
    try:
        if options.command == "config":
            print("fake")
        elif options.command in ("create", "apply"):
            {"create": create, "apply": apply}[options.command](objects)
        else:
            sys.stdout.write(commands[options.command](objects, options))
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(1)
    finally:
        save(objects)


if __name__ == "__main__":
    main()
