"""SIGTERM: the end of a pod, in time and in order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from mooring.errors import Terminated


_GRACE = 1.2
"""Seconds for cancelling and rolling back before the process ends all the same."""
_LAST_WORD = 0.3
"""Seconds for saying so."""


def end_at_once() -> None:
    """End with 143 when SIGTERM comes, before there is anything to cancel or to report.

    Without a handler the first process of a container does not hear it, and would go on until it is killed.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(Terminated.exit_code))


def end_on_sigterm(last_resort: Callable[[], object]) -> None:
    """Raise Terminated in the main thread, wherever it is, when SIGTERM comes.

    psycopg cancels the running statement on its way out. Where Python cannot raise, because the main thread is inside a
    C library that looks up a host's name, or a server on a cut network does not answer, a thread calls `last_resort` and
    ends the process: then nothing is left to cancel, or nobody to tell.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_insist, args=(heard, last_resort), daemon=True).start()


def _terminate(_signal: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _insist(heard: int, last_resort: Callable[[], object]) -> None:
    while os.read(heard, 1)[0] != signal.SIGTERM:
        pass
    time.sleep(_GRACE)
    # It too may hang: where nobody reads the log, for example.
    teller = threading.Thread(target=last_resort, daemon=True)
    teller.start()
    teller.join(_LAST_WORD)
    os._exit(Terminated.exit_code)
