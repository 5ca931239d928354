"""Runs code in processes that have Numba and torch loaded already, which takes a fresh one seconds.

A program: takes jobs as lines of JSON, forks for each, and answers with its exit status. No module of this
package is loaded here, so each job loads those of its own path.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from typing import Any

import numba
import torch  # noqa: F401, loaded for the jobs
from numba.core import config


def run(job: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(job["environment"])
    config.reload_config()
    for number, path in ((1, job["stdout"]), (2, job["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path.insert(0, os.environ["PYTHONPATH"])
    warnings.simplefilter("error")
    exec(job["code"], {"__name__": "__main__"})
    sys.stdout.flush()
    sys.stderr.flush()


def main() -> None:
    numba.njit(lambda x: x + 1)(1)  # the first compilation sets the compiler up
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
