"""Golden prompts: run on request of the operator, before a version gets traffic.

Results name the prompts and never quote them; nothing here counts, as it is no user's traffic.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from rlhf_operator.api.guard import GoldenPrompt
from rlhf_operator.guard import openai, rules, text
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.triton import Refused, TritonError
from rlhf_operator.guard.verdict import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a version did on one golden prompt."""

    name: str
    passed: bool
    message: str


async def run(guard: Guard) -> list[Result]:
    """Return one result for each golden prompt, in the order of the spec."""
    results, guard = [], replace(guard, pipeline=guard.pipeline.uncounted())
    for golden in guard.setup.config.guard.golden:
        # Greedy and seeded, so that the same version gives the same result.
        question = openai.Question(
            prompt=golden.prompt, max_tokens=golden.max_tokens, temperature=0.0, seed=0
        )
        try:
            async with asyncio.timeout(guard.setup.config.limits.timeout_seconds):
                judged = await guard.ask(question)
            problem = problem_of(golden, judged)
        except TimeoutError:
            problem = "no answer in time"
        except TritonError as error:
            problem = f"no answer: {error}"
        except Refused:  # its text may repeat the prompt
            problem = "no answer: the model refuses the prompt"
        results.append(Result(name=golden.name, passed=not problem, message=problem or "passed"))
    return results


def problem_of(golden: GoldenPrompt, judged: Judged) -> str | None:
    """Return why an answer is not good enough, or nothing where it is."""
    if judged.outcome is not Outcome.OK or judged.is_bypassed:
        failures = (one for each in judged.verdicts for one in each.failures)
        found = {*judged.categories, *(f"stage {one.stage}: {one.reason}" for one in failures)}
        return f"{judged.outcome.value} for {', '.join(sorted(found))}"
    normal = text.normalise(judged.text)
    if golden.must_match and not _occurs(golden.must_match, normal):
        return "the answer does not match mustMatch"
    if golden.must_not_match and _occurs(golden.must_not_match, normal):
        return "the answer matches mustNotMatch"
    return None


def _occurs(pattern: str, normal: str) -> bool:
    return bool(rules.compile_pattern(pattern, where="golden").search(normal))
