"""An OpenAI-compatible server with the scripted model and a fixed latency, which counts its calls.

Runs here or in a pod.

python llm_server.py --port 8000 --latency 0.2      GET /count answers {"calls": ..., "distinct":
..., "seconds": ...}
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cbt_ray.llm.request import Message, Request
from cbt_ray.llm.scripted import ScriptedModel
from cbt_ray.study.endpoint import Sampling, ScriptedEndpoint


class Tally:
    """Calls so far: all, and those that differ. What is asked twice is work that was done again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.seen: set[bytes] = set()
        self.first = self.last = 0.0

    def add(self, body: bytes) -> None:
        with self.lock:
            self.calls += 1
            self.seen.add(hashlib.sha256(body).digest())
            self.first = self.first or time.monotonic()

    def answered(self) -> None:
        with self.lock:
            self.last = time.monotonic()

    def to_json(self) -> dict[str, float]:
        """Calls, those that differ, and the seconds from the first question to the last answer."""
        return {"calls": self.calls, "distinct": len(self.seen), "seconds": self.last - self.first}


def answer(document: dict[str, Any]) -> dict[str, Any]:
    """A completion by rule, to whatever schema the request carries."""
    form = document.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema") or form.get("schema")
    messages = tuple(
        Message(message["role"], message["content"]) for message in document["messages"]
    )
    reply = ScriptedModel(ScriptedEndpoint(kind="scripted")).complete(
        Request(messages, Sampling(), document.get("seed") or 0, schema)
    )
    usage = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.reply_tokens}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": reply.text},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": document["model"],
        "choices": [choice],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


def server(port: int, latency: float, host: str = "127.0.0.1") -> tuple[ThreadingHTTPServer, Tally]:
    """A server that has not begun to serve, and its tally."""
    tally = Tally()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            begun = time.monotonic()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            tally.add(body)
            data = json.dumps(answer(json.loads(body))).encode()
            time.sleep(max(0.0, latency - (time.monotonic() - begun)))
            tally.answered()
            self.send(data)

        def do_GET(self) -> None:
            self.send(json.dumps(tally.to_json()).encode())

        def send(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    serving = ThreadingHTTPServer((host, port), Handler)
    serving.daemon_threads = True
    return serving, tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  a pod's Service
    options = parser.parse_args()
    server(options.port, options.latency, options.host)[0].serve_forever()
