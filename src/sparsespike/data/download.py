"""Downloads: files from their official addresses into the user's folder, resumed and checked."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

SECONDS_OF_SILENCE = 5.0  # until an address counts as out of reach
PIECE = 2**18


def fetch(
    addresses: Sequence[str], path: Path, check: Callable[[Path], object], max_bytes: int
) -> None:
    """Downloads one file from the first address that gives it whole.

    Goes on where an earlier attempt stopped (HTTP Range), in `path` + ".part", which is renamed
    once `check` finds it good; a file that fails the check is thrown away, never kept.

    Args:
        addresses: of the same bytes, in the order to try.
        path: the file, in a folder that is made if missing.
        check: raises ValueError if the file it is given is not the one wanted.
        max_bytes: no address may send more.

    Raises:
        OSError: if no address gave the file, saying why for each.
    """
    part = path.with_name(path.name + ".part")
    reasons = []
    for address in addresses:
        host = urllib.parse.urlsplit(address).netloc
        # Only what an earlier attempt left can be stale: after that, one fresh attempt.
        for _ in range(2 if part.exists() else 1):
            try:
                _receive(address, part, max_bytes)
                check(part)
                os.replace(part, path)
                return
            except ValueError as error:
                part.unlink(missing_ok=True)
                reasons.append(f"{host}: {error}")
            except (OSError, http.client.HTTPException) as error:
                reasons.append(f"{host}: {_reason(error)}")
                break
    raise OSError("; ".join(reasons))


def _receive(address: str, part: Path, max_bytes: int) -> None:
    """Appends to `part` what is missing of it.

    Raises:
        ValueError: if the address sends more than `max_bytes`, or `part` is longer than its file.
        OSError, HTTPException: if the connection fails or breaks; what came is kept.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _opened(request)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the check tells whether too much is there
        raise
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file, whatever was asked
        announced = response.headers.get("Content-Length", "")
        total = have + int(announced) if announced.isdigit() else None
        if (total or 0) > max_bytes:
            raise ValueError(f"expected at most {max_bytes:,} bytes, found {total:,} announced")
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab" if have else "wb") as file, _bar() as bar:
            task = bar.add_task(part.name.removesuffix(".part"), total=total, completed=have)
            while piece := response.read(PIECE):
                have += len(piece)
                if have > max_bytes:
                    raise ValueError(f"expected at most {max_bytes:,} bytes, found more")
                file.write(piece)
                bar.advance(task, len(piece))
            file.flush()
            os.fsync(file.fileno())
        if total is not None and have < total:
            raise ConnectionError(f"the connection broke after {have:,} of {total:,} bytes")


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    """`urlopen`, given up after `SECONDS_OF_SILENCE` in all.

    Its own timeout holds for each of a host's addresses in turn, and not for looking up its name.
    """
    answer: SimpleQueue[http.client.HTTPResponse | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(request, timeout=SECONDS_OF_SILENCE))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=SECONDS_OF_SILENCE)
    except Empty:
        raise TimeoutError(f"no answer within {SECONDS_OF_SILENCE:g} seconds") from None
    if isinstance(found, Exception):
        raise found
    return found


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"HTTP {error.code} {text}" if isinstance(error, urllib.error.HTTPError) else text
