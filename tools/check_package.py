"""Installs wheel and sdist into an empty environment, uses them, and sees that no file of theirs is touched.

    python tools/check_package.py

Everything happens in a temporary folder, with a home of its own. Errors end it with exit code 1. The wheel
brings its dependencies; the sdist must build to the same wheel, and is installed over it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ["-c", str(ROOT / "constraints.txt")]
# A range would fetch the newest build, with gigabytes of CUDA.
TORCH = "torch==2.13.0"

STEP = """
import sparsespike as ss, torch
torch.manual_seed(0)
net = ss.Network(
    ss.Layer(ss.Linear(20, 30), ss.LIF(tau_mem=10e-3, dt=1e-3)),
    ss.Layer(ss.Linear(30, 2), ss.Readout(tau_mem=10e-3, dt=1e-3)),
)
for layer in net:
    torch.nn.init.normal_(layer.connection.weight, std=0.5)
optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
spikes = ss.Spikes.from_dense((torch.rand(8, 30, 20) < 0.1).float())
loss = []
for _ in range(5):
    loss.append(ss.losses.cross_entropy(net(spikes), torch.arange(8) % 2))
    optimiser.zero_grad()
    loss[-1].backward()
    optimiser.step()
assert loss[-1] < loss[0], loss
print(ss.__file__)
"""
TRAIN = (
    "train fashion-mnist --dataset fashion-mnist-sample --hidden 20 --steps 20 --epochs 1 --out run"
)


def main() -> None:
    """Runs the whole check."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        wheel, sdist = build(where)
        python = where / "venv" / "bin" / "python"
        run([sys.executable, "-m", "venv", str(where / "venv")], where)
        # Bytecode of all of torch takes longer than the rest; what is imported is compiled then.
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *CONSTRAINTS]
        run([*pip, TORCH], where)
        run([*pip, str(wheel)], where)
        use(python, where, TRAIN, "evaluate run", "info")
        run([*pip, "--no-deps", "--force-reinstall", str(sdist)], where)
        use(python, where, "info")
    print(f"wheel and sdist install and run: {time.perf_counter() - began:.0f} s")


def build(where: Path) -> tuple[Path, Path]:
    """Wheel and sdist of this folder; the sdist must build to the same wheel."""
    tools = where / "tools"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *CONSTRAINTS]
    run([*pip, "--target", str(tools), "hatchling"], where)
    hatchling = [sys.executable, "-m", "hatchling", "build"]
    run([*hatchling, "-d", str(where / "dist")], ROOT, PYTHONPATH=str(tools))
    (wheel,), (sdist,) = ((where / "dist").glob(kind) for kind in ("*.whl", "*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(where / "unpacked", filter="data")
    (unpacked,) = (where / "unpacked").iterdir()
    run([*hatchling, "-t", "wheel", "-d", str(where / "again")], unpacked, PYTHONPATH=str(tools))
    files = content(wheel)
    check(files == content(where / "again" / wheel.name), "the sdist builds to another wheel")
    check("sparsespike/py.typed" in files, "the wheel has no py.typed")
    check(not [name for name in files if "__pycache__" in name], "the wheel has cached files")
    return wheel, sdist


def use(python: Path, where: Path, *commands: str) -> None:
    """Imports, trains a step, runs the commands; no file of the package may change meanwhile."""
    home = {"HOME": str(where / "home"), "XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": ""}
    (where / "home").mkdir(exist_ok=True)
    package = next((where / "venv").glob("lib/python*/site-packages/sparsespike"))
    before = listing(package)
    file = run([str(python), "-c", STEP], where, **home)
    check(Path(file.splitlines()[-1]).parent == package, f"imported {file}")
    program = str(python.with_name("sparsespike"))
    told = ""
    for command in commands:
        told = run([program, *command.split()], where, **home)
    check(str(where / "home" / ".cache") in told, f"info names no folder of kernels: {told}")
    after = listing(package)
    touched = sorted(set(before.items()) ^ set(after.items()))
    check(not touched, f"files of the package were written to: {touched}")
    kept = list((where / "home" / ".cache" / "sparsespike" / "kernels").glob("*/*.kernel"))
    check(bool(kept), "no kernel was kept in the user's cache")


def listing(package: Path) -> dict[str, tuple[int, int]]:
    """Time of change and size of every file, but for Python's bytecode."""
    return {
        str(path.relative_to(package)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in package.rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    }


def content(wheel: Path) -> dict[str, bytes]:
    """Files of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def run(words: list[str], folder: Path, **more: str) -> str:
    """What a command prints; ends the program if it fails."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=kept | more, capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    print(
        f"{time.perf_counter() - began:5.1f} s  {words[0]} {' '.join(words[1:])[:60]!r}", flush=True
    )
    return done.stdout


def check(good: bool, message: str) -> None:
    """Ends the program with a message if something is not as it must be."""
    if not good:
        sys.exit(f"check_package: {message}")


if __name__ == "__main__":
    main()
