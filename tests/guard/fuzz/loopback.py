"""A guard as a process of its own, and a model server that sends whatever bytes it is told."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp.test_utils import unused_port

from rlhf_operator.guard import config
from tests.guard.world import KEY, a_config

PATIENCE = 30.0
"""Seconds after which a request that got no answer is a failure."""

Framing = Literal["length", "chunked", "close"]


@dataclass(frozen=True, kw_only=True)
class Told:
    """A reply, byte by byte: each piece is sent on its own."""

    pieces: tuple[bytes, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    framing: Framing = "length"
    raw: bytes | None = None
    """These bytes in place of all else, and then the end of the connection."""

    @property
    def ends(self) -> bool:
        """Tell whether the connection ends behind it."""
        return self.raw is not None or self.framing == "close"

    @classmethod
    def json(cls, fields: Any) -> Told:
        return cls(pieces=(json.dumps(fields).encode(),))

    def sent(self) -> Iterator[bytes]:
        if self.raw is not None:
            yield self.raw
            return
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{n}: {v}" for n, v in self.headers)]
        match self.framing:
            case "length":
                lines.append(f"Content-Length: {sum(map(len, self.pieces))}")
            case "chunked":
                lines.append("Transfer-Encoding: chunked")
            case "close":
                lines.append("Connection: close")
        yield "\r\n".join([*lines, "", ""]).encode("latin-1")
        for piece in filter(None, self.pieces):
            is_chunked = self.framing == "chunked"
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
        if self.framing == "chunked":
            yield b"0\r\n\r\n"


@dataclass
class Model:
    """A model server in a thread; says `told` to all that ask for an answer."""

    told: Told | None = None
    """None: it answers as Triton does, with `text`."""
    text: str = "A fine answer."
    is_decoupled: bool = False
    port: int = 0
    sent: int = 0
    """Pieces of the latest reply that somebody took."""

    def forget(self) -> None:
        """Answer as Triton does again."""
        self.told = None

    @contextlib.contextmanager
    def serving(self) -> Iterator[Model]:
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(_end(server))
            loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                method, path, *_ = head.split()
                size = head.partition("content-length:")[2].split("\r\n")[0].strip()
                body = await reader.readexactly(int(size or 0))
                told = (
                    self._as_triton(path, body) if method == "get" or not self.told else self.told
                )
                for self.sent, piece in enumerate(told.sent()):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if told.ends:
                    break
        writer.close()

    def _as_triton(self, path: str, body: bytes) -> Told:
        """Answer as Triton does: with an error and 400 to all that it does not understand."""
        if path.endswith(("/ready", "/live")):
            return Told(pieces=(), headers=())
        if not body:
            policy = {"decoupled": self.is_decoupled}
            return Told.json({"name": "model", "model_transaction_policy": policy})
        try:
            asked = json.loads(body[: body.rfind(b"}") + 1])
        except ValueError:
            return _wrong("cannot parse")
        if "/models/model/" not in path:
            return _wrong("unknown model")
        if path.endswith("/infer"):
            if not all(isinstance(each.get("data"), list) for each in asked.get("inputs", [])):
                return _wrong("no data")
            tensor = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [self.text]}
            return Told.json({"model_name": "model", "model_version": "1", "outputs": [tensor]})
        if not isinstance(asked.get("text_input"), str):
            return _wrong("text_input is not a string")
        said = {"model_name": "model", "model_version": "1", "text_output": self.text}
        if path.endswith("_stream"):
            return events([said])
        return Told.json(said)


def _wrong(why: str) -> Told:
    return Told(pieces=(json.dumps({"error": why}).encode(),), status=400)


def events(said: Iterable[Any], end: bytes = b"\n") -> Told:
    """Return a stream of events as Triton sends it."""
    return Told(
        pieces=tuple(b"data: " + json.dumps(each).encode() + end + end for each in said),
        headers=(("Content-Type", "text/event-stream"),),
        framing="chunked",
    )


async def _end(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One whole answer of the guard."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_broken: bool = False
    """The connection broke off within the body."""

    @property
    def is_error(self) -> bool:
        """Tell whether the body is an error as the dialect has it, and says nothing else."""
        error = json.loads(self.body)["error"]
        return set(error) == {"message", "type", "param", "code"}


@dataclass(frozen=True, kw_only=True)
class Loopback:
    """A running guard and its model server."""

    model: Model = field(repr=False)
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path = field(repr=False)

    def send(self, *pieces: bytes, answers: int = 1, leave: bool = False) -> list[Said]:
        """Return the answers to bytes that are sent piece by piece, and nothing behind if `leave`.

        Raises BadStatusLine where the guard breaks off before it answers, and TimeoutError where
        it says nothing.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):  # it may answer before it has read all
                for piece in pieces:
                    link.sendall(piece)
                if leave:
                    link.shutdown(socket.SHUT_WR)
            with link.makefile("rb") as read:
                return [_answer(read) for _ in range(answers)]

    def post(self, path: str, body: bytes | Any, headers: Sequence[tuple[str, str]] = ()) -> Said:
        """Return the answer to a request with a JSON body, or with these bytes."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.send(head("POST", path, [*headers, ("Content-Length", str(len(body)))]) + body)[
            0
        ]

    def is_alive(self) -> bool:
        """Tell whether the process still answers."""
        [said] = self.send(head("GET", "/healthz/live"))
        return self.process.poll() is None and said.status == 200


def head(method: str, path: str, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a request up to its body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: guard", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class _Open(io.BufferedIOBase):
    """A connection's reading end that an answer does not close behind itself."""

    def __init__(self, read: io.BufferedReader) -> None:
        for name in ("read", "read1", "readline", "readinto", "peek"):
            setattr(self, name, getattr(read, name))

    def makefile(self, _mode: str) -> _Open:
        return self


def _answer(read: io.BufferedReader) -> Said:
    answer = http.client.HTTPResponse(_Open(read))  # type: ignore[arg-type]
    answer.begin()
    body, is_broken = b"", False
    try:
        while piece := answer.read1(65_536):
            body += piece
    except (http.client.IncompleteRead, ConnectionError):
        is_broken = True
    return Said(status=answer.status, headers=answer.headers, body=body, is_broken=is_broken)


@contextlib.contextmanager
def running(folder: Path, *, is_decoupled: bool = False, **changes: Any) -> Iterator[Loopback]:
    """Run a guard; it must end well and have logged no failure."""
    with Model(is_decoupled=is_decoupled).serving() as model:
        port = unused_port()
        told = {"port": port, "operationsPort": unused_port(), "lameDuckSeconds": 0}
        told["tritonUrl"] = f"http://127.0.0.1:{model.port}"
        file, log = folder / "guard.json", folder / "guard.log"
        file.write_text(json.dumps(a_config(**{**told, **changes})))
        with log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "rlhf_operator.guard", "--config", file],
                env={**os.environ, config.SIGNING_KEY: KEY},
                stderr=written,
            )
        try:
            loopback = Loopback(model=model, port=port, process=process, log=log)
            _wait(loopback)
            yield loopback
            assert loopback.is_alive()
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(PATIENCE)
        logged = log.read_text()
        assert ended == 0, logged
        assert "Traceback" not in logged, logged


def _wait(loopback: Loopback) -> None:
    ends = time.monotonic() + PATIENCE
    while loopback.process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            if loopback.is_alive():
                return
        time.sleep(0.02)
    raise AssertionError(loopback.log.read_text())
