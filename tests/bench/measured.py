"""Runs a command in silence and prints its seconds, its CPU seconds, its peak memory in KB and its exit code.

By a process that is small: what a process had in memory when it started another counts as the other's. It imports nothing
that is not in Python itself.
"""

from __future__ import annotations

import os
import sys
import time


begun = time.perf_counter()
process = os.fork()
if not process:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - what this is for
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - begun
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
