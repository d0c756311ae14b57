"""The configs that are measured: other numbers of processes, and smaller batches."""

from pathlib import Path

from score_ray.bench.scaling_measurement import arrange, shrink
from score_ray.config.loading import load


def test_a_split_is_the_recipe_on_other_processes_and_a_smaller_batch_has_fewer_problems():
    recipe = load(Path("configs/arithmetic.yaml"))
    two = arrange(recipe, 4, 2)
    assert (two.rollout.num_actors, two.learner.num_ranks, two.learner.zero_stage) == (4, 2, 2)
    assert arrange(two, 1, 1).learner.zero_stage == 2
    assert arrange(recipe, 1, 1) == recipe
    assert shrink(recipe, 4).rollout.problems == recipe.rollout.problems // 4
    assert shrink(recipe, 10**6).rollout.problems == 1
