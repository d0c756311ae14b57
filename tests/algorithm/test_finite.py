"""Numbers that are no longer finite end a run, by their name and with the keys that may help."""

from math import inf, nan

import numpy as np
import pytest

from score_ray.algorithm.finite import refuse_non_finite
from score_ray.types import RunError


def refusal(numbers: dict, updates: int = 4) -> str:
    with pytest.raises(RunError) as caught:
        refuse_non_finite(numbers, "in iteration 4", updates)
    return str(caught.value)


def test_finite_numbers_pass():
    refuse_non_finite({"the loss": [0.0], "log-probs": np.array([-1e300, 0.0])}, "", 0)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (
            {"the loss": [nan], "the gradient's norm": [1.0]},
            "the loss (nan): not finite in iteration 4",
        ),
        (
            {"the loss": [1.0], "the gradient's norm": [inf]},
            "the gradient's norm (inf): not finite in",
        ),
        (
            {"the loss": [nan], "the norm": [inf]},
            "the loss (nan) and the norm (inf): not finite in",
        ),
        ({"the log-probs": [-1.0, -inf, nan]}, "the log-probs (-inf): not finite in iteration 4"),
        ({"the sums": np.array([[0.0, 1.0], [nan, 2.0]]).ravel()}, "the sums (nan): not finite in"),
    ],
)
def test_each_kind_of_number_is_named_with_its_value(numbers, found):
    text = refusal(numbers)
    assert text.startswith(found)
    assert "learner.learning_rate or learner.max_grad_norm" in text
    assert "\n" not in text


def test_it_is_said_how_a_changed_key_gets_a_run_and_that_earlier_checkpoints_may_be_bad():
    text = refusal({"the loss": [nan]})
    assert "another name=... or begun anew with --fresh" in text
    assert "may have spoiled earlier checkpoints" in text


def test_before_the_first_update_the_model_is_at_fault():
    text = refusal({"the loss": [nan]}, updates=0)
    assert "check the weights of model.path" in text
    assert "learning_rate" not in text
