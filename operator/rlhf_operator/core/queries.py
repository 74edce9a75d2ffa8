"""Which PromQL of a team is accepted, and how far back it looks.

One query is asked for all models of all teams at once, and its answer is joined by labels. So an
expression must keep those labels on every path, and must not be able to invent them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import promql_parser as promql

from rlhf_operator.api.measure import Query
from rlhf_operator.api.metrics import TARGET_LABELS
from rlhf_operator.api.schema import format_duration

LONGEST = timedelta(hours=1)
_FINEST_STEP = timedelta(seconds=1)
_DEEPEST = 100
_KEEP = ", ".join(TARGET_LABELS)
_BY = f"sum by ({_KEEP}) (…)"

_REFUSED_CALLS = {
    "label_replace": "it could name another model; filter by labels in the selector instead",
    "label_join": "it could name another model; filter by labels in the selector instead",
    "info": f"it takes labels from other series; use a metric that carries {_KEEP} itself",
    "scalar": f"it drops all labels; aggregate with {_BY} instead",
    "vector": f"its result has no labels; compare with a number in max or min, or use {_BY}",
    "absent": "it answers for no model; missing series are Inconclusive by themselves",
    "absent_over_time": "it answers for no model; missing series are Inconclusive by themselves",
}


class _RefusedError(Exception):
    """Carries why, for a person; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one part of an expression yields, and how far back it looks."""

    type: promql.ValueType
    range: timedelta = timedelta(0)


def problem(query: Query) -> str | None:
    """Return why a query is refused and what to write instead; None when it is fine."""
    return None if query.prom_ql is None else _look(query.prom_ql)[0]


def longest_range(text: str) -> timedelta:
    """Return how far back the expression looks: ranges, subqueries and offsets together."""
    return _look(text)[1]


@lru_cache(maxsize=1024)
def _look(text: str) -> tuple[str | None, timedelta]:
    try:
        found = _examine(_parse(text), 0)
        if found.type == promql.ValueType.Matrix:
            raise _RefusedError(
                "it yields a range of points; wrap it in a function such as rate(…)"
            )
        if found.type != promql.ValueType.Vector:
            kind = "number" if found.type == promql.ValueType.Scalar else "string"
            raise _RefusedError(f"it yields one {kind} for all models; aggregate with {_BY}")
        if found.range > LONGEST:
            back = format_duration(found.range)
            raise _RefusedError(f"it looks back {back} in all; at most 1h is allowed")
    except _RefusedError as refused:
        return str(refused), timedelta(0)
    return None, found.range


def _parse(text: str) -> promql.Expr:
    try:
        return promql.parse(text)
    except ValueError as error:
        raise _RefusedError(f"it is not valid PromQL: {error}") from None


def _examine(part: promql.Expr, depth: int) -> _Found:
    """Return what a part yields, or raise with the first reason to refuse it."""
    if depth > _DEEPEST:
        raise _RefusedError("it is nested too deeply; split it or use a recording rule")
    match part:
        case promql.NumberLiteral():
            return _Found(promql.ValueType.Scalar)
        case promql.StringLiteral():
            return _Found(promql.ValueType.String)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _examine(part.expr, depth + 1)
        case promql.VectorSelector():
            return _Found(promql.ValueType.Vector, _selector(part))
        case promql.MatrixSelector():
            back = _short_enough(part.range) + _selector(part.vector_selector)
            return _Found(promql.ValueType.Matrix, back)
        case promql.SubqueryExpr():
            return _subquery(part, depth)
        case promql.Call():
            return _call(part, depth)
        case promql.AggregateExpr():
            return _aggregate(part, depth)
        case promql.BinaryExpr():
            return _binary(part, depth)
        case _:
            raise _RefusedError(f"{type(part).__name__} is not supported")


def _selector(part: promql.VectorSelector) -> timedelta:
    named = [each for each in part.matchers.matchers if each.name == "__name__"]
    if not part.name and not any(each.op == promql.MatchOp.Equal for each in named):
        raise _RefusedError("a selector names no metric; write metric{…}, not {…} alone")
    return _shift(part.offset, part.at)


def _shift(offset: timedelta | None, at: object) -> timedelta:
    if at is not None:
        raise _RefusedError("@ pins a moment, but what counts is now; leave it out")
    if offset is not None and offset < timedelta(0):
        raise _RefusedError("a negative offset asks for the future; leave it out")
    if offset is not None and offset > LONGEST:
        raise _RefusedError(
            f"offset {format_duration(offset)} is longer than 1h; use a shorter one"
        )
    return offset or timedelta(0)


def _short_enough(length: timedelta) -> timedelta:
    if length > LONGEST:
        raise _RefusedError(
            f"the range {format_duration(length)} is longer than 1h; use at most 1h"
        )
    return length


def _subquery(part: promql.SubqueryExpr, depth: int) -> _Found:
    if part.step is not None and part.step < _FINEST_STEP:
        raise _RefusedError("the step of a subquery is shorter than 1s; use at least 1s")
    back = _short_enough(part.range or LONGEST) + _shift(part.offset, part.at)
    return _Found(promql.ValueType.Matrix, back + _examine(part.expr, depth + 1).range)


def _call(part: promql.Call, depth: int) -> _Found:
    if part.func.name in _REFUSED_CALLS:
        raise _RefusedError(f"{part.func.name} is not allowed: {_REFUSED_CALLS[part.func.name]}")
    inner = [_examine(each, depth + 1).range for each in part.args]
    return _Found(part.func.return_type, max(inner, default=timedelta(0)))


def _aggregate(part: promql.AggregateExpr, depth: int) -> _Found:
    modifier = part.modifier
    if modifier is None:
        raise _RefusedError(f"an aggregation drops the labels {_KEEP}; write for instance {_BY}")
    keeps_named = modifier.type == promql.AggModifierType.By
    named = set(modifier.labels)
    lost = [label for label in TARGET_LABELS if (label in named) != keeps_named]
    if lost:
        raise _RefusedError(f"an aggregation drops {', '.join(lost)}; write for instance {_BY}")
    if isinstance(part.param, promql.StringLiteral) and part.param.val in TARGET_LABELS:
        raise _RefusedError(f"count_values writes {part.param.val}; choose another label")
    if part.param is not None:
        _examine(part.param, depth + 1)
    return _examine(part.expr, depth + 1)


def _binary(part: promql.BinaryExpr, depth: int) -> _Found:
    left, right = _examine(part.lhs, depth + 1), _examine(part.rhs, depth + 1)
    vectors = (left.type, right.type).count(promql.ValueType.Vector)
    if part.modifier is not None and vectors == 2:
        _matching(part.modifier)
    kind = promql.ValueType.Vector if vectors else promql.ValueType.Scalar
    return _Found(kind, max(left.range, right.range))


def _matching(modifier: promql.BinModifier) -> None:
    cards = promql.VectorMatchCardinality
    if modifier.card in (cards.ManyToOne, cards.OneToMany):
        raise _RefusedError(
            f"group_left and group_right are not allowed: aggregate both sides with {_BY} first"
        )
    if modifier.matching is None:
        return
    if modifier.matching.type != promql.LabelModifierType.Include:
        raise _RefusedError(f"ignoring is not allowed; match with on ({_KEEP})")
    lost = [label for label in TARGET_LABELS if label not in modifier.matching.labels]
    if lost:
        raise _RefusedError(f"on (…) drops {', '.join(lost)}; match with on ({_KEEP})")
