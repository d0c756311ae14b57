"""Renders documents, a title and blocks, as self-contained HTML or as Markdown.

The templates in templates/ are the only place that knows HTML and Markdown. In HTML every text
is escaped.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from score_ray.reporting.palette import INK, PAPER


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below the title; level 2 is the highest of these."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class BulletList:
    """Items, each on a line of its own."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Preformatted:
    """Text that keeps its spaces and line breaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG file, and another one that replaces it for readers who prefer dark pages.

    HTML pages embed both; Markdown has no place for them and leaves pictures out.
    """

    alt: str
    light: Path
    dark: Path | None = None
    caption: str = ""


Block = Heading | Paragraph | BulletList | Table | Preformatted | Picture


@dataclass(frozen=True, slots=True)
class Document:
    """A page: its title, which is also its first heading, and its blocks in order."""

    title: str
    blocks: tuple[Block, ...]


def to_html(document: Document) -> str:
    """Return a self-contained HTML page, which loads nothing from elsewhere."""
    template = _environment().get_template("page.html")
    return template.render(document=document, ink=INK, paper=PAPER)


def to_markdown(document: Document) -> str:
    """Return a Markdown page with the same text, without its pictures."""
    return _environment().get_template("page.md").render(document=document)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests |= {
        "heading": lambda block: isinstance(block, Heading),
        "paragraph": lambda block: isinstance(block, Paragraph),
        "bullet_list": lambda block: isinstance(block, BulletList),
        "table": lambda block: isinstance(block, Table),
        "preformatted": lambda block: isinstance(block, Preformatted),
        "picture": lambda block: isinstance(block, Picture),
    }
    environment.filters |= {"data_url": _data_url, "cell": _markdown_cell}
    return environment


def _data_url(png: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"


def _markdown_cell(text: str) -> str:
    return text.replace("|", r"\|")
