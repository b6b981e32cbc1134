"""The guard on each processor that it is for: compiled without a warning, and its rules tried."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from support.guarded import SOURCES, STRICT, rules_for

_PROGRAM = Path(__file__).parent / "try_guard.c"
_RULES = rules_for(loopback=[18265], node_ports=[18266])
_ARM64 = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static", "/usr/aarch64-linux-gnu")


def build(compiler: str, directory: Path) -> tuple[Path, Path]:
    """The library and the program that tries it."""
    library, program = directory / "guard.so", directory / "try_guard"
    link = ["-Wl,-z,relro,-z,now"]
    subprocess.run([compiler, *STRICT, *link, "-o", library, *SOURCES], check=True)
    plain = ["-std=c11", "-O2", "-fPIE", "-pie", "-Wall", "-Werror", *link]
    subprocess.run([compiler, *plain, "-o", program, _PROGRAM, "-ldl"], check=True)
    return library, program


def tried(command: list[str], *, preload: Path | None = None, emulated: bool = False) -> str:
    """What does not hold."""
    variables = _RULES.environment() | ({"LD_PRELOAD": str(preload)} if preload else {})
    if emulated:  # for the program, and not for the emulator
        command = [*command[:1], *(part for item in variables.items() for part in ("-E", "=".join(item))), *command[1:]]  # fmt: skip
        variables = {}
    result = subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    return result.stdout if result.returncode in {0, 1} else f"{result}"


def test_this_processor(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library, program = build(compiler, tmp_path)

    assert tried([str(program), "preload"], preload=library) == ""
    assert tried([str(program), "patch", str(library)]) == ""
    assert "bind to 0.0.0.0: 0.0.0.0 instead of 127.0.0.5" in tried([str(program), "preload"])


def test_arm64(tmp_path: Path) -> None:
    """Its relocations are others (patch.c), and its calls of the kernel too."""
    compiler, emulator, root = shutil.which(_ARM64[0]), shutil.which(_ARM64[1]), Path(_ARM64[2])
    if platform.machine() == "aarch64":
        return  # which the test above is for
    if compiler is None or emulator is None or not root.is_dir():
        pytest.skip("needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static")
    library, program = build(compiler, tmp_path)
    run = [emulator, "-L", str(root), str(program)]

    assert tried([*run, "preload"], preload=library, emulated=True) == ""
    assert tried([*run, "patch", str(library)], emulated=True) == ""
    assert "instead of 127.0.0.5" in tried([*run, "preload"], emulated=True)
