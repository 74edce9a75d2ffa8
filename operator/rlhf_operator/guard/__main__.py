"""Entry point: `python -m rlhf_operator.guard --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

from rlhf_operator.guard import config, server


def main() -> int:
    """Run the guard until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="rlhf-guard",
        description="Checks, counts and labels what a model is asked and what it answers.",
        epilog=f"{config.SIGNING_KEY} in the environment signs response ids.",
    )
    parser.add_argument("--config", required=True, type=Path, help="JSON file of a GuardConfig")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # It would log requests that it cannot parse, with their bytes.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    try:
        setup = config.parse(asked.config.read_text(encoding="utf-8"), os.environ)
    except OSError as error:
        return _refuse(f"configuration: cannot read {asked.config}: {error.strerror}")
    except config.BadConfig as error:
        return _refuse(str(error))
    if asked.check:
        return 0
    # What is there by now stays. To walk through it again and again would hold up all
    # requests in flight, some 50 ms each time.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(server.run(setup))
    except config.BadConfig as error:
        return _refuse(str(error))
    return 0


def _refuse(message: str) -> int:
    sys.stderr.write(f"rlhf-guard: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
