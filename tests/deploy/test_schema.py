"""Would the APIs take every object, with no field that they do not know?"""

from __future__ import annotations

import copy
import unittest
from collections.abc import Callable

import manifests
import schemas
from manifests import DEPLOY, Object


class Schemas(unittest.TestCase):
    maxDiff = None

    def test_every_object_is_as_its_schema_says(self) -> None:
        for rendered in manifests.all_rendered():
            with self.subTest(combination=str(rendered.combination)):
                self.assertEqual(schemas.problems(rendered), [])

    def test_the_plain_manifests_too(self) -> None:
        for path in [*sorted(DEPLOY.glob("*.yaml")), *sorted(DEPLOY.glob("prometheus/*.yaml"))]:
            for one in manifests.strict_yaml(path.read_text()):
                with self.subTest(file=path.name, kind=one["kind"]):
                    self.assertEqual(schemas.object_problems(one), [])

    def test_the_readme_names_the_versions_that_are_checked(self) -> None:
        words = f"Kubernetes {schemas.OLDEST} to {schemas.NEWEST}"
        self.assertIn(words, " ".join((DEPLOY / "README.md").read_text().split()))

    def test_every_schema_in_store_is_of_a_kind_in_use(self) -> None:
        used = {(one["apiVersion"], one["kind"]) for rendered in manifests.all_rendered() for one in rendered.objects}
        self.assertLessEqual(set(schemas.custom_schemas()), used, "a schema of nothing: delete it")


Change = Callable[[Object], object]

# Kind, what is done to an object of it, and words of the problem that must be found.
MISTAKES: list[tuple[str, Change, str]] = [
    ("DaemonSet", lambda one: one["spec"].update(replica=1), "replica"),
    ("DaemonSet", lambda one: one["spec"]["template"]["spec"].update(hostNetwrok=True), "hostNetwrok"),
    ("DaemonSet", lambda one: one["spec"]["template"]["spec"]["containers"][0].update(ports=[{"port": 1}]), "port"),
    ("DaemonSet", lambda one: one["spec"]["template"]["spec"].update(hostNetwork="yes"), "boolean"),
    ("DaemonSet", lambda one: one.update(apiVersion="apps/v1beta2"), "apps/v1beta2"),
    ("DaemonSet", lambda one: one["metadata"].update(label={}), "label"),
    ("Namespace", lambda one: one.update(metadata={"name": 1}), "1 is not"),
    ("Deployment", lambda one: one["spec"].pop("selector"), "selector"),
    ("NetworkPolicy", lambda one: one["spec"]["ingress"][0].update(form=[]), "form"),
    ("Certificate", lambda one: one["spec"].update(dnsName="portcullis.internal"), "dnsName"),
    ("Certificate", lambda one: one["spec"].pop("secretName"), "secretName"),
    ("Certificate", lambda one: one["spec"].update(usages=["server-auth"]), "server-auth"),
    ("Certificate", lambda one: one["spec"]["privateKey"].update(rotationPolicy="Sometimes"), "Sometimes"),
    ("Certificate", lambda one: one["metadata"].update(label={}), "label"),
    ("Certificate", lambda one: one.update(apiVersion="cert-manager.io/v1alpha2"), "no schema"),
    ("Certificate", lambda one: one.update(status={}), "status"),
    ("Issuer", lambda one: one["spec"].update(selfSigned=True), "True"),
    ("PodMonitor", lambda one: one["spec"]["podMetricsEndpoints"][0].update(tlsConfg={}), "tlsConfg"),
    (
        "PodMonitor",
        lambda one: one["spec"]["podMetricsEndpoints"][0]["tlsConfig"].update(server_name="x"),
        "server_name",
    ),
    ("PodMonitor", lambda one: one["spec"].pop("selector"), "selector"),
    ("PrometheusRule", lambda one: one["spec"]["groups"].append(one["spec"]["groups"][0]), "stands twice"),
    ("PrometheusRule", lambda one: one["spec"]["groups"][0]["rules"][0].pop("expr"), "expr"),
    ("PrometheusRule", lambda one: one["spec"]["groups"][-1]["rules"][0].update({"for": "5 minutes"}), "5 minutes"),
    ("CiliumClusterwideNetworkPolicy", lambda one: one["spec"].update(nodeSelectors={}), "nodeSelectors"),
    ("CiliumClusterwideNetworkPolicy", lambda one: one["spec"].pop("nodeSelector"), "not valid under any"),
    (
        "CiliumClusterwideNetworkPolicy",
        lambda one: one["spec"]["ingressDeny"][0].update(fromEntities=["moon"]),
        "moon",
    ),
    ("GlobalNetworkPolicy", lambda one: one["spec"]["ingress"][0].update(dest={}), "dest"),
    ("GlobalNetworkPolicy", lambda one: one["spec"]["ingress"][0].update(action=1), "1 is not"),
    ("Tier", lambda one: one["spec"].update(defaultAction="Perhaps"), "Perhaps"),
]


class Mistakes(unittest.TestCase):
    """The tests above can fail."""

    maxDiff = None

    def test_each_mistake_is_found(self) -> None:
        for kind, change, words in MISTAKES:
            with self.subTest(kind=kind, words=words):
                one = copy.deepcopy(_an(kind))
                self.assertEqual(schemas.object_problems(one), [])
                change(one)
                self.assertIn(words, "\n".join(schemas.object_problems(one)))

    def test_a_feature_that_the_oldest_version_lacks_is_found(self) -> None:
        """Pod-level resources came after 1.29 and are in 1.37."""
        one = copy.deepcopy(_an("DaemonSet"))
        one["spec"]["template"]["spec"]["resources"] = {"limits": {"cpu": "1"}}
        self.assertEqual(schemas.core_problems(one, schemas.NEWEST), [])
        self.assertIn("resources", "\n".join(schemas.core_problems(one, schemas.OLDEST)))


def _an(kind: str) -> Object:
    """Some object of this kind."""
    for rendered in manifests.all_rendered():
        for one in rendered.kind(kind):
            return one
    raise AssertionError(f"deploy/ has no {kind}: take its mistakes out of MISTAKES")


if __name__ == "__main__":
    unittest.main()
