"""Writes figures.html: drawn figures with their captions on one page."""

from collections.abc import Sequence
from pathlib import Path

from score_ray.experiments.figures.figures import FIGURES, dark_of
from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.document import Document, Picture, to_html


def picture_of(light: Path) -> Picture:
    """Return a drawn figure with its caption, for a page."""
    kind = FIGURES[light.stem]
    return Picture(kind.title, light, dark_of(light), kind.caption)


def write_page(title: str, drawn: Sequence[Path], out: Path) -> None:
    """Write one self-contained page that shows drawn figures."""
    page = to_html(Document(title, tuple(picture_of(light) for light in drawn)))
    replace_file(out, page.encode(errors="replace"))
