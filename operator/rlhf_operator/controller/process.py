"""The running operator: everything wired together, from the Lease to the workers."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import kopf
from aiohttp import web
from kubernetes.aio.client import ApiClient
from prometheus_client import CONTENT_TYPE_LATEST

from rlhf_operator.adapters.applied import UNWATCHED
from rlhf_operator.adapters.cluster import KubernetesCluster
from rlhf_operator.adapters.golden import GoldenProber
from rlhf_operator.adapters.prometheus import Prometheus, Source
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.controller import allocator, sweeps, watches
from rlhf_operator.controller.config import MetricSourceConfig, OperatorConfig, seconds
from rlhf_operator.controller.engine import Engine
from rlhf_operator.controller.leader import Elector, Terms
from rlhf_operator.controller.queue import DeadlineQueue
from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.controller.telemetry import Telemetry
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.line import reconcile
from rlhf_operator.reconcile.policies import reconcile_policy
from rlhf_operator.reconcile.ports import Fenced, World

log = logging.getLogger(__name__)

WORKERS = 16
SWEEP_EVERY = 120.0
_LONGEST_HOLD = 10.0
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


def utc_now() -> datetime:
    """Return the time; the only clock that decisions see."""
    return datetime.now(UTC)


def listen(stop: asyncio.Event) -> None:
    """Have the signals that end a process end this one in order."""
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)


class Process:
    """One operator process."""

    def __init__(self, config: OperatorConfig, client: ApiClient, identity: str) -> None:
        self.config = config
        self.identity = identity
        self.store = MemoryStore()
        self.queue: DeadlineQueue[Key] = DeadlineQueue(time.monotonic)
        self.policies: DeadlineQueue[tuple[str, str]] = DeadlineQueue(time.monotonic)
        self.kinds = watches.watched(config)
        self.receiver = watches.Receiver(
            self.store, self.queue.add, self.policies.add, config.namespace, self.kinds
        )
        self.cluster = KubernetesCluster(
            client,
            seen=self.receiver.stored,
            known=self.store.mark,
            gone=self.receiver.gone,
            calm=self.queue.calm,
        )
        self.telemetry = Telemetry(lambda: self.engine.estimates())
        sources = {each.name: _source(each, config) for each in config.metric_sources}
        self.engine = Engine(
            sources=sources,
            now=utc_now,
            notify=self._judged,
            observer=self.telemetry,
            crowded=lambda: self.queue.urgent > WORKERS // 2,
        )
        self.prober = GoldenProber(now=utc_now, notify=self.queue.add)
        self.elector = _elector(self.cluster, config, identity)
        self.world = World(
            store=self.store,
            cluster=self.cluster,
            slos=self.engine,
            prober=self.prober,
            settings=config.settings(),
            epoch=lambda: self.elector.epoch,
            reported=self.telemetry.reported,
        )
        self._failures: dict[Key, int] = {}
        self._synced = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held for one turn of the loop: in each, one pass begins that is not urgent."""
        self._alive = time.monotonic()
        self._last_sweep = time.monotonic()

    def _judged(self, key: Key, failed: bool) -> None:
        self.queue.add(key, urgent=failed)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop or the leadership is lost."""
        server = await self._serve()
        try:
            if self.config.leader_election.enabled:
                await self._race(stop, self.elector.win())
            if not stop.is_set():
                log.info("leading, epoch %d", self.elector.epoch)
                self.telemetry.leading.set(1)
                await self._lead(stop)
        finally:
            self.telemetry.leading.set(0)
            await self.prober.close()
            await self.elector.release()
            await server.cleanup()

    async def _race(self, stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)

    async def _lead(self, stop: asyncio.Event) -> None:
        kopf_stop = asyncio.Event()
        work = [
            asyncio.create_task(self._watch(kopf_stop, stop), name="watches"),
            asyncio.create_task(self._sweeps(), name="sweep"),
            asyncio.create_task(self.engine.run(kopf_stop), name="engine"),
            asyncio.create_task(self._pulse(), name="pulse"),
            asyncio.create_task(self._policy_worker(), name="policies"),
            *(asyncio.create_task(self._worker(), name=f"worker-{n}") for n in range(WORKERS)),
        ]
        if self.config.leader_election.enabled:
            work.append(asyncio.create_task(self.elector.keep(), name="lease"))
        waiting = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({*work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("told to stop; the Lease is given back")
        kopf_stop.set()
        for task in (*work, waiting):
            task.cancel()
        await asyncio.gather(*work, waiting, return_exceptions=True)
        for task in done - {waiting}:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]
            log.error("%s ended; the process stops so that another can lead", task.get_name())

    async def _watch(self, stop: asyncio.Event, told: asyncio.Event) -> None:
        namespaces = self.config.watch_namespaces
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=watches.registry(self.kinds, self.receiver.receive),
            settings=watches.settings(),
            memories=watches.NoMemories(),
            namespaces=namespaces,
            clusterwide=not namespaces,
            stop_flag=stop,
            # Otherwise kopf asks for the name of a user that a pod's number does not have.
            identity=cast(Any, self.identity),
        )
        listen(told)  # kopf has taken the signals; with them it would end alone, as if by a fault
        await kopf.run_tasks(tasks, ignored=before)

    async def _sweeps(self) -> None:
        """Take in everything at once, then go round, a kind at a time."""
        pause = SWEEP_EVERY / (len(self.kinds) + len(UNWATCHED))
        while True:
            kinds = sweeps.sweep(
                self.store,
                self.cluster,
                self.receiver,
                self.kinds,
                self.config.watch_namespaces,
                self._calm,
            )
            try:
                async for _ in kinds:
                    if self._synced.is_set():
                        await asyncio.sleep(pause)
                self._last_sweep = time.monotonic()
                self._synced.set()
                await asyncio.to_thread(allocator.trim)
            except Transient as error:
                log.warning("the sweep failed: %s", error)
                await asyncio.sleep(2.0)

    async def _calm(self) -> None:
        """Wait until no failure waits to be acted on, but not for ever."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.queue.calm(), _LONGEST_HOLD)

    async def _pulse(self) -> None:
        while True:
            self._alive = time.monotonic()
            await asyncio.sleep(1)

    async def _worker(self) -> None:
        await self._synced.wait()
        while True:
            key, late = await self.queue.get()
            if not self.queue.is_urgent(key):
                # A pass that writes nothing waits for nothing: hundreds would hold up the loop.
                async with self._turn:
                    await asyncio.sleep(0)
            self.telemetry.lateness.observe(late)
            began = time.monotonic()
            try:
                await self._one(key)
            finally:
                self.telemetry.seconds.observe(time.monotonic() - began)
                self.queue.done(key)

    async def _policy_worker(self) -> None:
        await self._synced.wait()
        while True:
            policy, _ = await self.policies.get()
            try:
                await reconcile_policy(*policy, self.world, utc_now())
            except Transient as error:
                log.info("policy %s: again: %s", "/".join(policy), error)
                self.policies.add(policy, max(1.0, error.retry_after))
            except Exception:
                log.exception("policy %s: its status was not written", "/".join(policy))
                self.policies.add(policy, _BACKOFF[-1])
            finally:
                self.policies.done(policy)

    async def _one(self, key: Key) -> None:
        if self.config.leader_election.enabled and not self.elector.is_leader:
            self.queue.add(key, 1.0)
            return
        now = utc_now()
        try:
            wake = await reconcile(key, self.world, now)
        except Transient as error:
            self._later(key, str(error), error.retry_after)
        except Fenced as error:
            log.error("%s: %s", key, error)
            raise
        except Exception:
            log.exception("%s: a pass broke; it is tried again", key)
            self._later(key, "bug", 5.0)
        else:
            self._failures.pop(key, None)
            self.telemetry.passes.labels("ok").inc()
            if wake is not None:
                self.queue.add(key, (wake - now) / timedelta(seconds=1))

    def _later(self, key: Key, why: str, least: float) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = max(least, _BACKOFF[min(count, len(_BACKOFF) - 1)]) if count else least
        self.telemetry.passes.labels("retried").inc()
        log.info("%s: again in %.2f s: %s", key, delay, why)
        self.queue.add(key, delay)

    def app(self) -> web.Application:
        """Return the application for kubelet and Prometheus."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _serve(self) -> web.AppRunner:
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=self.config.health_port).start()
        await web.TCPSite(runner, port=self.config.metrics_port).start()
        return runner

    async def _healthz(self, _: web.Request) -> web.Response:
        """Alive: the loop turns and, while leading, the sweep still comes through."""
        now = time.monotonic()
        stuck = now - self._alive > 30 and self._synced.is_set()
        blind = self._synced.is_set() and now - self._last_sweep > 5 * SWEEP_EVERY
        return web.Response(status=500 if stuck or blind else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        """Ready: a waiting replica is ready to lead; a leader once it has seen everything."""
        waiting = self.config.leader_election.enabled and not self.elector.is_leader
        return web.Response(status=200 if waiting or self._synced.is_set() else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = await self.telemetry.text()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _elector(cluster: KubernetesCluster, config: OperatorConfig, identity: str) -> Elector:
    chosen = config.leader_election
    terms = Terms(
        namespace=config.namespace,
        name=chosen.lease_name,
        identity=identity,
        duration=seconds(chosen.lease_duration),
        renew=seconds(chosen.renew_deadline),
        retry=seconds(chosen.retry_period),
    )
    return Elector(cluster, terms, clock=time.monotonic, now=utc_now)


def _source(each: MetricSourceConfig, config: OperatorConfig) -> Prometheus:
    return Prometheus(
        Source(
            name=each.name,
            url=each.url,
            scrape_interval=parse_duration(config.scrape_interval),
            timeout=parse_duration(each.timeout),
            token_file=Path(each.bearer_token_file) if each.bearer_token_file else None,
            ca_file=Path(each.ca_file) if each.ca_file else None,
        )
    )
