import base64
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from matplotlib.image import imread

from score_ray.experiments.figures import figures
from score_ray.experiments.figures.figures import FIGURES, dark_of, draw
from score_ray.experiments.figures.page import write_page
from score_ray.experiments.figures.series import series_of
from score_ray.reporting.run_folder import RunFolder
from tests.support.sample_figure_run import make_run


class Attributes(HTMLParser):
    """The attributes of a page's last element of each tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.by_tag: dict[str, dict] = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.by_tag[tag] = dict(attrs)


def pixels_of(url: str) -> np.ndarray:
    return imread(BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def test_a_page_embeds_light_and_dark_figures_and_lets_the_readers_scheme_choose(
    tmp_path, monkeypatch
):
    accuracy = FIGURES["accuracy"]
    monkeypatch.setattr(figures, "FIGURES", {"accuracy": accuracy})  # one is enough
    run = RunFolder(make_run(tmp_path / "run"))
    (light,) = draw(series_of([run]), tmp_path)
    write_page("two <ways>", [light], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    embedded = Attributes(page).by_tag
    assert [*embedded][-5:] == ["figure", "picture", "source", "img", "figcaption"]
    assert embedded["source"]["media"] == "(prefers-color-scheme: dark)"
    assert (pixels_of(embedded["source"]["srcset"]) == imread(dark_of(light))).all()
    assert (pixels_of(embedded["img"]["src"]) == imread(light)).all()
    assert embedded["img"]["alt"] == "Accuracy over training"
    assert f"<figcaption>{accuracy.caption}</figcaption>" in page
    assert "<h1>score_ray: two &lt;ways&gt;</h1>" in page
