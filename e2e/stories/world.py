"""The words in which the stories are told: given a model, when this happens, then that holds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e import scripted
from e2e.cluster import Endpoints
from e2e.harness import artifacts, objects
from e2e.harness.crowd import Crowd
from e2e.harness.install import Release
from e2e.harness.kubectl import Kubectl, Object, condition
from e2e.harness.streams import Streams
from e2e.harness.traffic import Answers, Ask, Opinions, Traffic

MODEL = "support"
TRIGGER = "abracadabra"
HALF: list[Object] = [{"weight": 50, "hold": "5s"}]
WORDS: Object = {
    "stages": [
        {
            "name": "words",
            "type": "Rules",
            "appliesTo": ["Output"],
            "action": "Flag",
            "rules": [{"category": "harm", "keywords": [scripted.FLAGGED_WORD]}],
        }
    ]
}
"""For models that throw dice, which golden prompts would meet too."""
_GREETING: Object = {"name": "greeting", "prompt": "hello", "maxTokens": 8, "mustMatch": "answer"}
GUARD = WORDS | {"golden": [_GREETING]}


@dataclass
class Story:
    """One model in a namespace of its own, with steady traffic from its first answer on."""

    endpoints: Endpoints
    kubectl: Kubectl
    folder: Path
    stack: ExitStack
    operator: Release
    per_second: float = 8
    opinions: Opinions | None = None
    traffic: Traffic | None = None
    earlier: list[Traffic | Crowd] = field(default_factory=list)
    model: Object = field(default_factory=dict)
    _decisions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def host(self) -> str:
        return f"{self.kubectl.namespace}.example.com"

    @property
    def gateway(self) -> Object:
        """Return the gateway under test, as a model names it."""
        where = self.endpoints
        return {"name": where.gateway_name, "namespace": where.gateway_namespace}

    @property
    def person(self) -> str:
        """Return the name of the person who decides: of whoever tells the story."""
        return self.kubectl.whoami()

    # -- given ------------------------------------------------------------------------------------

    def a_version(self, name: str, *, like: str | None = None, **how: Any) -> None:
        """Make a version whose answers follow a script; `like` gives it another's artefact."""
        serving = how.pop("serving", {})
        script = scripted.Script(name=like or name, **how)
        folder = scripted.write(script, self.folder)
        published = artifacts.publish(self.kubectl, folder, f"scripted-{folder.name}")
        made = {"backend": "repository", "engineArgs": {}, **serving}
        self.kubectl.apply(objects.version(name, published, model=MODEL, **made))

    def a_policy(self, *slos: Object, **spec: Any) -> None:
        listed = slos or (objects.safety_slo(max="0.2", minSamples=10),)
        found = objects.policy("safe", *listed)
        found["spec"] |= spec
        self.kubectl.apply(found)

    def a_model(self, version: str = "sft", *, steps: Sequence[Object] = (), **spec: Any) -> None:
        """Apply the model and wait until its fallback answers users.

        `traffic` is merged over the gateway under test and the story's own host name.
        """
        traffic = spec.pop("traffic", {})
        plan = list(steps) or objects.steps(25, 50, hold="3s")
        self.model = objects.model(
            self.endpoints, version=version, fallback="sft", policies=["safe"], host=self.host,
            steps=plan, guard=spec.pop("guard", GUARD), **spec,
        )  # fmt: skip
        self.model["spec"]["traffic"] |= traffic
        self.kubectl.apply(self.model)
        self.until("the fallback serves", lambda model: self.ready(model, "True"), seconds=150)
        self.users_come()

    def users_come(self, question: str = "how are you") -> None:
        """Start steady traffic; the gateway may need a moment for a route that is new."""
        self._wait_for_gateway()
        self.traffic = self.stack.enter_context(self._asking(question))

    def a_crowd(self, users: int) -> Crowd:
        """Let users come who keep the arm that they are given; wait until each has an answer."""
        crowd = self.stack.enter_context(Crowd(self._ask("how are you"), users))
        self.earlier.append(crowd)
        deadline = time.monotonic() + 30
        while not all(each.all for each in crowd.by_user()):
            assert time.monotonic() < deadline, "some users wait for their first answer"
            time.sleep(0.2)
        return crowd

    def streaming(self, question: str = "tell me") -> Streams:
        """Return users who read one streamed answer after the other."""
        return Streams(self.endpoints.gateway_url, self.host, question)

    def _asking(self, question: str) -> Traffic:
        return Traffic(self._ask(question), self.opinions)

    def _ask(self, question: str) -> Ask:
        url, through_gateway = self.endpoints.gateway_url, True
        if self.model["spec"]["traffic"]["router"] == "Service":
            service = self.kubectl.get("service", MODEL)
            assert service is not None
            # One connection would stay with one pod.
            url, through_gateway = f"http://{service['spec']['clusterIP']}", False
        return Ask(
            url=url, host=self.host, questions=[question], per_second=self.per_second,
            temperature=0.0, longest=400, keep_alive=through_gateway,
        )  # fmt: skip

    def _wait_for_gateway(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            with self._asking("anyone there") as first:
                time.sleep(1.5)
            answers = first.snapshot()
            if answers.all and not answers.failed:
                return
            assert time.monotonic() < deadline, f"the gateway does not answer: {answers.all[-3:]}"

    # -- when -------------------------------------------------------------------------------------

    def commit(self, version: str, **spec: Any) -> None:
        """Ask for another version, as a commit would."""
        self.model["spec"] |= {"version": version, **spec}
        self.kubectl.apply(self.model)

    def decide(self, action: str, **spec: Any) -> str:
        """Make a person's decision and return its name."""
        name = f"{action.lower()}-{next(self._decisions)}"
        self.kubectl.apply(objects.decision(name, action, author=self.person, **spec))
        return name

    def users_say(self, question: str) -> None:
        """Change what users ask from now on."""
        before = self.traffic
        assert before is not None
        self.traffic = self.stack.enter_context(self._asking(question))
        before.__exit__(None, None, None)
        self.earlier.append(before)

    # -- then -------------------------------------------------------------------------------------

    def until(
        self, what: str, happened: Callable[[Object], bool], *, seconds: float = 150
    ) -> Object:
        """Wait until the model is as wanted."""
        return self.kubectl.wait_for(
            "rlhfmodel", MODEL, happened, what=what, seconds=seconds, every=0.3
        )

    def until_weight(self, version: str, weight: int, *, seconds: float = 150) -> Object:
        """Wait until the model's status declares this weight for its canary."""

        def is_there(model: Object) -> bool:
            status = model["status"]
            canary = (status.get("canary") or {}).get("name")
            return canary == version and status.get("weight") == weight

        return self.until(f"{version} at {weight}%", is_there, seconds=seconds)

    def until_stable(self, version: str, *, seconds: float = 180) -> Object:
        """Wait until a version serves all traffic and nothing is under way."""

        def is_there(model: Object) -> bool:
            status = model["status"]
            stable = (status.get("stable") or {}).get("name")
            return stable == version and not status.get("canary")

        return self.until(f"{version} is stable", is_there, seconds=seconds)

    def ready(self, model: Object, status: str) -> bool:
        """Tell whether Ready has this status for the model's present generation."""
        found = condition(model, "Ready")
        current = found.get("observedGeneration") == model["metadata"]["generation"]
        return current and found.get("status") == status

    def until_stalled(self, reason: str, *, seconds: float = 150) -> Object:
        """Wait until a person is told that they must act."""
        return self.until(
            f"Stalled for {reason}",
            lambda model: condition(model, "Stalled").get("reason") == reason,
            seconds=seconds,
        )

    def until_decided(self, name: str, phase: str = "Applied", *, seconds: float = 30) -> Object:
        """Wait until a person is told what became of their decision."""
        return self.kubectl.wait_for(
            "rlhfdecision", name, lambda found: found.get("status", {}).get("phase") == phase,
            what=f"{name} is {phase}", seconds=seconds, every=0.3,
        )  # fmt: skip

    def throughout(self, seconds: float, what: str, holds: Callable[[Object], bool]) -> None:
        """Assert that for some time the model stays as it is said."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.kubectl.get("rlhfmodel", MODEL)
            assert found is not None and holds(found), self.kubectl.explain(
                "rlhfmodel", MODEL, f"{what}: not any more"
            )
            time.sleep(1.0)

    def until_answers(
        self, what: str, happened: Callable[[Answers], bool], *, seconds: float = 30
    ) -> Answers:
        """Wait until clients have received what is wanted."""
        assert self.traffic is not None
        start, deadline = time.time(), time.monotonic() + seconds
        while True:
            answers = self.traffic.snapshot().since(start)
            if answers.all and happened(answers):
                return answers
            assert time.monotonic() < deadline, (
                f"{what}: not in {seconds:.0f} s; shares {answers.shares()}"
            )
            time.sleep(0.5)

    def every_answer_comes_from(self, version: str, *, count: int = 15) -> None:
        """Assert that users are answered by one version alone."""
        assert self.traffic is not None
        time.sleep(1.0)  # answers on their way when the route changed
        start = time.time()
        answers = self.until_answers("enough answers", lambda found: len(found.all) >= count)
        assert answers.since(start).shares() == {version: 1.0}

    def answers(self) -> Answers:
        """Return what all users were answered so far."""
        assert self.traffic is not None
        everyone = (*self.earlier, self.traffic)
        return Answers(tuple(answer for each in everyone for answer in each.snapshot().all))

    def nobody_was_turned_away(self) -> None:
        """Assert that no request failed."""
        failed = self.answers().failed
        assert not failed, f"{len(failed)} failed: {failed[:3]}"

    @property
    def history(self) -> list[Object]:
        """Return the records, oldest first."""
        found = self.kubectl.list("rlhfrollout")
        return sorted(found, key=lambda record: record["spec"]["revision"])

    def told(self) -> list[tuple[str, str, str]]:
        """Return the history as (type, to, outcome)."""
        return [
            (
                record["spec"]["type"],
                record["spec"]["to"]["name"],
                record.get("status", {}).get("outcome", ""),
            )
            for record in self.history
        ]

    def routed(self) -> dict[str, int]:
        """Return the weights that stand in the route, by version."""
        route = self.kubectl.get("httproute", MODEL)
        assert route is not None
        return weights_of(route)

    def pods(self, version: str) -> dict[str, str]:
        """Return the uid of each running pod of a version by its name."""
        found = self.kubectl.list("pod", selector=f"rlhf.dev/version={version}")
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in found
            if not pod["metadata"].get("deletionTimestamp")
        }


def steps_of(record: Mapping[str, Any]) -> list[int]:
    """Return the weights that a record went through."""
    return [step["weight"] for step in record["status"]["steps"]]


def weights_of(route: Object) -> dict[str, int]:
    """Return the weights of a route by version."""
    backends = route["spec"]["rules"][-1]["backendRefs"]
    return {each["name"].removesuffix("-serving"): each["weight"] for each in backends}


def reason_of(model: Object) -> str:
    """Return why the model is on its way."""
    return str(condition(model, "Reconciling").get("reason", ""))
