"""The chart as Helm renders it, and what Helm says where it does not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml


ROOT = Path(__file__).parents[2]
CHART = ROOT / "chart"
HELM = os.environ.get("HELM", "helm")
"""Which Helm, so that the same tests can run with the previous major version."""

Values = Mapping[str, Any]

LEAST: Values = {
    "service": "orders",
    "image": {"repository": "orders-migrations", "tag": "1.0.0"},
    "database": {"secret": "orders-db", "urlKey": "url"},
    "workload": {"image": {"repository": "orders", "tag": "1.2.3"}},
}
"""The values that every service has to set."""


class Refused(AssertionError):
    """Helm did not do it; the text is what it says."""


def helm(*arguments: str, values: Values | None = None) -> str:
    """What Helm prints. Raises Refused."""
    given = [] if values is None else ["--values=-"]
    done = subprocess.run(
        [HELM, *arguments, *given], input=json.dumps(values), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def refusal(values: Values, *options: str, chart: Path = CHART) -> str:
    """What Helm says to values that it refuses."""
    with pytest.raises(Refused) as refused:
        helm("template", "orders", str(chart), *options, values=values)
    return str(refused.value)


def render(values: Values, *options: str, release: str = "orders", chart: Path = CHART) -> list[dict[str, Any]]:
    """The objects that Helm would install, without those of `helm test`."""
    text = helm("template", release, str(chart), "--skip-tests", *options, values=values)
    return [item for item in yaml.safe_load_all(text) if item]


def deployment(values: Values | None = None, release: str = "orders") -> dict[str, Any]:
    """The Deployment, for the least values with others over them."""
    [found] = [item for item in render(merged(LEAST, values or {}), release=release) if item["kind"] == "Deployment"]
    return found


def pod(values: Values | None = None) -> dict[str, Any]:
    """The pod's specification, for the least values with others over them."""
    found: dict[str, Any] = deployment(values)["spec"]["template"]["spec"]
    return found


def migrate(values: Values | None = None) -> dict[str, Any]:
    """The init container, for the least values with others over them."""
    [found] = [container for container in pod(values)["initContainers"] if container["name"] == "migrate"]
    return dict(found)


def environment(container: Values) -> dict[str, str]:
    """A container's variables; for those from a secret, the secret's name and key."""
    names = [one["name"] for one in container["env"]]
    assert len(set(names)) == len(names), f"one name twice: {names}"
    return {one["name"]: _said(one) for one in container["env"]}


def _said(variable: Mapping[str, Any]) -> str:
    if "value" in variable:
        return str(variable["value"])
    reference = variable["valueFrom"]["secretKeyRef"]
    return f"{reference['name']}/{reference['key']}"


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Values with others over them, as Helm merges them."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
