"""Downloads: every file comes once and whole, from where it stopped, or is not kept."""

import http.server
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from places import Places, idx_archive
from sparsespike import data
from sparsespike.data import download

IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture
def places(tmp_path, monkeypatch):
    return Places(tmp_path, monkeypatch)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `mode` says how it misbehaves; `asked` keeps (path, Range)."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.mode, self.asked = files, "", []
        self.address = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, found = self.server, self.headers.get("Range")
        assert isinstance(server, Server)
        mode = server.mode
        server.asked.append((self.path[1:], found))
        body = server.files.get(self.path[1:])
        if body is None:
            self.send_error(404)
            return
        if mode == "silent":
            time.sleep(0.6)
            return
        start = int(found.removeprefix("bytes=").rstrip("-")) if found else 0
        if mode == "no ranges":
            start = 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if mode != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2] if mode == "breaks" else body[start:])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(places):
    with Server(places.archives) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        places.come_from(running.address)
        yield running
        running.shutdown()
        thread.join()


def target_of(places) -> Path:
    return places.root / "fashion-mnist"


def assert_complete(places):
    names = {path.name: path.read_bytes() for path in target_of(places).iterdir()}
    assert names == places.archives  # nothing half done left beside


@pytest.mark.parametrize("mode", ["", "no ranges", "no length"])
def test_download_fetches_every_file_once(places, server, mode):
    server.mode = mode
    assert len(data.load("fashion-mnist", root=places.root)) == 20
    assert_complete(places)
    assert [name for name, _ in server.asked] == list(places.archives)
    data.load("fashion-mnist", "test", root=places.root)
    assert len(server.asked) == 4


def test_download_goes_to_the_users_cache_folder_without_root(places, server):
    assert data.get("fashion-mnist") == places.cache / "sparsespike/fashion-mnist"


@pytest.mark.parametrize("mode", ["", "no ranges"])
def test_download_resumes_where_it_stopped(places, server, mode):
    server.mode = "breaks"
    with pytest.raises(OSError, match="the connection broke after"):
        data.get("fashion-mnist", root=places.root)
    part = target_of(places) / f"{IMAGES}.part"
    assert part.stat().st_size == len(places.archives[IMAGES]) // 2
    assert not (target_of(places) / IMAGES).exists()
    server.mode = mode
    server.asked.clear()
    data.get("fashion-mnist", root=places.root)
    assert server.asked[0] == (IMAGES, f"bytes={len(places.archives[IMAGES]) // 2}-")
    assert [name for name, _ in server.asked] == list(places.archives), "nothing came twice"
    assert_complete(places)


@pytest.mark.parametrize("length", ["short", "whole", "long"])
def test_a_stale_part_is_replaced(places, server, length):
    target_of(places).mkdir(parents=True)
    size = len(places.archives[IMAGES])
    stale = b"x" * {"short": 10, "whole": size, "long": size + 5}[length]
    (target_of(places) / f"{IMAGES}.part").write_bytes(stale)
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)
    assert server.asked[:2] == [(IMAGES, f"bytes={len(stale)}-"), (IMAGES, None)]


def test_a_complete_part_is_taken(places, server):
    target_of(places).mkdir(parents=True)
    (target_of(places) / f"{IMAGES}.part").write_bytes(places.archives[IMAGES])
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)


def test_wrong_contents_are_never_kept(places, server):
    server.files = {**places.archives, IMAGES: idx_archive(np.zeros((2, 28, 28), np.uint8))[0]}
    with pytest.raises(OSError, match="expected contents of SHA-256"):
        data.get("fashion-mnist", root=places.root)
    assert list(target_of(places).iterdir()) == []


def test_a_page_instead_of_the_file_is_never_kept(places, server):
    server.files = {IMAGES: b"<html>please log in</html>"}
    with pytest.raises(OSError, match="expected contents of SHA-256"):
        data.get("fashion-mnist", root=places.root)
    assert list(target_of(places).iterdir()) == []


@pytest.mark.parametrize("mode", ["", "no length"])
def test_more_than_expected_is_refused(places, server, mode):
    server.files, server.mode = {IMAGES: b"\0" * 10**6}, mode
    with pytest.raises(OSError, match="expected at most"):
        data.get("fashion-mnist", root=places.root)
    assert not list(places.root.rglob("*.part"))


def test_the_next_address_is_tried(places, server):
    places.come_from("http://127.0.0.1:9/", server.address + "moved/", server.address)
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)


def test_an_answer_of_not_found_is_told(places, server):
    server.files = {}
    with pytest.raises(OSError, match="HTTP 404"):
        data.get("fashion-mnist", root=places.root)


def test_a_silent_address_is_given_up(places, server, monkeypatch):
    monkeypatch.setattr(download, "SECONDS_OF_SILENCE", 0.2)
    server.mode = "silent"
    start = time.monotonic()
    with pytest.raises(OSError, match=r"(?i)timed out|no answer"):
        data.get("fashion-mnist", root=places.root)
    assert time.monotonic() - start < 5
    time.sleep(0.7)  # for the server's own thread
