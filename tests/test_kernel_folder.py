"""Where kernels are kept on disk, and that none of the places being there is refused to nobody."""

from __future__ import annotations

import os
import time

from small_package import COUNT, RUN, read_only
from sparsespike.compiling import folder


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


def test_kernels_in_a_read_only_folder_are_loaded(small):
    small.run(HOME="/dev/null")
    before = read_only(small.package)
    assert small.run_fresh(RUN, *before, HOME="/dev/null") == "20 0"
    told = small.run_fresh(COUNT + "print(outer(1), twice(1))", *before, HOME="/dev/null")
    assert told.startswith("20 2kernels are not kept")


def test_only_old_folders_of_other_digests_go(tmp_path):
    own = tmp_path / f"{99:020x}"
    folders = [tmp_path / f"{i:020x}" for i in range(folder.KEPT + 3)]
    for age, path in enumerate((own, *folders)):
        path.mkdir()
        (path / "a.kernel").touch()
        touched = time.time() - age * 1e5
        os.utime(path, (touched, touched))
    (tmp_path / "mine").mkdir()
    os.utime(tmp_path / "mine", (0, 0))
    os.utime(folders[-1])  # in use
    folder.prune(own)
    left = [path for path in folders if path.exists()]
    assert left == [*folders[: folder.KEPT - 1], folders[-1]]
    assert own.exists()
    assert (tmp_path / "mine").exists()
    folder.prune(tmp_path / "not there" / "at all")
