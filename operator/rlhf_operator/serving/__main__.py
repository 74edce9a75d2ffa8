"""Entry point: `python -m rlhf_operator.serving fetch-and-verify | digest`.

The first is the init container of every serving pod: nothing is served that it refuses.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rlhf_operator.api.reasons import ConditionType, Reason
from rlhf_operator.serving import artifact, fetch
from rlhf_operator.serving.artifact import Unacceptable

TERMINATION_LOG = Path("/dev/termination-log")
_LONGEST = 1000


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.run(asked))
    except Unacceptable as error:
        return _end(asked, reason=error.reason, message=str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rlhf-artifact", description="Checks a model's files.")
    parser.set_defaults(termination_log=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "fetch-and-verify", help="fetch if need be, then check digest and content"
    )
    verify.add_argument("--uri", required=True, help="oci://, pvc://, s3:// or hf://")
    verify.add_argument("--digest", required=True, help="what the version declares")
    verify.add_argument("--folder", required=True, type=Path, help="where the files are or go")
    verify.add_argument("--content", choices=("safetensors", "any"), default="safetensors")
    verify.add_argument("--termination-log", type=Path, default=TERMINATION_LOG)
    verify.set_defaults(run=_verify)
    digest = commands.add_parser("digest", help="print the digest of a folder")
    digest.add_argument("folder", type=Path)
    digest.set_defaults(run=_digest)
    return parser


def _verify(asked: argparse.Namespace) -> int:
    weights_only = asked.content == "safetensors"
    if asked.uri.startswith(("hf://", "s3://")):
        fetch.fetch(asked.uri, asked.folder, weights_only=weights_only)
    # For oci:// the container runtime has checked the digest of every byte that it mounts.
    if not asked.uri.startswith("oci://"):
        found = artifact.digest(asked.folder)
        if found != asked.digest:
            message = f"the artefact's digest is {found}, the version declares {asked.digest}"
            raise Unacceptable(Reason.ARTIFACT_MISMATCH, message)
    if weights_only:
        artifact.check_weights(asked.folder)
    return _end(asked, reason=ConditionType.VERIFIED, digest=asked.digest)


def _digest(asked: argparse.Namespace) -> int:
    print(artifact.digest(asked.folder))
    return 0


def _end(asked: argparse.Namespace, *, reason: str, message: str = "", digest: str = "") -> int:
    """Leave what was found where the kubelet picks it up, and say it in the log."""
    said = {"reason": str(reason), "message": message[:_LONGEST], "digest": digest}
    text = json.dumps({key: value for key, value in said.items() if value})
    if asked.termination_log is not None:
        asked.termination_log.write_text(text, encoding="utf-8")
    print(text, file=sys.stdout if digest else sys.stderr)
    return 0 if digest else 1


if __name__ == "__main__":
    sys.exit(main())
