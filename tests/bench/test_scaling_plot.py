"""The plot of a scaling bench."""

import matplotlib.image

from score_ray.bench.scaling_plot import plot_scaling
from tests.bench.test_scaling_report import simulated


def test_the_plot_is_written_whole(tmp_path):
    curve = [simulated(2, 100), simulated(4, 180), simulated(8, 220)]
    plot_scaling({"one batch": curve, "growing": curve}, tmp_path / "scaling.png")
    pixels = matplotlib.image.imread(tmp_path / "scaling.png")
    assert pixels.shape[1] > pixels.shape[0] > 300
    assert pixels.std() > 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["scaling.png"]
