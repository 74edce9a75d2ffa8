"""Credentials from mounted Secrets: read anew when a file changed, never logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rlhf_operator.api.stages import SecretKey
from rlhf_operator.guard.files import Mark, mark

_LONGEST = 8192


@dataclass(kw_only=True, slots=True)
class Credential:
    """One key of a Secret, as a file."""

    path: Path
    _seen: Mark | None = None
    _value: str | None = field(default=None, repr=False)

    def read(self) -> str | None:
        """Return the credential as it is now; None where there is none that a header can hold."""
        try:
            seen = mark(self.path)
            if seen != self._seen:
                self._value = _usable(self.path.read_bytes())
                self._seen = seen
        except OSError:
            self._seen = self._value = None
        return self._value


def locate(key: SecretKey, folder: str) -> Credential:
    """Return where the credential of a key lies; it need not be there yet."""
    return Credential(path=Path(folder) / key.secret_name / key.key)


def _usable(content: bytes) -> str | None:
    text = content[: _LONGEST + 1].decode("ascii", "replace").strip()
    return text if 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable() else None
