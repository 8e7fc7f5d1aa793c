"""How long an init container takes that finds nothing to do, in a pod on a kind cluster: Mooring, goose and Flyway side by side.

    .ci/peers .cache/bin && python -m tests.bench.kind [--pods 10] [--files 200] [--tools .cache/bin] [--keep-cluster]

From the start of the container's process to its end, as containerd on the node publishes both, to the nanosecond; a pod's
status has whole seconds. Every tool has a folder of the same files, in an image on Debian, and a database of its own; Mooring
is measured in its own image too. The pods come one after another, the tools in turns.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.kind import images
from tests.kind.cluster import PATIENCE, ROOT, Cluster, Site, run, start_postgres
from tests.support import eventually


NAME = "mooring-bench"
BASE = "debian:trixie-slim"
GOOSE = "goose -dir /migrations -table goose_bench postgres $(URL) up"
FLYWAY = (
    "flyway -url=jdbc:postgresql://$(HOST)/$(NAME) -user=$(NAME) -password=$(NAME) -locations=filesystem:/migrations"
    " -table=flyway_bench migrate"
)


@dataclass(frozen=True)
class Tool:
    """What runs in the init container."""

    name: str
    base: str
    file: str
    """The name of a migration's file."""
    command: str = ""
    """What is run, where it is not the image's own."""
    lines: tuple[str, ...] = ()
    """What the image has beside the files."""

    @property
    def image(self) -> str:
        """The image's name."""
        return f"mooring-bench/{re.sub('[^a-z]+', '-', self.name.lower())}:1"


def tools(mooring: str) -> list[Tool]:
    """Those that are compared, on an image of Mooring's."""
    environment = (
        f"COPY --from={mooring} / /",
        "USER 65532:65532",
        'ENTRYPOINT ["/usr/local/bin/mooring"]',
        'CMD ["up"]',
    )
    return [
        Tool("Mooring", mooring, "{:05}_t.sql"),
        Tool("Mooring on Debian", BASE, "{:05}_t.sql", lines=environment),
        Tool("goose", BASE, "{:05}_t.sql", GOOSE, ("COPY goose /usr/local/bin/",)),
        Tool(
            "Flyway",
            BASE,
            "V{}__t.sql",
            FLYWAY,
            ("COPY flyway /opt/flyway", "ENV PATH=/opt/flyway:/usr/bin:/bin"),
        ),
    ]


def build(tool: Tool, files: int, peers: Path) -> None:
    """Build a tool's image, with its files."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "migrations").mkdir()
        head = "" if tool.name == "Flyway" else "-- +goose Up\n"
        for number in range(1, files + 1):
            sql = f"CREATE TABLE t{number} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);\n"
            (context / "migrations" / tool.file.format(number)).write_text(head + sql, encoding="utf-8")
        if tool.name == "goose":
            shutil.copy(peers / "goose", context)
        if tool.name == "Flyway":
            shutil.copytree((peers / "flyway").resolve().parent, context / "flyway", symlinks=True)
            run("chmod", "--recursive", "go+rX", str(context / "flyway"))  # the pod's user is not who unpacked it
        lines = [f"FROM {tool.base}", *tool.lines, "COPY migrations /migrations"]
        (context / "Dockerfile").write_text("\n".join(lines), encoding="utf-8")
        run("docker", "build", "--quiet", "--tag", tool.image, folder)


@contextmanager
def events(node: str) -> Iterator[Path]:
    """A file to which a node's containerd writes what happens, as it happens."""
    with tempfile.NamedTemporaryFile() as file:
        listening = subprocess.Popen(["docker", "exec", node, "ctr", "--namespace=k8s.io", "events"], stdout=file)
        try:
            yield Path(file.name)
        finally:
            listening.terminate()
            listening.wait()


def happened(log: Path, what: str, container: str) -> datetime | None:
    """When something happened to a container."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if f" {what} " in line and f'"container_id":"{container}"' in line:
            day, time, *_ = line.split()
            return datetime.fromisoformat(f"{day}T{time}")
    return None


def pod(tool: Tool, site: Site, node: str, name: str) -> dict[str, Any]:
    """A pod with the tool in an init container, restricted as every pod of the tests."""
    host = "postgres.postgres.svc"
    url = f"postgresql://{site.database}:{site.database}@{host}:5432/{site.database}?sslmode=disable"
    settings = {"HOST": host, "NAME": site.database, "URL": url}
    if not tool.command:
        settings = {"MOORING_SERVICE": "bench", "MOORING_DATABASE_URL": url}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    migrate = {
        "name": "migrate",
        "image": tool.image,
        "env": [{"name": key, "value": value} for key, value in settings.items()],
        "securityContext": security,
    }
    service = {"name": "service", "image": images.POSTGRES, "command": ["true"], "securityContext": security}
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": site.namespace},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": user,
            "initContainers": [migrate | ({"command": tool.command.split()} if tool.command else {})],
            "containers": [service],
        },
    }


def measure(tool: Tool, site: Site, node: str, log: Path, name: str) -> float:
    """The milliseconds that a pod's init container took. It must have succeeded."""
    site.cluster.apply(pod(tool, site, node, name))

    def ended() -> str | None:
        status = json.loads(site.kubectl("get", "pod", name, "--output=json"))["status"]
        state = [one for one in status.get("initContainerStatuses", []) if "terminated" in one["state"]]
        if state:
            assert state[0]["state"]["terminated"]["exitCode"] == 0, site.kubectl("describe", "pod", name)
        return str(state[0]["containerID"]).partition("//")[2] if state else None

    container = eventually(ended, lambda: site.kubectl("describe", "pod", name), PATIENCE)
    start, end = (
        eventually(lambda what=what: happened(log, what, container), lambda: f"no event of {container}", PATIENCE)  # type: ignore[misc]
        for what in ("/tasks/start", "/tasks/exit")
    )
    site.kubectl("delete", "pod", name, "--wait=false")
    return (end - start).total_seconds() * 1000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pods", type=int, default=10, help="pods of each tool")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument(
        "--tools", type=Path, default=ROOT / ".cache/bin", help="where .ci/peers has put goose and Flyway"
    )
    parser.add_argument("--cluster", default=NAME, help="a kind cluster, created if there is none of this name")
    parser.add_argument("--keep-cluster", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        cluster = Cluster(options.cluster, Path(stack.enter_context(tempfile.TemporaryDirectory())) / "kubeconfig")
        if not options.keep_cluster:
            stack.callback(run, "kind", "delete", "cluster", "--name", cluster.name)
        cluster.start()
        start_postgres(cluster, images.POSTGRES)
        compared = tools(images.build_base(ROOT, "mooring"))
        for tool in compared:
            build(tool, options.files, options.tools)
        cluster.load(*(tool.image for tool in compared), images.POSTGRES)
        node = cluster.workers[1]  # PostgreSQL is on the other one
        log = stack.enter_context(events(node))
        sites = {tool: stack.enter_context(Site.of(cluster, tool.image.split("/")[1])) for tool in compared}
        first = {tool: measure(tool, sites[tool], node, log, "first") for tool in compared}
        later: dict[Tool, list[float]] = {tool: [] for tool in compared}
        for number in range(options.pods):
            for tool in compared:
                later[tool].append(measure(tool, sites[tool], node, log, f"pod-{number}"))
    print(f"Milliseconds from the init container's start to its end, {options.files} files, {options.pods} pods each\n")
    print("| | nothing to do: median | least | most | first pod, all pending |\n| --- | --- | --- | --- | --- |")
    for tool in compared:
        times = later[tool]
        numbers = statistics.median(times), min(times), max(times), first[tool]
        print(f"| {tool.name} | {' | '.join(f'{number:.0f}' for number in numbers)} |")


if __name__ == "__main__":
    main()
