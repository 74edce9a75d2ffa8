"""The command line: python -m e2e.demo."""

import argparse
import json
import sys
from typing import Any

from e2e.cluster import Endpoints, endpoints, settings
from e2e.cluster.progress import ClusterError
from e2e.demo import scene
from e2e.demo.story import Story
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl

_REPORT = settings.REPOSITORY / ".state" / "demo.json"


def main() -> int:
    """Play the story and write what was measured; fail when it did not happen."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e.demo",
        description="Ships a good and a bad version of a small model on a real cluster under live "
        "traffic, and shows what happens.",
    )
    parser.add_argument(
        "--rate", type=float, metavar="N",
        help="questions a second (default: what this machine bears with ease)",
    )  # fmt: skip
    rate = parser.parse_args().rate
    given = endpoints()
    _REPORT.unlink(missing_ok=True)  # should this end by force, an old one would be taken for its
    story = Story(given, rate)
    problems: list[str] = []
    try:
        story.tell()
    except (HarnessError, ClusterError) as error:
        problems.append(str(error))
    seen = story.seen()
    report = seen.report() | {"problems": [*problems, *seen.problems()]}
    _REPORT.parent.mkdir(exist_ok=True)
    _REPORT.write_text(json.dumps(report, indent=2) + "\n")
    for problem in report["problems"]:
        print(f"\nthe story did not happen: {problem}", file=sys.stderr)
    if not problems:
        _show_end(given, report)
    return 1 if report["problems"] else 0


def _show_end(given: Endpoints, report: dict[str, Any]) -> None:
    kubectl = Kubectl.of(given, scene.NAMESPACE)
    shown = f"KUBECONFIG={given.kubeconfig} {given.kubectl} --namespace {scene.NAMESPACE}"
    print("\n$ kubectl get rlhfr\n" + kubectl.run("get", "rlhfrollout"))
    print("$ kubectl get rlhfv\n" + kubectl.run("get", "rlhfmodelversion"))
    print(
        f"{report['requests']} questions, {report['failed_requests']} failed; "
        f"{report['served_while_unsafe']} unsafe answers were read before the bad version lost "
        f"its traffic, {report['seconds_from_first_bad_sample_to_weight_zero']} s after the first."
        f"\nWritten to {_REPORT.relative_to(settings.REPOSITORY)}.\n\n"
        f"Everything still runs. Look around:\n  {shown} get rlhf,rlhfr,rlhfv,pods\n"
        f"Delete it:\n  {shown} delete namespace {scene.NAMESPACE}"
    )


if __name__ == "__main__":
    sys.exit(main())
