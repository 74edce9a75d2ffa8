"""A version's chat template: how a conversation becomes the text that the model reads.

Templates are Jinja, as tokenizers bring them. They come with a version and run on what users
write, so they run in Jinja's sandbox, with few of its means, for a short time, and all that they
make is bounded: the operator tries them, too. What a conversation says cannot pass for the marks
between turns.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TypedDict

from jinja2 import TemplateError, nodes

from rlhf_operator.api.template_sandbox import LONGEST, Sandbox, Unfit, Watched, every, refuse

__all__ = ["ChatTemplate", "Message", "Unfit", "problem"]

SECONDS = 0.5
"""So long may a template work on one conversation, by the time of the CPU: a busy machine is no
fault of a user's."""
_MOST = 1_000_000
"""Characters that it may make on the way, and another `_TIMES` for each of the conversation's."""
_TIMES = 64
_MARK = "<\\|[^<>|]{1,64}\\|>|<\uff5c[^<>\uff5c]{1,64}\uff5c>|</?s>|<(?:bos|eos|pad|unk)>"
"""A mark as most tokenizers have them; some write it with wide bars."""
_MARK_OF_A_TEMPLATE = re.compile(
    rf"{_MARK}|<</?[A-Z]{{1,16}}>>|</?[A-Za-z_][A-Za-z_0-9]{{0,47}}>|\[/?[A-Z_]{{2,32}}\]"
)


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


_TALK = (
    Message(role="user", content="how are you?"),
    Message(role="assistant", content="fine"),
    Message(role="user", content="since when?"),
)


class ChatTemplate:
    """A template that was checked. Raises ValueError where it cannot be one, and says why."""

    def __init__(self, source: str) -> None:
        self._environment = environment = Sandbox()
        try:
            tree = environment.parse(source)
            refuse(tree)
            self._marks = _marks(tree)
            code = environment.compile(Watched().visit(tree))
        except TemplateError as error:
            raise ValueError(f"{error.message} (line {getattr(error, 'lineno', 1)})") from None
        except (RecursionError, SyntaxError, MemoryError):  # Python has bounds of its own
            raise ValueError("it is nested too deeply") from None
        self._template = environment.template_class.from_code(
            environment, code, environment.globals
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Return what the model reads; it ends where the assistant speaks. Raises Unfit."""
        self._environment.until = time.thread_time() + SECONDS
        self._environment.left = _MOST + _TIMES * sum(len(each["content"]) for each in messages)
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
    # Whoever talks on gets a 400 from a template that cannot go on, and nobody counts it.
    for said, what in ((_TALK[:1], "one question of a user"), (_TALK, "a conversation")):
        try:
            prompt = template.render(said)
        except Unfit as error:
            return f"it cannot render {what}: {error}; a name that is not there?"
        if said[-1]["content"] not in prompt:
            return "it leaves out what the user says"
    return None


def _marks(tree: nodes.Template) -> re.Pattern[str]:
    """Return what a conversation must not say as the template says it: marks between turns."""
    texts = [node.data for node in every(tree) if isinstance(node, nodes.TemplateData)]
    texts += [
        node.value
        for node in every(tree)
        if isinstance(node, nodes.Const) and isinstance(node.value, str)
    ]
    found = {mark for text in texts for mark in _MARK_OF_A_TEMPLATE.findall(text)}
    return re.compile("|".join([*map(re.escape, sorted(found, key=len, reverse=True)), _MARK]))


def _broken(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}"
