"""The story, part by part; each part has a deadline and says what it waits for."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from e2e.checkpoints import corpus, maker
from e2e.cluster import Endpoints
from e2e.demo import evidence, scene
from e2e.demo.evidence import Evidence
from e2e.demo.view import View
from e2e.harness import artifacts, objects
from e2e.harness.errors import HarnessError
from e2e.harness.install import install
from e2e.harness.kubectl import Kubectl, Object, is_true
from e2e.harness.traffic import Answers, Ask, Traffic
from e2e.harness.watch import Change, Watch

_FIRST_SECONDS = 240
_RUN_SECONDS = 240
_CALM_SECONDS = 6
_SHOW_EVERY = 3.0
# Three versions will share the processors with everything else.
_EASE = 0.35
_LEAST, _MOST = 2, 20


@dataclass
class Story:
    """The whole demo against one cluster."""

    endpoints: Endpoints
    per_second: float | None
    """Questions a second; as many as this machine bears with ease if not given."""
    view: View = field(default_factory=View)

    def tell(self) -> None:
        """Play all parts.

        Raises HarnessError or ClusterError where it breaks off; `seen` tells then what was seen.
        """
        self._prepare()
        with ExitStack() as stack:
            for kind in ("rlhfmodel", "rlhfrollout", "httproute"):
                self._watches[kind] = stack.enter_context(Watch(self._kubectl, kind))
            self._deploy()
            self._traffic = stack.enter_context(Traffic(self._chosen_traffic()))
            self._calm()
            self._ship(scene.GOOD, "Promoted")
            self._calm()
            self._bad_applied_at = time.time()
            self._ship(scene.BAD, "RolledBack", "SafetyFailed")
            self._calm()

    def seen(self) -> Evidence:
        """Return what was observed, however far the story came."""
        counted, since = None, self._bad_applied_at
        if since is not None:
            with suppress(HarnessError):  # the report says that it is not known
                counted = evidence.counted_unsafe(self.endpoints.prometheus_url, since)
        return Evidence(
            answers=self._traffic.snapshot() if self._traffic is not None else Answers(),
            routes=self._changes("httproute"),
            rollouts=self._rollouts(),
            bad_applied_at=since,
            counted_unsafe=counted,
        )

    def __post_init__(self) -> None:
        self._kubectl = Kubectl.of(self.endpoints, scene.NAMESPACE)
        self._model = scene.model(self.endpoints)
        self._watches: dict[str, Watch] = {}
        self._seen: dict[str, int] = {}
        self._shown_at = 0.0
        self._bad_applied_at: float | None = None

    def _prepare(self) -> None:
        self.view.title("making three small checkpoints with torch (kept from then on)")
        folders = maker.make()
        self.view.title("clearing what an earlier demo left")
        self._kubectl.delete_namespace()
        self.view.title("installing the operator: helm upgrade --install")
        install(self.endpoints, scene.RELEASE)
        self.view.title("applying the namespace, the policy and three versions: kubectl apply")
        self._kubectl.apply(objects.namespace(scene.NAMESPACE))
        versions = [
            scene.version(version, artifacts.publish(self._kubectl, folders[name], name))
            for version, name in scene.CHECKPOINTS.items()
        ]
        self._kubectl.apply(scene.policy(), *versions)

    def _deploy(self) -> None:
        self.view.title(f"applying the model: {scene.SFT} serves first")
        self._kubectl.apply(self._model)
        self._until(
            lambda: is_true(self._watches["rlhfmodel"].newest(scene.MODEL) or _NOTHING, "Ready"),
            what=f"the model is Ready with {scene.SFT}",
            seconds=_FIRST_SECONDS,
        )
        self.view.success(f"{scene.SFT} serves")

    def _ship(self, version: str, outcome: str, reason: str = "") -> None:
        self.view.title(f"one line changes: version: {version}")
        self._kubectl.apply(objects.with_version(self._model, version))
        self._until(
            lambda: any(
                evidence.ended(each, version, outcome, reason) for each in self._rollouts()
            ),
            what=f"the run to {version} ends as {outcome} {reason}".rstrip(),
            seconds=_RUN_SECONDS,
            failed=lambda: _other_end(self._rollouts(), version, outcome),
        )
        self.view.success(f"{version}: {outcome}")

    def _calm(self) -> None:
        """Let users ask on for some seconds, so that what they get then is known too."""
        end = time.monotonic() + _CALM_SECONDS
        self._until(lambda: time.monotonic() > end, what="time passes", seconds=60)

    def _until(
        self,
        happened: Callable[[], bool],
        *,
        what: str,
        seconds: float,
        failed: Callable[[], str] = str,
    ) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            problem = failed()
            if not problem and time.monotonic() > deadline:
                problem = f"not in {seconds:.0f} s"
            if problem:
                raise HarnessError(
                    self._kubectl.explain("rlhfmodel", scene.MODEL, f"{what}: {problem}")
                )
            self._show()
            time.sleep(0.2)
        self._show()

    def _show(self) -> None:
        for kind, watch in self._watches.items():
            for change in watch.changes(self._seen.get(kind, 0)):
                self._seen[kind] = self._seen.get(kind, 0) + 1
                self.view.change(change)
        now = time.time()
        if self._traffic is not None and now - self._shown_at > _SHOW_EVERY:
            self._shown_at = now
            self.view.traffic(self._traffic.snapshot(), now)

    def _rollouts(self) -> list[Object]:
        """Return the newest state of every run, in order."""
        newest = {
            change.object["metadata"]["name"]: change.object
            for change in self._changes("rlhfrollout")
        }
        return sorted(newest.values(), key=lambda each: int(each["spec"]["revision"]))

    def _changes(self, kind: str) -> list[Change]:
        """Return what was seen of a kind; nothing where the story did not come that far."""
        watch = self._watches.get(kind)
        return watch.changes() if watch is not None else []

    def _chosen_traffic(self) -> Ask:
        ask = Ask(url=self.endpoints.gateway_url, host=scene.HOST, questions=corpus.questions())
        rate = self.per_second
        if rate is None:
            rate = min(_MOST, max(_LEAST, round(Traffic(ask).bearable() * _EASE)))
        self.view.title(f"users ask {rate:g} questions a second from now on")
        return replace(ask, per_second=rate)

    _traffic: Traffic | None = None


_NOTHING: Object = {"metadata": {}}


def _other_end(rollouts: list[Object], version: str, outcome: str) -> str:
    """Return how the run to a version ended, where that is not how it should."""
    for each in rollouts:
        status = each.get("status", {})
        ended = status.get("outcome") if each["spec"]["to"]["name"] == version else None
        if ended not in (None, outcome):
            return f"it ended as {ended}: {status.get('message')}"
    return ""
