"""Golden files: what the code makes, kept in Git. `make golden` is GOLDEN=write plus pytest."""

import os
from pathlib import Path

HERE = Path(__file__).parent


def compare(path: str, text: str) -> None:
    """Compare with the file, or write it anew when GOLDEN=write."""
    file = HERE / path
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert file.exists(), f"{path} is missing; run GOLDEN=write pytest {__name__}"
    assert text == file.read_text(), f"{path} differs; run with GOLDEN=write and read the diff"


def compare_folder(path: str, files: dict[str, str]) -> None:
    """Compare a set of files with a folder: none may be missing and none left over."""
    for name, text in files.items():
        compare(f"{path}/{name}", text)
    folder = HERE / path
    kept = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert kept == files.keys()
