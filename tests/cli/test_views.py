"""What the reading commands show of fixed states, word by word, in files of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
import yaml

from rlhf_operator.cli import (
    chronicle,
    difference,
    evidence,
    listing,
    live,
    state,
    terminal,
    tree,
    verification,
)
from rlhf_operator.cli.state import State, read
from tests.cli.fixed import NOW, fixed, objects, text, three_at_once
from tests.golden import files

STATES = ("rolled-back", "midway", "people")
JUDGED = ("halfway", "worse", "left", "lost-test")
"""Of the end-to-end stories, recorded on a real cluster."""


def model(state: State):
    found = state.model("support")
    assert found is not None
    return found


def versions(state: State):
    one, two = state.version("support-v1"), state.version("support-v2")
    assert one is not None and two is not None
    return one, two


def newest(state: State):
    found = state.newest("support")
    assert found is not None
    return found


VIEWS = {
    "get": (listing.listing, listing.render),
    "tree": (lambda state: tree.tree(state, model(state)), tree.render),
    "history": (lambda state: chronicle.chronicle(state, "support"), chronicle.render),
    "why": (lambda state: evidence.explain(newest(state)), evidence.render),
    "watch": (lambda state: live.frame(state, model(state)), live.render),
    "diff": (lambda state: difference.difference(state, *versions(state)), difference.render),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("command", VIEWS)
def test_the_text_is_as_it_was(command, name):
    view, render = VIEWS[command]
    files.compare(f"cli/{command}/{name}.txt", text(render(view(fixed(name)))))


def test_of_a_test_of_several_each_version_has_its_own_numbers():
    raws = objects("rolled-back")
    stored = {(raw["kind"], raw["metadata"]["name"]): raw for raw in raws}
    record = stored["RLHFRollout", "support-3"]
    one, two = "support-v2", "support-v4"
    primary = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
    test = {"weight": 20, "others": [{"version": two, "weight": 30}], "primary": primary}
    record["spec"]["others"] = [{"name": two, "identity": f"sha256:{'4' * 64}"}]
    record["spec"]["plan"] |= {"strategy": "ABTest", "abTest": test}
    (step,) = (each for each in record["status"]["steps"] if each["weight"] > 0)
    step["weight"] = 50
    good = {"version": two, "value": "0.25", "samples": 80, "verdict": "Successful"}
    step["slos"] += [each | good for each in step["slos"]]
    other = stored["RLHFModelVersion", one]
    raws.append(other | {"metadata": other["metadata"] | {"name": two}})
    read_ = read(raws, NOW["rolled-back"])
    left, right = read_.version(one), read_.version(two)
    assert left is not None and right is not None
    shown = text(difference.render(difference.difference(read_, left, right)))
    files.compare("cli/diff/of-several.txt", shown)
    for pair in difference.difference(read_, right, left).measured:
        assert pair.left is not None and pair.right is not None
        assert (pair.left.value, pair.left.samples, pair.left.weight) == ("0.25", 80, 30)
        assert (pair.right.samples, pair.right.weight) == (5, 20)


def shadowed() -> State:
    """The midway state, had half of the requests been copied and not sent."""
    raws = objects("midway")
    stored = {(raw["kind"], raw["metadata"]["name"]): raw for raw in raws}
    newest_record = stored["RLHFRollout", "support-2"]
    newest_record["spec"]["plan"] |= {"strategy": "Shadow"}
    for rule in stored["HTTPRoute", "support"]["spec"]["rules"]:
        stable, canary = rule["backendRefs"]
        rule["backendRefs"] = [stable | {"weight": 100}]
        target = {"name": canary["name"], "port": canary["port"]}
        copied = {"backendRef": target, "percent": 50}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": copied}]
    status = stored["RLHFModel", "support"]["status"]
    status |= {"weight": 0, "copied": 50}
    return state.read(raws, NOW["midway"])


@pytest.mark.parametrize("command", VIEWS)
def test_a_shadow_is_shown_as_copies(command):
    view, render = VIEWS[command]
    shown = text(render(view(shadowed())))
    files.compare(f"cli/{command}/shadow.txt", shown)
    assert "0 % copied" in shown


@pytest.mark.parametrize("command", VIEWS)
def test_every_version_of_a_test_is_shown(command):
    view, render = VIEWS[command]
    shown = text(render(view(three_at_once())))
    files.compare(f"cli/{command}/tested.txt", shown)
    if command in ("get", "tree", "watch"):
        assert "support-v3" in shown
    if command in ("why", "history", "watch"):
        assert "support-v4: SafetyFailed" in shown


def test_a_test_of_several_keeps_every_invariant():
    read = three_at_once()
    checks = verification.verify(read, model(read)).checks
    broken = [text for check in checks for text in check.broken]
    assert broken == ["support-v3 gets 25 % and has no ready pod"], "it is made up"


def test_a_test_waits_for_a_winner():
    raws = objects("midway")
    stored = {(raw["kind"], raw["metadata"]["name"]): raw for raw in raws}
    primary = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
    stored["RLHFRollout", "support-2"]["spec"]["plan"] |= {
        "strategy": "ABTest", "abTest": {"duration": "3h", "primary": primary},
    }  # fmt: skip
    read = state.read(raws, NOW["midway"] + timedelta(hours=1))
    found = live.frame(read, model(read))
    assert "thumbs to show which version is better" in found.waits_for
    began = newest(read).status.in_force_at
    assert found.due == began + timedelta(hours=3)


def test_a_shadow_keeps_every_invariant():
    read = shadowed()
    assert verification.verify(read, model(read)).is_fine


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("command", ["history", "watch", "why"])
def test_the_text_on_a_run_that_is_judged_by_evidence(command, name):
    view, render = VIEWS[command]
    files.compare(f"cli/{command}/{name}.txt", text(render(view(fixed(name)))))


@pytest.mark.parametrize("command", VIEWS)
def test_programs_get_the_same_answer_in_json_and_yaml(command):
    view, render = VIEWS[command]
    answer = view(fixed("midway"))
    written = {}
    for form in ("json", "yaml"):
        file = StringIO()
        terminal.show(terminal.console(file), answer, render(answer), form)
        written[form] = file.getvalue()
    assert json.loads(written["json"]) == yaml.safe_load(written["yaml"])
    assert "support" in written["json"]


def test_the_json_names_its_fields_as_the_api_does():
    found = terminal.data(live.frame(fixed("midway"), model(fixed("midway"))))
    assert {"waitsFor", "evidenceAt", "stable", "canary", "weight", "steps"} <= found.keys()
    assert found["gauges"][0]["result"]["class"] == "Safety"


def test_no_colour_leaves_a_file():
    shown = text(tree.render(tree.tree(fixed("people"), model(fixed("people")))))
    assert "\x1b" not in shown


def test_only_what_is_new_is_told_into_a_log():
    found = live.frame(fixed("midway"), model(fixed("midway")))
    later = replace(found, at=found.at + timedelta(seconds=2))
    assert not live.tells_more(found, later)
    assert live.tells_more(found, replace(later, weight=80))


def drilled(status: str, at: str | None) -> State:
    """The fixed state with what a drill of the way back showed."""
    raws = yaml.safe_load(yaml.dump(objects("rolled-back")))
    (raw,) = (each for each in raws if each["kind"] == "RLHFModel")
    raw["status"]["conditions"].append(
        {"type": "FallbackProven", "status": status, "reason": "Proven", "message": "4 answers",
         "lastTransitionTime": "2026-11-24T20:00:00Z", "observedGeneration": 1}
    )  # fmt: skip
    if at is not None:
        raw["status"]["fallbackProvenAt"] = at
    return read(raws, NOW["rolled-back"])


@pytest.mark.parametrize(
    ("status", "at", "told", "line"),
    [
        ("True", "2026-11-24T20:55:00Z", "60m ago", "fallback support-sft proven: 4 answers"),
        ("False", None, "never", "fallback support-sft not proven: 4 answers"),
        ("Unknown", None, "never", "fallback support-sft not known: 4 answers"),
    ],
)
def test_the_way_back_is_shown_where_there_are_drills(status, at, told, line):
    state = drilled(status, at)
    table = text(listing.render(listing.listing(state)))
    assert table.splitlines()[0].endswith("FALLBACK PROVEN")
    assert table.splitlines()[1].endswith(told)
    assert line in text(tree.render(tree.tree(state, model(state))))


SPLIT = "v2 answered 7.0% of what it and stable answered, where 5.0% is declared"


def off(name: str) -> State:
    """A fixed state whose router splits otherwise than declared."""
    raws = yaml.safe_load(yaml.dump(objects(name)))
    (raw,) = (each for each in raws if each["kind"] == "RLHFModel")
    raw["status"]["conditions"].append(
        {"type": "TrafficSplitMismatch", "status": "True", "reason": "MoreThanDeclared",
         "message": SPLIT, "lastTransitionTime": "2026-11-24T20:00:00Z", "observedGeneration": 1}
    )  # fmt: skip
    return read(raws, NOW[name])


@pytest.mark.parametrize("view", ["watch", "why"])
def test_a_split_that_is_off_is_shown(view):
    state = off("midway")
    said = listing.cautions(model(state))
    assert said == (f"TrafficSplitMismatch: {SPLIT}",)
    if view == "watch":
        found = live.render(live.frame(state, model(state)))
    else:
        found = evidence.render(evidence.explain(newest(state), said))
    assert SPLIT in " ".join(text(found).split())
