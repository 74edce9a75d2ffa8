"""The running operator: everything wired together, from the Lease to the workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient
from prometheus_client import CONTENT_TYPE_LATEST

from rlhf_operator.adapters.applied import UNWATCHED
from rlhf_operator.adapters.cluster import KubernetesCluster
from rlhf_operator.adapters.golden import GoldenProber
from rlhf_operator.adapters.prometheus import Prometheus, Source
from rlhf_operator.api.errors import Transient
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.controller import allocator, streams, sweeps, watches
from rlhf_operator.controller.config import MetricSourceConfig, OperatorConfig, seconds
from rlhf_operator.controller.engine import Engine
from rlhf_operator.controller.leader import Elector, Terms
from rlhf_operator.controller.queue import DeadlineQueue
from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.controller.telemetry import Telemetry
from rlhf_operator.controller.workers import AT_ONCE, Workers
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.ports import World

log = logging.getLogger(__name__)

SWEEP_EVERY = 120.0
_LONGEST_HOLD = 10.0


def utc_now() -> datetime:
    """Return the time; the only clock that decisions see."""
    return datetime.now(UTC)


class Process:
    """One operator process."""

    def __init__(self, config: OperatorConfig, client: ApiClient, identity: str) -> None:
        self.config = config
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
            crowded=lambda: self.queue.urgent > AT_ONCE // 2,
        )
        self.prober = GoldenProber(now=utc_now, notify=self.queue.add)
        self.elector = _elector(self.cluster, config, identity)
        world = World(
            store=self.store,
            cluster=self.cluster,
            slos=self.engine,
            prober=self.prober,
            settings=config.settings(),
            epoch=lambda: self.elector.epoch,
            reported=self.telemetry.reported,
        )
        self.workers = Workers(
            models=self.queue,
            policies=self.policies,
            world=world,
            telemetry=self.telemetry,
            leads=lambda: not config.leader_election.enabled or self.elector.is_leader,
            now=utc_now,
        )
        self._synced = asyncio.Event()
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
        watching = streams.follow(self.kinds, self.config.watch_namespaces, self.receiver.receive)
        work = [
            asyncio.create_task(watching, name="watches"),
            asyncio.create_task(self._sweeps(), name="sweep"),
            asyncio.create_task(self.engine.run(), name="engine"),
            asyncio.create_task(self._pulse(), name="pulse"),
            asyncio.create_task(self._work(self.workers.reconcile_policies), name="policies"),
            *(
                asyncio.create_task(self._work(self.workers.reconcile_models), name=f"worker-{n}")
                for n in range(AT_ONCE)
            ),
        ]
        if self.config.leader_election.enabled:
            work.append(asyncio.create_task(self.elector.keep(), name="lease"))
        waiting = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({*work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("told to stop; the Lease is given back")
        for task in (*work, waiting):
            task.cancel()
        await asyncio.gather(*work, waiting, return_exceptions=True)
        for task in done - {waiting}:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]
            log.error("%s ended; the process stops so that another can lead", task.get_name())

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

    async def _work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin some work once everything was seen."""
        await self._synced.wait()
        await work()

    async def _pulse(self) -> None:
        while True:
            self._alive = time.monotonic()
            await asyncio.sleep(1)

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
