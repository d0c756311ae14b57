import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from score_ray.experiments.figures.figures import FIGURES, dark_of, draw
from score_ray.experiments.figures.series import Series, with_base_models
from score_ray.reporting.plot import look
from score_ray.reporting.run_folder import RunFolder
from tests.support.sample_figure_run import add_extra_samples, make_run

WITHOUT_EXTRA_SAMPLES = ["accuracy", "edit_distance", "changed", "levels"]


@pytest.fixture
def series(tmp_path):
    """Two ways of training, the first one with two seeds."""
    folders = [make_run(tmp_path / name, f"seed={i}") for i, name in enumerate("abc")]
    for folder in folders:
        add_extra_samples(folder)
    runs = [RunFolder(folder) for folder in folders]
    return [Series("one way", tuple(runs[:2])), Series("another", tuple(runs[2:]))]


def names(paths) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_figure_without_data_is_left_out(series, tmp_path):
    run = series[1].folders[0].path
    shutil.rmtree(run / "study")
    assert names(draw(series[1:], tmp_path / "out")) == WITHOUT_EXTRA_SAMPLES
    shutil.rmtree(run / "answers")
    assert names(draw(series[1:], tmp_path / "out")) == ["accuracy"]
    for name in ("metrics", "evals"):
        (run / f"{name}.jsonl").unlink()
    assert draw(series[1:], tmp_path / "empty") == []
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.slow
def test_a_series_without_the_data_does_not_keep_others_from_being_drawn(series, tmp_path):
    shutil.rmtree(series[0].folders[0].path / "study")  # one of two seeds
    shutil.rmtree(series[1].folders[0].path / "study")
    assert names(draw(series, tmp_path / "out")) == [*FIGURES]
    data = FIGURES["attempts"].collect(with_base_models(series))
    assert [(plotted.label, band.mean) for plotted, band in data] == [
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
        figure = kind.draw(kind.collect(with_base_models(series)))
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
