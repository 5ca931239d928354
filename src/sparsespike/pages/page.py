"""Pages: titled sections of text, tables and drawings, as one HTML file or as Markdown.

The HTML needs no other file, no script and no network; it is light or dark as the reader's system is. Text
has a little markup, the same in both: `code`, **bold** and [text](link).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from sparsespike.pages.figure import Drawing, svg

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: of its columns; all empty of a list of facts.
        rows: of as many cells. A text has markup; a float is shown to four digits, None as a dash.
        caption: above it; may be empty.

    Raises:
        ValueError: if a row is longer or shorter than the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"rows: expected {len(self.header)} cells, as the header has, found {len(row)} in row {i}"
                )


@dataclass(frozen=True)
class Section:
    """A part of a page: a title, and paragraphs of text, tables and drawings in order."""

    title: str
    parts: Sequence[str | Table | Drawing]


def html(title: str, lead: str, sections: Sequence[Section]) -> str:
    """One page that stands by itself.

    Args:
        title: of the page; plain.
        lead: the paragraph under it.
        sections: with titles that differ, and drawings whose names do.

    Raises:
        ValueError: if two titles or drawings would have one anchor, or a link is not to http(s), mailto,
            an anchor or a file beside the page.
    """
    anchors = [_anchor(section.title) for section in sections]
    drawings = [
        f"figure-{part.name}"
        for each in sections
        for part in each.parts
        if isinstance(part, Drawing)
    ]
    _refuse_twice([*anchors, *drawings])
    contents = "".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    body = "\n".join(
        f'<section id="{anchor}">\n<h2>{escape(section.title)}</h2>\n'
        + "\n".join(_html_part(part) for part in section.parts)
        + "\n</section>"
        for anchor, section in zip(anchors, sections, strict=True)
    )
    css = (resources.files("sparsespike") / "pages" / "page.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{_html(lead)}</p>\n'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n{body}\n</main>\n</body>\n</html>\n'
    )


def markdown(title: str, lead: str, sections: Sequence[Section], figures: str) -> str:
    """The same as Markdown (GitHub's).

    Args:
        title, lead, sections: as in `html`.
        figures: folder of the drawings' .svg files, relative to the text, "figures" for instance.

    Raises:
        ValueError: as `html`.
    """
    _refuse_twice(
        [part.name for each in sections for part in each.parts if isinstance(part, Drawing)]
    )
    blocks = [f"# {_markdown_plain(title)}", _markdown(lead)]
    for section in sections:
        blocks.append(f"## {_markdown_plain(section.title)}")
        blocks += [_markdown_part(part, figures) for part in section.parts]
    return "\n\n".join(blocks) + "\n"


def shown(cell: Cell) -> str:
    """A cell as text: 12,345 of an int, four digits of a float, a dash of None."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}".replace("-", "−")


# ---- HTML --------------------------------------------------------------------------------------


def _html_part(part: str | Table | Drawing) -> str:
    if isinstance(part, str):
        return f"<p>{_html(part)}</p>"
    if isinstance(part, Drawing):
        # A group that scrolls where the screen is narrower than what can be read.
        return (
            f'<figure id="figure-{part.name}">\n<div class="scroll" role="img" tabindex="0" '
            f'aria-label="{escape(part.alt)}">{svg(part.figure, part.name + "-")}</div>\n'
            f"<figcaption>{_html(part.says)}</figcaption>\n</figure>"
        )
    kinds = [' class="number"' if numeric else "" for numeric in _numeric(part)]
    # Outside of what scrolls, so that it is read whole.
    caption = f'<p class="caption">{_html(part.caption)}</p>\n' if part.caption else ""
    cells = "".join(
        f'<th scope="col"{k}>{_html(h)}</th>' for k, h in zip(kinds, part.header, strict=True)
    )
    # Of a list of facts, whose columns need no name, there is no row of names.
    head = f"<thead><tr>{cells}</tr></thead>\n" if any(part.header) else ""
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{k}>{_html(shown(cell))}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in part.rows
    )
    return (
        f'{caption}<div class="scroll" tabindex="0"><table>{head}'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _html(text: str) -> str:
    return _marked_up(
        text,
        plain=escape,
        code=lambda inner: f"<code>{escape(inner)}</code>",
        bold=lambda inner: f"<strong>{_html(inner)}</strong>",
        link=lambda inner, to: f'<a href="{escape(to)}">{escape(inner)}</a>',
    )


# ---- Markdown ----------------------------------------------------------------------------------


def _markdown_part(part: str | Table | Drawing, figures: str) -> str:
    if isinstance(part, str):
        return _markdown(part)
    if isinstance(part, Drawing):
        image = f"![{_markdown_plain(part.alt)}]({figures}/{part.name}.svg)"
        return f"{image}\n\n{_markdown(part.says)}"
    rules = ["---:" if numeric else "---" for numeric in _numeric(part)]
    lines = [part.header, rules, *part.rows]
    cells = [[cell if line is rules else _cell(cell) for cell in line] for line in lines]
    table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)
    return f"{_markdown(part.caption)}\n\n{table}" if part.caption else table


def _cell(cell: Cell) -> str:
    # A bar would end the cell, in code as well.
    return re.sub(r"(?<!\\)\|", r"\\|", _markdown(shown(cell)).replace("\n", " "))


def _markdown(text: str) -> str:
    return _marked_up(
        text,
        plain=_markdown_plain,
        code=lambda inner: f"`{inner}`",
        bold=lambda inner: f"**{_markdown(inner)}**",
        link=lambda inner, to: f"[{_markdown_plain(inner)}]({to})",
    )


def _markdown_plain(text: str) -> str:
    """Text that Markdown would take for something, so that it does not; b_th needs no help."""
    text = re.sub(r"([\\`*<>\[\]|~&])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return re.sub(r"(?m)^(\s*\d*)([#+-]|\.(?=\s))", r"\1\\\2", text)


# ---- both --------------------------------------------------------------------------------------


def _marked_up(
    text: str,
    plain: Callable[[str], str],
    code: Callable[[str], str],
    bold: Callable[[str], str],
    link: Callable[[str, str], str],
) -> str:
    """The text, each kind of it through its function."""
    pattern = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)")
    pieces, at = [], 0
    for found in pattern.finditer(text):
        pieces.append(plain(text[at : found.start()]))
        at = found.end()
        if found[1] is not None:
            pieces.append(code(found[1]))
        elif found[2] is not None:
            pieces.append(bold(found[2]))
        else:
            if re.match(r"[a-zA-Z][\w+.-]*:", found[4]) and not re.match(
                r"(https?|mailto):", found[4]
            ):
                raise ValueError(f"link: expected http(s), mailto or a file, found {found[4]!r}")
            pieces.append(link(found[3], found[4]))
    return "".join([*pieces, plain(text[at:])])


def _numeric(table: Table) -> list[bool]:
    """Of each column, whether it is of numbers, with or without a unit: set to the right."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.header)
    return [
        any(cell is not None for cell in column) and all(map(_is_number, column))
        for column in columns
    ]


def _is_number(cell: Cell) -> bool:
    number = r"[-−+]?\d[\d.,]*(\s?(%|×|s|ms|µs|[KMG]iB))?"
    return not isinstance(cell, str) or re.fullmatch(number, cell) is not None


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _refuse_twice(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"sections: expected titles and drawings of one name each, found two of {twice[0]!r}"
        )
