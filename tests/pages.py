"""What the tests of pages share: a page read strictly, and Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest


def read_page(text: str) -> ElementTree.Element:
    """The page's tree, after what holds for every page: well-formed, alone, no script, ids that differ."""
    doctype, _, rest = text.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    tree = ElementTree.fromstring(rest)  # our HTML is XML as well: nothing is left open
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in tree.iter():
        assert element.tag not in ("script", "link", "iframe", "object", "embed", "base"), (
            element.tag
        )
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            if name in ("src", "srcset", "data"):
                assert value.startswith("data:"), value
            if name == "href" and element.tag != "a":
                assert value.startswith(("#", "data:")), value
            if name == "href" and value.startswith("#"):
                assert value[1:] in ids, value
    assert "@import" not in text
    assert "url(http" not in text
    return tree


def words(element: ElementTree.Element) -> str:
    """All text of an element, blanks as one."""
    return " ".join("".join(element.itertext()).split())


def chromium() -> str:
    """The browser; skips the test where there is none."""
    found = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if found is None:
        pytest.skip("Chromium is not on this machine")
    return found


def screenshot(page: Path, picture: Path, width: int, height: int, *, dark: bool) -> None:
    """What headless Chromium shows of a file, without a network."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--proxy-server=127.0.0.1:9"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size, out = f"--window-size={width},{height}", f"--screenshot={picture}"
    subprocess.run(
        [chromium(), *flags, scheme, size, out, page.as_uri()],
        check=True,
        capture_output=True,
        timeout=100,
    )
