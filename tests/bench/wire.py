"""A TCP proxy that makes the database as far away as one likes, and counts how often a client waits for it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Distance:
    """Listens on a port of its own, and holds back what passes for half a round trip in each direction."""

    def __init__(self, port: int, round_trip_ms: float) -> None:
        self._target = port
        self._half = round_trip_ms / 2000
        self.port = 0
        self.round_trips = 0
        """How often a client has sent something after it had heard from the server, or for the first time."""
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        ready.wait()

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0, backlog=500)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        heard = [True]
        await asyncio.gather(
            self._pass(client, to_server, heard, asks=True), self._pass(server, to_client, heard, asks=False)
        )

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, heard: list[bool], *, asks: bool
    ) -> None:
        """Carry one direction; `heard` says whether the server was the last to speak."""
        clock = asyncio.get_running_loop().time
        parts: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            with suppress(ConnectionError):
                while (part := await parts.get())[1]:
                    await asyncio.sleep(max(0.0, part[0] - clock()))
                    sink.write(part[1])
                    await sink.drain()
            sink.close()

        delivery = asyncio.create_task(deliver())
        data = b"?"
        while data:
            try:
                data = await source.read(65536)
            except ConnectionError:
                data = b""
            if data and asks == heard[0]:
                self.round_trips += asks
                heard[0] = not asks
            parts.put_nowait((clock() + self._half, data))
        await delivery
