"""The sandbox of chat templates: Jinja with little in it, and a bound on all that it makes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from jinja2 import Undefined, nodes
from jinja2.ext import LoopControlExtension
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

LONGEST = 4_000_000
"""Characters of a prompt, and of any text on the way to it."""
_WEIGHT = 8
"""What a value takes beside its text, in characters."""

_PARTS = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Assign, nodes.ExprStmt),
    *(nodes.For, nodes.Break, nodes.Continue),
    *(nodes.Name, nodes.NSRef, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Keyword, nodes.Filter),
    *(nodes.Test, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Add, nodes.Sub, nodes.Mod, nodes.Neg, nodes.Concat),
)
"""What a template may be made of: no macro, no block that is kept, no product of texts."""
_FILTERS = frozenset(
    (
        *("trim", "length", "count", "default", "d", "first", "last", "list", "string", "int"),
        *("upper", "lower", "capitalize", "title", "tojson", "selectattr", "rejectattr"),
    )
)
_TEXT_FILTERS = frozenset(("trim", "string", "upper", "lower", "capitalize", "title"))
_TESTS = frozenset(
    (
        *("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number"),
        *("integer", "boolean", "true", "false", "odd", "even", "eq", "equalto", "==", "ne", "!="),
    )
)
_METHODS = {
    str: frozenset(
        (
            *("strip", "lstrip", "rstrip", "startswith", "endswith", "split", "rsplit"),
            *("upper", "lower", "title", "capitalize"),
        )
    ),
    dict: frozenset(("items", "keys", "values", "get")),
}
_TICK, _MADE, _JOINED = "_tick", "_made", "_joined"
_MAKERS = (
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Call, nodes.Filter, nodes.Compare),
    *(nodes.Add, nodes.Sub, nodes.Mod, nodes.Concat),
)
"""What makes new values, or looks at all of one; a slice does, too."""


class Unfit(ValueError):  # noqa: N818 - it says of what, not that something went wrong
    """The template does not take this conversation; the message repeats nothing of it."""


class _Silent(Undefined):
    """What is not there is false and empty, as templates expect it, but is never written."""

    def __str__(self) -> str:
        self._fail_with_undefined_error()


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with little in it, that knows how long it may work, and how much it may make."""

    intercepted_binops = frozenset(["+", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=_Silent,
            finalize=_text,
            extensions=[LoopControlExtension],
        )
        self.until, self.left = 0.0, 0
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.filters = {name: _of_text(name, self.filters[name]) for name in _FILTERS}
        self.filters["tojson"] = _as_json
        self.globals = {
            "namespace": Namespace,
            "raise_exception": _refused,
            _TICK: self._tick,
            _MADE: self._made,
            _JOINED: _joined,
        }

    def _tick(self) -> bool:
        if time.thread_time() > self.until:
            raise Unfit("the version's chat template works on this conversation for too long")
        return True

    def _made(self, value: Any) -> Any:
        """Return a value that was made, if all that was made is not too much with it.

        Each part of it counts as often as it is there: a list of lists of lists may be short and
        take for ever to look through.
        """
        self._tick()
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.left -= _WEIGHT
            if isinstance(item, str):
                self.left -= len(item)
            elif isinstance(item, dict):
                waiting += (*item.keys(), *item.values())
            elif isinstance(item, (list, tuple)):
                waiting += item
            if self.left < 0:
                raise Unfit("the version's chat template makes too much of this conversation")
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may use it: some methods of texts and objects, and loops."""
        if isinstance(obj, (LoopContext, Namespace)):
            return not attr.startswith("_")
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def wrap_str_format(self, value: Any) -> None:
        """Offer no `format`: it can make a long text of a short one."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return a sum that does not grow too long, or what is left of a division."""
        _bounded(left, right)
        if operator == "%" and not isinstance(left, int):
            raise Unfit("the version's chat template divides what is no number")
        return super().call_binop(context, operator, left, right)


class Watched(NodeTransformer):
    """Has every turn of a loop look at the clock, and weighs all that is made."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as Jinja has it
        """Return the loop with a look before each turn, and before each of its conditions."""
        self.generic_visit(node)
        node.body.insert(0, nodes.If(_call(_TICK, [], node), [], [], [], lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(_call(_TICK, [], node), node.test, lineno=node.lineno)
        return node

    def generic_visit(self, node: nodes.Node, *args: Any, **given: Any) -> nodes.Node:
        """Return an expression that makes something as a call that weighs what it made."""
        is_slice = isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
        super().generic_visit(node, *args, **given)
        is_target = getattr(node, "ctx", "load") != "load"
        if (
            is_target
            or not isinstance(node, nodes.Expr)
            or not (is_slice or isinstance(node, _MAKERS))
        ):
            return node
        if isinstance(node, nodes.Concat):
            node = _call(_JOINED, list(node.nodes), node)
        return _call(_MADE, [node], node)


def _call(name: str, given: list[nodes.Expr], at: nodes.Node) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=at.lineno)
    return nodes.Call(function, given, [], None, None, lineno=at.lineno)


def refuse(tree: nodes.Template) -> None:
    """Raise ValueError where a template is made of something else than it may be."""
    for node in every(tree):
        if not isinstance(node, _PARTS):
            raise ValueError(f"line {node.lineno}: {type(node).__name__} is not supported here")
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            known = ", ".join(sorted(_FILTERS))
            raise ValueError(f"line {node.lineno}: no filter {node.name}; there are {known}")
        if isinstance(node, nodes.Test) and node.name not in _TESTS:
            known = ", ".join(sorted(_TESTS))
            raise ValueError(f"line {node.lineno}: no test {node.name}; there are {known}")
        if isinstance(node, nodes.For) and node.recursive:
            raise ValueError(f"line {node.lineno}: recursive loops are not supported here")
        if isinstance(node, nodes.Name) and node.name in (_TICK, _MADE, _JOINED):
            raise ValueError(f"line {node.lineno}: {node.name} is not yours")


def every(node: nodes.Node) -> Iterable[nodes.Node]:
    """Yield a node and all within it."""
    yield node
    for child in node.iter_child_nodes():
        yield from every(child)


def _bounded(*parts: Any) -> None:
    if sum(len(part) for part in parts if isinstance(part, (str, list, tuple))) > LONGEST:
        raise Unfit("the prompt would be too long")


def _joined(*parts: Any) -> str:
    texts = [str(_text(part)) for part in parts]
    _bounded(*texts)
    return "".join(texts)


def _text(value: Any) -> Any:
    """Return what may be written: a text, a number, or what is not there, which fails by itself."""
    if value is None or isinstance(value, (str, int, float, Undefined)):
        return value
    raise Unfit("the version's chat template writes what is no text")


def _of_text(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that makes texts of texts alone."""
    if name not in _TEXT_FILTERS:
        return work
    return lambda value, *given: work(_text(value), *given)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refused(_why: str) -> NoReturn:
    raise Unfit("the version's chat template does not take this conversation")
