"""Azure AI Content Safety.

Source: its REST reference, `POST /contentsafety/text:analyze?api-version=2024-09-01`, the key in
`Ocp-Apim-Subscription-Key`. Asked is `{"text", "categories", "outputType"}`; answered is
`{"blocklistsMatch": […], "categoriesAnalysis": [{"category", "severity"}]}`, of severity 0, 2, 4
or 6. A request takes 10,000 characters at most, so longer texts go in parts and the worst counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlhf_operator.api.categories import AZURE_LABELS
from rlhf_operator.api.stages import Direction
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.remotes import answers
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.remotes.categories import Said, Wanted
from rlhf_operator.guard.remotes.contracts.contract import windows
from rlhf_operator.guard.verdict import Judgement

MOST_CHARACTERS = 10_000
WORST = 6.0
_OVERLAP = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class AzureContentSafety:
    """Asks for the severity of one text in each category; from 2 on it counts as found."""

    wanted: Wanted
    path: str = "/contentsafety/text:analyze?api-version=2024-09-01"

    def headers(self, credential: str) -> dict[str, str]:
        """Return the key of the resource."""
        return {"Ocp-Apim-Subscription-Key": credential}

    def requests(
        self, text: str, _direction: Direction, _conversation: Conversation
    ) -> tuple[dict[str, Any], ...]:
        """Return one request for each part that the service takes, counted in UTF-16 as well.

        It does not say whose words they are.
        """
        # A character outside the basic plane may count as two there.
        wide = any(ord(each) > 0xFFFF for each in text) if len(text) > MOST_CHARACTERS // 2 else 0
        parts = windows(text, length=MOST_CHARACTERS // (2 if wide else 1), overlap=_OVERLAP)
        wanted = {"categories": [*AZURE_LABELS], "outputType": "FourSeverityLevels"}
        return tuple({"text": part, **wanted} for part in parts)

    def read(self, answer: dict[str, Any], _text: str) -> Judgement:
        """Return what the analysis says; it must speak of all categories, once each."""
        listed = answers.a_list(answer.get("categoriesAnalysis"), length=len(AZURE_LABELS))
        severities = {
            answers.a_text(each.get("category")): answers.a_number(
                each.get("severity"), least=0.0, most=7.0
            )
            for each in map(answers.an_object, listed)
        }
        if set(severities) != set(AZURE_LABELS):
            raise BadAnswer("not the categories that were asked for")
        is_listed = bool(answers.a_list(answer.get("blocklistsMatch", [])))
        flags = {label: severity > 0 for label, severity in severities.items()}
        flagged = is_listed or any(flags.values())
        return self.wanted.judge(Said(flagged=flagged, flags=flags, scores=severities))
