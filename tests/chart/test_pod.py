"""The Deployment that a service gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, LEAST, ROOT, deployment, environment, helm, merged, migrate, pod, render


TABLES = {
    "ingestion": "goose_ingestion",
    "eventhandler": "goose_eventhandler",
    "scheduler": "migrate_scheduler",
    "alerting": "flyway_alerting",
    "reporting": "dbmate_reporting",
    "forecasting": "alembic_forecasting",
}
"""The version table of each example service."""


def _example(service: str) -> dict[str, Any]:
    [found] = render({}, f"--values={CHART}/services/{service}.yaml", release=service)
    return found


def test_every_example_service_is_tested() -> None:
    assert {file.stem for file in (CHART / "services").iterdir()} == set(TABLES)


@pytest.mark.parametrize("service", TABLES)
def test_an_example_service_migrates_before_it_starts(service: str) -> None:
    found = _example(service)
    assert found["kind"] == "Deployment"
    assert found["metadata"]["name"] == service
    specification = found["spec"]["template"]["spec"]
    [first], [then] = specification["initContainers"], specification["containers"]
    assert (first["name"], first["image"]) == ("migrate", f"{service}-migrations:1.0.0")
    assert (then["name"], then["image"]) == (service, f"{service}:1.0.0")
    variables = environment(first)
    assert variables["MOORING_SERVICE"] == service
    assert variables["MOORING_VERSION_TABLE"] == TABLES[service]


def test_the_example_services_have_tables_and_secrets_of_their_own() -> None:
    found = {
        service: environment(_example(service)["spec"]["template"]["spec"]["initContainers"][0]) for service in TABLES
    }
    tables = [table for one in found.values() for table in json.loads(one["MOORING_EXPECTED_TABLES"])]
    assert len(tables) == len(set(tables)) == 2 * len(TABLES)
    urls = {service: one["MOORING_DATABASE_URL"] for service, one in found.items() if "MOORING_DATABASE_URL" in one}
    assert urls == {service: f"{service}-db/url" for service in TABLES if service != "eventhandler"}
    assert {name: value for name, value in found["eventhandler"].items() if name.startswith("PG")} == {
        "PGHOST": "events-app/host",
        "PGPORT": "events-app/port",
        "PGDATABASE": "events-app/dbname",
        "PGUSER": "events-app/username",
        "PGPASSWORD": "events-app/password",
    }


def test_one_file_of_example_values_is_enough_for_lint() -> None:
    for file in sorted((CHART / "services").iterdir()):
        assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), f"--values={file}")


def test_both_containers_satisfy_pod_security_restricted() -> None:
    """The init container does by itself, since other charts put it into pods that say nothing."""
    found = pod()
    common = found["securityContext"]
    assert common["runAsNonRoot"] is True
    assert common["runAsUser"] == 65532
    assert common["seccompProfile"] == {"type": "RuntimeDefault"}
    [first], [then] = found["initContainers"], found["containers"]
    for container in (first, then):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert first["securityContext"]["runAsNonRoot"] is True
    assert first["securityContext"]["runAsUser"] == 65532
    assert first["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert first["securityContext"]["readOnlyRootFilesystem"] is True


def test_security_contexts_are_merged_over_the_defaults() -> None:
    found = pod({"podSecurityContext": {"fsGroup": 2000, "runAsUser": None}, "securityContext": {"runAsUser": None}})
    assert found["securityContext"] == {
        "fsGroup": 2000,
        "runAsNonRoot": True,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "runAsUser" not in found["initContainers"][0]["securityContext"]
    assert found["initContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_pod_gets_no_token_and_no_service_links() -> None:
    found = pod()
    assert found["automountServiceAccountToken"] is False
    assert found["enableServiceLinks"] is False
    assert [item["kind"] for item in render(LEAST)] == ["Deployment"]


def test_a_service_account_is_made_when_asked_for() -> None:
    values = merged(LEAST, {"serviceAccount": {"create": True, "annotations": {"role": "x"}, "automount": True}})
    account, found = sorted(render(values), key=lambda item: item["kind"], reverse=True)
    assert account["kind"] == "ServiceAccount"
    assert account["metadata"]["annotations"] == {"role": "x"}
    assert account["automountServiceAccountToken"] is True
    specification = found["spec"]["template"]["spec"]
    assert specification["serviceAccountName"] == account["metadata"]["name"] == "orders"
    assert specification["automountServiceAccountToken"] is True


def test_the_init_container_reserves_little_and_has_no_cpu_limit() -> None:
    assert migrate()["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


def test_the_last_word_is_read_from_the_file_that_mooring_writes() -> None:
    found = migrate()
    assert found["terminationMessagePolicy"] == "File"
    assert "terminationMessagePath" not in found


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 60 + 600 + 600),
        ({"wait": "1.5m", "lockWait": "1h", "migrationBudget": "2h"}, 90 + 3600 + 7200),
        ({"wait": "500ms", "lockWait": "0s", "migrationBudget": "10 s"}, 11),
        ({"progressDeadlineSeconds": 42}, 42),
    ],
)
def test_the_progress_deadline_leaves_time_for_every_wait(values: dict[str, Any], seconds: int) -> None:
    assert deployment(values)["spec"]["progressDeadlineSeconds"] == seconds


def test_the_number_of_replicas_can_be_left_to_an_autoscaler() -> None:
    assert deployment()["spec"]["replicas"] == 1
    assert deployment({"workload": {"replicas": 0}})["spec"]["replicas"] == 0
    assert "replicas" not in deployment({"workload": {"replicas": None}})["spec"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    assert migrate({"image": {"digest": digest}})["image"] == f"orders-migrations@{digest}"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("orders", {}, "orders"),
        ("orders-eu", {}, "orders-eu"),
        ("prod", {}, "prod-orders"),
        ("prod", {"service": "Order_Items & more"}, "prod-order-items-more"),
        ("prod", {"nameOverride": "api"}, "prod-api"),
        ("prod", {"fullnameOverride": "the-api"}, "the-api"),
        ("prod", {"service": "x" * 80}, "prod-" + "x" * 58),
    ],
)
def test_names_follow_the_release_and_the_service(release: str, values: dict[str, Any], name: str) -> None:
    assert deployment(values, release=release)["metadata"]["name"] == name


def test_a_selector_has_only_what_never_changes_and_no_label_can_replace_it() -> None:
    selector = {"app.kubernetes.io/name": "orders", "app.kubernetes.io/instance": "prod"}
    over = {"app.kubernetes.io/name": "other", "team": "logistics"}
    found = deployment(
        {"commonLabels": over, "podLabels": {"app.kubernetes.io/instance": "other", "tier": "api"}}, "prod"
    )
    assert found["spec"]["selector"]["matchLabels"] == selector
    assert found["spec"]["template"]["metadata"]["labels"] == selector | {
        "app.kubernetes.io/version": "1.2.3",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "mooring-0.1.0",
        "team": "logistics",
        "tier": "api",
    }
    assert "tier" not in found["metadata"]["labels"]


def test_init_containers_can_stand_before_and_behind_the_migrations() -> None:
    found = pod({"extraInitContainers": {"before": [{"name": "proxy"}], "after": [{"name": "warm-up"}]}})
    assert [container["name"] for container in found["initContainers"]] == ["proxy", "migrate", "warm-up"]


def test_objects_can_be_added_with_templates_in_them() -> None:
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a"}},
        'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include "mooring.v1.fullname" . }}-b\n',
    ]
    found = render(merged(LEAST, {"extraObjects": objects}))
    assert [item["metadata"]["name"] for item in found if item["kind"] == "ConfigMap"] == ["orders-a", "orders-b"]


def test_every_value_can_be_set_at_once() -> None:
    """Each map and list reaches its place; Kubernetes itself looks at the same objects in tests/kind."""
    found = {item["kind"]: item for item in render({}, f"--values={ROOT}/tests/chart/everything.yaml")}
    assert found.keys() == {"Deployment", "ServiceAccount", "Service", "ConfigMap"}
    specification = found["Deployment"]["spec"]
    assert specification["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
    template = specification["template"]
    assert template["metadata"]["annotations"] == {"example.com/scrape": "true"}
    assert {"imagePullSecrets", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"} < template[
        "spec"
    ].keys()
    assert template["spec"]["priorityClassName"] == "system-cluster-critical"
    assert template["spec"]["terminationGracePeriodSeconds"] == 60
    assert template["spec"]["volumes"] == [{"name": "authority", "secret": {"secretName": "authority"}}]
    first, [then] = template["spec"]["initContainers"][1], template["spec"]["containers"]
    assert first["envFrom"] == [{"configMapRef": {"name": "orders"}}]
    assert first["volumeMounts"] == [{"name": "authority", "mountPath": "/authority", "readOnly": True}]
    assert then.keys() == {
        *("name", "image", "imagePullPolicy", "command", "args", "ports", "env", "envFrom", "volumeMounts"),
        *("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "resources", "securityContext"),
    }


def test_helm_test_verifies_with_what_the_init_container_has() -> None:
    """And no Service that selects the service's pods finds the one of the test."""
    text = helm("template", "prod", str(CHART), "--show-only=templates/tests/verify.yaml", values=LEAST)
    found = yaml.safe_load(text)
    assert found["metadata"]["annotations"] == {"helm.sh/hook": "test"}
    assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "orders-verify"
    [container] = found["spec"]["containers"]
    assert container == migrate() | {"name": "verify", "args": ["verify"]}
    assert found["spec"]["securityContext"] == pod()["securityContext"]


def test_rendering_needs_no_cluster_and_gives_the_same_each_time() -> None:
    """Argo CD renders without a cluster and compares: neither lookup nor chance may decide anything."""
    assert render(LEAST) == render(LEAST)
    text = "".join(file.read_text(encoding="utf-8") for file in (CHART / "templates").rglob("*.*"))
    assert not [word for word in ("lookup", "rand", "genCA", "genPrivateKey", "now", "IsUpgrade") if f" {word}" in text]
