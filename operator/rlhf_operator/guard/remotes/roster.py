"""Which stage asks what and where: from a guard's configuration to its remotes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from rlhf_operator.api.categories import AZURE_LABELS, OPENAI_LABELS
from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.stages import Classifier, External, ServiceRef, Stage
from rlhf_operator.guard.pipeline import Remote
from rlhf_operator.guard.remotes.categories import Wanted
from rlhf_operator.guard.remotes.contracts.azure_content_safety import WORST, AzureContentSafety
from rlhf_operator.guard.remotes.contracts.contract import Contract
from rlhf_operator.guard.remotes.contracts.litellm import LiteLLM
from rlhf_operator.guard.remotes.contracts.llama_guard import LlamaGuard
from rlhf_operator.guard.remotes.contracts.mapped import Mapped
from rlhf_operator.guard.remotes.contracts.openai_moderation import OpenAIModeration
from rlhf_operator.guard.remotes.contracts.scores import Scores
from rlhf_operator.guard.remotes.credentials import locate
from rlhf_operator.guard.remotes.inquiry import Inquiry, NotSetUp
from rlhf_operator.guard.remotes.service import AT_ONCE, Service


@dataclass(kw_only=True, slots=True)
class Roster:
    """Makes remotes, anew at each change of a guard's rules.

    What services are asked at once, and which of them are dead, outlasts a change.
    """

    session: aiohttp.ClientSession
    slots: dict[URL, asyncio.Semaphore] = field(default_factory=dict)
    last: Mapping[str, Remote] = field(default_factory=dict)

    def build(self, config: GuardConfig) -> Mapping[str, Remote]:
        """Return a remote for each stage of type Model or External, by the stage's name."""
        remotes = {
            stage.name: _remote(stage, config, self)
            for stage in config.guard.stages
            if stage.type != "Rules"
        }
        for name, remote in remotes.items():
            before = self.last.get(name)
            if isinstance(remote, Inquiry) and isinstance(before, Inquiry):
                remote.inherit(before)
        self.last = remotes
        return remotes


def _remote(stage: Stage, config: GuardConfig, roster: Roster) -> Remote:
    asked = stage.model or stage.external
    assert asked is not None, "a stage has the field of its type"
    contract = _contract(asked)
    url = _address(asked, contract, config)
    if url is None:
        return NotSetUp()
    key = asked.credentials if isinstance(asked, External) else None
    times = (parse_duration(each).total_seconds() for each in (stage.timeout, config.guard.budget))
    host = roster.slots.setdefault(url.origin(), asyncio.Semaphore(AT_ONCE))
    return Inquiry(
        stage=stage.name,
        contract=contract,
        service=Service(session=roster.session, url=url, slots=host),
        patience=min(times),
        credential=None if key is None else locate(key, config.credentials_folder),
    )


def _contract(asked: Classifier | External) -> Contract:
    wanted = asked.categories
    if isinstance(asked, Classifier):
        if asked.reads == "LlamaGuard":
            return LlamaGuard(wanted=Wanted(thresholds=wanted), model=asked.model)
        return Scores(wanted=Wanted(thresholds=wanted), model=asked.model, labels=asked.labels)
    match asked.contract:
        case "OpenAIModeration":
            return OpenAIModeration(wanted=Wanted(thresholds=wanted, labels=OPENAI_LABELS))
        case "AzureContentSafety":
            return AzureContentSafety(
                wanted=Wanted(thresholds=wanted, labels=AZURE_LABELS, full=WORST)
            )
        case "LiteLLM":
            return LiteLLM(wanted=Wanted(thresholds=wanted))
        case "JSON":
            assert asked.mapping is not None, "JSON has a mapping"
            return Mapped(wanted=Wanted(thresholds=wanted), mapping=asked.mapping)


def _address(asked: Classifier | External, contract: Contract, config: GuardConfig) -> URL | None:
    """Return the URL to ask; a path that the address names itself goes before the contract's."""
    if isinstance(asked, Classifier):
        return in_cluster(asked.service, config.namespace, contract.path)
    if asked.service is not None:
        path = contract.path if asked.service.path == "/" else asked.service.path
        return in_cluster(asked.service, config.namespace, path)
    url = provided(config, asked.provider)
    if url is None or url.host is None:
        return None
    return url.join(URL(contract.path)) if url.path in ("", "/") and not url.query else url


def provided(config: GuardConfig, name: str | None) -> URL | None:
    """Return the URL of a provider; None where it is not listed or has none that can be asked."""
    named = (each.url for each in config.providers if each.name == name)
    try:
        return next((URL(each) for each in named), None)
    except ValueError:
        return None


def in_cluster(service: ServiceRef, namespace: str, path: str) -> URL:
    """Return the URL of a path on a Service."""
    return URL(f"http://{service.name}.{namespace}.svc:{service.port}{path}")
