"""Pages and figures: one style, two forms, nothing that needs a network."""

from __future__ import annotations

import dataclasses
import re
import sys
from importlib import resources

import matplotlib
import numpy as np
import pytest

from pages import read_page, screenshot, words
from sparsespike.pages.figure import COLOURS, INK, PAPER, Drawing, panels, save, style, svg
from sparsespike.pages.page import Section, Table, html, markdown

CSS = (resources.files("sparsespike") / "pages" / "page.css").read_text("utf-8")


def drawing(name: str = "loss", *, rasterized: bool = False) -> Drawing:
    with style():
        figure, (left, right) = panels(1, 2, height=2.5)
        left.plot([0, 1], [0.12345, 1], "o-", color=COLOURS["blue"], mfc=PAPER)
        left.set(xlabel="epoch <1>", title="0.12345")
        right.scatter(np.arange(9), np.arange(9), color=INK, rasterized=rasterized)
    return Drawing(name, figure, says="It **rises**.", alt='A "line" & dots.')


def page(*parts: str | Table | Drawing) -> str:
    return html("A title", "The lead.", [Section("First", parts)])


def test_a_page_is_well_formed_and_stands_by_itself():
    table = Table(["name", "n"], [["a", 12345], ["b", None]], "Some **numbers**")
    text = html(
        "Loss & <accuracy>",
        "What `a < b` says.",
        [Section("One thing", ["Text", drawing(), table]), Section("Another", [drawing("again")])],
    )
    tree = read_page(text)
    assert words(tree.find("body/main/h1")) == "Loss & <accuracy>"  # pyright: ignore[reportArgumentType]
    links = [(a.get("href"), words(a)) for a in tree.iterfind("body/main/nav//a")]
    assert links == [("#one-thing", "One thing"), ("#another", "Another")]
    cells = [words(cell) for cell in tree.iter("td")]
    assert cells == ["a", "12,345", "b", "–"]
    assert len(list(tree.iter("svg"))) == 2


def test_what_a_user_wrote_is_shown_and_not_obeyed():
    evil = '<script>alert("1")</script> & <img src=x onerror=y>'
    text = html(evil, evil, [Section(evil, [evil, Table([evil], [[evil]], evil)])])
    tree = read_page(text)
    # Title and heading of the page, lead, contents, heading, text, three of the table.
    assert words(tree).count("alert") == 9
    assert "<script" not in text
    assert "<img" not in text


def test_markup_is_code_bold_and_links():
    tree = read_page(
        page("`a*b*` **bold `x`** [here](https://example.org/?a=1&b=2) [there](#first) * _")
    )
    paragraph = tree.find("body/main/section/p")
    assert paragraph is not None
    assert [code.text for code in paragraph.iter("code")] == ["a*b*", "x"]
    assert [words(strong) for strong in paragraph.iter("strong")] == ["bold x"]
    assert [a.get("href") for a in paragraph.iter("a")] == [
        "https://example.org/?a=1&b=2",
        "#first",
    ]
    assert words(paragraph).endswith("there * _")


@pytest.mark.parametrize("write", [page, lambda text: markdown("t", text, [], "f")])
def test_a_link_that_runs_something_is_refused(write):
    with pytest.raises(ValueError, match=r"link: expected http.*found 'javascript:x'"):
        write("[a](javascript:x)")


@pytest.mark.parametrize("twice", [[Section("A b", []), Section("a-B", [])], "drawings"])
def test_two_parts_of_one_anchor_are_refused(twice):
    if twice == "drawings":
        twice = [Section("A", [drawing()]), Section("B", [drawing()])]
    with pytest.raises(ValueError, match="of one name each, found two of"):
        html("t", "l", twice)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(
        ValueError, match="rows: expected 2 cells, as the header has, found 1 in row 1"
    ):
        Table(["a", "b"], [[1, 2], [3]])


def test_a_drawing_without_name_or_words_is_refused():
    with pytest.raises(ValueError, match=r"name: expected lower-case.*found 'A b'"):
        dataclasses.replace(drawing(), name="A b")
    with pytest.raises(ValueError, match="alt: expected a text, found none"):
        dataclasses.replace(drawing(), alt=" ")


def test_an_inline_drawing_takes_the_colours_of_the_page():
    text = svg(drawing().figure)
    assert "currentColor" in text
    assert "var(--blue)" in text
    assert "var(--paper)" in text
    assert not re.search("#[0-9a-f]{6}", text)  # none is left that a dark page could not change
    assert "http" not in text
    assert ">0.12345<" in text  # only coordinates are rounded
    assert "epoch &lt;1&gt;" in text


def test_the_page_has_every_colour_of_figures_light_and_dark():
    light, dark = CSS.split("prefers-color-scheme: dark")
    for name, colour in {**COLOURS, "ink": INK, "paper": PAPER}.items():
        assert f"--{name}: {colour};" in light
        assert f"--{name}: " in dark
        assert f"--{name}: {colour};" not in dark or name == "grey"


def test_many_marks_become_pixels():
    drawn, pixels = svg(drawing().figure), svg(drawing(rasterized=True).figure)
    assert "<image" not in drawn
    assert "data:image/png;base64," in pixels


def test_saved_files_are_the_same_bytes_each_time(tmp_path):
    first = [path.read_bytes() for path in save(drawing(), tmp_path / "a" / "b")]
    one = drawing()
    svg(one.figure)  # must not change what comes after
    again = [path.read_bytes() for path in save(one, tmp_path)]
    assert [path.name for path in sorted(tmp_path.glob("loss.*"))] == ["loss.png", "loss.svg"]
    assert first == again
    assert svg(one.figure) == svg(drawing().figure)
    assert b"<dc:date>" not in first[0]
    # Twice the pixels of a page of 840.
    assert int.from_bytes(first[1][16:20], "big") == 1680


def test_the_style_leaves_nothing_behind():
    before = dict(matplotlib.rcParams)
    drawing()
    svg(drawing().figure)
    assert dict(matplotlib.rcParams) == before


def test_a_figure_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sparsespike\[plot\]'"), style():
        pass


def test_markdown_says_the_same():
    table = Table(["name", "share"], [["a|b_th", 0.5], ["`x|y`", None]], "Caption")
    text = markdown(
        "T <1>", "lead *x*", [Section("S", ["1. b_th [l](a.md)", drawing(), table])], "fig"
    )
    assert text.splitlines() == [
        *(r"# T \<1\>", "", r"lead \*x\*", "", "## S", "", r"1\. b_th [l](a.md)", ""),
        *('![A "line" \\& dots.](fig/loss.svg)', "", "It **rises**.", "", "Caption", ""),
        *("| name | share |", "| --- | ---: |", r"| a\|b_th | 0.5 |", r"| `x\|y` | – |"),
    ]


@pytest.mark.parametrize("width", [1280, 400])
def test_chromium_shows_the_page_light_and_dark_without_a_sideways_scroll(tmp_path, width):
    from matplotlib.image import imread

    path = tmp_path / "page.html"
    path.write_text(
        page("Some text " * 30, drawing(), Table(list("abcdefgh"), [["word " * 3] * 8])), "utf-8"
    )
    shades = []
    for dark in (False, True):
        screenshot(path, tmp_path / "shot.png", width, 900, dark=dark)
        picture = imread(tmp_path / "shot.png")[:, :, :3]
        corner = picture[0, 0]
        assert np.abs(picture - corner).max() > 0.5  # something is there
        # The margin at the right is empty: nothing runs over it.
        assert np.abs(picture[:, -8:] - corner).max() < 0.02
        shades.append(float(corner.mean()))
    assert shades[0] > 0.95
    assert shades[1] < 0.15
