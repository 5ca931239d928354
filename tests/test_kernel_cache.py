"""Kernels on disk: never older than their sources, kept where that can be, refused to nobody.

Most tests run a package of two small modules beside a copy of `compiling`, in forked processes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sparsespike
from sparsespike.compiling import folder, sources

PACKAGE = Path(sparsespike.__file__).parent
INNER = """
from numba import njit
FACTOR = 10
@njit
def inner(x):
    return x + 1
"""
OUTER = """
from sparsespike.compiling.compiled import compiled
from sparsespike.inner import FACTOR, inner
@compiled
def outer(x):
    return inner(x) * FACTOR
@compiled
def twice(x):
    return x + x
"""
# Counts what is compiled; a load from the disk is none.
COUNT = """
from numba.core import event
from sparsespike.outer import outer, twice
count = event.RecordingListener()
event.register("numba:compile", count)
def n_compiled():
    return sum(e.is_start and e.data["dispatcher"] in (outer, twice) for _, e in count.buffer)
"""
RUN = COUNT + "print(outer(1), n_compiled())"


class Small:
    """The small package in a folder of its own, with a home of its own."""

    def __init__(self, where: Path, forking: subprocess.Popen[str]) -> None:
        self.where, self.forking = where, forking
        self.package, self.home = where / "sparsespike", where / "home"
        self.home.mkdir()
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / "compiling", self.package / "compiling", ignore=ignored)
        self.write("__init__.py", "")
        self.write("inner.py", INNER)
        self.write("outer.py", OUTER)

    def write(self, name: str, text: str) -> None:
        (self.package / name).write_text(text)

    def command(self, code: str) -> list[str]:
        return [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
        kept.pop("XDG_CACHE_HOME", None)
        return kept | {"HOME": str(self.home), "PYTHONPATH": str(self.package.parent)} | more

    def run(self, code: str = RUN, **more: str) -> str:
        """What the code prints in a forked process, and what it logs."""
        paths = self.where / "stdout", self.where / "stderr"
        job = {"code": textwrap.dedent(code), "environment": self.environment(**more)}
        job |= {"stdout": str(paths[0]), "stderr": str(paths[1])}
        assert self.forking.stdin is not None
        assert self.forking.stdout is not None
        print(json.dumps(job), file=self.forking.stdin, flush=True)
        status = int(self.forking.stdout.readline())
        stdout, stderr = (path.read_text() for path in paths)
        assert status == 0, stderr
        return stdout.strip() + stderr

    def run_fresh(self, code: str, *before: str, **more: str) -> str:
        """The same in a process of its own; `before`: words before the command."""
        words = [*before, *self.command(code)]
        done = subprocess.run(words, env=self.environment(**more), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + done.stderr

    def kept(self) -> list[Path]:
        return sorted(self.package.parent.rglob("*.kernel"))


@pytest.fixture(scope="module")
def forking() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(Path(__file__).with_name("forking.py"))]
    pipe = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def small(tmp_path: Path, forking: subprocess.Popen[str]) -> Small:
    return Small(tmp_path, forking)


def test_a_change_of_what_is_inlined_is_compiled_anew(small):
    assert small.run() == "20 1"
    assert small.run() == "20 0"
    small.write("inner.py", INNER.replace("x + 1", "x + 2"))  # the size and the bytecode as before
    assert small.run() == "30 1"
    small.write("inner.py", INNER.replace("FACTOR = 10", "FACTOR = 100"))
    assert small.run() == "200 1"
    small.write("inner.py", INNER)  # as another branch of a clone: what was kept of it is there
    assert small.run() == "20 0"


def test_a_room_above_the_kernels_does_not_count(small):
    small.run()
    small.write("network.py", "anything = 1")
    assert small.run() == "20 0"


def test_numbas_settings_tell_kernels_apart(small):
    small.run()
    assert small.run(NUMBA_BOUNDSCHECK="1") == "20 1"
    assert small.run(NUMBA_DEBUG_CACHE="0") == "20 0"
    assert small.run(COUNT + "print(outer(1))", NUMBA_DISABLE_JIT="1") == "20"


def test_sources_that_change_in_a_running_process_are_not_mixed(small):
    code = """
    import pathlib
    print(outer(1), n_compiled())
    inner = pathlib.Path(sparsespike.__path__[0]) / "inner.py"
    inner.write_text(inner.read_text().replace("x + 1", "x + 2"))
    print(outer(1.0), twice(1.0), n_compiled())
    """
    told = small.run("import sparsespike" + COUNT + textwrap.dedent(code))
    assert told.startswith("20 1\n20.0 2.0 3")
    assert told.count("the sources of sparsespike have changed since this process began") == 1
    assert len(small.kept()) == 1
    assert small.run() == "30 1"


def test_a_damaged_file_is_compiled_anew(small):
    small.run()
    (path,) = small.kept()
    whole = path.read_bytes()
    for content in (b"", whole[:-1000], whole[:5000] + b"\0" * 100 + whole[5100:]):
        path.write_bytes(content)
        assert small.run() == "20 1"
        assert path.stat().st_size == len(whole)


def test_two_processes_that_compile_at_once_keep_both_kernels(small):
    codes = [COUNT + f"print(outer({x}), n_compiled())" for x in ("1", "1.5", "1j")]
    running = [
        subprocess.Popen(
            small.command(code), env=small.environment(), stdout=subprocess.PIPE, text=True
        )
        for code in codes
    ]
    assert [process.communicate()[0] for process in running] == [
        "20 1\n",
        "25.0 1\n",
        "(10+10j) 1\n",
    ]
    assert small.run(COUNT + "print(outer(1), outer(1.5), outer(1j), n_compiled())") == (
        "20 25.0 (10+10j) 0"
    )
    assert not list(small.home.rglob("*.kernel.*"))


def test_workers_by_fork_and_spawn_load_what_is_kept(small):
    small.write("work.py", COUNT + "def work(x):\n    return outer(x), n_compiled()\n")
    code = """
    import multiprocessing
    from sparsespike.work import work
    if __name__ == "__main__":
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                print(pool.map(work, [1, 1]))
    """
    small.run()
    assert small.run_fresh(code) == "[(20, 0), (20, 0)]\n[(20, 0), (20, 0)]"


def test_kernels_are_kept_where_the_user_says_else_in_the_users_cache(small, tmp_path):
    where = "from sparsespike.compiling.folder import place; print(place().path.parent)"
    assert small.run(where) == str(small.home / ".cache/sparsespike/kernels")
    cache = tmp_path / "cache"
    assert small.run(where, XDG_CACHE_HOME=str(cache)) == str(cache / "sparsespike/kernels")
    assert small.run(where, HOME="/dev/null") == str(small.package / "__pycache__/kernels")
    chosen = tmp_path / "chosen"
    assert small.run(where, NUMBA_CACHE_DIR=str(chosen)) == str(chosen / "sparsespike")
    assert small.run(NUMBA_CACHE_DIR=str(chosen)) == "20 1"
    assert {path.parents[2] for path in small.kept()} == {chosen}


def test_without_a_folder_it_runs_and_says_so_once(small):
    told = small.run(COUNT + "print(outer(1), twice(1), n_compiled())", NUMBA_CACHE_DIR="/dev/null")
    assert told.startswith("20 2 2")
    assert told.count("kernels are not kept, every process compiles them anew") == 1
    assert "/dev/null/sparsespike: Not a directory" in told
    assert "NUMBA_CACHE_DIR=" in told
    assert small.kept() == []


def read_only(path: Path) -> tuple[str, ...]:
    """Makes a folder read-only; the words before a command that make root a user whom that binds."""
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs setpriv and root, to play a user who may not write")
    for found in (path, *path.rglob("*")):
        found.chmod(found.stat().st_mode & ~0o222)
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def test_kernels_in_a_read_only_folder_are_loaded(small):
    small.run(HOME="/dev/null")
    before = read_only(small.package)
    assert small.run_fresh(RUN, *before, HOME="/dev/null") == "20 0"
    told = small.run_fresh(COUNT + "print(outer(1), twice(1))", *before, HOME="/dev/null")
    assert told.startswith("20 2kernels are not kept")


def test_types_of_other_packages_are_not_kept(small):
    # Verbs for them may be inlined, of sources that nobody watches.
    small.write("pairs.py", OUTER + "@compiled\ndef first(pair):\n    return pair[0]\n")
    code = """
    import collections
    from sparsespike.pairs import first
    Pair = collections.namedtuple("Pair", "a b")
    print(first(Pair(1, 2)), first((Pair(1, 2), 3)).b)
    """
    assert small.run(code) == "1 2"
    assert small.kept() == []


def test_a_function_of_another_room_is_no_kernel(small):
    small.write("network.py", OUTER)
    code = """
    try:
        import sparsespike.network
    except ValueError as error:
        print(error)
    """
    assert small.run(code).startswith("kernel: expected a function of a room below ops")


def test_only_old_folders_of_other_digests_go(tmp_path):
    own = tmp_path / f"{99:020x}"
    folders = [tmp_path / f"{i:020x}" for i in range(folder.KEPT + 3)]
    for age, path in enumerate((own, *folders)):
        path.mkdir()
        (path / "a.kernel").touch()
        os.utime(path, (time.time() - age * 1e5,) * 2)
    (tmp_path / "mine").mkdir()
    os.utime(tmp_path / "mine", (0, 0))
    os.utime(folders[-1])  # in use
    folder.prune(own)
    left = [path for path in folders if path.exists()]
    assert left == [*folders[: folder.KEPT - 1], folders[-1]]
    assert own.exists()
    assert (tmp_path / "mine").exists()
    folder.prune(tmp_path / "not there" / "at all")


def test_people_see_that_kernels_are_compiled(small):
    impatient = "from sparsespike.compiling import progress\nprogress.SECONDS_OF_SILENCE = 0\n"
    slow = COUNT + "import time\ncount.on_start = lambda event: time.sleep(0.1)\n"
    code = impatient + slow + "outer(1); outer(1.5); twice(1)"
    line = r"compiling kernels, once: 1 of 2 at most, outer\.outer …\n"
    assert re.fullmatch(line, small.run(code))  # the next only after five seconds
    assert small.run(code) == ""  # they come from the disk
    small.write("inner.py", INNER + "# changed")
    assert small.run(slow + "outer(1)") == ""  # done in less than two seconds
    small.write("inner.py", INNER + "# changed again")
    shown = small.run(impatient + "progress.shows.append(print)\n" + code)
    assert re.findall(r"(\d) of (\d) at most, outer\.(\w+)", shown) == [
        ("1", "2", "outer"),
        ("1", "2", "outer"),
        ("2", "2", "twice"),
    ]


# The whole package.

LAYER = """
import sparsespike as ss, torch
layer = ss.Layer(ss.Linear(3, 2), ss.Readout(0.02, 1e-3))
torch.nn.init.ones_(layer.connection.weight)
print(float(layer(ss.Spikes.from_dense(torch.ones(1, 4, 3))).detach().sum().round(decimals=2)))
"""


@pytest.fixture
def whole(tmp_path: Path, forking: subprocess.Popen[str]) -> Small:
    """A clone, on the path as an editable installation has it."""
    small = Small(tmp_path, forking)
    shutil.rmtree(small.package)
    ignored = shutil.ignore_patterns("__pycache__", "sample")
    shutil.copytree(PACKAGE, small.package, ignore=ignored)
    return small


def potential(told: str) -> float:
    found = re.match(r"[\d.]+", told)
    assert found is not None, told
    return float(found[0])


def test_after_a_pull_the_new_kernels_run(whole):
    assert potential(whole.run(LAYER)) > 0
    path = whole.package / "backends" / "cpu" / "linear.py"
    old, new = "plus(old, scaled(part, factor))", "scaled(part, factor - factor)"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert potential(whole.run(LAYER)) == 0


def test_a_read_only_installation_runs_without_a_home(whole):
    before = read_only(whole.package)
    code = LAYER + "from sparsespike.cli import main\nmain(['info'])"
    told = whole.run_fresh(code, *before, HOME="/proc/nohome")
    assert potential(told) > 0
    assert told.count("kernels are not kept") == 1
    assert re.search(r"^kernels +none", told, re.M)


def imports_of(path: Path) -> set[Path]:
    """Files of the package that a file imports where its globals come from, not within functions."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "sparsespike":
                base = PACKAGE.parent / name.replace(".", "/")
                found |= {p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}
    return found - {PACKAGE / "__init__.py"}  # each `from sparsespike.x import y` names it too


# Imports against the order of the rooms, of names that are in no kernel.
AGAINST = {PACKAGE / "training" / "recipe.py", PACKAGE / "connections" / "linear.py"}


def test_the_digest_knows_every_source_that_a_kernel_can_come_from():
    # Numba freezes a module's globals; `if TYPE_CHECKING` has no part in them.
    begun = [path for path in PACKAGE.rglob("*.py") if "@compiled" in path.read_text()]
    assert len(begun) > 10
    reached: set[Path] = set()
    while begun:
        path = begun.pop()
        if path not in reached:
            reached.add(path)
            begun += imports_of(path)
    known = {Path(path) for path, _, _ in sources.stamp()}
    assert reached - known <= AGAINST


def test_every_kernel_on_disk_is_of_this_cache():
    for path in PACKAGE.rglob("*.py"):
        calls = (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        )
        for call in calls:
            assert not any(keyword.arg == "cache" for keyword in call.keywords), path
