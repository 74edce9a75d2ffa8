"""The house itself: its rooms, its arrows, and that nothing shadows the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_source_root_is_no_package() -> None:
    """A package called `operator` would take the place of the standard library's."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_nothing_beside_the_package_shadows_the_standard_library() -> None:
    names = {path.stem for path in (ROOT / "operator").iterdir() if path.suffix in ("", ".py")}
    assert names & set(sys.stdlib_module_names) == set()


def test_python_starts_at_the_top_of_the_repository() -> None:
    command = [sys.executable, "-S", "-c", "import collections, operator; operator.itemgetter"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_the_arrows_between_the_rooms_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
