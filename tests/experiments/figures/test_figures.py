import base64
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from score_ray.experiments.figures.data import Series, entries_of
from score_ray.experiments.figures.figures import FIGURES, dark_of, draw, figure_html, picture
from score_ray.reporting.plot import look
from tests.support.sample_figure_run import add_study, make_run

WITHOUT_STUDY = ["accuracy", "edit_distance", "changed", "levels"]


@pytest.fixture
def series(tmp_path):
    """Two ways of training, the first one with two seeds."""
    folders = [make_run(tmp_path / name, f"seed={i}") for i, name in enumerate("abc")]
    for folder in folders:
        add_study(folder)
    return [Series("one way", tuple(folders[:2])), Series("another", tuple(folders[2:]))]


def names(paths) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("single", [True, False])
def test_every_figure_is_written_on_light_and_on_dark_paper(series, single, tmp_path):
    chosen = series[1:] if single else series
    drawn = draw(chosen, tmp_path / "out")
    assert names(drawn) == [
        "accuracy", "edit_distance", "changed", "attempts", "sampling", "levels",
    ]  # fmt: skip
    assert len(list((tmp_path / "out").iterdir())) == 12
    for light in drawn:
        for path, paper in ((light, 255), (dark_of(light), 0x16)):
            pixels = np.round(imread(path)[:, :, :3] * 255)
            corner = pixels[:3, :3]
            assert (corner == paper).all()
            assert (pixels != paper).any(axis=2).mean() > 0.01  # something is drawn on it


def test_a_figure_without_data_is_left_out(series, tmp_path):
    run = series[1].folders[0]
    shutil.rmtree(run / "study")
    assert names(draw(series[1:], tmp_path / "out")) == WITHOUT_STUDY
    shutil.rmtree(run / "answers")
    assert names(draw(series[1:], tmp_path / "out")) == ["accuracy"]
    for name in ("metrics", "evals"):
        (run / f"{name}.jsonl").unlink()
    assert draw(series[1:], tmp_path / "empty") == []
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_series_without_the_data_does_not_keep_others_from_being_drawn(series, tmp_path):
    shutil.rmtree(series[0].folders[0] / "study")  # one of two seeds
    shutil.rmtree(series[1].folders[0] / "study")
    assert names(draw(series, tmp_path / "out")) == [*FIGURES]
    found = FIGURES["attempts"].collect(entries_of(series))
    assert [(entry.label, band.mean) for entry, band in found] == [
        ("base model", (0.0, 0.5, 1.0)),
        ("one way", (0.0, 0.5, 1.0)),
    ]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", FIGURES)
def test_texts_can_be_read_and_lie_inside_the_figure_apart_from_each_other(
    series, name, dark, monkeypatch
):
    kind, drawn, draw_text = FIGURES[name], {}, Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, to: draw_text(drawn.setdefault(self, self), to))
    with look(dark):
        figure = kind.draw(kind.collect(entries_of(series)))
        figure.canvas.draw()
        shown = [t for t in drawn if t.get_visible() and t.get_text().strip()]
        boxes = [t.get_window_extent() for t in shown]
    assert len(shown) > 10
    assert all(text.get_fontsize() >= 9 for text in shown)
    width, height = figure.canvas.get_width_height()
    for i, (text, box) in enumerate(zip(shown, boxes, strict=True)):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, text.get_text()
        for other, its in zip(shown[:i], boxes, strict=False):
            assert not box.overlaps(its), (text.get_text(), other.get_text())


class Sources(HTMLParser):
    """What a page embeds, by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict] = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found[tag] = dict(attrs)


def pixels_of(url: str) -> np.ndarray:
    return imread(BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def test_a_picture_embeds_both_papers_and_lets_the_readers_scheme_choose(series, tmp_path):
    light = draw(series, tmp_path)[0]
    found = Sources(picture(light)).found
    assert [*found] == ["picture", "source", "img"]
    assert found["source"]["media"] == "(prefers-color-scheme: dark)"
    assert (pixels_of(found["source"]["srcset"]) == imread(dark_of(light))).all()
    assert (pixels_of(found["img"]["src"]) == imread(light)).all()
    assert found["img"]["alt"] == "Accuracy over training"
    assert FIGURES["accuracy"].caption in figure_html(light)
