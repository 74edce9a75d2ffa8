"""I1 to I26: what must hold at every change of every stored object.

Each invariant looks at one change and at what was stored before it, and tells violations as
sentences. They know the API and no code of the operator, so they check a fake and a real
API server alike; the caller says which changes the operator made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rlhf_operator.controller.store import MemoryStore
from rlhf_operator.core.observed import Key

Raw = Mapping[str, Any]
CHILDREN = (
    "Deployment",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "ControllerRevision",
    "HTTPRoute",
)
FLIGHTS = ("Rollback", "Fallback")
FROZEN = ("outcome", "finishedAt", "startedAt", "golden")
"""Fields of a record that never change once they are set."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One object before and after, among everything that was stored before."""

    store: MemoryStore
    before: Raw | None
    after: Raw | None
    ours: bool
    now: datetime
    key: Key
    drain: timedelta

    @property
    def raw(self) -> Raw:
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        return str(self.raw["kind"])

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def model(self) -> Raw | None:
        return self.store.get("RLHFModel", self.key.namespace, self.key.name)

    @property
    def spec(self) -> Mapping[str, Any]:
        return (self.model or {}).get("spec") or {}

    @property
    def records(self) -> list[Raw]:
        found = self.store.of_model("RLHFRollout", self.key)
        return sorted(found, key=lambda raw: raw["spec"]["revision"])

    @property
    def newest(self) -> Raw | None:
        return self.records[-1] if self.records else None

    @property
    def route(self) -> dict[str, int]:
        stored = self.store.get("HTTPRoute", self.key.namespace, self.key.name)
        return weights(stored) if stored else {}

    def is_drained(self, version: str) -> bool:
        """Whether a record since the version took part has moved its traffic away."""
        for raw in reversed(self.records):
            at = status_of(raw).get("inForceAt")
            if at and self.now >= moment(at) + self.drain:
                return True
            if version in (named(raw["spec"].get("from")), *tried(raw)):
                return False
        return True

    def deployment(self, version: str) -> Raw | None:
        found = self.store.of_model("Deployment", self.key)
        return next((raw for raw in found if version_of(raw) == version), None)

    def ready(self, version: str) -> int:
        raw = self.deployment(version)
        return int(((raw or {}).get("status") or {}).get("readyReplicas", 0))


def weights(route: Raw) -> dict[str, int]:
    """Percent by version of an HTTPRoute's weighted rule: the last one."""
    refs = route["spec"]["rules"][-1]["backendRefs"]
    return {ref["name"].removesuffix("-serving"): ref["weight"] for ref in refs}


def tried(record: Raw) -> set[str | None]:
    """Every version that a record was made to test."""
    spec = record["spec"]
    return {named(spec["to"]), *(named(each) for each in spec.get("others", ()))}


def shares(status: Mapping[str, Any]) -> dict[str | None, int]:
    """What each version that was ever tested gets, as declared; dropped ones get nothing."""
    found = {each["version"]: each.get("weight", 0) for each in status.get("arms", ())}
    canary = named(status.get("canary"))
    return found | ({canary: status.get("weight", 0)} if canary else {})


def rises(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether any version is declared to get more than before."""
    before = shares(was)
    return any(part > before.get(name, 0) for name, part in shares(now).items())


def is_shadow(record: Raw | None) -> bool:
    """Whether the weight of a record is the percent of requests that are copied."""
    return record is not None and plan_of(record).get("strategy") == "Shadow"


def copies(route: Raw | None) -> set[tuple[str, int]]:
    """Versions that get copies of requests by any rule of an HTTPRoute, and how many percent."""
    rules = (route or {"spec": {"rules": []}})["spec"]["rules"]
    filters = [each for rule in rules for each in rule.get("filters", ())]
    found = [each["requestMirror"] for each in filters if each["type"] == "RequestMirror"]
    return {
        (one["backendRef"]["name"].removesuffix("-serving"), one.get("percent", 100))
        for one in found
    }


def version_of(raw: Raw) -> str:
    return str((raw["metadata"].get("labels") or {}).get("rlhf.dev/version", ""))


def status_of(raw: Raw | None) -> Mapping[str, Any]:
    return (raw or {}).get("status") or {}


def named(part: Any) -> str | None:
    return part["name"] if part else None


def replicas(raw: Raw | None) -> int:
    return int(raw["spec"]["replicas"]) if raw else 0


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def i1_weights_sum_to_100(change: Change) -> Iterator[str]:
    """Weights of a route are whole percents and sum to exactly 100."""
    if change.kind != "HTTPRoute" or change.after is None:
        return
    found = weights(change.after)
    if sum(found.values()) != 100 or not all(0 <= part <= 100 for part in found.values()):
        yield f"the route has {found}"


def i2_never_above_the_declared_weight(change: Change) -> Iterator[str]:
    """A canary never gets more than its declared weight; who has no part gets no rise."""
    if change.kind != "HTTPRoute" or change.after is None:
        return
    status, spec = status_of(change.newest), (change.newest or {}).get("spec", {})
    allowed = shares(status) | {named(status.get("stable")): 100}
    if is_shadow(change.newest):
        allowed[named(status.get("canary"))] = 0
    if status.get("outcome") == "Promoted":
        held = (status.get("standby") or {}).get("weight", 0) if status.get("inForceAt") else 100
        allowed.setdefault(named(spec.get("from")), held)
    for version, part in weights(change.after).items():
        if part > max(
            allowed.get(version, 0), change.route.get(version, 0) if version not in allowed else 0
        ):
            yield f"{version} gets {part}%, declared {allowed.get(version, 0)}%"


def i3_weight_rises_on_ready_pods(change: Change) -> Iterator[str]:
    """A version whose weight rises has a ready pod. (minReady of the reference is 1 here.)

    What a canary loses goes to stable in any case: an unsafe canary never waits for it (I9).
    """
    if change.kind != "HTTPRoute" or change.after is None:
        return
    status = status_of(change.newest)
    taken = status.get("outcome") not in (None, "Promoted") or status.get("phase") == "Parked"
    taken |= any(each["state"] == "Dropped" for each in status.get("arms", ()))
    refuge = named(status.get("stable")) if taken else None
    for version, part in weights(change.after).items():
        rises = part > change.route.get(version, 0) and version != refuge
        if rises and change.ready(version) == 0:
            yield f"{version} rises to {part}% without a ready pod"


def i4_stable_stays(change: Change) -> Iterator[str]:
    """Stable's Deployment is neither deleted nor scaled to 0 by us while its model lives."""
    if change.kind != "Deployment" or change.before is None or not change.ours:
        return
    stable = named(status_of(change.newest).get("stable"))
    if version_of(change.before) == stable and replicas(change.after) == 0:
        yield f"stable {stable} loses its pods"


def i5_pods_go_after_traffic_and_drain(change: Change) -> Iterator[str]:
    """A Deployment is removed only at weight 0, and after the drain time."""
    if change.kind != "Deployment" or change.before is None or change.model is None:
        return
    if change.after is not None and replicas(change.after) > 0:
        return
    version = version_of(change.before)
    if change.route.get(version, 0) > 0:
        yield f"{version} goes at {change.route[version]}%"
    if replicas(change.before) > 0 and not change.is_drained(version):
        yield f"{version} goes before it is drained"


def i6_traffic_first_then_scale(change: Change) -> Iterator[str]:
    """A canary that was rolled back or parked keeps its pods while it has traffic.

    The other half, ready before weight, is I3.
    """
    if change.kind != "Deployment" or change.before is None or change.newest is None:
        return
    status, version = status_of(change.newest), version_of(change.before)
    left = status.get("outcome") not in (None, "Promoted") or status.get("phase") == "Parked"
    fewer = replicas(change.after) < replicas(change.before)
    dropped = {one["version"] for one in status.get("arms", ()) if one["state"] == "Dropped"}
    if (
        version in (tried(change.newest) if left else dropped)
        and fewer
        and change.route.get(version)
    ):
        yield f"{version} is scaled down at {change.route[version]}%"


def i7_quarantine_holds(change: Change) -> Iterator[str]:
    """A quarantined identity gets no weight, under any name; only a decision lifts it.

    Where nothing safe is left the floor serves, and stable takes back what a canary loses (I3).
    """
    if change.kind == "RLHFRollout" and change.after is not None:
        for was in in_force(change.before):
            # An identity is quarantined in one place of a record and the time tells which.
            found = [one for one in bans(change.after) if one["at"] == was["at"]]
            lifts = [one.get("lifted") for one in found if one["identity"] == was["identity"]]
            if None in lifts:
                continue
            name = lifts[0]["decision"] if lifts else ""
            said = change.store.get("RLHFDecision", change.key.namespace, name)
            if said is None or said["spec"].get("identity") != was["identity"]:
                yield f"the quarantine of {was.get('version')} ends without a decision"
    if change.kind != "HTTPRoute" or change.after is None:
        return
    banned = {
        one["identity"]
        for raw in change.store.in_namespace("RLHFRollout", change.key.namespace)
        for one in in_force(raw)
    }
    identities = {
        ref["name"]: ref["identity"]
        for raw in change.records
        for ref in (raw["spec"].get("from"), raw["spec"]["to"], *raw["spec"].get("others", ()))
        if ref
    }
    status = status_of(change.newest)
    taken = status.get("outcome") not in (None, "Promoted") or status.get("phase") == "Parked"
    floor = named(status.get("stable")) if taken or status.get("forceBlock") else None
    for version, part in weights(change.after).items():
        if (
            version != floor
            and identities.get(version) in banned
            and part > change.route.get(version, 0)
        ):
            yield f"quarantined {version} rises to {part}%"


def bans(record: Raw | None) -> list[Any]:
    """Every quarantine of which this is the record."""
    status = status_of(record)
    return [one for one in (status.get("quarantine"), *status.get("vetoes", ())) if one]


def in_force(record: Raw | None) -> list[Any]:
    return [one for one in bans(record) if not one.get("lifted")]


def i8_rises_rest_on_evidence(change: Change) -> Iterator[str]:
    """A declared weight rises, and a canary is promoted, only on recorded success.

    The first weight rests on golden answers. That the results are newer than the last weight
    change is checked as far as it is stored: the weight must have been in force.
    """
    if change.kind != "RLHFRollout" or change.before is None or change.after is None:
        return
    was, now = status_of(change.before), status_of(change.after)
    promoted = now.get("outcome") == "Promoted" and was.get("canary") and not was.get("outcome")
    if not rises(was, now) and not promoted:
        return
    if was.get("step", -1) < 0:
        if not (was.get("golden") or now.get("golden") or {}).get("passed"):
            yield "the first weight comes before golden answers"
        return
    by_person = any(
        said["action"] == "Promote" and said["at"] == now.get("finishedAt")
        for said in now.get("decisions", ())
    )
    steps = now.get("steps", ())
    closed = [step for step in steps if step.get("endedAt")]
    slos = [
        slo
        for slo in (closed[-1].get("slos") or () if closed else ())
        if slo["class"] != "Informational" and not overridden(now, slo, closed[-1]["endedAt"])
    ]
    if promoted and by_person:  # who may pass over time and doubt, and not over harm
        slos = [slo for slo in slos if slo["class"] == "Safety" and slo["verdict"] == "Failed"]
        if slos:
            yield f"a person promotes what fails {[slo['name'] for slo in slos]}"
        return
    if not was.get("inForceAt"):
        yield "the weight rises before the last one was in force"
    if not slos or any(slo["verdict"] != "Successful" for slo in slos):
        yield f"the weight rises on {[slo['verdict'] for slo in slos]}"


def overridden(status: Mapping[str, Any], slo: Mapping[str, Any], at: str) -> bool:
    """Whether a person took an objective out of judgement at that time; never Safety."""
    return slo["class"] != "Safety" and any(
        said["action"] == "Override"
        and said.get("slo") == slo["name"]
        and moment(said["at"]) <= moment(at) < moment(said["until"])
        for said in status.get("decisions", ())
    )


def i10_epochs_never_go_down(change: Change) -> Iterator[str]:
    """A record is never written by an earlier leadership than before."""
    if change.kind != "RLHFRollout" or change.before is None or change.after is None:
        return
    was, now = (status_of(raw).get("epoch", 0) for raw in (change.before, change.after))
    if now < was:
        yield f"epoch {was} becomes {now}"


def i11_history_only_grows(change: Change) -> Iterator[str]:
    """What a record says stays said; only an old, settled record may go, never one in force.

    Records are not chained by hashes; docs/decisions.md says why.
    """
    if change.kind != "RLHFRollout" or change.before is None:
        return
    was = status_of(change.before)
    if change.after is None:
        held = in_force(change.before)
        recent = [raw["metadata"]["name"] for raw in change.records[-2:]]
        if not was.get("settledAt") or held or change.name in recent:
            yield f"{change.name} is pruned while in force"
        return
    now = status_of(change.after)
    if change.after["spec"] != change.before["spec"]:
        yield "a record's spec changes"
    for field in FROZEN:
        if was.get(field) is not None and now.get(field) != was[field]:
            yield f"{field} changes from {was[field]} to {now.get(field)}"
    done = [step for step in was.get("steps", ()) if step.get("endedAt")]
    if list(now.get("steps", ()))[: len(done)] != done:
        yield "a step that ended changes"


def i12_status_speaks_of_what_was(change: Change) -> Iterator[str]:
    """observedGeneration is never ahead; a model's status names what a record names."""
    if change.after is None or not change.kind.startswith("RLHF") or not change.ours:
        return
    status = status_of(change.after)
    if status.get("observedGeneration", -1) > change.after["metadata"].get("generation", 0):
        yield f"{change.kind} {change.name} is ahead of its generation"
    if change.kind == "RLHFModel" and status.get("rollout"):
        record = change.store.get("RLHFRollout", change.key.namespace, status["rollout"])
        parts = [status_of(record).get(part) for part in ("stable", "canary")]
        if parts != [status.get("stable"), status.get("canary")]:
            yield "the model's status is not its record's"


def i13_only_what_is_ours(change: Change) -> Iterator[str]:
    """We write no user's spec, and no child without its owner."""
    if not change.ours:
        return
    if change.kind in ("RLHFModel", "RLHFModelVersion", "AlignmentPolicy", "RLHFDecision"):
        same = change.after and change.before and change.after["spec"] == change.before["spec"]
        if not same:
            yield f"we change {change.kind} {change.name}"
    if change.kind in CHILDREN and change.after is not None:
        owners = change.after["metadata"].get("ownerReferences") or []
        uid = (change.model or {"metadata": {"uid": "?"}})["metadata"]["uid"]
        if [owner["uid"] for owner in owners] != [uid]:
            yield f"{change.kind} {change.name} has the owners {owners}"


def i14_deletion_is_left_alone(change: Change) -> Iterator[str]:
    """Without its model nothing is made: the garbage collector takes what the model owned (I13)."""
    if (
        change.ours
        and change.model is None
        and change.kind in CHILDREN
        and change.after is not None
    ):
        yield f"{change.kind} {change.name} is made without a model"


def i15_the_declared_digest_is_served(change: Change) -> Iterator[str]:
    """A Deployment carries the digest of its version; the pod checks it before its server."""
    if change.kind != "Deployment" or change.after is None:
        return
    version = version_of(change.after)
    raw = change.store.get("RLHFModelVersion", change.key.namespace, version)
    if raw and raw["spec"]["artifact"]["digest"] not in json.dumps(
        change.after["spec"]["template"]
    ):
        yield f"{version} is served without its digest"


def i17_pods_stay_in_the_budget(change: Change) -> Iterator[str]:
    """All pods stay within replicas, surge, fallback and standby; a flight is exempt."""
    if change.kind != "Deployment" or change.after is None or change.newest is None:
        return
    spec, plan = change.spec, change.newest["spec"]["plan"]
    if change.newest["spec"]["type"] in FLIGHTS or replicas(change.after) <= replicas(
        change.before
    ):
        return
    if not isinstance(spec["fallback"], dict):
        yield "pods are added by a spec that cannot be read"
        return
    size = spec["serving"]["replicas"]
    budget = size + {"None": 0, "One": 1, "Full": size}[plan["surge"]] * len(tried(change.newest))
    standby = spec.get("standby", {})
    held = -(-size * standby.get("holdback", 0) // 100)
    budget += spec["fallback"].get("replicas", 1) + max(standby.get("replicas", 1), held)
    others = [
        raw
        for raw in change.store.of_model("Deployment", change.key)
        if raw["metadata"]["name"] != change.name
    ]
    total = sum(replicas(raw) for raw in [*others, change.after])
    if total > budget:
        yield f"{total} pods are wanted, {budget} are allowed"


def i18_suspension_raises_nothing(change: Change) -> Iterator[str]:
    """While suspended or paused no weight is declared higher and no run but a flight starts."""
    if change.kind != "RLHFRollout" or change.after is None or not change.ours:
        return
    was, now = status_of(change.before), status_of(change.after)
    still = bool(change.spec.get("suspend")) or bool(was.get("paused"))
    if still and rises(was, now):
        yield "a weight rises while it should stand still"
    kind = change.after["spec"]["type"]
    if (
        change.before is None
        and change.spec.get("suspend")
        and kind in ("Initial", "Rollout", "Drill")
    ):
        yield "a run starts while suspended"


def i19_renewed_pods_are_new(change: Change) -> Iterator[str]:
    """A restart is done only when the Deployment has the template that its record pins."""
    if change.kind != "RLHFRollout" or change.after is None or not change.ours:
        return
    status, spec = status_of(change.after), change.after["spec"]
    done = status_of(change.before).get("outcome") == "Promoted"
    if spec["type"] != "Restart" or status.get("outcome") != "Promoted" or done:
        return
    version = spec["to"]["name"]
    pins = {pin["version"]: pin["revision"] for pin in status.get("pins", ())}
    pin = change.store.get("ControllerRevision", change.key.namespace, pins.get(version, ""))
    stored = change.deployment(version)
    wanted = pin["data"]["template"] if pin else None
    if stored is None or stored["spec"]["template"] != wanted:
        yield f"the restart of {version} is done with old pods"


def i20_what_serves_keeps_what_it_is_made_of(change: Change) -> Iterator[str]:
    """No pin that a record in force names goes, and no ConfigMap before what mounts it."""
    if change.after is not None or not change.ours or change.model is None:
        return
    pins = {
        pin["revision"]: pin["version"]
        for raw in change.records[-2:]
        for pin in status_of(raw).get("pins", ())
    }
    if change.kind == "ControllerRevision" and change.name in pins:
        yield f"{change.name} goes and is still pinned"
    if change.kind != "ConfigMap":
        return
    status = status_of(change.newest)
    standby = status.get("standby")
    kept = standby["version"] if standby and change.now < moment(standby["until"]) else None
    live = {named(part) for part in (status.get("stable"), status.get("canary"), kept)}
    live |= {one["version"] for one in status.get("arms", ()) if one["state"] == "Testing"}
    deployment = change.deployment(version_of(change.raw))
    if version_of(change.raw) in live and change.name in json.dumps(deployment or {}):
        yield f"{change.name} goes and is still mounted"


def i21_gates_open_by_people(change: Change) -> Iterator[str]:
    """No step is entered, left or promoted from without its approvals, by different people."""
    if change.kind != "RLHFRollout" or change.before is None or change.after is None:
        return
    was, now = status_of(change.before), status_of(change.after)
    promoted = now.get("outcome") == "Promoted" and was.get("canary") and not was.get("outcome")
    if now.get("step", -1) <= was.get("step", -1) and not promoted:
        return
    if was.get("repin") != now.get("repin"):
        return  # the numbers of the steps are another plan's; I22 looks at that
    steps = plan_of(change.after)["steps"]
    reached = len(steps) if promoted else now["step"]
    for index in range(max(0, was.get("step", -1)), reached + 1):
        approval = steps[index].get("approval") if index < len(steps) else None
        if approval is None:
            continue
        left, entered = index < reached, index > was.get("step", -1)
        if left if approval.get("gate", "Leave") == "Leave" else entered:
            people = approvers(change.after, index, not_author=approval.get("notAuthor", False))
            if len(people) < approval.get("count", 1):
                yield f"step {index + 1} is passed with the approval of {sorted(people)}"


def approvers(record: Raw, index: int, *, not_author: bool) -> set[str]:
    """Who approved a step, without who made the change where they do not count."""
    said = list(status_of(record).get("decisions", ()))
    repins = [place for place, one in enumerate(said) if one["action"] == "Repin"]
    said = [one for one in said[repins[-1] if repins else 0 :] if one["action"] == "Approve"]
    people = {one["author"] for one in said if one.get("step", index + 1) == index + 1}
    return people - {record["spec"].get("changedBy")} if not_author else people


def plan_of(record: Raw) -> Any:
    """The plan by which a run goes on now."""
    return (status_of(record).get("repin") or record["spec"])["plan"]


def i22_a_new_plan_raises_nothing(change: Change) -> Iterator[str]:
    """Another plan comes by a person's decision, raises no weight and begins its step anew."""
    if change.kind != "RLHFRollout" or change.before is None or change.after is None:
        return
    was, now = status_of(change.before), status_of(change.after)
    if was.get("repin") == now.get("repin"):
        return
    said = now.get("decisions") or [{"action": None}]
    if said[-1]["action"] != "Repin" or len(said) == len(was.get("decisions", ())):
        yield "another plan is pinned and nobody said so"
    if now.get("weight", 0) > was.get("weight", 0):
        yield f"another plan raises the weight to {now['weight']}%"
    if now.get("weight", 0) > 0 and (now.get("inForceAt") or now.get("checkpoint")):
        yield "a step goes on with what was judged by another plan"


def i23_nobody_meets_a_shadow(change: Change) -> Iterator[str]:
    """In a shadow run no user is ever routed to the canary; copies go to it alone, while it runs.

    No more is copied than declared, and no route is written with copies once the run has ended.
    """
    if change.kind != "HTTPRoute" or change.after is None or not change.ours:
        return
    record = change.newest
    status = status_of(record)
    canary = named(status.get("canary")) if is_shadow(record) else None
    most = status.get("weight", 0) if canary else 0
    for version, percent in copies(change.after):
        if version != canary or percent > most:
            yield f"{version} gets copies of {percent}%, declared are {most}%"
    if canary is None:
        return
    services = {
        ref["name"].removesuffix("-serving")
        for rule in change.after["spec"]["rules"]
        for ref in rule["backendRefs"]
    }
    if canary in services:
        yield f"users are routed to the shadow {canary}"


def i24_a_drill_changes_nothing(change: Change) -> Iterator[str]:
    """A drill leaves stable as it is, gives no more than its one step, and is proven by answers."""
    if change.kind != "RLHFRollout" or change.after is None:
        return
    spec, now = change.after["spec"], status_of(change.after)
    if spec["type"] != "Drill" or not now.get("startedAt"):
        return
    if now.get("stable") != spec["from"] or now.get("outcome") == "Promoted":
        yield f"a drill makes {named(now.get('stable'))} stable"
    (step,) = spec["plan"]["steps"]
    if now.get("weight", 0) > step["weight"]:
        yield f"a drill gives {now['weight']}%"
    found = [slo for one in now.get("steps", ()) for slo in one.get("slos", ())]
    counted = sum(slo.get("samples", 0) for slo in found if slo["name"] == "drill-answers")
    if now.get("outcome") == "Proven" and not counted:
        yield "silence is taken for a proof"


def i25_a_control_arm_only_shrinks(change: Change) -> Iterator[str]:
    """A control arm gets its share at a promotion, and then only loses it."""
    if change.kind != "RLHFRollout" or change.after is None:
        return
    was, now = status_of(change.before), status_of(change.after)
    before, after = ((one.get("standby") or {}).get("weight", 0) for one in (was, now))
    promoted = now.get("outcome") == "Promoted" and not was.get("outcome")
    if after > before and not promoted:
        yield f"a control arm rises from {before}% to {after}%"
    if after and now.get("outcome") != "Promoted":
        yield f"a control arm keeps {after}% while another run goes on"


def i26_what_was_dropped_stays_out(change: Change) -> Iterator[str]:
    """A version that a test has dropped is out of it for good; stable always keeps some traffic."""
    if change.kind != "RLHFRollout" or change.after is None:
        return
    was, now = status_of(change.before), status_of(change.after)
    gone = {one["version"]: one for one in was.get("arms", ()) if one["state"] == "Dropped"}
    after = {one["version"]: one for one in now.get("arms", ())}
    for name, one in gone.items():
        if after.get(name) != one or shares(now)[name] > 0:
            yield f"{name} was dropped and comes back"
    if now.get("arms") and sum(shares(now).values()) > 99:
        yield f"{shares(now)} leaves nothing to compare with"


AT_EVERY_CHANGE: tuple[Callable[[Change], Iterator[str]], ...] = (
    i1_weights_sum_to_100,
    i2_never_above_the_declared_weight,
    i3_weight_rises_on_ready_pods,
    i4_stable_stays,
    i5_pods_go_after_traffic_and_drain,
    i6_traffic_first_then_scale,
    i7_quarantine_holds,
    i8_rises_rest_on_evidence,
    i10_epochs_never_go_down,
    i11_history_only_grows,
    i12_status_speaks_of_what_was,
    i13_only_what_is_ours,
    i14_deletion_is_left_alone,
    i15_the_declared_digest_is_served,
    i17_pods_stay_in_the_budget,
    i18_suspension_raises_nothing,
    i19_renewed_pods_are_new,
    i20_what_serves_keeps_what_it_is_made_of,
    i21_gates_open_by_people,
    i22_a_new_plan_raises_nothing,
    i23_nobody_meets_a_shadow,
    i24_a_drill_changes_nothing,
    i25_a_control_arm_only_shrinks,
    i26_what_was_dropped_stays_out,
)
"""I9 and I16 speak of passes, not of changes: `i9_unsafe_weight_falls`, `i16_rest_is_quiet`."""


def violations(change: Change) -> list[str]:
    """Return every violation of one change, each with the invariant's number."""
    return [
        f"{invariant.__name__.split('_')[0].upper()}: {text}"
        for invariant in AT_EVERY_CHANGE
        for text in invariant(change)
    ]


def i9_unsafe_weight_falls(route: Mapping[str, int], version: str) -> list[str]:
    """Right after a pass that saw `version` unsafe it has no traffic, whatever else failed."""
    part = route.get(version, 0)
    return [f"I9: unsafe {version} still gets {part}%"] if part else []


def i16_rest_is_quiet(writes: int) -> list[str]:
    """A pass over a world at rest writes nothing."""
    return [f"I16: {writes} writes at rest"] if writes else []
