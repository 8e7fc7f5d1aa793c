"""What becomes of the values, as Kubernetes' own API sees it."""

from __future__ import annotations

from tests.kind.cluster import CHART, ROOT, Site


def test_kubernetes_accepts_every_value_without_a_warning(site: Site) -> None:
    """The API server knows every field, and Pod Security has nothing to say."""
    # Every pod must have one already, and a dry run makes none.
    site.kubectl("create", "serviceaccount", "orders")
    objects = site.helm("template", "orders", str(CHART), f"--values={ROOT}/tests/chart/everything.yaml")
    site.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "--filename=-", stdin=objects
    )
