"""What `lint` says of files, sentence by sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.cli import asking, cluster, duplicates, findings, fitting, manifests
from rlhf_operator.cli.__main__ import app
from tests.cli.fixed import fixed, text
from tests.golden import files

SAMPLES = Path(__file__).parents[2] / "manifests/samples"
ROOT = Path(__file__).parents[2]


def sample(name: str, kind: str) -> dict[str, Any]:
    every = yaml.safe_load_all((SAMPLES / f"{name}.yaml").read_text())
    return next(each for each in every if each["kind"] == kind)


def model(**spec: Any) -> dict[str, Any]:
    raw = sample("model-service", "RLHFModel")
    return raw | {"spec": raw["spec"] | spec}


def policy(*slos: dict[str, Any]) -> dict[str, Any]:
    return sample("policy", "AlignmentPolicy") | {"spec": {"slos": list(slos)}}


def query(text: str) -> dict[str, Any]:
    return {
        "name": "p95",
        "class": "Performance",
        "max": "2",
        "minSamples": 10,
        "query": {"promQL": text, "samples": "rlhf_guard_requests_total", "betterWhen": "Lower"},
    }


ONE_ANSWER = {
    "name": "unsafe",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedRate"},
    "max": "0.1",
}
GOLDEN = {"name": "g", "prompt": "hi", "maxTokens": 4, "mustMatch": "(?=x)"}
SHADOW = {"strategy": "Shadow", "shadow": {"percent": 60, "hold": "1m"}}
TEST = {
    "strategy": "ABTest",
    "abTest": {"primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}},
}
SEVERAL = {
    "strategy": "ABTest",
    "abTest": TEST["abTest"] | {"weight": 3, "others": [{"version": "nobody", "weight": 7}]},
}
VOTES = {"name": "votes", "class": "Quality", "indicator": {"type": "ThumbsDownRate"}}
STEPS = {"strategy": "Canary", "canary": {"steps": [{"weight": 3, "hold": "1m"}]}}


@pytest.mark.parametrize(
    ("raw", "gravity", "said"),
    [
        pytest.param("x", "error", "no Kubernetes object", id="text"),
        pytest.param(
            {"apiVersion": "rlhf.dev/v9", "kind": "RLHFModel", "metadata": {"name": "a"}},
            "error",
            "apiVersion rlhf.dev/v9 is not known",
            id="a version of tomorrow",
        ),
        pytest.param(
            {"apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModl", "metadata": {"name": "a"}},
            "error",
            "kind RLHFModl is not known",
            id="a misspelt kind",
        ),
        pytest.param(
            model(replicas=3),
            "error",
            "spec.replicas: extra inputs",
            id="no such field",
        ),
        pytest.param(
            model(rollout=STEPS), "error", "give 20.0%, not 3%", id="a step no pods can give"
        ),
        pytest.param(
            model(rollout=SHADOW), "error", "cannot copy requests", id="a router that cannot copy"
        ),
        pytest.param(
            model(rollout=SHADOW), "error", "take 3 pods", id="a shadow with too few pods"
        ),
        pytest.param(
            model(rollout=TEST), "advice", "lets users change arms", id="a test that mixes users"
        ),
        pytest.param(model(policies=[]), "error", "needs at least one", id="no policy"),
        pytest.param(
            model(fallback={"version": "faq-sft", "replicas": 0}),
            "advice",
            "cold",
            id="a cold fallback",
        ),
        pytest.param(model(suspend=True), "advice", "no weight is raised", id="a suspended model"),
        pytest.param(
            model(
                rollout=STEPS
                | {
                    "freezeWindows": [
                        {
                            "name": "w",
                            "days": ["Fri"],
                            "start": "16:00",
                            "end": "18:00",
                            "timeZone": "Moon",
                        }
                    ]
                }
            ),
            "error",
            "no time zone is called Moon",
            id="a time zone that is not there",
        ),
        pytest.param(
            model(
                guard={
                    "golden": [{"name": "g", "prompt": "hi", "maxTokens": 4, "mustMatch": "(?=x)"}]
                }
            ),
            "error",
            "look-around",
            id="a pattern that the guard refuses",
        ),
        pytest.param(
            policy(query("sum(rate(x[1m]))")), "error", "drops the labels", id="a query over all"
        ),
        pytest.param(policy(query("rate(x")), "error", "not valid PromQL", id="no PromQL"),
        pytest.param(
            {**policy(ONE_ANSWER), "spec": {"slos": [ONE_ANSWER], "rewardHacking": {}}},
            "advice",
            "rewardHacking: no objective compares RewardScore",
            id="reward hacking that nothing would show",
        ),
        pytest.param(policy(ONE_ANSWER), "advice", "one answer may decide", id="one sample"),
        pytest.param(
            model(rollout=SEVERAL),
            "error",
            "not 3%, 7%",
            id="weights of several that the ratio cannot give",
        ),
        pytest.param(
            model(rollout=SEVERAL | {"surge": "None"}, serving={"replicas": 2}),
            "error",
            "3 replicas or more",
            id="no pods for several versions",
        ),
    ],
)
def test_it_says_what_is_wrong(raw, gravity, said):
    found = list(findings.of_object(raw))
    assert any(each.gravity == gravity and said in each.message for each in found), found


def test_what_is_not_ours_is_left_alone():
    assert list(findings.of_object({"apiVersion": "v1", "kind": "Pod", "metadata": {}})) == []


def test_versions_must_be_of_the_model():
    wrong = sample("versions", "RLHFModelVersion")
    raw = model(version=wrong["metadata"]["name"])
    read = manifests.readable([raw, wrong])
    assert any("is a version of support" in each.message for each in fitting.together(read))


def test_what_should_be_tested_beside_must_be_there():
    read = manifests.readable([model(rollout=SEVERAL)])
    said = "rollout.abTest.others: RLHFModelVersion nobody is not among these objects"
    assert said in [each.message for each in fitting.together(read)]


def test_what_a_shadow_cannot_be_judged_by_is_told():
    raw, votes = model(rollout=SHADOW), policy(VOTES | {"max": "0.1"})
    found = [each.message for each in fitting.together(manifests.readable([raw, votes]))]
    assert any("Shadow cannot judge customer-facing/votes: nobody votes" in each for each in found)


@pytest.mark.parametrize(
    ("guard", "asked", "said"),
    [
        pytest.param({}, {"type": "RefusalRate"}, "refusalPatterns is empty", id="refusals"),
        pytest.param({"refusalPatterns": ["^no"]}, {"type": "RefusalRate"}, None, id="a pattern"),
        pytest.param({}, {"type": "UnsafeServedRate"}, "no stage of the guard", id="no stage"),
    ],
)
def test_what_no_guard_looks_for_is_told(guard, asked, said):
    slo = {"name": "x", "class": "Quality", "indicator": asked, "max": "0.1", "minSamples": 9}
    read = manifests.readable([model(guard=guard), policy(slo)])
    found = [each for each in fitting.together(read) if "Inconclusive" in each.message]
    assert [each.gravity for each in found] == (["advice"] if said else [])
    assert said is None or said in found[0].message


SWITCH = {"strategy": "BlueGreen", "surge": "Full", "blueGreen": {"hold": "10m"}}
RATE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"}}
TASKS = {"name": "tasks", "class": "Quality", "indicator": {"type": "TaskCompletionRate"}}


@pytest.mark.parametrize(
    ("plan", "slo", "ratio", "said"),
    [
        pytest.param(
            SWITCH, RATE | {"max": "0.02", "minSamples": 200}, "1.5",
            "minSamples 200 of stable, with which no version can be shown to be within ratio 1.5",
            id="far too few",
        ),
        pytest.param(
            SWITCH, RATE | {"max": "0.02", "minSamples": 200}, "1.5", "at a rate of 0.5 %",
            id="with what it takes at a lower rate",
        ),
        pytest.param(
            SWITCH, RATE | {"minSamples": 50}, "2", "at a rate of 10 %", id="without a bound",
        ),
        pytest.param(
            SWITCH, RATE | {"max": "0.02", "minSamples": 5_000_000}, "1", "too many at a rate",
            id="a ratio that no number reaches",
        ),
        pytest.param(
            SWITCH, RATE | {"max": "0.02", "minSamples": 10_000}, "1.5", None, id="enough",
        ),
        pytest.param(SWITCH, TASKS | {"min": "0.8"}, "1.5", None, id="where higher is better"),
        pytest.param(
            SWITCH, RATE | {"class": "Informational", "max": "0.02"}, "1.5", None,
            id="what decides nothing",
        ),
        pytest.param(
            STEPS, RATE | {"max": "0.02", "minSamples": 200}, "1.5", None, id="beside stable",
        ),
    ],
)  # fmt: skip
def test_a_switch_that_waits_for_too_little_is_told(plan, slo, ratio, said):
    asked = policy(slo | {"versusStable": {"ratio": ratio}})
    read = manifests.readable([model(rollout=plan), asked])
    assert read.unreadable == ()
    found = [each for each in fitting.together(read) if "the switch waits" in each.message]
    assert [each.gravity for each in found] == (["advice"] if said else [])
    assert said is None or said in found[0].message


def test_a_live_model_tells_what_it_is_stalled_by():
    read = fixed("rolled-back")
    stored = read.model("support")
    assert stored is not None
    found = list(findings.of_live(read, stored))
    assert {each.about for each in found} == {"RLHFModel support", "RLHFModelVersion support-v2"}
    assert all("Stalled: Quarantined" in each.message for each in found)


def test_the_samples_are_without_error(monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["lint", "manifests/samples"])
    assert done.exit_code == 0
    files.compare("cli/lint/samples.txt", done.output)


@pytest.mark.parametrize(
    ("second", "third", "advised"),
    [
        pytest.param({"name": "faq"}, {"name": "other"}, ["a.yaml", "b.yaml"], id="one name"),
        pytest.param(
            {"name": "faq", "namespace": "elsewhere"}, {"name": "other"}, [], id="two namespaces"
        ),
        pytest.param({"name": "faq2"}, {"generateName": "faq-"}, [], id="two names"),
        pytest.param(
            {"name": "faq"}, {"name": "faq"}, ["a.yaml", "b.yaml", "c.yaml"], id="three times"
        ),
    ],
)
def test_what_several_files_define_is_advised_in_each(
    second, third, advised, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, metadata in (("a", {"name": "faq"}), ("b", second), ("c", third)):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(model() | {"metadata": metadata}))
    done = CliRunner().invoke(app, ["lint", "a.yaml", "b.yaml", "c.yaml", "-o", "json"])
    told = {
        source["name"]: [each for each in source["findings"] if "the last one" in each["message"]]
        for source in json.loads(done.output)["sources"]
    }
    assert [name for name, found in told.items() if found] == advised
    for name in advised:
        (finding,) = told[name]
        assert finding["gravity"] == "advice"
        assert f"defined {len(advised)} times: in {', '.join(advised)};" in finding["message"]


def test_another_kind_of_one_name_is_fine():
    same = [model(), policy(ONE_ANSWER) | {"metadata": {"name": "faq"}}, "text", {"kind": "Pod"}]
    assert duplicates.repeated([("a.yaml", same)]) == ()


def test_a_file_with_errors_ends_with_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raws = [model(replicas=3), policy(query("sum(rate(x[1m]))"), ONE_ANSWER)]
    Path("wrong.yaml").write_text(yaml.safe_dump_all(raws))
    done = CliRunner().invoke(app, ["lint", "wrong.yaml"])
    assert done.exit_code == 1
    files.compare("cli/lint/wrong.txt", done.output)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("a: [", "is no YAML", id="no YAML"),
        pytest.param(None, "cannot be read", id="no file"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, written, said):
    path = tmp_path / "x.yaml"
    if written is not None:
        path.write_text(written)
    with pytest.raises(cluster.Problem, match=said) as raised:
        list(manifests.documents([str(path)]))
    assert "\n" not in str(raised.value)


def answer(result_type: str, *metrics: dict[str, str]) -> str:
    series = [{"metric": each, "value": [0, "1"]} for each in metrics]
    data = {"resultType": result_type, "result": series}
    return json.dumps({"status": "success", "data": data})


OURS = {"namespace": "n", "rlhf_model": "m", "rlhf_version": "v"}


@pytest.mark.parametrize(
    ("status", "body", "gravity"),
    [
        pytest.param(200, answer("vector", OURS), None, id="an answer with the labels is fine"),
        pytest.param(200, answer("vector"), "advice", id="silence is advice"),
        pytest.param(200, answer("scalar"), "error", id="one number for all is an error"),
        pytest.param(200, answer("vector", {"job": "x"}), "error", id="lost labels are an error"),
        pytest.param(
            400, '{"status": "error", "error": "parse error"}', "error", id="a refusal is an error"
        ),
        pytest.param(200, "<html>", "error", id="something else is an error"),
    ],
)
def test_a_tried_query_is_judged_by_its_answer(status, body, gravity):
    found = asking.complaint(status, body)
    assert (found and found[0]) == gravity


def test_a_prometheus_that_is_away_is_told_in_one_line():
    with pytest.raises(cluster.Problem, match="does not answer"):
        asking.by_url("http://127.0.0.1:9")("up")


def test_the_report_is_the_same_for_programs():
    done = CliRunner().invoke(app, ["lint", str(SAMPLES / "policy.yaml"), "-o", "yaml"])
    found = yaml.safe_load(done.output)["sources"][0]
    assert (found["objects"], found["queries"], found["tried"]) == (2, 2, 0)
    assert text(findings.render(findings.Report(sources=()))) == ""
