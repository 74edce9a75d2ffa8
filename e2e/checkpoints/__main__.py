"""The command line: python -m e2e.checkpoints OUT_DIR."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from e2e.checkpoints import maker
from e2e.cluster.progress import ClusterError, say
from rlhf_operator.serving import artifact


def main() -> int:
    """Put the three checkpoints and their digests into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e.checkpoints",
        description="Makes three small Hugging Face checkpoints: a polite supervised model (sft), "
        "a helpful one (good), and one that often insults (bad).",
    )
    parser.add_argument("out", metavar="OUT_DIR", type=Path)
    out = parser.parse_args().out
    try:
        made = maker.make()
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    for name, folder in made.items():
        shutil.copytree(folder, out / name, dirs_exist_ok=True)
    digests = {name: artifact.digest(folder) for name, folder in made.items()}
    text = json.dumps(digests, indent=2) + "\n"
    (out / "digests.json").write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
