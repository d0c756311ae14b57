from score_ray.bench import matmul_rate, rate_rows, update_flops
from score_ray.types import Attempt, Episode, Finish, Problem


def test_flops_count_the_body_for_every_token_and_the_head_for_drawn_ones():
    first = Attempt((1, 2), (3, 4, 5), (-1.0,) * 3, "", Finish.STOP, 0)
    second = Attempt((1, 2, 3, 4, 5, 6), (7,), (-1.0,), "", Finish.STOP, 0)
    episodes = [Episode(Problem(0, "", ""), 0, (first, second))]
    assert update_flops(episodes, {"body": 100, "head": 10}) == 6 * (100 * 7 + 10 * 4)


def test_rates_are_what_was_done_over_what_it_took():
    means = {
        "time/iteration": 10.0,
        "time/rollout": 4.0,
        "time/reference": 1.0,
        "time/update": 4.0,
        "tokens/sampled": 200.0,
        "tokens/trained": 800.0,
    }
    rows = dict(rate_rows(means, slower=1.25, flops=30e9, rate=100e9))
    assert rows["sampled tokens / s of rollout"] == "50"
    assert rows["trained tokens / s of update"] == "200"
    assert rows["rollout / vLLM offline, same prompts and lengths"] == "0.80"
    assert rows["learner / matrix product"] == "0.30"
    assert rows["neither rollout, reference nor update"] == "10.0%"


def test_the_matrix_product_rate_is_positive():
    assert matmul_rate(size=64, seconds=0.01) > 0
