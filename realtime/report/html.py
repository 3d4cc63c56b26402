"""What the pages are made of: the document round everything, tables, tiles."""

from collections.abc import Sequence

from realtime.report.drawing import escape
from realtime.report.style import STYLE


def document(title: str, body: str, *, pictures: bool = False) -> str:
    """Return a self-contained page.

    Args:
        title: Plain text.
        body: HTML.
        pictures: Whether the page has images, which lie in the page itself.
    """
    images = "img-src data:; " if pictures else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Pages show names from rig and label files: whatever they contain, nothing is fetched and nothing runs.
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; {images}style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def tile(number: str, label: str, more: str, *, alarm: bool = False) -> str:
    """Return a large number with its label and a remark, all of them HTML."""
    kind = "tile alarm" if alarm else "tile"
    return f'<div class="{kind}"><b>{number}</b><span>{label}</span><span class="more">{more}</span></div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, n_words: int = 1, last_is_text: bool = False) -> str:
    """Return a table whose first `n_words` columns are words and whose others are numbers; cells are HTML."""

    def row(tag: str, cells: Sequence[str]) -> str:
        words = [column < n_words or (last_is_text and column == len(cells) - 1) for column in range(len(cells))]
        return "".join(
            f"<{tag}>{cell}</{tag}>" if word else f'<{tag} class="number">{cell}</{tag}>'
            for cell, word in zip(cells, words, strict=True)
        )

    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{row('th', head)}</tr></thead><tbody>{body}</tbody></table>"
