"""How the process starts: the command `mooring`, and what the image runs.

A run with nothing to do is, for the most part, Python that loads modules. Nothing here changes what a run does.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import NoReturn

from mooring.signals import end_at_once


UNUSED = {
    *("asyncio.sslproto", "asyncio.staggered", "ctypes.util", "email.header", "secrets", "structlog.stdlib"),
    *("structlog.threadlocal", "tokenize", "urllib.parse"),
}
"""Modules that the packages import and a run does not use, or only in a corner: they are loaded when they are."""


class Lazily:
    """Finds the modules of UNUSED, and leaves loading them to their first use, as importlib documents it.

    Python 3.15's lazy imports (PEP 810) make this unnecessary, and reach further: `from … import …` too.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module as the next finder would find it, with a loader that waits."""
        spec = PathFinder.find_spec(name, path, target) if name in UNUSED else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


def main() -> NoReturn:
    """Run the command that the process was started with, and exit; a SIGTERM counts from the beginning."""
    end_at_once()
    sys.meta_path.insert(0, Lazily)
    # Modules are no garbage: neither while they are loaded nor at the end is there a point in looking for some in them.
    gc.disable()
    if sys.argv[1:] == ["up"]:  # as every pod runs it
        from mooring import database  # with psycopg, which is half of what there is to load

        database.begin(os.environ)
    from mooring.cli import run

    gc.freeze()
    gc.enable()
    code = run(sys.argv[1:])
    if "alembic" not in sys.modules:  # whose revisions are programs, and may have something to do at the end
        with suppress(OSError):  # a reader that has gone needs no more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # taking the interpreter apart takes longer than the query
    sys.exit(code)


if __name__ == "__main__":
    main()
