"""The workers: passes over models, sixteen at a time, and over policies, one after the other.

A key that fails is tried again later; nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from rlhf_operator.api.errors import Transient
from rlhf_operator.controller.queue import DeadlineQueue
from rlhf_operator.controller.telemetry import Telemetry
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.line import reconcile
from rlhf_operator.reconcile.policies import reconcile_policy
from rlhf_operator.reconcile.ports import Fenced, World

log = logging.getLogger(__name__)

AT_ONCE = 16
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Workers:
    """Handles what the queues of models and policies hand out."""

    def __init__(
        self,
        *,
        models: DeadlineQueue[Key],
        policies: DeadlineQueue[tuple[str, str]],
        world: World,
        telemetry: Telemetry,
        leads: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        """Reconcile in this world, while `leads` says that this process may write."""
        self._models = models
        self._policies = policies
        self.world = world
        self._telemetry = telemetry
        self._leads = leads
        self._now = now
        self._failures: dict[Key, int] = {}
        self._turn = asyncio.Lock()
        """Held for one turn of the loop: in each, one pass begins that is not urgent."""

    async def reconcile_models(self) -> None:
        """Handle models for ever."""
        while True:
            key, late = await self._models.get()
            if not self._models.is_urgent(key):
                # A pass that writes nothing waits for nothing: hundreds would hold up the loop.
                async with self._turn:
                    await asyncio.sleep(0)
            self._telemetry.lateness.observe(late)
            began = time.monotonic()
            try:
                await self._one(key)
            finally:
                self._telemetry.seconds.observe(time.monotonic() - began)
                self._models.done(key)

    async def reconcile_policies(self) -> None:
        """Handle policies for ever."""
        while True:
            policy, _ = await self._policies.get()
            try:
                await reconcile_policy(*policy, self.world, self._now())
            except Transient as error:
                log.info("policy %s: again: %s", "/".join(policy), error)
                self._policies.add(policy, max(1.0, error.retry_after))
            except Exception:
                log.exception("policy %s: its status was not written", "/".join(policy))
                self._policies.add(policy, _BACKOFF[-1])
            finally:
                self._policies.done(policy)

    async def _one(self, key: Key) -> None:
        if not self._leads():
            self._models.add(key, 1.0)
            return
        now = self._now()
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
            self._telemetry.passes.labels("ok").inc()
            if wake is not None:
                self._models.add(key, (wake - now) / timedelta(seconds=1))

    def _later(self, key: Key, why: str, least: float) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = max(least, _BACKOFF[min(count, len(_BACKOFF) - 1)]) if count else least
        self._telemetry.passes.labels("retried").inc()
        log.info("%s: again in %.2f s: %s", key, delay, why)
        self._models.add(key, delay)
