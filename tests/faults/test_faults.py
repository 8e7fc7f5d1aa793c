"""Hundreds of faults, and none of them loses a migration or runs one twice."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.faults.harness import Tally, lane


FAULTS = int(os.environ.get("FAULTS", "500"))
# Each server has this seed and its version.
SEED = int(os.environ.get("FAULTS_SEED", str(time.time_ns() % 1_000_000)))
VERSIONS = (15, 18)
BROKEN = ("without lock", "with rows outside")
Lanes = dict[tuple[int, str], Future[Tally]]


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    """All of the faults, on two servers at a time."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = {(version, ""): pool.submit(lane, version, SEED + version, FAULTS // 2) for version in VERSIONS}
        for sabotage in BROKEN:
            for version in VERSIONS:
                found[version, sabotage] = pool.submit(
                    lane, version, SEED + version, 200, sabotage, ("kill", "term", "reset")
                )
        yield found


@pytest.mark.parametrize("version", VERSIONS)
def test_no_fault_loses_a_migration_or_runs_one_twice(
    lanes: Lanes, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    tally = lanes[version, ""].result()
    with capsys.disabled():
        print(f"\nPostgreSQL {version}, seed {SEED + version}, {time.monotonic() - begun:.0f} s: {tally}")
    assert not tally.lost, "\n".join(tally.lost)


@pytest.mark.parametrize("sabotage", BROKEN)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_harness_notices_a_mooring_that_is_broken(lanes: Lanes, version: int, sabotage: str) -> None:
    """With a lock that nobody takes, and with records that are written after the migration's own transaction."""
    assert lanes[version, sabotage].result().lost
