"""`rlhf-operator --config FILE`: start the operator."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import uuid
from pathlib import Path

import yaml
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter

from rlhf_operator.controller import allocator
from rlhf_operator.controller.config import LoggingConfig, OperatorConfig, load
from rlhf_operator.controller.process import Process


def main() -> None:
    """Read the configuration and run until a signal comes."""
    parser = argparse.ArgumentParser(
        prog="rlhf-operator",
        description="Reconciles RLHFModel objects: serves versions on Triton, moves traffic "
        "step by step, and goes back when an objective fails.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="the operator's configuration, a YAML file"
    )
    path = parser.parse_args().config
    try:
        config = load(path)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        sys.exit(f"{path}: {error}")
    _log(config.logging)
    allocator.restrain()
    # What is loaded stays; scanning it again on each collection would cost a tenth of a core.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    asyncio.run(_run(config))


def listen(stop: asyncio.Event) -> None:
    """Have the signals that end a process end this one in order."""
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)


def _log(chosen: LoggingConfig) -> None:
    handler = logging.StreamHandler()
    pattern = "%(asctime)s %(levelname)s %(name)s %(message)s"
    plain = logging.Formatter(pattern)
    handler.setFormatter(JsonFormatter(pattern) if chosen.format == "json" else plain)
    logging.basicConfig(level=chosen.level.upper(), handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)


async def _run(config: OperatorConfig) -> None:
    stop = asyncio.Event()
    listen(stop)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        kubernetes_config.load_incluster_config()
    else:
        await kubernetes_config.load_kube_config()
    # A restarted container keeps its pod's name; its leadership must still be a new one.
    name = os.environ.get("POD_NAME", socket.gethostname())
    async with ApiClient() as client:
        await Process(config, client, f"{name}-{uuid.uuid4().hex[:8]}").run(stop)


if __name__ == "__main__":
    main()
