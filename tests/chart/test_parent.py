"""The init container in another chart, which depends on this one under an alias."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.chart.helm import CHART, ROOT, environment, helm, refusal, render


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture chart with its dependency, in folders that lie as in this repository."""
    root = tmp_path_factory.mktemp("parent")
    shutil.copytree(CHART, root / "chart")
    chart = root / "tests/chart/parent"
    shutil.copytree(ROOT / "tests/chart/parent", chart)
    helm("dependency", "update", str(chart))
    return chart


def test_the_template_gives_the_init_container_and_its_volumes(parent: Path) -> None:
    """The chart's own Deployment is all there is: the dependency renders nothing by itself."""
    [found] = render({}, chart=parent)
    specification = found["spec"]["template"]["spec"]
    [first] = specification["initContainers"]
    assert (first["name"], first["image"]) == ("migrate", "orders-migrations:1.0.0")
    assert environment(first)["MOORING_SERVICE"] == "orders"
    assert environment(first)["MOORING_DATABASE_URL"] == "orders-db/url"
    assert first["volumeMounts"][0]["name"] == specification["volumes"][0]["name"] == "authority"


def test_the_defaults_come_with_the_dependency(parent: Path) -> None:
    [found] = render({}, chart=parent)
    [first] = found["spec"]["template"]["spec"]["initContainers"]
    assert first["securityContext"]["readOnlyRootFilesystem"] is True
    assert first["resources"]["limits"] == {"memory": "128Mi"}
    assert found["spec"]["progressDeadlineSeconds"] == 1260


def test_no_volumes_leave_a_valid_pod(parent: Path) -> None:
    [found] = render({"migrations": {"extraVolumes": [], "extraVolumeMounts": []}}, chart=parent)
    assert found["spec"]["template"]["spec"]["volumes"] is None


def test_a_typing_error_under_the_alias_is_refused(parent: Path) -> None:
    text = refusal({"migrations": {"versionTabel": "goose_orders"}}, chart=parent)
    assert "- at '': additional properties 'versionTabel' not allowed" in text


def test_what_is_missing_under_the_alias_is_named(parent: Path) -> None:
    text = refusal({"migrations": {"service": "", "database": {"urlKey": ""}}}, chart=parent)
    assert "correct these values:\n  service: name the service" in text


def test_the_template_without_its_values_says_how_to_call_it(parent: Path) -> None:
    template = parent / "templates/wrong.yaml"
    template.write_text(
        '{{ include "mooring.v1.initContainer" (dict "root" $ "values" .Values.nothing) }}', encoding="utf-8"
    )
    try:
        text = refusal({}, chart=parent)
    finally:
        template.unlink()
    assert 'call it with (dict "root" $ "values" .Values.<alias>), the alias being that of the dependency' in text


def test_a_condition_switches_it_off(parent: Path) -> None:
    """Helm takes the templates away together with the chart, so the parent's `include` stands in an `if`."""
    [found] = render({"migrations": {"enabled": False}}, chart=parent)
    assert "initContainers" not in found["spec"]["template"]["spec"]


def test_it_lints(parent: Path) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(parent))
