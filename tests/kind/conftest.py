"""One cluster for all tests, with PostgreSQL and every image in it; a namespace and a database for each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kind import images
from tests.kind.cluster import ROOT, Cluster, Site, run, start_postgres


NAME = "mooring-test"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep-cluster", action="store_true", help=f"leave the kind cluster {NAME} for the next run")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster; one that an earlier run has left is used again.

    TEST_IMAGE names an image of Mooring that is there already, instead of one built from this checkout.
    """
    missing = [tool for tool in ("docker", "kind", "helm", "kubectl") if not shutil.which(tool)]
    if missing:
        pytest.fail(f"not on PATH: {', '.join(missing)}")
    cluster = Cluster(NAME, tmp_path_factory.mktemp("kind") / "kubeconfig")
    with ThreadPoolExecutor() as pool:
        built = pool.submit(_build)
        try:
            cluster.start()
            database = pool.submit(start_postgres, cluster, images.POSTGRES)
            cluster.load(*built.result())
            database.result()
            yield cluster
        finally:
            if not request.config.getoption("keep_cluster"):
                run("kind", "delete", "cluster", "--name", NAME)


def _build() -> list[str]:
    base = os.environ.get("TEST_IMAGE") or images.build_base(ROOT, "mooring")
    alembic = images.build_base(ROOT, "mooring-alembic")
    for name, migrations in images.IMAGES.items():
        images.build(name, alembic if name == images.FORECASTING else base, migrations)
    return list(images.IMAGES)


@pytest.fixture
def site(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Site]:
    """A namespace and a database of the test's own."""
    with Site.of(cluster, request.node.name) as site:
        yield site
