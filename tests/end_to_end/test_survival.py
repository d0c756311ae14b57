"""A run on two nodes loses one process of each kind; chaos.py is the long version."""

import pytest

from tests.chaos import ITERATIONS_PER_KILL, KINDS, Chaos, check, metrics, overrides
from tests.support.tiny_model import make_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("quick_workers")]


@pytest.mark.timeout(900)
def test_a_run_survives_the_death_of_an_actor_a_rank_its_driver_and_a_node(tmp_path):
    iterations = len(KINDS) * ITERATIONS_PER_KILL
    model = make_model(tmp_path / "model")
    chaos = Chaos(
        tmp_path,
        overrides(
            iterations, f"model.path={model}", "grading.reward=tests.support.even_digits:reward"
        ),
        seed=0,
    )
    try:
        kills = chaos.play(KINDS)
        chaos.finish()
    finally:
        chaos.close()
    check(tmp_path / "arithmetic", iterations)
    changes = [r["grad_norm"] > 0 for r in metrics(tmp_path / "arithmetic")]
    assert all(changes)
    assert [kill.kind for kill in kills] == list(KINDS)
