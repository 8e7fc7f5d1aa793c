"""A TCP proxy between a runner and its server, that delays, stalls for a while, or resets the connection."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass


@dataclass
class Trouble:
    """What happens to a connection after it has carried so many bytes, both ways taken together."""

    kind: str
    """`reset` or `stall`, or nothing."""
    after: int = 0
    seconds: float = 0.0
    """How long a stall lasts."""


class Proxy:
    """Listens on a port of its own; what it does to the next connection is its `trouble`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.carried = 0
        """Bytes, both ways and over all connections."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.trouble = Trouble("")
        self._stalled = 0
        self._accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def stall(self) -> None:
        """Carry nothing any more for the connections that there are, and keep them."""
        self._stalled = self._accepted

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            trouble, self.trouble = self.trouble, Trouble("")
            self._accepted += 1
            threading.Thread(target=self._carry, args=(client, trouble, self._accepted), daemon=True).start()

    def _carry(self, client: socket.socket, trouble: Trouble, number: int) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carried = 0
        with selectors.DefaultSelector() as selector, client, server:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    while number <= self._stalled:
                        time.sleep(0.05)
                    try:
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if trouble.kind and carried + len(data) > trouble.after:
                            keep = trouble.after - carried
                            key.data.sendall(data[:keep])
                            if trouble.kind == "reset":
                                for end in (client, server):
                                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                                return
                            time.sleep(trouble.seconds)
                            trouble = Trouble("")
                            data = data[keep:]
                            carried += keep
                        key.data.sendall(data)
                        carried += len(data)
                        self.carried += len(data)
                    except OSError:
                        return
