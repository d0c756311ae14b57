import struct

import pytest

from score_ray.reporting.metrics import step_result
from score_ray.reporting.plot import accuracy_figure, plot_accuracy, smooth
from tests.support.sample_run_folder import eval_line, metrics_record


def test_smoothing_takes_the_mean_of_the_neighbours_there_are():
    assert smooth([0.0, 3.0, 6.0, 0.0], 1) == [1.5, 3.0, 3.0, 3.0]
    assert smooth([1.0, 2.0], 0) == [1.0, 2.0]


@pytest.mark.parametrize("evals", [[], [eval_line(0), eval_line(4)]])
def test_the_plot_is_a_png(tmp_path, evals):
    out = tmp_path / "accuracy.png"
    steps = [step_result(metrics_record(i, f"stage_{1 + i // 2}")) for i in range(4)]
    plot_accuracy(steps, evals, out)
    content = out.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", content[16:24]) == (1350, 750)
    assert len(content) > 10_000


def test_only_evaluations_on_the_split_of_the_first_one_are_drawn():
    held_out = {**eval_line(2), "split": "held_out"}
    figure = accuracy_figure([], [eval_line(0), held_out, eval_line(4)])
    drawn = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert drawn["test t1"] == drawn["test t2"] == [0, 4]
