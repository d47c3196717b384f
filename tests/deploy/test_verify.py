"""deploy/verify.sh says PASS where all is well, and FAIL at the step that something is wrong with.

It runs against fake_kubectl.py, a cluster of one node that runs the true binary, in a network namespace of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEPLOY = ROOT / "deploy"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "portcullis"
KUBECTL = Path(sys.executable).parent / "kubectl"
NODE_IP = "192.0.2.10"
IMAGE = "ghcr.io/portcullis/portcullis:0.1.0"

APPLY = "apply"
UP = "every gate comes up and is ready"
ANSWERED = "a scrape with Prometheus' certificate is answered"
NO_CERTIFICATE = "a scrape without a certificate is refused"
OTHER_NAME = "a certificate of the right CA with another name is refused"
OTHER_CA = "a certificate of another CA with the right name is refused"
ADMIN = "the admin listener is not reachable from another host"
RENEWED = "a renewed certificate is served, by the same process"
STEPS = [APPLY, UP, ANSWERED, NO_CERTIFICATE, OTHER_NAME, OTHER_CA, ADMIN, RENEWED]


class Verify(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        for program in (BINARY, KUBECTL):
            self.assertTrue(program.exists(), f"{program} is missing: cargo build, or tests/peers.sh for the tools")
        self.cluster = Path(tempfile.mkdtemp(prefix="fake-cluster-"))
        self.addCleanup(shutil.rmtree, self.cluster)
        self.cluster.chmod(0o755)
        self.gate = self.cluster / "portcullis"
        try:
            os.link(BINARY, self.gate)
        except OSError:  # another file system
            shutil.copy(BINARY, self.gate)
        self.images({IMAGE: self.gate, "quay.io/prometheus/node-exporter:v1.9.1": shutil.which("prometheus-node-exporter")})
        self.faults("")
        shim = self.cluster / "bin" / "kubectl"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_kubectl.py"}" "$@"\n')
        shim.chmod(0o755)

    def images(self, store):
        (self.cluster / "images.json").write_text(json.dumps({name: str(path) for name, path in store.items()}))

    def faults(self, words):
        (self.cluster / "faults").write_text(words)

    def objects(self):
        return [tuple(entry["key"]) for entry in json.loads((self.cluster / "objects.json").read_text())]

    def start(self, *arguments, beside="true"):
        environment = {
            **os.environ,
            "PATH": f"{self.cluster / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "FAKE_CLUSTER": str(self.cluster),
            "FAKE_NODE_IP": NODE_IP,
            "FAKE_REAL_KUBECTL": str(KUBECTL),
        }
        alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            alone += ["--user", "--map-root-user"]
        script = f'ip link set lo up; ip address add {NODE_IP}/32 dev lo; {beside} & "$@"'
        command = [*alone, "sh", "-ec", script, "sh", DEPLOY / "verify.sh", "--timeout", "20", *arguments]
        return subprocess.Popen(
            command, env=environment, text=True, start_new_session=True,
            # A shell's background job ignores the signal, and what it starts cannot trap it any more.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def verify(self, *arguments, **options):
        process = self.start(*arguments, **options)
        try:
            self.output, _ = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.output, _ = process.communicate()
            self.fail(f"verify.sh did not end:\n{self.output}")
        return process.returncode

    def verdicts(self):
        lines = self.output.splitlines()
        return {line[6:]: line[:4] for line in lines if line.startswith(("PASS  ", "FAIL  "))}

    def assert_verdicts(self, status, *, wrong=(), steps=STEPS):
        self.assertEqual({step: "FAIL" if step in wrong else "PASS" for step in steps}, self.verdicts(), self.output)
        self.assertEqual(1 if wrong else 0, status, self.output)
        self.assertEqual([], self.objects(), "something was left behind")

    def overlay(self, configuration, base="base"):
        folder = self.cluster / "overlay"
        folder.mkdir()
        up = "../" * len(folder.parts[1:])
        (folder / "portcullis.toml").write_text(configuration)
        (folder / "kustomization.yaml").write_text(
            f"resources: ['{up}{str(DEPLOY / base)[1:]}']\n"
            "generatorOptions: {disableNameSuffixHash: true}\n"
            "configMapGenerator: [{name: portcullis, namespace: portcullis, behavior: replace, files: [portcullis.toml]}]\n"
        )
        return folder

    def test_all_is_well(self):
        self.assert_verdicts(self.verify())

    def test_the_routes_of_kubeadm_on_the_address_of_the_node(self):
        self.assert_verdicts(self.verify("--overlay", DEPLOY / "overlays/kubeadm"))

    def test_the_sidecar(self):
        self.assert_verdicts(self.verify("--overlay", DEPLOY / "overlays/sidecar"))

    def test_another_image_is_run_where_it_is_asked_for(self):
        self.images({"registry.example:5000/gate:local": self.gate})
        self.assert_verdicts(self.verify("--image", "registry.example:5000/gate:local", "--pull-policy", "Never"))

    def test_an_image_that_is_not_on_the_node(self):
        self.images({})
        status = self.verify("--pull-policy", "Never", "--timeout", "2")
        self.assert_verdicts(status, wrong=[UP], steps=[APPLY, UP])
        self.assertIn("ErrImageNeverPull", self.output)

    def test_an_overlay_whose_nodes_do_not_exist(self):
        status = self.verify("--overlay", DEPLOY / "overlays/gke-metadata-server")
        self.assert_verdicts(status, wrong=[UP], steps=[APPLY, UP])
        self.assertIn("nodeSelector", self.output)

    def test_a_configuration_that_the_gate_refuses(self):
        base = (DEPLOY / "base/portcullis.toml").read_text()
        status = self.verify("--overlay", self.overlay(base + "alow_from = []\n"), "--timeout", "3")
        self.assert_verdicts(status, wrong=[UP], steps=[APPLY, UP])
        self.assertIn("alow_from", self.output)

    def test_a_gate_that_admits_everybody_the_ca_knows(self):
        base = (DEPLOY / "base/portcullis.toml").read_text()
        open_gate = base.replace('allow = { dns = ["prometheus.monitoring.svc"] }', "allow_any_client = true")
        self.assertNotEqual(base, open_gate)
        self.assert_verdicts(self.verify("--overlay", self.overlay(open_gate)), wrong=[OTHER_NAME])

    def test_a_gate_that_knows_another_name(self):
        base = (DEPLOY / "base/portcullis.toml").read_text()
        status = self.verify("--overlay", self.overlay(base.replace("prometheus.", "somebody.")))
        self.assert_verdicts(status, wrong=[ANSWERED, RENEWED])

    def test_a_server_that_asks_nobody_for_a_certificate(self):
        (self.cluster / "metrics").write_text("portcullis_build_info 1\n")
        impostor = self.cluster / "impostor"
        impostor.write_text(
            "#!/bin/sh\ncase $1 in\n"
            f"  serve) cd {self.cluster}; exec openssl s_server -quiet -accept 54901 -WWW \\\n"
            "    -cert /etc/portcullis/tls/tls.crt -key /etc/portcullis/tls/tls.key ;;\n"
            f'  probe) ;;\n  *) exec {self.gate} "$@" ;;\nesac\n'
        )
        impostor.chmod(0o755)
        self.images({IMAGE: impostor})
        status = self.verify("--timeout", "3")
        self.assert_verdicts(status, wrong=[NO_CERTIFICATE, OTHER_NAME, OTHER_CA, RENEWED])

    def test_an_admin_listener_that_strangers_reach(self):
        beside = f'"{sys.executable}" -m http.server 54900 --bind {NODE_IP} >/dev/null 2>&1'
        self.assert_verdicts(self.verify(beside=beside), wrong=[ADMIN])

    def test_a_renewal_that_never_arrives(self):
        self.faults("stuck")
        status = self.verify("--timeout", "3")
        self.assert_verdicts(status, wrong=[RENEWED])
        self.assertIn("was not served within 3s", self.output)

    def test_a_renewal_that_takes_a_restart(self):
        self.faults("restart")
        self.assert_verdicts(self.verify(), wrong=[RENEWED])
        self.assertIn("restarted", self.output)

    def test_a_namespace_that_exists_is_not_touched(self):
        theirs = ["Namespace", "", "portcullis-verify"]
        before = [{"key": theirs, "object": {"kind": "Namespace", "metadata": {"name": "portcullis-verify"}}}]
        (self.cluster / "objects.json").write_text(json.dumps(before))
        self.assertEqual(2, self.verify(), self.output)
        self.assertEqual(before, json.loads((self.cluster / "objects.json").read_text()))
        self.assertIn("never touched", self.output)

    def test_interrupted_it_cleans_up(self):
        process = self.start()
        while not (line := process.stdout.readline()).startswith("PASS  " + UP):
            self.assertTrue(line, "verify.sh ended early")
        while '"Job"' not in (self.cluster / "objects.json").read_text():
            self.assertIsNone(process.poll(), "verify.sh ended early")
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        self.output, _ = process.communicate(timeout=60)
        self.assertEqual(130, process.returncode, self.output)
        self.assertEqual([], self.objects(), self.output)

    def test_what_is_kept_can_be_looked_at(self):
        self.assertEqual(0, self.verify("--keep"), self.output)
        self.assertIn(("Namespace", "", "portcullis-verify"), self.objects())
        self.assertIn("kubectl delete namespace portcullis-verify", self.output)

    def test_mistakes_on_the_command_line_try_nothing(self):
        for arguments in (["--overlay", "/nowhere"], ["--timeout", "soon"], ["--pull-policy", "never"], ["--image"], ["--all"]):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.verify(*arguments), self.output)
                self.assertIn("verify.sh: ", self.output)
                self.assertFalse((self.cluster / "objects.json").exists())


if __name__ == "__main__":
    unittest.main()
