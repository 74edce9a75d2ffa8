"""The commands as a user types them, against an API server that answers from fixed states."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from rlhf_operator.cli import __main__, clock, cluster, terminal
from rlhf_operator.cli.__main__ import app
from tests.cli.fixed import NOW, objects

PLURALS = {
    "rlhfmodels": "RLHFModel",
    "rlhfmodelversions": "RLHFModelVersion",
    "alignmentpolicies": "AlignmentPolicy",
    "rlhfrollouts": "RLHFRollout",
    "rlhfdecisions": "RLHFDecision",
    "httproutes": "HTTPRoute",
    "pods": "Pod",
    "deployments": "Deployment",
    "services": "Service",
}
CONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "rlhf-demo"}}],
    "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "u", "user": {}}],
}


class Answer:
    """What the client's transport returns."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.reason = status, "because"
        self.data = json.dumps(body).encode()

    def read(self) -> bytes:
        return self.data

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return "application/json" if name.lower() == "content-type" else default

    def getheaders(self) -> dict[str, str]:
        return {"content-type": "application/json"}

    @property
    def headers(self) -> dict[str, str]:
        return self.getheaders()


class Server:
    """A small API server in place of the client's transport."""

    def __init__(self, name: str) -> None:
        self.objects = objects(name)
        self.posted: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.refuse: int | None = None

    def request(self, method: str, url: str, **given: Any) -> Answer:
        path = urlsplit(url).path.strip("/").split("/")
        if self.refuse is not None:
            return Answer(self.refuse, {"message": "you are not ann", "details": {"name": "x"}})
        if method == "POST" and path[-1] == "selfsubjectreviews":
            return Answer(201, {"status": {"userInfo": {"username": "ann@example.com"}}})
        if method == "POST":
            body = json.loads(given["body"])
            query = dict(part.split("=") for part in urlsplit(url).query.split("&") if part)
            self.posted.append((query, body))
            body["metadata"]["name"] = "support-abcde"
            return Answer(201, body)
        if path[-1] == "support-abcde":
            condition = {"type": "Ready", "message": "the run was ended"}
            return Answer(200, {"status": {"phase": "Applied", "conditions": [condition]}})
        if path[-1] not in PLURALS:
            return Answer(404, {"message": "not found"})
        found = [each for each in self.objects if each["kind"] == PLURALS[path[-1]]]
        return Answer(200, {"items": found})


@pytest.fixture
def server(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text(yaml.safe_dump(CONFIG))
    made = Server("midway")

    def send(self: Any, method: str, url: str, *args: Any, **given: Any) -> Answer:
        if given.get("fields") or given.get("body"):
            return made.request(method, url, **given)
        return made.request(method, url)

    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setattr("urllib3.PoolManager.request", send)
    monkeypatch.setattr(clock, "now", lambda: NOW["midway"])
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    return made


def typed(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["get"], "support-v1  █████░░░░░ 50 %", id="get"),
        pytest.param(["get", "-A"], "NAMESPACE", id="get in all namespaces"),
        pytest.param(["tree", "support"], "pod support-v1-serving", id="tree"),
        pytest.param(["watch", "support", "--once"], "[50 %] → 80 % → promoted", id="watch"),
        pytest.param(["history", "support"], "support-sft was brought up first", id="history"),
        pytest.param(["why", "support"], "Holding", id="why of the newest record"),
        pytest.param(["why", "support", "--revision", "1"], "support-1", id="why of a revision"),
        pytest.param(["why", "support-1"], "first_not_serving", id="why of a record by name"),
        pytest.param(["diff", "support-v1", "support-v2"], "artifact.digest", id="diff"),
        pytest.param(["verify"], "19 invariants, all hold", id="verify"),
        pytest.param(["verify", "-A"], "1 model, 19 invariants each: all hold", id="verify -A"),
        pytest.param(["lint", "--live", "support"], "rlhf-demo/support", id="lint of a live model"),
    ],
)
def test_reading(server, words, said):
    done = typed(*words)
    assert done.exit_code == 0, done.output
    assert said in done.output
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        assert load(typed(*words, "-o", form).output)
    assert server.posted == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["tree", "nope"], "no RLHFModel nope in namespace rlhf-demo; there: support",
                     id="no such model"),
        pytest.param(["why", "support", "--revision", "9"], "its revisions: 1, 2", id="no record"),
        pytest.param(["diff", "support-v1", "x"], "no RLHFModelVersion x", id="no such version"),
        pytest.param(["get", "--context", "nope"], "no cluster to ask", id="no such context"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_in_one_line(server, words, said):
    done = typed(*words)
    assert isinstance(done.exception, cluster.Problem)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param(401, "log in again", id="unknown user"),
        pytest.param(403, "you may not do this: you are not ann", id="not allowed"),
        pytest.param(500, "refuses (500)", id="out of order"),
    ],
)
def test_what_the_api_server_refuses_is_told_in_one_line(server, status, said):
    server.refuse = status
    done = typed("abort", "support", "-m", "because")
    assert isinstance(done.exception, cluster.Problem)
    assert said in str(done.exception)


def test_a_decision_is_written_under_the_users_own_name_and_waited_for(server):
    done = typed("abort", "support", "-m", "rude answers")
    assert done.exit_code == 0, done.output
    assert done.output == (
        "support-abcde: ann@example.com: Abort support\ncarried out: the run was ended\n"
    )
    [(query, body)] = server.posted
    assert "dryRun" not in query
    assert body["spec"] == {
        "action": "Abort",
        "model": "support",
        "author": "ann@example.com",
        "reason": "rude answers",
    }


def test_a_dry_run_is_checked_by_the_api_server_and_kept_nowhere(server):
    done = typed("pause", "support", "-m", "lunch", "--dry-run")
    assert done.output == "would write: ann@example.com: Pause support\n"
    assert [query for query, _ in server.posted] == [{"dryRun": "All"}]


def test_a_reason_is_asked_for(server):
    assert typed("abort", "support").exit_code == 2
    assert server.posted == []


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        pytest.param(["tre"], ["tree"], id="a command"),
        pytest.param(["tree", "s"], ["support"], id="a model"),
        pytest.param(["diff", "support-v"], ["support-v1", "support-v2"], id="a version"),
        pytest.param(["tree", "-o", "j"], ["json"], id="a form"),
    ],
)
def test_tab_completes(server, monkeypatch, capsys, words, completed):
    monkeypatch.setattr("sys.argv", ["kubectl_complete-rlhf", *words])
    __main__.complete()
    *lines, directive = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == completed
    assert directive == ":4"


def test_colours_are_for_terminals_alone(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    assert terminal.console().color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.console().no_color
    monkeypatch.delenv("FORCE_COLOR")
    assert not terminal.console().is_terminal


def test_the_digest_is_the_one_that_pods_check(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    done = typed("digest", str(tmp_path))
    # printf '%s 5 a.txt\n' "$(printf hello | sha256sum | cut -c-64)" | sha256sum
    expected = "ed5ab7df5a23982ff9854bb578871c64d632accd55a8dbf293c2a6da50d43407"
    assert done.output == f"sha256:{expected}\n"
