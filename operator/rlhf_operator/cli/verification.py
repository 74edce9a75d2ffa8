"""`verify`: the invariants on one live model, each with what it means and what breaks it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.text import Text

from rlhf_operator.api.model import RLHFModel
from rlhf_operator.cli import invariants, sentences
from rlhf_operator.cli.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One invariant on one model."""

    invariant: str
    meaning: str
    broken: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """All invariants on one model."""

    namespace: str
    model: str
    checks: tuple[Checked, ...]

    @property
    def is_fine(self) -> bool:
        """Return whether nothing is broken."""
        return not any(each.broken for each in self.checks)


def verify(state: State, model: RLHFModel) -> Verification:
    """Return what holds and what does not."""
    return Verification(
        namespace=model.metadata.namespace,
        model=model.metadata.name,
        checks=tuple(
            Checked(
                invariant=check.__name__,
                meaning=(check.__doc__ or "").strip(),
                broken=tuple(check(state, model)),
            )
            for check in invariants.CHECKS
        ),
    )


def still_broken(
    before: tuple[Verification, ...], after: tuple[Verification, ...]
) -> tuple[Verification, ...]:
    """Return the later look, with what was broken in both; what is new is not broken yet."""
    known = {
        (each.namespace, each.model, check.invariant, text)
        for each in before
        for check in each.checks
        for text in check.broken
    }
    return tuple(
        replace(
            each,
            checks=tuple(
                replace(
                    check,
                    broken=tuple(
                        text
                        for text in check.broken
                        if (each.namespace, each.model, check.invariant, text) in known
                    ),
                )
                for check in each.checks
            ),
        )
        for each in after
    )


def render(found: Verification) -> RenderableType:
    """Return one line for each invariant, and what is broken below it."""
    broken = sum(bool(each.broken) for each in found.checks)
    said = f"{len(found.checks)} invariants, " + (f"{broken} broken" if broken else "all hold")
    lines = [Text.assemble((found.model, "name"), "  ", (said, "bad" if broken else "good"))]
    for each in found.checks:
        mark = ("✗ ", "bad") if each.broken else ("✓ ", "good")
        lines.append(Text.assemble(mark, each.meaning))
        lines += [Text(f"    {text}", "bad") for text in each.broken]
    return Group(*lines)


def render_all(found: tuple[Verification, ...], *, everywhere: bool = False) -> RenderableType:
    """Return all models; of many only the broken ones in full."""
    if not found:
        return Text("no RLHFModel here")
    if not everywhere:
        return Group(*(render(each) for each in found))
    broken = [each for each in found if not each.is_fine]
    count = len(invariants.CHECKS)
    said = f"{sentences.count(len(found), 'model')}, {count} invariants each: "
    head = Text.assemble(said, (f"{len(broken)} broken", "bad") if broken else ("all hold", "good"))
    parts: list[RenderableType] = [head]
    for each in broken:
        parts.append(Text(f"{each.namespace}/{each.model}", "name"))
        for check in each.checks:
            parts += [Text(f"  ✗ {check.invariant}: {text}", "bad") for text in check.broken]
    return Group(*parts)
