"""Kernels on disk are never older than their sources, and people see when some are compiled.

Most tests run a package of two small modules beside a copy of `compiling`, in forked processes.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from small_package import COUNT, INNER, OUTER, PACKAGE, Small, read_only
from sparsespike.compiling import sources


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
AGAINST = {PACKAGE / "training" / "recipe.py"}


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
