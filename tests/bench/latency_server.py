"""A server that answers each call after a fixed time and counts what arrives: `python -m
tests.bench.latency_server SECONDS` prints its port.

It is one thread that waits, so that a thousand calls at once cost it little.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import suppress

from cbt_ray.llm.scripted import value_of

TEXT = "That sounds hard. What went through your mind when you sat there and did not get up?"


class Server:
    """What arrived since it was last asked: calls, the most at once, and when, in seconds."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._here = 0
        self.calls = self.most = 0
        self.first = self.last = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as long as it is kept."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    body = self._counted()
                else:
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    body = await self._answered(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    def _counted(self) -> bytes:
        counts = {name: value for name, value in vars(self).items() if name[0] != "_"}
        self.calls = self.most = 0
        self.first = self.last = 0.0
        return json.dumps(counts).encode()

    async def _answered(self, asked: bytes) -> bytes:
        self.calls += 1
        self._here += 1
        self.most = max(self.most, self._here)
        self.first = self.first or time.time()
        await asyncio.sleep(self._latency_s)
        self._here -= 1
        self.last = time.time()
        return _completion(asked)


def _completion(asked: bytes) -> bytes:
    text = TEXT
    if b'"json_schema"' in asked:
        schema = json.loads(asked)["response_format"]["json_schema"]["schema"]
        text = json.dumps(value_of(schema, random.Random(0)))
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920}
    return json.dumps({"model": "fixed", "choices": [choice], "usage": usage}).encode()


async def main() -> None:
    """Serve until the process is ended."""
    served = Server(float(sys.argv[1]))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
