"""Runs a function on several ranks, in processes that have torch loaded; their store is here."""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from torch import distributed

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["sparsespike.training.train", "training"])


def new_store() -> Any:
    """Where ranks meet; torchrun keeps one however often it starts them."""
    make: Any = distributed.TCPStore  # pyright: ignore[reportPrivateImportUsage]
    return make("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def on_ranks(work: Callable[..., Any], *given: Any, store: Any = None, size: int = 2) -> list[Any]:
    """What `work(rank, *given)` returns on each rank; of one that raises, the exception's type and text."""
    store = store or new_store()
    pipes, processes = [], []
    for rank in range(size):
        mine, its = _context.Pipe(duplex=False)
        settings = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        settings |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
        settings |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
        process = _context.Process(target=_rank, args=(its, settings, work, rank, given))
        process.start()
        its.close()
        pipes.append(mine)
        processes.append(process)
    found = []
    for rank, (pipe, process) in enumerate(zip(pipes, processes, strict=True)):
        try:  # once rank 0 is done, the others should be
            found.append(pipe.recv() if pipe.poll(5 if rank else 100) else None)
        except EOFError:
            found.append(None)  # it was killed
        process.join(0 if found[-1] is None else 10)
        process.kill()
    return found


def _rank(
    pipe: Connection,
    settings: dict[str, Any],
    work: Callable[..., Any],
    rank: int,
    given: tuple[Any, ...],
) -> None:
    import torch

    os.environ.update({name: str(value) for name, value in settings.items()})
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    try:
        pipe.send(work(rank, *given))
    except BaseException as error:
        traceback.print_exc()
        pipe.send((type(error).__name__, str(error)))
