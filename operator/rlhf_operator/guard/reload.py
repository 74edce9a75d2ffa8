"""Rules that change while the guard runs: the live file, read anew when it changes.

Kubelet brings a new file under the same name. One that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_operator.guard import config
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.files import Mark, mark
from rlhf_operator.guard.pipeline import Remote
from rlhf_operator.guard.state import Guard

log = logging.getLogger("rlhf_operator.guard")

EVERY = 1.0
"""Seconds between two looks; kubelet itself takes up to a minute."""

Remotes = Callable[[Setup], Mapping[str, Remote]]
"""Makes the classifiers and services of a setup, by the names of their stages."""


def no_remotes(_setup: Setup) -> Mapping[str, Remote]:
    """Return none: only Rules can be run."""
    return {}


@dataclass(kw_only=True, slots=True)
class LiveFile:
    """The file with a guard's live rules, and what was last seen of it."""

    guard: Guard
    path: Path
    remotes: Remotes = no_remotes
    seen: Mark | None = None

    async def follow(self) -> None:
        """Look again and again; ends only when cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

    async def look(self) -> None:
        """Take the rules in the file if it is another one than before."""
        try:
            found = mark(self.path)
        except OSError:
            return  # a file that is gone takes no rule away
        if found == self.seen:
            return
        self.seen = found
        try:
            # Thousands of patterns take a while to compile; answers go on meanwhile.
            setup = await asyncio.to_thread(_read, self.guard.setup, self.path)
            self._take(setup)
        except config.BadConfig as error:
            self._refuse(error.place)
        except OSError as error:
            self._refuse(f"it cannot be read: {type(error).__name__}")
        except Exception as error:  # whatever it is, the rules that hold stay
            self._refuse(type(error).__name__)

    def _take(self, setup: Setup) -> None:
        if setup.config == self.guard.setup.config:
            return
        self.guard.take(setup, self.remotes(setup))
        self.guard.instruments.count_reload("taken")
        log.info("new rules are in force: %s", setup.rules.digest)

    def _refuse(self, why: str) -> None:
        self.guard.instruments.count_reload("refused")
        log.warning("new rules were refused, the old ones stay in force: %s", why)


def _read(setup: Setup, path: Path) -> Setup:
    return config.with_live(setup, path.read_text(encoding="utf-8"))
