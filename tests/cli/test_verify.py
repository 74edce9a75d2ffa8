"""Each invariant holds on the fixed states, and is broken by one seeded fault that it names."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.cli import invariants, state, verification
from tests.cli.fixed import NOW, fixed, objects, text
from tests.golden import files

Raw = dict[str, Any]
OTHER = "sha256:" + "e" * 64


class Stored(dict[tuple[str, str], Raw]):
    """The objects of a state by kind and name, to break one thing in them."""

    def __init__(self, name: str) -> None:
        found = objects(name)
        super().__init__({(raw["kind"], raw["metadata"]["name"]): raw for raw in found})
        self.name = name

    def record(self, number: int) -> Raw:
        return self["RLHFRollout", f"support-{number}"]

    def pod(self, version: str) -> Raw:
        return next(
            raw
            for (kind, name), raw in self.items()
            if kind == "Pod" and name.startswith(f"{version}-serving")
        )

    def weights(self, **parts: int) -> None:
        rule = self["HTTPRoute", "support"]["spec"]["rules"][0]
        first = rule["backendRefs"][0]
        rule["backendRefs"] = [
            first | {"name": f"support-{version}-serving", "weight": weight}
            for version, weight in parts.items()
        ]

    def verified(self) -> verification.Verification:
        read = state.read(self.values(), NOW[self.name])
        model = read.model("support")
        assert model is not None
        return verification.verify(read, model)


def broken(found: verification.Verification) -> set[str]:
    return {each.invariant for each in found.checks if each.broken}


def canary_gets_more(stored: Stored) -> None:
    stored.weights(sft=20, v1=80)


def canary_gets_copies(stored: Stored) -> None:
    backend = {"name": "support-v1-serving", "port": 80}
    copied = {"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 10}}
    for rule in stored["HTTPRoute", "support"]["spec"]["rules"]:
        rule["filters"] = [copied]


def canary_pod_is_gone(stored: Stored) -> None:
    stored.pod("support-v1")["status"]["conditions"] = []


def stable_is_scaled_down(stored: Stored) -> None:
    stored["Deployment", "support-sft-serving"]["spec"]["replicas"] = 0


def stable_is_quarantined(stored: Stored) -> None:
    record = stored.record(1)
    record["status"]["quarantine"] = {
        "identity": record["spec"]["to"]["identity"],
        "version": "support-sft",
        "message": "insults 3 > 2",
        "at": "2026-11-24T21:51:00.000000Z",
    }


def blame_is_forgotten(stored: Stored) -> None:
    del stored.record(3)["status"]["quarantine"]


def weight_rose_on_silence(stored: Stored) -> None:
    for result in stored.record(2)["status"]["steps"][1]["slos"]:
        result["verdict"] = "Inconclusive"


def weight_is_not_planned(stored: Stored) -> None:
    stored.record(2)["status"]["steps"][1]["weight"] = 21


def two_runs_are_open(stored: Stored) -> None:
    del stored.record(2)["status"]["settledAt"]


def revision_is_taken_twice(stored: Stored) -> None:
    stored.record(2)["spec"]["revision"] = 1


def old_leader_wrote(stored: Stored) -> None:
    stored.record(3)["status"]["epoch"] -= 1


def status_is_ahead(stored: Stored) -> None:
    stored["RLHFModel", "support"]["status"]["observedGeneration"] = 99


def conditions_contradict(stored: Stored) -> None:
    for condition in stored["RLHFModel", "support"]["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "True"


def pod_serves_something_else(stored: Stored) -> None:
    end = stored.pod("support-v1")["status"]["initContainerStatuses"][0]["state"]["terminated"]
    end["message"] = f'{{"reason": "Verified", "digest": "{OTHER}"}}'


def pod_verified_nothing(stored: Stored) -> None:
    stored.pod("support-v1")["status"]["initContainerStatuses"] = []


def artefact_was_changed(stored: Stored) -> None:
    # The pod's digest goes with it, so that only the record's identity tells.
    stored["RLHFModelVersion", "support-v1"]["spec"]["serving"]["engineArgs"] = {"threads": "2"}


def summary_tells_another(stored: Stored) -> None:
    stored["RLHFModel", "support"]["status"]["stable"] = {"name": "x", "identity": OTHER}


def model_was_made_anew(stored: Stored) -> None:
    for raw in stored.values():
        if raw["kind"] == "Deployment":
            raw["metadata"]["ownerReferences"][0]["uid"] = "another"


FAULTS = [
    ("midway", canary_gets_more, "canary_gets_what_was_declared"),
    ("midway", canary_gets_copies, "copies_are_declared"),
    ("midway", canary_pod_is_gone, "weight_has_pods"),
    ("midway", stable_is_scaled_down, "way_back_is_there"),
    ("midway", stable_is_quarantined, "quarantined_has_no_weight"),
    ("rolled-back", blame_is_forgotten, "blame_is_kept"),
    ("midway", weight_rose_on_silence, "weight_rose_on_evidence"),
    ("midway", weight_is_not_planned, "weights_are_planned"),
    ("rolled-back", two_runs_are_open, "one_run_at_a_time"),
    ("rolled-back", revision_is_taken_twice, "revisions_are_unique"),
    ("rolled-back", old_leader_wrote, "epochs_never_fall"),
    ("rolled-back", status_is_ahead, "generations_are_not_ahead"),
    ("rolled-back", conditions_contradict, "conditions_agree"),
    ("rolled-back", pod_serves_something_else, "what_serves_is_what_was_declared"),
    ("rolled-back", pod_verified_nothing, "ready_pods_are_verified"),
    ("rolled-back", artefact_was_changed, "names_mean_one_artefact"),
    ("rolled-back", summary_tells_another, "summary_mirrors_record"),
    ("rolled-back", model_was_made_anew, "pods_have_a_model"),
]


@pytest.mark.parametrize("name", NOW)
def test_the_fixed_states_keep_every_invariant(name):
    assert broken(Stored(name).verified()) == set()


@pytest.mark.parametrize(
    ("name", "fault", "invariant"),
    [pytest.param(*row, id=row[1].__name__.replace("_", " ")) for row in FAULTS],
)
def test_a_fault_breaks_exactly_its_invariant(name, fault, invariant):
    stored = Stored(name)
    fault(stored)
    assert broken(stored.verified()) == {invariant}


def test_weights_that_do_not_sum_to_100_are_told():
    """Routers are read as percentages of their sum, so a wrong sum is made here by hand."""
    read = fixed("midway")
    model = read.model("support")
    assert model is not None
    route = state.RouteSeen(
        model="support", kind="HTTPRoute", weights=(("a", 60), ("b", 60)), accepted=True
    )
    wrong = state.State(at=read.at, models=read.models, routes=(route,))
    assert list(invariants.weights_sum_to_100(wrong, model)) == [
        "HTTPRoute: the weights are {'a': 60, 'b': 60}, their sum is 120"
    ]


def test_every_invariant_has_its_fault():
    told = {invariant for _, _, invariant in FAULTS} | {"weights_sum_to_100"}
    assert told == {check.__name__ for check in invariants.CHECKS}


def test_a_quarantine_that_was_lifted_binds_nobody():
    stored = Stored("midway")
    stable_is_quarantined(stored)
    stored.record(1)["status"]["quarantine"]["lifted"] = {
        "decision": "d",
        "author": "ann",
        "at": "2026-11-24T21:51:01.000000Z",
    }
    assert broken(stored.verified()) == set()


def test_what_breaks_at_one_look_only_is_not_told():
    fine, wrong = Stored("midway"), Stored("midway")
    canary_gets_more(wrong)
    looks = (fine.verified(),), (wrong.verified(),)
    assert all(each.is_fine for each in verification.still_broken(*looks))
    assert not verification.still_broken(looks[1], looks[1])[0].is_fine


def test_the_text_names_what_is_broken():
    stored = Stored("midway")
    canary_gets_more(stored)
    files.compare("cli/verify/broken.txt", text(verification.render(stored.verified())))
    files.compare("cli/verify/fine.txt", text(verification.render(Stored("people").verified())))
    many = (stored.verified(), Stored("people").verified())
    files.compare("cli/verify/all.txt", text(verification.render_all(many, everywhere=True)))


def test_what_a_person_overrode_need_not_succeed():
    stored = Stored("midway")
    for result in stored.record(2)["status"]["steps"][1]["slos"]:
        if result["name"] == "errors":
            result["verdict"] = "Inconclusive"
    assert broken(stored.verified()) == {"weight_rose_on_evidence"}
    stored.record(2)["status"]["decisions"] = [
        {
            "name": "d", "action": "Override", "slo": "errors", "author": "ann", "reason": "known",
            "at": "2026-11-24T21:51:25.000000Z", "until": "2026-11-24T22:51:25.000000Z",
        }
    ]  # fmt: skip
    assert broken(stored.verified()) == set()


def test_a_veto_binds_as_a_failure_does():
    stored = Stored("midway")
    identity = stored.record(2)["spec"]["to"]["identity"]
    stored.record(1)["status"]["vetoes"] = [
        {"identity": identity, "message": "ann: rude", "author": "ann",
         "at": "2026-11-24T21:51:00.000000Z"}
    ]  # fmt: skip
    assert broken(stored.verified()) == {"quarantined_has_no_weight"}
