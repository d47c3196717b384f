"""Do the parts of deploy/ mean the same thing, and the same as the binary?"""

from __future__ import annotations

import copy
import unittest
from collections.abc import Callable

import agreement
import facts
import gate
import manifests
import workloads
from manifests import DEPLOY, Object, Rendered, one_rendered


class Agreement(unittest.TestCase):
    maxDiff = None

    def test_every_combination_agrees_with_itself(self) -> None:
        for rendered in manifests.all_rendered():
            with self.subTest(combination=str(rendered.combination)):
                self.assertEqual(agreement.all_problems(rendered), [])

    def test_the_plain_manifests_agree_with_every_overlay(self) -> None:
        """A Job that a user creates beside the gates: deploy/scrape.yaml."""
        job = manifests.strict_yaml((DEPLOY / "scrape.yaml").read_text())
        for base in manifests.overlays():
            rendered = one_rendered(base)
            self.assertEqual(agreement.all_problems(rendered.changed(lambda one: one.objects.extend(job))), [])

    def test_the_plain_scrape_is_of_a_gate(self) -> None:
        (job,) = manifests.strict_yaml((DEPLOY / "scrape.yaml").read_text())
        (container,) = job["spec"]["template"]["spec"]["containers"]
        gates = [pod.gate() or {} for rendered in manifests.all_rendered() for pod in facts.gates(rendered)]
        self.assertEqual({one["image"] for one in gates}, {container["image"]})
        flags = dict(one.split("=", 1) for one in container["args"] if "=" in one)
        self.assertEqual(flags["--server-name"], *facts.SERVER_NAMES)
        for flag, key in (("--ca", "ca.crt"), ("--cert", "tls.crt"), ("--key", "tls.key")):
            self.assertEqual(flags[flag], f"{container['volumeMounts'][0]['mountPath']}/{key}")
        self.assertIn(int(container["args"][-1].rpartition(":")[2].partition("/")[0]), facts.all_host_ports())

    def test_a_plain_prometheus_finds_the_gates(self) -> None:
        self.assertEqual(agreement.prometheus_problems(_prometheus()), [])

    def test_a_plain_prometheus_and_the_operator_scrape_the_same_jobs(self) -> None:
        """Rules and dashboards go by the job's name, so each job is called the same and finds the same page."""
        plain = {
            (rule["regex"], job["job_name"], job.get("metrics_path", "/metrics"))
            for job in _prometheus()["scrape_configs"]
            for rule in job["relabel_configs"]
            if rule.get("action") == "keep"
        }
        operator = set()
        for one in named(_with("prometheus-operator"), "PodMonitor", "portcullis")["podMetricsEndpoints"]:
            names = [rule["replacement"] for rule in one["relabelings"] if rule.get("targetLabel") == "job"]
            operator |= {(one["port"], name, one.get("path", "/metrics")) for name in names}
        # etcd has a PodMonitor of its own, which finds it where it runs.
        self.assertEqual({one for one in plain if one[0] != "etcd"}, operator)

    def test_the_binary_has_the_defaults_that_the_manifests_rely_on(self) -> None:
        wanted = {
            "--cert": "/etc/portcullis/tls/tls.crt",
            "--key": "/etc/portcullis/tls/tls.key",
            "--client-ca": "/etc/portcullis/tls/ca.crt",
            "--admin": "127.0.0.1:54900",
            "--listen": "0.0.0.0:54899",
            "--target": "127.0.0.1:54898",
        }
        self.assertEqual({flag: gate.defaults().get(flag) for flag in wanted}, wanted)

    def test_the_overlay_for_gke_is_what_the_binary_does_by_default(self) -> None:
        (pod,) = one_rendered("overlays/gke-metadata-server").pods()
        (route,) = [one for one in facts.config(pod)["route"] if one["name"] == "gke-metadata-server"]
        self.assertEqual([route["listen"], route["target"]], [gate.defaults()["--listen"], gate.defaults()["--target"]])

    def test_a_number_is_one_port_everywhere(self) -> None:
        """Gates on nodes may run side by side with policies that know only numbers."""
        names: dict[int, set[str]] = {}
        for rendered in manifests.all_rendered():
            for pod in rendered.pods():
                for port in (pod.gate() or {}).get("ports", []) if pod.spec.get("hostNetwork") else []:
                    names.setdefault(port["containerPort"], set()).add(port["name"])
        self.assertEqual({number: name for number, name in names.items() if len(name) > 1}, {})


def _prometheus() -> Object:
    return manifests.strict_yaml((DEPLOY / "prometheus" / "prometheus.yml").read_text())[0]


def _with(component: str) -> Rendered:
    """A combination that has this component."""
    return next(one for one in manifests.all_rendered() if component in one.combination.components)


# --- Each check finds what it is for


def pod_spec(rendered: Rendered) -> Object:
    return next(rendered.pods()).spec


def gate_container(rendered: Rendered) -> Object:
    return next(rendered.pods()).gate() or {}


def toml(rendered: Rendered, old: str, new: str) -> None:
    data = rendered.the("ConfigMap")["data"]
    data["portcullis.toml"] = data["portcullis.toml"].replace(old, new)


def volume(rendered: Rendered, name: str) -> Object:
    return next(one for one in pod_spec(rendered)["volumes"] if one["name"] == name)


def named(rendered: Rendered, kind: str, name: str) -> Object:
    return (rendered.get(kind, name) or {})["spec"]


def endpoint(rendered: Rendered) -> Object:
    return named(rendered, "PodMonitor", "portcullis")["podMetricsEndpoints"][0]


Change = Callable[[Rendered], object]
GKE, KUBEADM, SIDECAR = "overlays/gke-metadata-server", "overlays/kubeadm", "overlays/sidecar"

# The check, where, the change, and words of the problem that must be found.
MISTAKES: list[tuple[agreement.Check, tuple[str, ...], Change, str]] = [
    (workloads.namespaces, (GKE,), lambda r: r.the("DaemonSet")["metadata"].update(namespace="portculis"), "portculis"),
    (
        workloads.selectors,
        (GKE,),
        lambda r: r.the("DaemonSet")["spec"]["selector"].update(matchLabels={"app": "portcullis"}),
        "does not select its own",
    ),
    (workloads.accounts, (GKE,), lambda r: pod_spec(r).update(serviceAccountName="gate"), "no such ServiceAccount"),
    (workloads.accounts, (GKE,), lambda r: pod_spec(r).update(automountServiceAccountToken=True), "True"),
    (workloads.volumes, (GKE,), lambda r: volume(r, "config")["configMap"].update(name="gate"), "no ConfigMap gate"),
    (workloads.volumes, (GKE,), lambda r: volume(r, "tls")["secret"].update(secretName="tls"), "no Secret tls"),
    (
        workloads.volumes,
        (GKE,),
        lambda r: volume(r, "tls")["secret"].update(items=[{"key": "cert.pem", "path": "tls.crt"}]),
        "no key cert.pem",
    ),
    (workloads.volumes, (GKE,), lambda r: volume(r, "tls").update(name="certs"), "no such volume"),
    (workloads.volumes, (GKE,), lambda r: gate_container(r)["volumeMounts"].pop(), "mounted nowhere"),
    (workloads.volumes, (GKE,), lambda r: gate_container(r)["volumeMounts"][0].update(subPath="x"), "subPath"),
    (workloads.volumes, (GKE,), lambda r: gate_container(r)["volumeMounts"][0].pop("readOnly"), "writable"),
    (
        workloads.volumes,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-server").update(secretName="gate-tls"),
        "no Secret portcullis-tls",
    ),
    (
        workloads.volumes,
        (GKE, "csi-driver"),
        lambda r: volume(r, "tls")["csi"]["volumeAttributes"].update({"csi.cert-manager.io/issuer-name": "ca"}),
        "no such Issuer",
    ),
    (
        workloads.volumes,
        (GKE, "csi-driver"),
        lambda r: volume(r, "tls")["csi"]["volumeAttributes"].update({"csi.cert-manager.io/fs-group": "1"}),
        "fs-group",
    ),
    (
        workloads.probes,
        (GKE,),
        lambda r: gate_container(r)["readinessProbe"]["exec"].update(command=["/portcullis", "probe", "--live"]),
        "--ready",
    ),
    (workloads.probes, (GKE,), lambda r: gate_container(r).update(livenessProbe={"httpGet": {"port": 54900}}), "[]"),
    (workloads.probes, (GKE,), lambda r: gate_container(r).pop("livenessProbe"), "none"),
    (workloads.probes, (GKE,), lambda r: toml(r, "drain_timeout", 'admin = "127.0.0.1:9000"\ndrain_timeout'), "9000"),
    (workloads.lifetimes, (GKE,), lambda r: pod_spec(r).update(terminationGracePeriodSeconds=20), "terminationGrace"),
    (workloads.lifetimes, (SIDECAR,), lambda r: toml(r, 'drain_timeout = "5s"', ""), "drain_timeout 30s"),
    (workloads.resources, (GKE,), lambda r: gate_container(r)["resources"]["limits"].update(cpu="200m"), "200m"),
    (workloads.resources, (GKE,), lambda r: gate_container(r)["resources"]["limits"].update(memory="1Gi"), "1Gi"),
    (workloads.resources, (SIDECAR,), lambda r: gate_container(r)["resources"].pop("requests"), "requests.cpu is None"),
    (workloads.priorities, (GKE,), lambda r: r.objects.remove(r.the("ResourceQuota")), "no ResourceQuota"),
    (workloads.hardening, (GKE,), lambda r: pod_spec(r).pop("enableServiceLinks"), "enableServiceLinks"),
    (
        workloads.hardening,
        (GKE,),
        lambda r: gate_container(r)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem",
    ),
    (workloads.hardening, (GKE,), lambda r: pod_spec(r)["securityContext"].update(fsGroup=0), "[65532, 65532, 0]"),
    (workloads.routes, (GKE,), lambda r: gate_container(r)["ports"][0].update(containerPort=54889), "54889"),
    (workloads.routes, (KUBEADM,), lambda r: toml(r, ":54903", ":54904"), "54904"),
    (workloads.routes, (KUBEADM,), lambda r: gate_container(r)["ports"][0].update(name="etcd"), "two have one name"),
    (workloads.routes, (GKE,), lambda r: toml(r, "127.0.0.1:54900", "127.0.0.1:54990"), "admin listener"),
    (workloads.routes, (GKE,), lambda r: gate_container(r)["volumeMounts"][1].update(mountPath="/etc/tls"), "/etc/tls"),
    (
        workloads.reserved,
        (SIDECAR,),
        lambda r: pod_spec(r)["securityContext"]["sysctls"][0].update(value="54898,54900-54902"),
        "without [54899]",
    ),
    (workloads.served, (GKE,), lambda r: toml(r, "max_handshakes", "max_handshake"), "max_handshake"),
    (workloads.served, (GKE,), lambda r: toml(r, "127.0.0.1:54898", "10.0.0.1:54898"), "10.0.0.1:54898"),
    (workloads.served, (GKE,), lambda r: toml(r, "prometheus.monitoring.svc", "prometheus.svc"), "refuses a client"),
    (
        workloads.served,
        (GKE,),
        lambda r: toml(r, 'allow = { dns = ["prometheus.monitoring.svc"] }', "allow_any_client = true"),
        "allow_any_client",
    ),
    (
        workloads.served,
        (GKE,),
        lambda r: toml(r, '["prometheus.', '["stranger.monitoring.svc", "prometheus.'),
        "admits a",
    ),
    (
        workloads.served,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-client").update(dnsNames=["grafana.monitoring.svc"]),
        "refuses a client",
    ),
    (workloads.served, (GKE,), lambda r: gate_container(r)["args"].append("--listn"), "--listn"),
    (workloads.served, (GKE,), lambda r: gate_container(r)["volumeMounts"][1].update(mountPath="/etc/tls"), "tls.crt"),
    (workloads.served, (GKE,), lambda r: volume(r, "tls")["secret"].pop("defaultMode"), "every user"),
    (workloads.served, (KUBEADM,), lambda r: gate_container(r).pop("env"), "NODE_IP"),
    (
        agreement.certificates,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-server")["issuerRef"].update(name="ca"),
        "there is none",
    ),
    (
        agreement.certificates,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-client").update(secretName="portcullis-tls"),
        "writes too",
    ),
    (
        agreement.certificates,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-server").update(renewBefore="2160h"),
        "not below",
    ),
    (
        agreement.certificates,
        (GKE,),
        lambda r: named(r, "Certificate", "portcullis-client").update(usages=["client auth", "server auth"]),
        "want one auth",
    ),
    (
        agreement.certificates,
        (GKE,),
        lambda r: named(r, "Issuer", "portcullis-ca")["ca"].update(secretName="x"),
        "is x",
    ),
    (
        agreement.certificates,
        (GKE, "cert-manager-cluster-issuer"),
        lambda r: r.kind("Certificate")[0]["metadata"].update(namespace="portcullis"),
        "which no Certificate writes there",
    ),
    (
        agreement.monitors,
        (GKE, "prometheus-operator"),
        lambda r: endpoint(r)["tlsConfig"].update(serverName="portcullis"),
        "serverName is portcullis;",
    ),
    (agreement.monitors, (GKE, "prometheus-operator"), lambda r: endpoint(r).update(port="metrics"), "no gate has it"),
    (agreement.monitors, (GKE, "prometheus-operator"), lambda r: endpoint(r).update(scheme="http"), "TLS only"),
    (
        agreement.monitors,
        (GKE, "prometheus-operator"),
        lambda r: endpoint(r)["tlsConfig"]["keySecret"].update(key="key.pem"),
        "want the key tls.key",
    ),
    (
        agreement.monitors,
        (GKE, "prometheus-operator"),
        lambda r: endpoint(r)["tlsConfig"]["ca"]["secret"].update(name="portcullis-tls"),
        "the client certificates are in",
    ),
    (
        agreement.monitors,
        (GKE, "prometheus-operator"),
        lambda r: named(r, "PodMonitor", "portcullis")["selector"].update(matchLabels={"app": "portcullis"}),
        "selects no pods",
    ),
    (
        agreement.monitors,
        (GKE, "prometheus-operator"),
        lambda r: named(r, "PodMonitor", "portcullis")["podMetricsEndpoints"].pop(1),
        "nobody scrapes",
    ),
    (
        agreement.monitors,
        (KUBEADM, "prometheus-operator-etcd"),
        lambda r: named(r, "PodMonitor", "portcullis-etcd")["podMetricsEndpoints"][0]["relabelings"][0].update(
            replacement="$1:2381"
        ),
        "the gate listens elsewhere",
    ),
    (
        agreement.policies,
        (SIDECAR, "network-policy"),
        lambda r: r.the("NetworkPolicy")["spec"]["podSelector"].update(matchLabels={"app": "portcullis"}),
        "selects no gate",
    ),
    (
        agreement.policies,
        (SIDECAR, "network-policy"),
        lambda r: r.the("NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port=54898),
        "not the gate's",
    ),
    (
        agreement.policies,
        (SIDECAR, "network-policy"),
        lambda r: pod_spec(r).update(hostNetwork=True),
        "undefined for pods",
    ),
    (
        agreement.policies,
        (GKE, "cilium"),
        lambda r: r.the("CiliumClusterwideNetworkPolicy")["spec"]["ingressDeny"][1]["toPorts"][0]["ports"].pop(),
        "gates on nodes listen on",
    ),
    (
        agreement.policies,
        (GKE, "calico"),
        lambda r: r.the("GlobalNetworkPolicy")["spec"]["ingress"][1]["destination"].update(ports=[54899, 54900]),
        "gates on nodes listen on",
    ),
    (
        agreement.rules,
        (GKE, "prometheus-operator"),
        lambda r: r.the("PrometheusRule")["spec"]["groups"][0]["rules"].pop(),
        "operator-rules.sh",
    ),
    (
        agreement.rules,
        (GKE, "prometheus-operator"),
        lambda r: r.the("PrometheusRule")["spec"]["groups"][-1]["rules"][0].update(expr="1"),
        "operator-rules.sh",
    ),
]

# The same for prometheus.yml, where each job is changed.
PROMETHEUS_MISTAKES: list[tuple[Callable[[Object], object], str]] = [
    (lambda job: job.update(scheme="http"), "want https"),
    (lambda job: job["tls_config"].update(server_name="portcullis"), "server_name portcullis;"),
    (lambda job: job["tls_config"].pop("ca_file"), "want ca.crt"),
    (lambda job: job["tls_config"].update(key_file="/etc/prometheus/portcullis/key.pem"), "want ca.crt"),
    (lambda job: job["tls_config"].update(key_file="/etc/prometheus/tls.key"), "one folder"),
    (lambda job: job["relabel_configs"][0].update(regex="metrics"), "keeps the ports ['metrics']"),
    (lambda job: job["kubernetes_sd_configs"][0]["namespaces"].update(names=["monitoring"]), "the gates are in"),
    (
        lambda job: job["kubernetes_sd_configs"][0]["selectors"][0].update(label="app=portcullis"),
        "selector app=portcullis",
    ),
    (lambda job: [one.update(replacement="$1:2381") for one in job["relabel_configs"]], "of addresses"),
]


class Mistakes(unittest.TestCase):
    """The tests above can fail."""

    maxDiff = None

    def test_each_mistake_is_found(self) -> None:
        for check, (base, *components), change, words in MISTAKES:
            with self.subTest(check=check.__name__, words=words):
                rendered = one_rendered(base, *components)
                self.assertEqual(check(rendered), [])
                self.assertIn(words, "\n".join(check(rendered.changed(change))))

    def test_each_mistake_in_the_plain_prometheus_is_found(self) -> None:
        for change, words in PROMETHEUS_MISTAKES:
            config = copy.deepcopy(_prometheus())
            jobs = {job["job_name"]: job for job in config["scrape_configs"]}
            change(jobs["etcd" if "addresses" in words else "portcullis"])
            with self.subTest(words=words):
                self.assertIn(words, "\n".join(agreement.prometheus_problems(config)))

    def test_every_check_has_a_mistake_that_it_finds(self) -> None:
        self.assertEqual({check for check, *_ in MISTAKES}, set(agreement.CHECKS))

    def test_durations_and_quantities_are_read(self) -> None:
        self.assertEqual([facts.seconds(one) for one in ("20s", "1h30m", "500ms")], [20, 5400, 0.5])
        self.assertEqual([facts.quantity(one) for one in ("100m", "1", 2, "1Ki")], [0.1, 1, 2, 1024])
        for wrong in ("20", "", "1 h"):
            self.assertRaises(AssertionError, facts.seconds, wrong)
        self.assertRaises(AssertionError, facts.quantity, "1 GB")


if __name__ == "__main__":
    unittest.main()
