"""How the process starts: the command `mooring`, and what the image runs.

A run with nothing to do is, for the most part, Python that loads modules. Nothing here changes what a run does.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from mooring.signals import end_at_once


def main() -> NoReturn:
    """Run the command that the process was started with, and exit; a SIGTERM counts from the beginning."""
    end_at_once()
    from mooring.lazy import Finder

    sys.meta_path.insert(0, Finder())
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
