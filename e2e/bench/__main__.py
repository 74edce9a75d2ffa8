"""`make bench`: measure the operator with 1, 100 (or more) models into .state/bench.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from contextlib import ExitStack
from typing import Any

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from e2e.bench import measure, models, programs
from e2e.bench.api import Api, Routes
from e2e.bench.fleet import BenchError, Fleet
from e2e.bench.prometheus import NAMESPACE, ScriptedPrometheus
from e2e.cluster import endpoints, settings
from e2e.harness import objects
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl

_RESULT = settings.REPOSITORY / ".state" / "bench.json"
# After a promotion pods drain and mirrors are written; then nothing is left to do.
_REST = 12.0
_ABOUT = {
    "aim": "one breach p99 <= 1.5 s with 1,000 models; all 100 at once p99 <= 2 s, all 1,000 "
    "<= 15 s; <= 0.3 writes/s idle, <= 2 with 100 running; <= 150 MB at 1,000; one query per "
    "SLO and interval",
    "rollback": "seconds from the moment when a bad sample can be read in Prometheus until a "
    "watch shows the stored VirtualService without weight for the canary; policy interval 1 s; "
    "up to one second of it is the wait for the next query, which from_first_served leaves out",
    "real": "API server, etcd, controllers and scheduler; the operator's code in a process of its "
    "own on the same machine, which also runs everything else",
    "played": "pods on a fake node (KWOK; its pod-ready stage also says that the artefact was "
    "verified, and gives no address), Prometheus, and golden prompts, which pass at once",
    "requests": "counted at the operator; its watches are not among them, its Lease is",
    "prometheus": "one SLO of two counters on one policy; each read of a counter is one query",
}


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "about": _ABOUT, "rollback": {}, "rollback_all": {}, "idle": {}, "promoted": {},
        "not_measured": [],
    }  # fmt: skip
    await config.load_kube_config(config_file=str(endpoints().kubeconfig))
    prometheus = ScriptedPrometheus()
    runner = await prometheus.start()
    port = programs.free_port()
    async with ApiClient() as client:
        api = Api(client)
        fleet = Fleet(api, Routes(api), prometheus)
        with ExitStack() as stack:
            stack.enter_context(programs.kwok())
            await api.make(models.policy())
            operator = stack.enter_context(programs.operator(prometheus.url, port))
            following = asyncio.create_task(fleet.routes.follow())
            try:
                async with asyncio.timeout(60 * options.minutes):
                    for size in options.models:
                        await _size(fleet, size, (operator, port), options, found)
            except (BenchError, TimeoutError) as error:
                found["not_measured"].append(f"ended early: {error!r}")
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    await runner.cleanup()
    return found


async def _size(
    fleet: Fleet,
    size: int,
    operator: tuple[int, int],
    options: argparse.Namespace,
    found: dict[str, Any],
) -> None:
    """Take every measurement with so many models."""
    key = str(size)
    took = await fleet.grow(size)
    found["promoted"][key] = {"seconds": round(took, 1)}
    _say(f"{size} models are promoted after {took:.0f} s")
    await asyncio.sleep(_REST)
    # Models that an earlier, smaller size left in a run are few.
    found["idle"][key] = await measure.cost(fleet, *operator, options.seconds)
    _say(f"idle: {found['idle'][key]}")
    await fleet.commit_all()
    _say("all hold at their step")
    await asyncio.sleep(_REST / 2)
    found[f"running_{key}"] = await measure.cost(fleet, *operator, options.seconds)
    _say(f"running: {found[f'running_{key}']}")
    runs = options.runs if size > 1 else min(options.runs, options.runs_of_one)
    found["rollback"][key] = await measure.rollbacks(fleet, runs, options.breach_seconds)
    _say(f"one of {size}: {found['rollback'][key]}")
    if size > 1:
        await fleet.until_live(fleet.asked)
        found["rollback_all"][key] = await measure.all_at_once(fleet)
        _say(f"all {size}: {found['rollback_all'][key]}")


def _left_out(found: dict[str, Any]) -> None:
    """Say what the issue asks for and this run did not measure."""
    missing = found["not_measured"]
    if "1000" not in found["rollback_all"]:
        missing.append("1,000 models: not run, or not to the end")
    missing.append("ready_1000_s: not measured; `promoted` has the time to a promoted version 1")
    missing.append("batching: throughput on real Triton with batching on and off")
    few = [size for size, each in found["rollback"].items() if each["runs"] < 50]
    if few:
        missing.append(f"fewer than 50 single breaches with {', '.join(few)} models")
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
    namespace = kubectl.within(NAMESPACE)
    if kubectl.get("namespace", NAMESPACE) is not None:
        namespace.run("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
        kubectl.delete("namespace", NAMESPACE, wait=False)
        # The node is fake: nobody confirms that its pods ended.
        kubectl.run("wait", "--for=delete", f"namespace/{NAMESPACE}", "--timeout=300s")
    kubectl.delete("node", models.node()["metadata"]["name"])


def main() -> None:
    """Measure, write the result, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="1,100", help="numbers of models, rising")
    parser.add_argument("--runs", type=int, default=50, help="single breaches for each number")
    parser.add_argument("--runs-of-one", type=int, default=50, help="the same with one model")
    parser.add_argument(
        "--breach-seconds", type=float, default=600, help="the longest that single breaches go on"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long costs are watched")
    parser.add_argument("--minutes", type=float, default=40, help="the longest it may take")
    options = parser.parse_args()
    options.models = sorted(int(each) for each in options.models.split(","))
    # Whoever ends the bench has it clean up, also where it was started in the background.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    programs.FOLDER.mkdir(parents=True, exist_ok=True)
    kubectl = Kubectl.of(endpoints())
    _kinds_are_there(kubectl)
    _clean(kubectl)
    try:
        kubectl.apply(objects.namespace(NAMESPACE), models.node())
        before = os.getloadavg()[0]
        found = asyncio.run(_run(options))
        found["load_average"] = {"before": before, "after": os.getloadavg()[0]}
        _left_out(found)
        _RESULT.write_text(json.dumps(found, indent=2) + "\n")
        _say(f"wrote {_RESULT.relative_to(settings.REPOSITORY)}")
    finally:
        try:
            _clean(kubectl)
        except HarnessError as error:
            print(f"not all was deleted: {error}")
    if not found["rollback"] or any("ended early" in each for each in found["not_measured"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
