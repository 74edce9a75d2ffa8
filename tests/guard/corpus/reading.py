"""Reads the corpus: texts the guard's rules should catch, and harmless ones that look alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
DEVELOPMENT = HERE / "development.jsonl"
PRACTICE = HERE / "practice.jsonl"
HELD_OUT = HERE / "held-out.jsonl"
DIGEST = HERE / "held-out.sha256"

Kind = Literal["attack", "lookalike"]
Direction = Literal["Input", "Output"]

NEEDED = {"id", "class", "kind", "direction", "language"}
OPTIONAL = {"text", "repeat", "times", "hard", "note"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One text, whom it speaks to and what it is."""

    id: str
    """Stable: the class and three digits; for practice a letter may stand before them."""
    class_name: str
    kind: Kind
    direction: Direction
    """Input: a user's message. Output: a model's answer."""
    language: str
    """A BCP 47 tag; `und` for texts of no language."""
    text: str
    hard: bool = False
    """An attack that no rule on words can be expected to catch; reported apart."""
    note: str = ""
    """Why the text is there, where that is not plain to see."""


def read_development() -> tuple[Entry, ...]:
    """Return the part that rules may be written against."""
    return parse(DEVELOPMENT.read_bytes())


def read_practice() -> tuple[Entry, ...]:
    """Return the texts that rules are tuned with: they show relapses, and prove nothing."""
    return parse(PRACTICE.read_bytes())


def read_held_out(path: Path = HELD_OUT) -> tuple[Entry, ...]:
    """Return the part that was kept from the writers of rules.

    Raises FileNotFoundError while it is not published, and ValueError when it is not the file
    whose digest was published before.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != published_digest():
        raise ValueError(f"{path.name} is not the file that {DIGEST.name} was made of")
    return parse(content)


def published_digest() -> str:
    """Return the SHA-256 of the held-out file, in hexadecimal, as published with the corpus."""
    return DIGEST.read_text().split()[0]


def parse(content: bytes) -> tuple[Entry, ...]:
    """Return the entries of a file of JSON lines; raise ValueError at a line that is none."""
    return tuple(_entry(json.loads(line)) for line in content.decode().splitlines())


def _entry(line: dict[str, Any]) -> Entry:
    keys = set(line)
    if not (NEEDED <= keys <= NEEDED | OPTIONAL):
        raise ValueError(f"{line.get('id')}: keys missing or unknown: {sorted(keys)}")
    if ("text" in keys) == ("repeat" in keys) or ("repeat" in keys) != ("times" in keys):
        raise ValueError(f"{line['id']}: needs either a text or what to repeat how many times")
    return Entry(
        id=line["id"],
        class_name=line["class"],
        kind=line["kind"],
        direction=line["direction"],
        language=line["language"],
        text=line["text"] if "text" in keys else line["repeat"] * line["times"],
        hard=line.get("hard", False),
        note=line.get("note", ""),
    )
