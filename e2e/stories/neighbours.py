"""What stands beside a guard: a moderation service and a sink for samples, both played."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from e2e.harness.kubectl import Object
from e2e.stories.little_server import LittleServer

_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
taken = []
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.reply(taken)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(self.answer(body))
    def reply(self, value):
        said = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_):
        pass
"""
_MODERATION = """
    def answer(self, body):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        results = []
        for text in texts:
            bad = sys.argv[2] in text
            results.append({"flagged": bad, "categories": {"violence": bad},
                            "category_scores": {"violence": 0.97 if bad else 0.01}})
        return {"id": "modr-1", "model": "played", "results": results}
"""
_SINK = """
    def answer(self, body):
        taken.extend(body)
        return {}
"""
_SERVE = 'ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()\n'


@dataclass(frozen=True, kw_only=True)
class Moderation(LittleServer):
    """Speaks OpenAI's moderation schema, and finds one word."""

    name: str = "moderation"
    port: int = 8090
    word: str

    @property
    def program(self) -> str:
        return f"{_SERVER}{_MODERATION}{_SERVE}"

    @property
    def arguments(self) -> list[str]:
        return [str(self.port), self.word]

    def stage(self, **how: Any) -> Object:
        """Return the stage by which a guard asks here about answers."""
        service = {"name": self.name, "port": self.port, "path": "/v1/moderations"}
        external = {"service": service, "contract": "OpenAIModeration"}
        return {
            "name": self.name, "type": "External", "appliesTo": ["Output"], "action": "Block",
            "timeout": "1s", "external": external, **how,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sink(LittleServer):
    """Takes batches of events and shows what it took since it was opened."""

    name: str = "sink"
    port: int = 8091

    @property
    def program(self) -> str:
        return f"{_SERVER}{_SINK}{_SERVE}"

    def sampling(self, **how: Any) -> Object:
        """Return the part of a guard's spec that sends every answer here."""
        service = {"name": self.name, "port": self.port, "path": "/events"}
        return {"service": service, "share": "1", "batch": 5, "maxDelay": "1s", **how}

    def taken(self) -> list[Object]:
        """Return the events that were taken; none while nobody can be asked."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.address, timeout=10) as reply:
                found: list[Object] = json.load(reply)
        except OSError:
            return []
        return found
