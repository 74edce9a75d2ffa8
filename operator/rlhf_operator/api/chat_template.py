"""A version's chat template: how a conversation becomes the text that the model reads.

Templates are Jinja, as tokenizers bring them. They come with a version and run on what users
write, so they run in Jinja's sandbox, with few of its means, on texts that may not grow without
bound, and for a short time. What a conversation says cannot pass for the marks between turns.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypedDict

from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import LoopControlExtension
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

LONGEST = 4_000_000
"""Characters of a prompt, and of any text on the way to it."""
SECONDS = 0.5
"""So long may a template work on one conversation."""

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
_METHODS = {
    str: frozenset(
        (
            *("strip", "lstrip", "rstrip", "startswith", "endswith", "split", "rsplit"),
            *("upper", "lower", "title", "capitalize"),
        )
    ),
    dict: frozenset(("items", "keys", "values", "get")),
}
_MARK = "<\\|[^<>|]{1,64}\\|>|<\uff5c[^<>\uff5c]{1,64}\uff5c>"
"""A mark as most tokenizers have them; some write it with wide bars."""
_MARK_OF_A_TEMPLATE = re.compile(
    rf"{_MARK}|<</?[A-Z]{{1,16}}>>|</?[A-Za-z_][A-Za-z_0-9]{{0,47}}>|\[/?[A-Z_]{{2,32}}\]"
)
_TICK = "_tick"


class Unfit(ValueError):  # noqa: N818 - it says of what, not that something went wrong
    """The template does not take this conversation; the message repeats nothing of it."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class ChatTemplate:
    """A template that was checked. Raises ValueError where it cannot be one, and says why."""

    def __init__(self, source: str) -> None:
        self._environment = environment = _Sandbox()
        try:
            tree = environment.parse(source)
            _refuse(tree)
            self._marks = _marks(tree)
            code = environment.compile(_Watched(environment).visit(tree))
        except TemplateError as error:
            raise ValueError(f"{error.message} (line {getattr(error, 'lineno', 1)})") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        self._template = environment.template_class.from_code(
            environment, code, environment.globals
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Return what the model reads; it ends where the assistant speaks. Raises Unfit."""
        self._environment.until = time.monotonic() + SECONDS
        said = [
            Message(role=each["role"], content=self._marks.sub(_broken, each["content"]))
            for each in messages
        ]
        parts, length = [], 0
        try:
            for part in self._template.generate(
                messages=said,
                add_generation_prompt=True,
                tools=None,
                documents=None,
                # Every backend puts the token that begins a text before it by itself.
                bos_token="",
            ):
                length += len(part)
                if length > LONGEST:
                    raise Unfit("the prompt would be too long")
                parts.append(part)
        except Unfit:
            raise
        except Exception:
            # Its text could hold a part of the conversation.
            raise Unfit("the version's chat template does not take this conversation") from None
        return "".join(parts)


def problem(source: str) -> str | None:
    """Return why a text cannot be a chat template, or nothing."""
    try:
        template = ChatTemplate(source)
    except ValueError as error:
        return str(error)
    question = "how are you?"
    try:
        prompt = template.render([Message(role="user", content=question)])
    except Unfit:
        return "it cannot render one question of a user: does it use a name that is not there?"
    return None if question in prompt else "it leaves out what the user says"


class _Silent(Undefined):
    """What is not there is false and empty, as templates expect it, but is never written."""

    def __str__(self) -> str:
        self._fail_with_undefined_error()


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with little in it, that knows how long it may work."""

    intercepted_binops = frozenset(["+", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=_Silent,
            extensions=[LoopControlExtension],
        )
        self.until = 0.0
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters["tojson"] = _as_json
        self.globals = {
            "namespace": Namespace,
            "raise_exception": _refused,
            _TICK: self._tick,
            "_joined": _joined,
        }

    def _tick(self) -> bool:
        if time.monotonic() > self.until:
            raise Unfit("the version's chat template works on this conversation for too long")
        return True

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


class _Watched(NodeTransformer):
    """Has every turn of a loop look at the clock, and texts that are joined at their length."""

    def __init__(self, environment: _Sandbox) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as Jinja has it
        """Return the loop with a look before each turn, and before each of its conditions."""
        self.generic_visit(node)
        node.body.insert(0, nodes.If(_call(_TICK, [], node), [], [], [], lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(_call(_TICK, [], node), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - as Jinja has it
        """Return it as a call that adds texts up."""
        self.generic_visit(node)
        return _call("_joined", list(node.nodes), node)


def _call(name: str, given: list[nodes.Expr], at: nodes.Node) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=at.lineno)
    return nodes.Call(function, given, [], None, None, lineno=at.lineno)


def _refuse(tree: nodes.Template) -> None:
    for node in _every(tree):
        if not isinstance(node, _PARTS):
            raise ValueError(f"line {node.lineno}: {type(node).__name__} is not supported here")
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            known = ", ".join(sorted(_FILTERS))
            raise ValueError(f"line {node.lineno}: no filter {node.name}; there are {known}")
        if isinstance(node, nodes.For) and node.recursive:
            raise ValueError(f"line {node.lineno}: recursive loops are not supported here")
        if isinstance(node, nodes.Name) and node.name in (_TICK, "_joined"):
            raise ValueError(f"line {node.lineno}: {node.name} is not yours")


def _every(node: nodes.Node) -> Iterable[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _every(child)


def _marks(tree: nodes.Template) -> re.Pattern[str]:
    """Return what a conversation must not say as the template says it: marks between turns."""
    texts = [node.data for node in _every(tree) if isinstance(node, nodes.TemplateData)]
    texts += [
        node.value
        for node in _every(tree)
        if isinstance(node, nodes.Const) and isinstance(node.value, str)
    ]
    found = {mark for text in texts for mark in _MARK_OF_A_TEMPLATE.findall(text)}
    return re.compile("|".join([*map(re.escape, sorted(found, key=len, reverse=True)), _MARK]))


def _broken(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}"


def _bounded(*parts: Any) -> None:
    if sum(len(part) for part in parts if isinstance(part, (str, list, tuple))) > LONGEST:
        raise Unfit("the prompt would be too long")


def _joined(*parts: Any) -> str:
    texts = [str(part) for part in parts]
    _bounded(*texts)
    return "".join(texts)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refused(_why: str) -> NoReturn:
    raise Unfit("the version's chat template does not take this conversation")
