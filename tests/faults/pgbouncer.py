"""A real PgBouncer in front of a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


PROGRAM = "/usr/sbin/pgbouncer"


@dataclass
class PgBouncer:
    """One PgBouncer, which can be killed and started again on its port."""

    folder: Path
    port: int
    server_port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str) -> str:
        """Where a client finds a database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        # It refuses to be root.
        root = os.geteuid() == 0
        as_user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if root else {}
        with (self.folder / "output").open("ab") as output:
            command = [PROGRAM, str(self.folder / "pgbouncer.ini")]
            self.process = subprocess.Popen(command, stdout=output, stderr=output, **as_user)
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, with every connection that it has."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        """What it said."""
        return (self.folder / "output").read_text(encoding="utf-8")


@contextmanager
def pgbouncer(server_url: str, mode: str = "session", **settings: object) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of the server at a URL without a database."""
    server_port = int(server_url.rpartition(":")[2])
    with tempfile.TemporaryDirectory(prefix="mooring-pgbouncer-", dir="/tmp") as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / "users",
            "pool_mode": mode,
            "max_client_conn": 500,
            "default_pool_size": 40,
            # After a server that could not be reached: the default of 15 s would be most of a test's time.
            "server_login_retry": 1,
        } | settings
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        databases = f"[databases]\n* = host=127.0.0.1 port={server_port}\n"
        (folder / "pgbouncer.ini").write_text(f"{databases}[pgbouncer]\n{text}", encoding="utf-8")
        (folder / "users").write_text('"postgres" ""\n', encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        pooler = PgBouncer(folder, port, server_port)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()
