"""The processes of one training, ranks, and what they tell each other.

torchrun starts them and numbers them, gives them a store of keys and values, and starts all anew when one
dies. Gradients go through DistributedDataParallel; all else is here. What fails on one rank is written
into the store before it leaves, so that the others, which lose it in the middle of a sum, can say why.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sparsespike.training import launcher

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

T = TypeVar("T")

TIMEOUT = 300.0  # seconds that a rank waits for the others
KNOCK = 10.0  # seconds of one attempt to reach the store
GRACE = 5.0  # seconds in which those that are left tell that they are
POLL = 0.05  # seconds between looks into the store


class RankError(ConnectionError):
    """Another rank failed, or is missing."""


class Ranks:
    """The ranks as one of them sees them; by default it is alone.

    Args:
        rank: of this process, in [0, size).
        size: how many there are.
        store: what all of them read and write; None for one that is alone.
        timeout: seconds that it waits for the others.

    Attributes:
        rank, size: as given.
        first: whether this is rank 0, which alone writes files and tells how it goes.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        store: Store | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.rank, self.size, self.first = rank, size, rank == 0
        self._store, self._timeout = store, timeout
        self._keeps_store = self.first and not launcher.keeps_store()

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks; counts are exact up to 2^53."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.tolist()

    def from_first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, on all ranks; the others wait for it, as long as for anything."""
        found = [make() if self.first else None]
        if self.size > 1:
            distributed.broadcast_object_list(found, device=torch.device("cpu"))
        return found[0]  # pyright: ignore[reportReturnType]

    def at_leisure(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """As `from_first`, of plain values for JSON, however long rank 0 takes."""
        if self._store is None:
            return make()
        if self.first:
            found = make()
            self._store.set("made", json.dumps(found))
        else:
            found = json.loads(self._awaited("made", 0, float("inf")))
        self._leave()
        return found

    def local_first(self, make: Callable[[], T]) -> T:
        """What every rank makes, the first of a host before its others: it may fetch files for them."""
        if self._store is None:
            return make()
        host = os.environ.get("GROUP_RANK", "0")
        leads = int(os.environ.get("LOCAL_RANK", self.rank)) == 0
        if not leads:
            self._awaited(f"fetched/{host}", None, float("inf"))
        found = make()
        if leads:
            self._store.set(f"fetched/{host}", "")
        return found

    def agree(self, about: str, what: dict[str, Any]) -> None:
        """Sees that all ranks have the same.

        Args:
            about: a name for the question, one that was not asked before.
            what: plain values for JSON, by name.

        Raises:
            RankError: naming the first rank and the first value that differs from rank 0's, or a rank that
                does not come.
        """
        if self._store is None:
            return
        self._store.set(f"{about}/{self.rank}", json.dumps(what))
        told = [
            json.loads(self._awaited(f"{about}/{rank}", rank, self._timeout))
            for rank in range(self.size)
        ]
        for rank, found in enumerate(told):
            for name in [*told[0], *(name for name in found if name not in told[0])]:
                expected, has = told[0].get(name), found.get(name)
                if has != expected:
                    raise RankError(
                        f"rank {rank}: {name}: expected {expected!r}, as rank 0 has, found {has!r}"
                    )

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over the ranks; itself where it is alone."""
        if self.size == 1:
            return net
        # What a network's buffers hold are constants: they need not be sent at every step.
        known = inspect.signature(DistributedDataParallel).parameters  # torch renamed it
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        constant: dict[str, Any] = {name: False}
        return DistributedDataParallel(net, gradient_as_bucket_view=True, **constant)

    def explained(self, error: Exception) -> Exception:
        """What to raise for an error that ended the training; one of this rank's is told to the others."""
        if self._store is None:
            return error
        found = error
        try:
            if not _of_group(error):
                text = f"rank {self.rank}: {str(error) or type(error).__name__}"
                text = str(error) if isinstance(error, RankError) else text
                self._store.compare_set("error", "", text)
            else:
                found = self._why(error)
            self._leave()
        except RuntimeError:  # the store went with the torchrun, or the rank, that kept it
            if found is error and _of_group(error):
                found = RankError(f"the ranks lost each other ({_line(error)})")
        return found

    def _leave(self) -> None:
        """Tells that this rank knows how it ended; where the store goes with it, waits for the others."""
        assert self._store is not None
        self._store.set(f"knows/{self.rank}", "")
        if not self._keeps_store:
            return
        if distributed.is_initialized():
            distributed.destroy_process_group()  # the others need not wait in a sum
        until = time.monotonic() + GRACE
        known = [f"knows/{rank}" for rank in range(self.size)]
        while time.monotonic() < until and not self._store.check(known):
            time.sleep(POLL)

    def _why(self, error: Exception) -> RankError:
        """Why the ranks lost each other: what one of them told, or who is missing."""
        assert self._store is not None
        self._store.set(f"left/{self.rank}", "")
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if self._store.check(["error"]):
                return RankError(self._store.get("error").decode())
            time.sleep(POLL)
        missing = [n for n in range(self.size) if not self._store.check([f"left/{n}"])]
        if not missing:
            return RankError(f"the ranks lost each other ({_line(error)})")
        names = f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
        verb = "are" if len(missing) > 1 else "is"
        return RankError(f"{names} {verb} missing: killed, or silent for {self._timeout:g} s")

    def _awaited(self, key: str, rank: int | None, seconds: float) -> bytes:
        """The value of a key once it is there; `rank` is who is to write it, where that is known."""
        assert self._store is not None
        until = time.monotonic() + seconds
        while not self._store.check([key]):
            self._look_for_error()
            if launcher.orphaned():
                raise RankError("torchrun is gone")
            if time.monotonic() > until:
                raise RankError(f"rank {rank} is missing: it did not come within {seconds:g} s")
            time.sleep(POLL)
        return self._store.get(key)

    def _look_for_error(self) -> None:
        assert self._store is not None
        if self._store.check(["error"]):
            raise RankError(self._store.get("error").decode())


ALONE = Ranks()


@contextmanager
def joined(backend: str, timeout: float = TIMEOUT) -> Iterator[Ranks]:
    """The ranks that torchrun started, or this process alone where WORLD_SIZE is not in the environment.

    Args:
        backend: of `use_backend`; on "gpu" each rank of a host takes a GPU of its own.
        timeout: seconds that a rank waits for the others before it gives up, > 0.

    Raises:
        RankError: from inside, if another rank failed or is missing.
        ValueError: if there is a process group already, or a GPU too few.
    """
    if launcher.world_size() == 1:
        yield Ranks(timeout=timeout)
        return
    if distributed.is_initialized():
        raise ValueError("train: expected to make the process group of its ranks, found one")
    span = timedelta(seconds=timeout)
    store, rank, size = _met(timeout)
    store.set_timeout(span)
    session = _session(store, rank, size, timeout)
    told, group = (
        distributed.PrefixStore(f"{session}/{name}", store)  # pyright: ignore
        for name in ("told", "group")
    )
    ranks = Ranks(rank, size, told, timeout)
    try:
        kind = _own_gpu() if backend == "gpu" else "gloo"
        distributed.init_process_group(kind, store=group, rank=rank, world_size=size, timeout=span)
        yield ranks
    except Exception as error:
        raise ranks.explained(error) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def held_back(net: nn.Module, more: bool) -> AbstractContextManager[None]:
    """While more of a step is to come, a wrapped network adds gradients up and sends none."""
    if more and isinstance(net, DistributedDataParallel):
        return net.no_sync()
    return nullcontext()


def _met(timeout: float) -> tuple[Store, int, int]:
    """(store, rank, size), from what the launcher says in the environment.

    Raises:
        RankError: if the store is not reached in time, or torchrun, which keeps it, is gone.
    """
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        span = timedelta(seconds=max(1.0, min(KNOCK, left) if launcher.keeps_store() else left))
        try:
            return next(iter(distributed.rendezvous("env://", timeout=span)))  # pyright: ignore
        except (ValueError, RuntimeError) as error:
            if launcher.orphaned():
                raise RankError("torchrun is gone") from None
            if isinstance(error, ValueError) or time.monotonic() > until:
                raise RankError(f"no connection to the other ranks: {_line(error)}") from None


def _session(store: Store, rank: int, size: int, timeout: float) -> str:
    """A name for what these ranks write into the store, which may hold what those before them wrote.

    torchrun keeps one store however often it starts the ranks, and does not count alike on all hosts. So
    each rank writes a number of its own, rank 0 reads them all, and all agree once each finds its own.

    Raises:
        RankError: naming ranks that do not come.
    """
    mine, ranks = uuid.uuid4().hex, range(size)
    store.set(f"joins/{rank}", mine)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if rank == 0 and store.check([f"joins/{n}" for n in ranks]):
            numbers = [store.get(f"joins/{n}").decode() for n in ranks]
            store.set("session", json.dumps(numbers))
        if store.check(["session"]):
            numbers = json.loads(store.get("session"))
            name = hashlib.sha256("".join(numbers).encode()).hexdigest()
            if numbers[rank] == mine:
                store.set(f"{name}/{rank}", "")  # nobody goes on before all are in the same list
                if store.check([f"{name}/{n}" for n in ranks]):
                    return name
        time.sleep(POLL)
    missing = [n for n in ranks if not store.check([f"joins/{n}"])]
    names = ", ".join(map(str, missing)) or "of an earlier start"
    raise RankError(f"rank {names} is missing: it did not come within {timeout:g} s")


def _own_gpu() -> str:
    """Takes the GPU of this rank; the kinds of process group for plain numbers and for gradients."""
    local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= found:
        raise ValueError(f"backend: expected a GPU for each rank of a host, found {found}")
    torch.cuda.set_device(local)
    return "cpu:gloo,cuda:nccl"


def _of_group(error: Exception) -> bool:
    """Whether an error came out of a sum over ranks that could not be finished."""
    text = str(error)
    kind = isinstance(error, distributed.DistError)
    return kind or (isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text))


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
