"""The guard's certificate, taken anew when it is renewed; connections that are open stay."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from rlhf_operator.guard.config import BadConfig
from rlhf_operator.guard.files import Mark, mark

log = logging.getLogger("rlhf_operator.guard")

EVERY = 10.0
"""Seconds between two looks at the files."""


class Certificate:
    """A certificate with its key, and the context that new connections use. Mutable."""

    def __init__(self, folder: Path) -> None:
        self._files = (folder / "tls.crt", folder / "tls.key")
        try:
            self._seen = self._mark()
            self.context = self._loaded()
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(f"{folder}: no certificate: {type(error).__name__}") from error

    @classmethod
    def of(cls, folder: str | None) -> Certificate | None:
        """Return the certificate of a folder; BadConfig where there is none to use."""
        return None if folder is None else cls(Path(folder))

    async def follow(self) -> None:
        """Look again and again; ends only when cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.look()

    def look(self) -> None:
        """Take the files if they are others than before; those that do not fit change nothing."""
        try:
            found = self._mark()
            if found == self._seen:
                return
            self._seen = found
            self._loaded()  # a pair that does not fit would leave the context in use halfway
            self.context.load_cert_chain(*self._files)
            log.info("the renewed certificate is in use")
        except (OSError, ssl.SSLError) as error:
            log.warning("the renewed certificate cannot be used: %s", type(error).__name__)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context

    def _mark(self) -> tuple[Mark, ...]:
        return tuple(mark(path) for path in self._files)
