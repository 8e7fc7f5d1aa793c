"""Hundreds of faults, and none of them loses a migration or runs one twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.faults.harness import Harness, Server, Tally, running


FAULTS = int(os.environ.get("FAULTS", "500"))
SEED = int(os.environ.get("FAULTS_SEED", str(time.time_ns() % 1_000_000)))


@pytest.fixture(scope="module", params=[15, 18], ids="postgres-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as server:
        yield server


def faults(harness: Harness, count: int, kinds: tuple[str, ...] = ()) -> Tally:
    for number in range(1, count + 1):
        harness.fault(number, kinds[number % len(kinds)] if kinds else "")
    return harness.tally


def test_no_fault_loses_a_migration_or_runs_one_twice(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    tally = faults(Harness(server, SEED), FAULTS // 2)
    with capsys.disabled():
        print(f"\nseed {SEED}: {tally}")
    assert not tally.lost, "\n".join(tally.lost)


def test_the_harness_notices_a_missing_lock(server: Server) -> None:
    tally = faults(Harness(server, SEED, "without lock"), 40, ("kill", "term"))
    assert tally.lost


def test_the_harness_notices_a_version_row_outside_the_transaction(server: Server) -> None:
    tally = faults(Harness(server, SEED, "with rows outside"), 60, ("kill",))
    assert tally.lost
