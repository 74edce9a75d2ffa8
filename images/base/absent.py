"""Stand-ins for the CUDA libraries that PyTorch links to but a CPU never calls.

PyPI's torch does not load unless the loader finds each of them, and they are three gigabytes.
One small library takes their names and answers every call with an error.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

SYSTEM = Path("/lib/x86_64-linux-gnu")
# PyTorch opens these itself when it meets a GPU.
ONLY_ON_GPU = ("libcaffe2_nvrtc.so", "libtorch_cuda_linalg.so")


def listed(command: list[str]) -> list[list[str]]:
    """Return the words of each line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return [line.split() for line in done.stdout.splitlines()]


def symbols(libraries: list[Path], kind: str) -> set[tuple[str, str]]:
    """Return the dynamic symbols of one kind, each with its version or an empty string."""
    lines = listed(["nm", "--dynamic", f"--{kind}-only", *map(str, libraries)])
    # A weak symbol may stay undefined.
    found = [words[-1] for words in lines if len(words) > 1 and words[-2] not in "wv"]
    return {(name, version.strip("@")) for name, _, version in (s.partition("@") for s in found)}


def needed(libraries: list[Path]) -> set[str]:
    """Return the names of the libraries that these link to."""
    lines = listed(["readelf", "--dynamic", *map(str, libraries)])
    return {words[-1].strip("[]") for words in lines if "(NEEDED)" in words}


def compile_stand_in(missing: set[tuple[str, str]], target: Path) -> None:
    """Compile a library with every symbol, under the version that the loader asks for."""
    code = "".join(f"int {name}(void) {{ return 1; }}\n" for name, _ in sorted(missing))
    versions: dict[str, list[str]] = {}
    for name, version in sorted(missing):
        versions.setdefault(version, []).append(name)
    versions.pop("", None)
    script = "".join(f"{v} {{ {' '.join(f'{n};' for n in ns)} }};\n" for v, ns in versions.items())
    with tempfile.NamedTemporaryFile("w", suffix=".map") as versions_file:
        versions_file.write(script)
        versions_file.flush()
        command = ["gcc", "-shared", "-fno-builtin", "-nostdlib", "-w", "-x", "c", "-"]
        command += ["-o", str(target), f"-Wl,--version-script={versions_file.name}"]
        subprocess.run(command, input=code, text=True, check=True)  # noqa: S603


def main(packages: Path) -> None:
    """Put the stand-in beside PyTorch's own libraries, under every absent name."""
    torch = packages / "torch" / "lib"
    for name in ONLY_ON_GPU:
        (torch / name).unlink(missing_ok=True)
    own = [*torch.glob("*.so*"), *packages.glob("nvidia/*/lib/libcudart.so.*")]
    names = needed(own) - {library.name for library in own}
    present = [SYSTEM / name for name in names if (SYSTEM / name).exists()]
    defined = {name for name, _ in symbols([*own, *present], "defined")}
    missing = {symbol for symbol in symbols(own, "undefined") if symbol[0] not in defined}
    stand_in = torch / "libabsent.so"
    compile_stand_in(missing, stand_in)
    for name in sorted(names - {library.name for library in present}):
        (torch / name).symlink_to(stand_in.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
