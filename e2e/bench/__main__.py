"""`make bench`: measure the operator with a thousand models, and batching on a real Triton.

First the models are made; then the same models are watched at rest, with one, a hundred and all
of them in a run, and their runs are broken: one at a time, then all at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from contextlib import ExitStack
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from e2e.bench import batching, measure, models, programs
from e2e.bench.api import Api, Readiness, Routes
from e2e.bench.fleet import BenchError, Fleet
from e2e.bench.prometheus import NAMESPACE, ScriptedPrometheus
from e2e.cluster import endpoints, settings
from e2e.harness import objects
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl

_RESULT = settings.REPOSITORY / ".state" / "bench.json"
# After a change pods drain and mirrors are written; then nothing is left to do.
_REST = 12.0
_ABOUT = {
    "aim": "one breach p99 <= 1.5 s with 1,000 models; all 100 at once p99 <= 2 s, all 1,000 "
    "<= 15 s; <= 0.3 writes/s idle, <= 2 with 100 running; <= 150 MB at 1,000; one query per "
    "SLO and interval",
    "rollback": "seconds from the moment when a bad sample can be read in Prometheus until a "
    "watch shows the stored VirtualService without weight for the canary, among so many live "
    "rollouts; policy interval 1 s; up to one second of it is the wait for the next query, which "
    f"from_first_served leaves out; all at once: {_REST:.0f} s after all of them hold",
    "real": "API server (with more room than usual before it collects garbage), etcd, controllers "
    "and scheduler; the operator's code in a process of its own on the same machine, which also "
    "runs everything else; for batching also Triton",
    "played": "pods on a fake node (KWOK; its pod-ready stage also says that the artefact was "
    "verified, and gives no address), Prometheus, and golden prompts, which pass at once",
    "requests": "counted at the operator; its watches are not among them, its Lease is",
    "prometheus": "one SLO of two counters on one policy; each read of a counter is one query",
    "ready": "seconds from the first request to make a model until the last one is Ready",
}


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "about": _ABOUT, "rollback": {}, "rollback_all": {}, "idle": {}, "not_measured": [],
    }  # fmt: skip
    await config.load_kube_config(config_file=str(endpoints().kubeconfig))
    prometheus = ScriptedPrometheus()
    runner = await prometheus.start()
    port = programs.free_port()
    async with ApiClient() as client:
        api = Api(client)
        fleet = Fleet(api, Routes(api), Readiness(api), prometheus)
        with ExitStack() as stack:
            stack.enter_context(programs.kwok())
            await api.make(models.policy())
            operator = stack.enter_context(programs.operator(prometheus.url, port))
            following = asyncio.gather(fleet.routes.follow(), fleet.readiness.follow())
            try:
                async with asyncio.timeout(60 * options.minutes):
                    work = asyncio.create_task(_all(fleet, (operator, port), options, found))
                    await _while_running(work, operator)
            except (BenchError, TimeoutError) as error:
                found["not_measured"].append(f"ended early: {error!r}")
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    await runner.cleanup()
    return found


async def _while_running(work: asyncio.Task[None], operator: int) -> None:
    """Wait for the measurements, but not for an operator that has ended."""
    while not work.done():
        await asyncio.wait({work}, timeout=2)
        if not programs.is_running(operator):
            work.cancel()
            raise BenchError("the operator has ended; .state/bench/operator.log says why")
    await work


async def _all(
    fleet: Fleet, operator: tuple[int, int], options: argparse.Namespace, found: dict[str, Any]
) -> None:
    """Make the models, watch them at rest, then in runs of more and more of them."""
    most = options.models
    took = await fleet.grow(most)
    found[f"ready_{most}_s"] = round(took, 1)
    _say(f"{most} models are ready after {took:.0f} s")
    await asyncio.sleep(_REST)
    found["idle"][str(most)] = await measure.cost(fleet, *operator, options.seconds)
    _say(f"idle: {found['idle'][str(most)]}")
    for size in sorted({size for size in options.live or (1, 100, most) if size <= most}):
        await _live(fleet, size, operator, options, found)


async def _live(
    fleet: Fleet,
    size: int,
    operator: tuple[int, int],
    options: argparse.Namespace,
    found: dict[str, Any],
) -> None:
    """Take every measurement with so many models in a run; the others are at rest."""
    key = str(size)
    began = time.monotonic()
    await fleet.commit_some(size)
    _say(f"{size} hold at their step after {time.monotonic() - began:.0f} s")
    await asyncio.sleep(_REST / 2)
    if size > 1:
        found[f"running_{key}"] = await measure.cost(fleet, *operator, options.seconds)
        _say(f"running: {found[f'running_{key}']}")
    found["rollback"][key] = await measure.rollbacks(
        fleet, size, options.runs, options.breach_seconds
    )
    _say(f"one of {size}: {found['rollback'][key]}")
    if size > 1:
        # Of a few the moment within the operator's second counts: that of one round is chance.
        rounds = 5 if size <= 100 else 1
        found["rollback_all"][key] = await measure.all_at_once(fleet, size, rounds, _REST)
        _say(f"all {size}: {found['rollback_all'][key]}")


def _left_out(found: dict[str, Any]) -> None:
    """Say what was not measured, or not as often as it should be."""
    missing = found["not_measured"]
    missing += [f"{key}: not run, or not to the end" for key in ("1", "100", "1000")
                if key not in found["rollback"]]  # fmt: skip
    few = [size for size, each in found["rollback"].items() if each["runs"] < 50]
    if few:
        missing.append(f"fewer than 50 single breaches with {', '.join(few)} live rollouts")
    missing.append("Flagger and Argo Rollouts side by side: not run here")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _kinds_are_there(kubectl: Kubectl) -> None:
    """Install our kinds where they are missing; those that are there stay as they are."""
    if "rlhfrollouts.rlhf.dev" not in kubectl.run("get", "crd", "--output=name"):
        folder = settings.REPOSITORY / "crds"
        kubectl.run("apply", "--server-side", f"--filename={folder}")
        kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


def _clean(kubectl: Kubectl) -> None:
    """Delete all that the bench makes."""
    kubectl.delete("namespace", NAMESPACE, wait=False)
    deadline = time.monotonic() + 300
    while kubectl.get("namespace", NAMESPACE) is not None:
        # The node is fake: nobody confirms that its pods ended, nor those that come meanwhile.
        forced = ("--all", "--grace-period=0", "--force", "--wait=false")
        kubectl.within(NAMESPACE).run("delete", "pods", *forced)
        if time.monotonic() > deadline:
            raise HarnessError(f"namespace {NAMESPACE} is still there after 300 s")
        time.sleep(3)
    kubectl.delete("node", models.node()["metadata"]["name"])


def main() -> None:
    """Measure, write the result, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help="how many models there are")
    parser.add_argument(
        "--live", type=int, action="append",
        help="how many of them are in a run; may be given again; 1, 100 and all if not given",
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=50, help="single breaches for each number")
    parser.add_argument(
        "--breach-seconds", type=float, default=600, help="the longest that single breaches go on"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long costs are watched")
    parser.add_argument("--minutes", type=float, default=60, help="the longest scale may take")
    parser.add_argument("--only", choices=("scale", "batching"), help="measure a part alone")
    options = parser.parse_args()
    # Whoever ends the bench has it clean up, also where it was started in the background.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    programs.FOLDER.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(_RESULT.read_text()) if _RESULT.exists() else {}
    before = os.getloadavg()[0]
    if options.only != "batching":
        found |= _scale(options)
        _write(found, before)
    if options.only != "scale":
        try:
            found["batching"] = batching.measure()
            _say(f"batching: {found['batching']}")
        except (aiohttp.ClientError, HarnessError) as error:
            found.setdefault("not_measured", []).append(f"batching ended early: {error!r}")
        _write(found, before)
    early = [each for each in found.get("not_measured", ()) if "ended early" in each]
    if early:
        raise SystemExit("; ".join(early))


def _write(found: dict[str, Any], load_before: float) -> None:
    """Write what was found so far; what comes next may fail."""
    found["load_average"] = {"before": load_before, "after": os.getloadavg()[0]}
    _RESULT.write_text(json.dumps(found, indent=2) + "\n")
    _say(f"wrote {_RESULT.relative_to(settings.REPOSITORY)}")


def _scale(options: argparse.Namespace) -> dict[str, Any]:
    kubectl = Kubectl.of(endpoints())
    _kinds_are_there(kubectl)
    _clean(kubectl)
    try:
        kubectl.apply(objects.namespace(NAMESPACE), models.node())
        found = asyncio.run(_run(options))
        _left_out(found)
        return found
    finally:
        try:
            _clean(kubectl)
        except HarnessError as error:
            print(f"not all was deleted: {error}")


if __name__ == "__main__":
    main()
