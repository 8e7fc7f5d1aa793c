"""`make bench`: what a run costs, beside the peers, in one go on one machine. Prints tables in Markdown.

Nothing here is asserted: times differ from machine to machine, and only their ratios within one run say something.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psycopg

from mooring import embedded
from mooring.target import BEGIN, COMMIT
from mooring.wire import Query, ask
from tests.bench.image import imports, mooring, unpacked
from tests.bench.tools import IMPORTS, OURS, Command, Place, Tool, installed, table
from tests.bench.wire import Distance
from tests.support import binaries_of


PASSWORD = "secret"  # noqa: S105 - of a server that lives for the measurement
FILES = 200


class Cost(NamedTuple):
    """What one process took."""

    wall: float
    cpu: float
    """Both in seconds."""
    memory: float
    """At most, in MB."""
    code: int


class Bench:
    """A server, and folders of migrations."""

    def __init__(self, port: int, root: Path, image: Path | None) -> None:
        self.port = port
        self.root = root
        """Among the image's files, if they are here."""
        self.ours: dict[Tool, Command] = {OURS: (sys.executable, "-I", "-c", IMPORTS)}
        """Mooring in the ways that it is installed here, each with the bare imports there."""
        if image:
            self.ours[mooring(image)] = imports(image)
        self.tools = installed(*self.ours)
        """All that is measured."""
        self._databases = 0

    @property
    def database(self) -> str:
        """The database's name."""
        return f"bench{self._databases}"

    def sql(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement."""
        url = Place(self.port, database, PASSWORD).url()
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def fresh(self) -> None:
        """Go on with a new database: to drop the old one would make the next files that are created slow."""
        self._databases += 1
        self.sql(f"CREATE DATABASE {self.database}")
        self.sql("CHECKPOINT")

    def start(self, tool: Tool, port: int = 0, count: int = FILES) -> Callable[[], Cost]:
        """Start a tool; to be called for what it has cost."""
        place = Place(port or self.port, self.database, PASSWORD)
        return started(*tool.command(tool.folder(self.root, count), place))

    def run(self, tool: Tool, port: int = 0, count: int = FILES) -> Cost:
        """Run a tool, which has to succeed."""
        cost = self.start(tool, port, count)()
        if cost.code:
            sys.exit(f"{tool.name} ended with {cost.code}")
        return cost


def started(command: Command, environment: Mapping[str, str]) -> Callable[[], Cost]:
    """Start a process; to be called for what it has cost."""
    process = subprocess.Popen(
        [sys.executable, "-IS", Path(__file__).with_name("measured.py"), *command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ended() -> Cost:
        wall, cpu, kilobytes, code = process.communicate()[0].split()
        return Cost(float(wall), float(cpu), int(kilobytes) / 1000, int(code))

    return ended


@contextmanager
def serving() -> Iterator[Bench]:
    """PostgreSQL 15 on loopback, with a password and a disk that commits wait for, as servers have them."""
    version = 15 if binaries_of(15).exists() else 16
    with (
        embedded.server(version, {"fsync": "on"}, binaries_of(version)) as url,
        unpacked() as image,
        tempfile.TemporaryDirectory(dir=image) as root,
    ):
        bench = Bench(int(url.rpartition(":")[2]), Path(root), image)
        bench.sql(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        [[rules]] = bench.sql("SHOW hba_file")
        Path(str(rules)).write_text("host all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
        bench.sql("SELECT pg_reload_conf()")
        yield bench


def typical(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def ratio(value: float, unit: float) -> str:
    """A time, and how it compares to another."""
    return f"{value:.3f} ({value / unit:.2f})"


def peers(bench: Bench, runs: int) -> Iterator[Sequence[object]]:
    """A row for each tool; the first of them is goose, to which the others are compared. What is near goes in turns."""
    near: dict[Tool, list[tuple[Cost, Cost]]] = defaultdict(list)
    alone: list[float] = []
    for _ in range(runs):
        for tool in bench.tools:
            bench.fresh()
            near[tool].append((bench.run(tool), bench.run(tool)))
        alone.append(server_alone(bench))
    far = Distance(bench.port, 10)
    goose: list[float] = []
    for tool in bench.tools:
        first, idle = map(typical, zip(*near[tool], strict=True))
        bench.fresh()
        far.round_trips = 0
        first_far = bench.run(tool, far.port)
        trips = far.round_trips
        idle_far = typical([bench.run(tool, far.port) for _ in range(runs)])
        far.round_trips = 0
        bench.run(tool, far.port)
        figures = [idle.wall, idle_far.wall, first.wall, first_far.wall]
        goose = goose or figures
        columns = [ratio(one, two) for one, two in zip(figures, goose, strict=True)]
        yield tool.name, *columns, trips, far.round_trips, *_last(idle)
    yield "PostgreSQL alone", "", "", ratio(statistics.median(alone), goose[2])


def server_alone(bench: Bench) -> float:
    """The seconds that the server takes for the same tables, each in a transaction: on an open connection, and no records."""
    bench.fresh()
    queries = [query for number in range(1, FILES + 1) for query in (BEGIN, Query(table(number)), COMMIT)]
    with psycopg.connect(Place(bench.port, bench.database, PASSWORD).url(), autocommit=True) as connection:
        begun = time.perf_counter()
        ask(connection, queries)
        return time.perf_counter() - begun


def _last(cost: Cost) -> tuple[str, str]:
    return f"{cost.cpu:.3f}", f"{cost.memory:.0f}"


def yardstick(bench: Bench, runs: int) -> Iterator[Sequence[object]]:
    """A no-op beside the bare import, turn and turn about, because machines get slower and faster while they run."""
    far = Distance(bench.port, 10)
    for tool, bare in bench.ours.items():
        bench.fresh()
        bench.run(tool)
        bare_name = f"bare import ({tool.name})"
        costs: dict[str, list[Cost]] = {bare_name: [], f"{tool.name}, 0 ms": [], f"{tool.name}, 10 ms": []}
        for _ in range(runs * 6):
            turn = (started(bare, {})(), bench.run(tool), bench.run(tool, far.port))
            for name, cost in zip(costs, turn, strict=True):
                costs[name].append(cost)
        unit = typical(costs[bare_name])
        for name, some in costs.items():
            cost = typical(some)
            yield name, ratio(cost.wall, unit.wall), ratio(cost.cpu, unit.cpu), ratio(cost.memory, unit.memory)


def herd(bench: Bench, size: int) -> Iterator[Sequence[object]]:
    """So many at once on an empty database, and once more with nothing to do, beside one alone; and as many bare imports."""
    for tool in bench.tools:
        row: list[object] = []
        for first in (True, False):
            if first:
                bench.fresh()
            alone = typical([bench.run(tool) for _ in range(1 if first else 3)])
            if first:
                bench.fresh()
            row += _at_once(partial(bench.start, tool), alone, size)
        yield tool.name, *row
    for tool, command in bench.ours.items():
        bare = partial(started, command, {})
        yield f"bare import ({tool.name})", "", "", "", *_at_once(bare, bare()(), size)


def _at_once(start: Callable[[], Callable[[], Cost]], alone: Cost, size: int) -> tuple[int, str, str]:
    """How many fail, and what all of them cost."""
    begun = time.perf_counter()
    costs = [end() for end in [start() for _ in range(size)]]
    wall = time.perf_counter() - begun
    cpu = sum(cost.cpu for cost in costs)
    return sum(cost.code != 0 for cost in costs), ratio(wall, alone.wall), ratio(cpu, alone.cpu)


def growth(bench: Bench, runs: int) -> Iterator[Sequence[object]]:
    """A no-op as its history grows, and with many services' tables beside it."""
    near = Distance(bench.port, 0)
    ours = list(bench.ours)[-1]
    for count in (10, 1000, 2000, 4000, 8000, 10000):
        bench.fresh()
        first = bench.run(ours, count=count)
        idle = typical([bench.run(ours, count=count) for _ in range(runs)])
        near.round_trips = 0
        bench.run(ours, near.port, count)
        yield count, 1, f"{first.wall:.2f}", f"{first.memory:.0f}", f"{idle.wall:.3f}", *_last(idle), near.round_trips
    bench.fresh()
    bench.run(ours)
    for number in range(99):
        for original in ("goose_bench", "goose_bench_ledger"):
            copy = original.replace("bench", f"bench_{number}")
            bench.sql(f"CREATE TABLE {copy} (LIKE {original} INCLUDING ALL)", bench.database)
            bench.sql(f"INSERT INTO {copy} SELECT * FROM {original}", bench.database)
    idle = typical([bench.run(ours) for _ in range(runs)])
    near.round_trips = 0
    bench.run(ours, near.port)
    yield FILES, 100, "", "", f"{idle.wall:.3f}", *_last(idle), near.round_trips


def images() -> Iterator[Sequence[object]]:
    """The images' sizes, of those that there are."""
    for image in ("mooring:latest", "mooring-alembic:latest"):
        found = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Size}}", image], capture_output=True, text=True, check=False
        )
        if found.returncode == 0:
            packed = subprocess.run(f"docker save {image} | gzip | wc -c", shell=True, capture_output=True, check=True)  # noqa: S602
            yield image, f"{int(found.stdout) / 1e6:.1f}", f"{int(packed.stdout) / 1e6:.1f}"


def show(title: str, columns: str, rows: Iterator[Sequence[object]]) -> None:
    """Print a table as its rows come."""
    names = columns.split(" | ")
    lines = itertools.chain((names, ["---"] * len(names)), rows)
    sys.stdout.write(f"\n{title}\n\n")
    for line in lines:
        sys.stdout.write(f"| {' | '.join(map(str, line))} |\n")
        sys.stdout.flush()


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often to measure what is short (%(default)s)")
    parser.add_argument("--herd", type=int, default=20, help="how many to start at once (%(default)s)")
    wanted = parser.parse_args()
    with serving() as bench:
        show(
            "A no-op beside the bare import of psycopg, structlog and pydantic-settings (ratio to it)",
            "run | wall s | CPU s | peak MB",
            yardstick(bench, wanted.runs),
        )
        show(
            f"{FILES} files (ratio to goose)",
            "tool | no-op, 0 ms | no-op, 10 ms | first apply, 0 ms | first apply, 10 ms | round trips, first"
            " | round trips, no-op | no-op CPU s | no-op peak MB",
            peers(bench, wanted.runs),
        )
        show(
            f"{wanted.herd} at once (ratio to one alone)",
            "tool | failed, first | wall s | CPU s | failed, no-op | wall s | CPU s",
            herd(bench, wanted.herd),
        )
        show(
            "A no-op as work grows",
            "recorded | services | first apply, s | its peak MB | no-op, s | its CPU s | its peak MB | round trips",
            growth(bench, wanted.runs),
        )
        show("Images", "image | on disk, MB | docker save, gzip, MB", images())


if __name__ == "__main__":
    main()
