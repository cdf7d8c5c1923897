"""The manifests are what Kubernetes takes, start what the image holds, and give it no more than it needs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbnode.config import load_config
from scripts import prometheus_rule
from tests.conftest import REPOSITORY, unavailable

MANIFESTS = REPOSITORY / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.33", "1.37")
"""Releases of Kubernetes whose schemas the manifests must obey, unknown fields refused."""
OVERLAYS = ("base", "postgresql", "everything")

Manifest = dict[str, Any]


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> list[Manifest]:
    """What `kubectl apply --kustomize` would send; "everything" is an overlay with all components."""
    if request.param != "everything":
        return render(MANIFESTS / str(request.param))
    components = sorted(f"../components/{path.name}" for path in (MANIFESTS / "components").iterdir())
    return render(overlay(tmp_path, {"resources": ["../postgresql"], "components": components}))


def overlay(folder: Path, content: Manifest) -> Path:
    """Write an overlay beside a copy of the manifests."""
    shutil.copytree(MANIFESTS, folder / "kubernetes")
    made = folder / "kubernetes" / "overlay"
    made.mkdir()
    (made / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return made


def render(folder: Path) -> list[Manifest]:
    """Return what kubectl makes of an overlay."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    kubectl = shutil.which("kubectl", path=path) or unavailable("kubectl is not installed: make check")
    finished = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "deprecated" not in finished.stderr
    return [dict(document) for document in yaml.safe_load_all(finished.stdout)]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod(manifests: list[Manifest]) -> Manifest:
    (found,) = of_kind(manifests, "StatefulSet")
    spec: Manifest = found["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_obeys_the_schema(rendered: list[Manifest], version: str) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        unavailable("kubernetes-validate is not installed: make check")
    known = [manifest for manifest in rendered if manifest["apiVersion"] != "monitoring.coreos.com/v1"]
    assert len(known) >= 7
    for manifest in known:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_with_a_fault_is_refused() -> None:
    try:
        import kubernetes_validate
    except ImportError:
        unavailable("kubernetes-validate is not installed: make check")
    fault = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(fault, VERSIONS[-1], strict=True)


def test_the_pod_may_do_no_more_than_pod_security_allows_at_its_strictest(rendered: list[Manifest]) -> None:
    """The standard "restricted" of Kubernetes, and a read-only root."""
    spec = pod(rendered)
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (10001, 10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
    assert {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}} <= allowed
    assert container["resources"]["limits"]["memory"]
    (namespace,) = of_kind(rendered, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_configuration_is_valid_and_fits_what_is_around_it(rendered: list[Manifest], tmp_path: Path) -> None:
    (found,) = of_kind(rendered, "ConfigMap")
    (tmp_path / "config.yaml").write_text(found["data"]["config.yaml"])
    config = load_config(tmp_path / "config.yaml")
    spec = pod(rendered)
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"dicom": config.node.port, "status": config.status.port}
    assert config.status.host == "0.0.0.0"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert str(config.spool.path) in mounts
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["config"]["configMap"]["name"] == found["metadata"]["name"]
    assert container["args"] == ["serve", "--config", f"{_mount_of('config', mounts)}/config.yaml"]
    if config.queue.password_file is not None:
        assert str(config.queue.password_file.parent) == _mount_of("secrets", mounts)
    assert spec["terminationGracePeriodSeconds"] == config.node.drain_s + 10
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"/healthz", "/readyz"}
    (node,) = of_kind(rendered, "StatefulSet")
    (claim,) = node["spec"]["volumeClaimTemplates"]
    size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30
    assert config.retention.max_bytes is not None
    assert config.retention.max_bytes + config.spool.min_free_bytes < size


def _mount_of(volume: str, mounts: dict[str, Manifest]) -> str:
    (path,) = (path for path, mount in mounts.items() if mount["name"] == volume)
    return path


def test_every_selector_finds_the_pod_and_every_port_is_one_of_it(rendered: list[Manifest]) -> None:
    (node,) = of_kind(rendered, "StatefulSet")
    labels = node["spec"]["template"]["metadata"]["labels"]
    names = {port["name"] for port in pod(rendered)["containers"][0]["ports"]}
    services = of_kind(rendered, "Service")
    assert node["spec"]["serviceName"] in {service["metadata"]["name"] for service in services}
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
        assert service["spec"]["publishNotReadyAddresses"] is True
    (policy,) = of_kind(rendered, "NetworkPolicy")
    asked = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert asked == names
    assert all("from" in rule for rule in policy["spec"]["ingress"])
    for monitor in of_kind(rendered, "PodMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= names


def test_prometheus_calls_the_node_what_rules_and_dashboard_ask_for(rendered: list[Manifest]) -> None:
    asked = json.dumps(yaml.safe_load((REPOSITORY / "monitoring" / "alerts.yml").read_text("utf-8")))
    asked += (REPOSITORY / "monitoring" / "grafana" / "dashboard.json").read_text("utf-8")
    jobs = set(re.findall(r'job=\\*"(.*?)\\*"', asked))
    (node,) = of_kind(rendered, "StatefulSet")
    labels = node["spec"]["template"]["metadata"]["labels"]
    for monitor in of_kind(rendered, "PodMonitor"):
        # The operator sets "job" to the pod's value of this label; without one it is <namespace>/<name of the monitor>.
        assert jobs == {labels[monitor["spec"]["jobLabel"]]}
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            (relabeling,) = endpoint["relabelings"]
            assert relabeling["targetLabel"] == "instance"
            assert relabeling["sourceLabels"] == ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]


def test_the_rules_of_the_cluster_are_those_of_the_repository(rendered: list[Manifest]) -> None:
    written = (MANIFESTS / "components" / "monitoring" / "prometheusrule.yaml").read_text("utf-8")
    assert written == prometheus_rule.text(), "make rules"
    shipped = yaml.safe_load((REPOSITORY / "monitoring" / "alerts.yml").read_text("utf-8"))
    assert [rule["spec"] for rule in of_kind(rendered, "PrometheusRule")] in ([], [shipped])


def test_the_passwords_of_the_page_reach_node_and_prometheus_as_the_guide_says(tmp_path: Path) -> None:
    folder = overlay(
        tmp_path,
        {
            "namespace": "sbnode",
            "resources": ["../base"],
            "components": ["../components/monitoring"],
            **yaml.safe_load(_in_the_guide("password of the page")),
        },
    )
    for name in ("status-password", "monitor-password"):
        (folder / name).write_text(f"content of {name}")
    manifests = render(folder)
    secrets = {one["metadata"]["name"]: one for one in of_kind(manifests, "Secret")}
    assert {one["metadata"]["namespace"] for one in secrets.values()} == {"sbnode"}

    # What the configuration names is mounted.
    (tmp_path / "config.yaml").write_text(_in_the_guide("accounts of the page"))
    status = load_config(tmp_path / "config.yaml").status
    spec = pod(manifests)
    (volume,) = (one for one in spec["volumes"] if one["name"] == "secrets")
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    held = secrets[volume["secret"]["secretName"]]
    for path, name in ((status.password_file, "status-password"), (status.monitor_password_file, "monitor-password")):
        assert path is not None
        assert str(path.parent) == _mount_of("secrets", mounts)
        assert _secret(held, path.name) == f"content of {name}"

    # What Prometheus is given is the account that the node has.
    (monitor,) = of_kind(manifests, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "status", "what was there stays"
    given = {part: _secret(secrets[one["name"]], one["key"]) for part, one in endpoint["basicAuth"].items()}
    assert given == {"username": status.monitor_user, "password": "content of monitor-password"}
    probe = spec["containers"][0]["readinessProbe"]
    assert probe["httpGet"] == {"path": "/healthz", "port": "status"}


def _in_the_guide(title: str) -> str:
    guide = (REPOSITORY / "docs" / "deployment.md").read_text("utf-8")
    (block,) = re.findall(rf"<!-- {title} -->\n```yaml\n(.*?)```", guide, re.DOTALL)
    return str(block)


def _secret(secret: Manifest, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


def test_nothing_secret_stands_in_the_manifests(rendered: list[Manifest]) -> None:
    assert of_kind(rendered, "Secret") == []
    assert "env" not in pod(rendered)["containers"][0]
