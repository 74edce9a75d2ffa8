"""`make bench-guard`: measure the guard beside LiteLLM's proxy, with Envoy alone as the floor.

All stand in front of a stub model that answers at once. Every round asks one after the other, so
that a slow minute of the machine meets them all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.bench import programs
from e2e.bench.guard import figures, load, ruleset, targets
from e2e.bench.guard.figures import Sample
from e2e.bench.guard.load import Load, LoadError, Target
from e2e.bench.measure import processor_seconds, resident_megabytes
from e2e.cluster import settings
from e2e.cluster.progress import ClusterError

_RESULT = settings.REPOSITORY / ".state" / "guard.json"
_BODIES = 64
_OPEN_CONNECTIONS = 64
_OPEN_SHARE = 0.5
_OPEN_ROUNDS = 5
_MARKS = 50
_AT_REST = 0.01
_ABOUT = {
    "aim": "closed loop at 64 connections: >= 5 times LiteLLM's throughput; open loop at half of "
    "its own saturation, 64 connections: p99 added <= 15 ms; memory flat over 10^6 requests",
    "what": "chat completions of four messages, answered with about 70 words by a stub model at "
    "once; 40 keywords and 10 patterns block in prompts and answers; one process each",
    "guard": "in front of a model that gives answers in parts, as vLLM does: the guard reads them "
    "so even where its user wants a whole one; guard_one_piece: in front of one that does not",
    "latency": "milliseconds until the last byte (first_text: until the first text of a stream); "
    "added: above the same percentile of the stub asked directly in the same round; "
    "all figures are medians over the rounds",
    "closed_loop": "each connection asks again as soon as it has its answer, so at saturation "
    "latency is mostly the wait for the others",
    "open_loop": "requests at fixed moments; latency counts from the moment planned, so waiting "
    "for a free connection is part of it",
    "equal_rules": "LiteLLM: its own litellm_content_filter before and after the call, the same "
    "keywords and patterns; it looks for keywords within words too; no key, no database, no logs",
    "envoy": "a plain HTTP proxy without rules, one worker",
    "processor_ms_per_request": "processor time of the measured process alone: what least depends "
    "on what else runs on this machine",
    "memory": "the guard alone; one request in fifty is bad, one in ten streams; growth is from a "
    "tenth of the requests to their end",
}


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _closed(
    found: dict[str, Target], options: argparse.Namespace, *, stream: bool
) -> dict[str, dict[int, list[Sample]]]:
    """Ask every target with every number of connections, round by round."""
    bodies = load.write(
        "streaming" if stream else "plain", ruleset.requests(_BODIES, stream=stream)
    )
    rounds: dict[str, dict[int, list[Sample]]] = {name: {} for name in found}
    seconds = options.seconds / options.rounds
    for number in range(options.rounds):
        for connections in options.connections:
            said = []
            for name, target in found.items():
                asked = Load(connections=connections, seconds=seconds, stream=stream)
                _settle(found)
                sample = load.ask(target, asked, bodies)
                rounds[name].setdefault(connections, []).append(sample)
                said.append(f"{name} {sample.in_time / sample.seconds:.0f}")
            kind = "streaming" if stream else "plain"
            _say(f"round {number + 1}, {kind}, {connections}: {', '.join(said)} answers/s")
    return rounds


def _settle(found: dict[str, Target], seconds: float = 30) -> None:
    """Wait until whoever was asked before has done what it leaves for after the answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = sum(processor_seconds(target.pid) for target in found.values())
        time.sleep(0.1)
        after = sum(processor_seconds(target.pid) for target in found.values())
        if after - before <= _AT_REST:
            return


def _open(
    found: dict[str, Target], closed: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Ask each filter at half of its saturation, by a schedule; the stub at the same rate."""
    bodies = load.write("plain", ruleset.requests(_BODIES))
    report: dict[str, Any] = {}
    for name in targets.FILTERS:
        saturation = closed.get(name, {}).get(str(_OPEN_CONNECTIONS), {}).get("rps")
        if not saturation or name not in found:
            continue
        rate = round(_OPEN_SHARE * saturation, 1)
        pairs: dict[str, list[Sample]] = {"direct": [], name: []}
        asked = Load(
            connections=_OPEN_CONNECTIONS, rate=rate, seconds=options.seconds / options.rounds
        )
        for _ in range(_OPEN_ROUNDS):
            for each, samples in pairs.items():
                _settle(found)
                samples.append(load.ask(found[each], asked, bodies))
        report[name] = {"rate_rps": rate, **figures.point(pairs[name], pairs["direct"])}
        _say(f"open loop, {name}: {report[name]}")
    return {**report.pop("guard", {}), **report}


def _soaked(found: dict[str, Target], options: argparse.Namespace) -> dict[str, Any]:
    """Watch memory over a million requests, and for a minute where answers come in parts.

    Before a model that answers in one piece a million requests take half the time.
    """
    limits = {"guard_one_piece": options.soak_seconds, "guard": min(60.0, options.soak_seconds)}
    soaked = {
        which: _soak(found[which], Load(connections=64, requests=options.requests, seconds=seconds))
        for which, seconds in limits.items()
        if which in found
    }
    first, *others = soaked
    return {"target": first, **soaked[first], **{which: soaked[which] for which in others}}


def _soak(target: Target, asked: Load) -> dict[str, Any]:
    """Ask a guard very often and watch its memory; a tenth of the requests are streams."""
    bodies = load.write("mixed", ruleset.mixed_requests(1000))
    marks: list[tuple[int, float]] = []
    began = time.monotonic()
    start = resident_megabytes(target.pid)

    def watch(done: int) -> None:
        if done >= len(marks) * asked.requests / _MARKS:
            marks.append((done, resident_megabytes(target.pid)))
            if len(marks) % 5 == 1:
                rate = done / (time.monotonic() - began)
                _say(f"memory: {done} requests, {marks[-1][1]} MB, {rate:.0f}/s")

    sample = load.ask(target, asked, bodies, progress=watch, may_refuse=True)
    end = resident_megabytes(target.pid)
    return {
        "requests": sample.done,
        "errors": sample.errors,
        "rps": round(sample.done / sample.seconds, 1),
        "rss_start_mb": start,
        "rss_end_mb": end,
        "rss_mb_at": [*marks, (sample.done, end)],
    }


def _self_check() -> dict[str, Any]:
    """Ask a stub that takes 20 ms: what the measuring itself finds must agree with that."""
    bodies = load.write("plain", ruleset.requests(_BODIES))
    port = programs.free_port()
    with programs.running(targets.stub_command(port, "20ms"), "slow", {}) as pid:
        target = Target(name="slow", url=f"http://127.0.0.1:{port}/v1/chat/completions", pid=pid)
        targets.wait(target)
        asked = {
            "closed loop": Load(connections=16),
            "open loop, half load": Load(connections=16, rate=400),
            "open loop, overload": Load(connections=16, rate=1200),
        }
        samples = {name: load.ask(target, each, bodies) for name, each in asked.items()}
    return {
        "about": "16 connections to a stub that takes 20 ms, so 800 answers/s at most; in an "
        "overload latency must grow with the backlog",
        **{
            name: {
                "rps": round(sample.in_time / sample.seconds, 1),
                "p50_ms": figures.percentile_ms(sample.whole, 0.5),
                "p99_ms": figures.percentile_ms(sample.whole, 0.99),
            }
            for name, sample in samples.items()
        },
    }


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _measure(options: argparse.Namespace, result: dict[str, Any]) -> None:
    with targets.started(options.targets) as found:
        _say(f"ready, and both ways block: {', '.join(found)}")
        if "plain" in options.only:
            result |= figures.table(_closed(found, options, stream=False))
        if "streaming" in options.only:
            parted = {name: each for name, each in found.items() if name != "guard_one_piece"}
            result["streaming"] = figures.table(_closed(parted, options, stream=True))
        if "open" in options.only:
            result["open_loop"] = _open(found, result, options)
        if "memory" in options.only and {"guard", "guard_one_piece"} & set(found):
            result["memory"] = _soaked(found, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.guard", description=__doc__)
    parts = ("check", "plain", "streaming", "open", "memory")
    parser.add_argument("--seconds", type=float, default=6, help="for each point, all rounds")
    parser.add_argument("--rounds", type=int, default=3, help="in how many rounds it is asked")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the memory's part")
    parser.add_argument(
        "--soak-seconds", type=float, default=1500, help="the longest that memory's part goes on"
    )
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="measure parts")
    parser.add_argument(
        "--targets", nargs="+", choices=targets.ALL, default=targets.ALL,
        help="beside the stub itself",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    # Whoever ends the bench has it clean up, also where it was started in the background.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    programs.FOLDER.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(_RESULT.read_text()) if _RESULT.exists() else {}
    result |= {"about": _ABOUT, "machine": _machine()}
    before = os.getloadavg()[0]
    try:
        if "check" in options.only:
            result["check"] = _self_check()
            _say(f"check: {result['check']}")
        _measure(options, result)
    except (LoadError, ClusterError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("ended early; nothing was written") from None
    result["aims"] = figures.verdicts(result)
    result["load_average"] = {"before": before, "after": os.getloadavg()[0]}
    _RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, verdict in result["aims"].items():
        met = {True: "met", False: "MISSED", None: "open, too few requests"}[verdict["met"]]
        _say(f"{name}: {verdict['figure']} ({verdict['aim']}: {met})")
    _say(f"wrote {_RESULT.relative_to(settings.REPOSITORY)}")


if __name__ == "__main__":
    main()
