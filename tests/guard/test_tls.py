"""Certificates: HTTPS for users, renewed without a restart."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from rlhf_operator.api.operation import GuardLimits
from rlhf_operator.guard import connections, server
from rlhf_operator.guard.config import BadConfig
from rlhf_operator.guard.tls import Certificate
from tests.guard.world import World

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not there")
pytestmark = needs_openssl


def issue(folder: Path, name: str) -> Path:
    """Put a fresh certificate and key into a folder, as kubelet does: both at once."""
    fresh = folder / f"of-{name}"
    fresh.mkdir()
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command += ["-keyout", str(fresh / "tls.key"), "-out", str(fresh / "tls.crt")]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    data = folder / "..data"
    data.with_suffix(".new").symlink_to(fresh.name)
    os.replace(data.with_suffix(".new"), data)
    for part in ("tls.key", "tls.crt"):
        if not (folder / part).is_symlink():
            (folder / part).symlink_to(f"..data/{part}")
    return fresh / "tls.crt"


async def test_users_are_served_https_and_a_renewed_certificate_is_taken(
    world: World, tmp_path: Path
) -> None:
    first = issue(tmp_path, "first")
    certificate = Certificate(tmp_path)
    runner = web.AppRunner(server.user_app(world.guard), access_log=None)
    await runner.setup()
    context = certificate.context
    site = connections.Site(runner, 0, GuardLimits(), context, host="127.0.0.1")
    await site.start()

    async def completes(trusted: Path) -> int:
        async with aiohttp.ClientSession() as session:
            url = f"https://127.0.0.1:{site.port}/v1/completions"
            trust = ssl.create_default_context(cafile=str(trusted))
            async with session.post(url, json={"prompt": "Hello"}, ssl=trust) as reply:
                return reply.status

    try:
        assert await completes(first) == 200
        second = issue(tmp_path, "second")
        certificate.look()
        assert await completes(second) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await completes(first)
    finally:
        await runner.cleanup()


def test_a_pair_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    issue(tmp_path, "first")
    certificate = Certificate(tmp_path)
    broken = issue(tmp_path, "second").parent
    (broken / "tls.key").write_text("no key")
    certificate.look()
    served = ssl.MemoryBIO(), ssl.MemoryBIO()
    asked = ssl.create_default_context(cafile=str(tmp_path / "of-first" / "tls.crt"))
    asked.check_hostname = False
    mine = certificate.context.wrap_bio(*served, server_side=True)
    theirs = asked.wrap_bio(served[1], served[0])
    for _ in range(4):
        for end in (theirs, mine):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert theirs.getpeercert()["subject"] == ((("commonName", "first"),),)  # type: ignore[index]


def test_without_a_certificate_a_guard_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no certificate: FileNotFoundError"):
        Certificate.of(str(tmp_path))
    assert Certificate.of(None) is None
