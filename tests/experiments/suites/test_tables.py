import math

import pytest

from score_ray.experiments.suites.statistics import ClaimOutcome
from score_ray.experiments.suites.tables import (
    accuracy_rows,
    budget_rows,
    claim_results,
    comparison_rows,
    flip_rows,
    gather,
    interval,
    short_p,
    unequal_budgets,
)
from tests.support.sample_suite import finish, planned

BASE = {"label": "Base model", "overrides": ["stages=[]"], "seeds": [0]}
T_1 = 12.7062  # 97.5 % quantile of t with one degree of freedom


@pytest.fixture
def make_results(tmp_path):
    """Return a function that gives results of SCoRe with t2 of .60 and .64, of plain with .50 and .52.

    t1 is always .50.
    """

    def make(**changes):
        suite, runs = planned(tmp_path, **changes)
        t2 = {"score/seed_0": 0.6, "score/seed_1": 0.64, "plain/seed_0": 0.5, "plain/seed_1": 0.52}
        for run in runs:
            finish(run, 0.5, t2[str(run)])
        return gather(suite, runs, [{"run": "score/seed_0", "began": 0.0, "seconds": 90.0}])

    return make


def test_accuracies_are_means_with_half_the_interval_and_the_number_of_seeds(make_results):
    score, plain = accuracy_rows(make_results())
    # Two values at a distance of 4 points: their standard error is 2.
    half = f"{T_1 * 2:.1f}"
    assert score == ("SCoRe", "50.0 ± 0.0", f"62.0 ± {half}", f"+12.0 ± {half}",
                     f"22.0 ± {half}", "10.0 ± 0.0", "2")  # fmt: skip
    assert plain[0] == "plain"


def test_one_variant_is_compared_with_every_other_seed_by_seed(make_results):
    rows = comparison_rows(
        make_results(compare={"variant": "score", "metrics": ["acc_t2", "acc_t1"]})
    )
    # Differences .10 and .12: mean .11, standard error .01, t = 11, p = 1 - 2/pi atan(11).
    p = f"{1 - 2 / math.pi * math.atan(11):.2g}"
    low, high = 11 - T_1, 11 + T_1
    expected = f"+11.0 [{low:+.1f}, {high:+.1f}]"
    assert rows[0] == ("t2", "SCoRe minus plain", expected, "2", p, p)
    assert rows[1] == ("t1", "SCoRe minus plain", "+0.0 [+0.0, +0.0]", "2", "1", "1")


def test_without_a_comparison_there_are_no_rows(make_results):
    assert comparison_rows(make_results()) == []


def test_claims_that_two_seeds_cannot_decide_are_open(make_results):
    sides = {"better": "score", "than": "plain"}
    turned = {"better": "plain", "than": "score"}
    claims = [
        {**sides, "metric": "acc_t1"},
        {**turned, "metric": "acc_t2"},
        {**sides, "metric": "acc_t2"},
    ]
    tested, untested = claim_results(make_results(claims=claims))
    assert untested == []
    # p = .058 with two seeds; t1 is the same everywhere.
    assert [t.outcome for t in tested] == [ClaimOutcome.OPEN] * 3
    assert [round(t.holm, 3) for t in tested if t.claim.metric == "acc_t2"] == [0.115, 0.115]


def three_seeds(folder, claims):
    """Return results with t2 of .60, .61, .62 for SCoRe, and of .50, .51, .52 for plain.

    c_to_i is .1 everywhere.
    """
    variants = {"score": {}, "plain": {"overrides": ["stages.0.bonus=0"], "seeds": [0, 1, 2, 3]}}
    suite, runs = planned(folder, seeds=[0, 1, 2], claims=claims, variants=variants)
    for run in runs:
        finish(run, 0.5, {"score": 0.6, "plain": 0.5}[run.variant] + run.config.seed / 100)
    return gather(suite, runs, [])


def test_a_claim_holds_or_is_reversed_where_the_seeds_agree(tmp_path):
    claims = [
        {"better": "plain", "than": "score", "metric": "delta"},
        {"better": "score", "than": "plain", "metric": "i_to_c"},
        {"better": "score", "than": "plain", "metric": "c_to_i"},
    ]
    tested, _ = claim_results(three_seeds(tmp_path, claims))
    assert [(t.claim.metric, t.outcome.value) for t in tested] == [
        ("i_to_c", "holds"),
        ("delta", "reversed"),
        ("c_to_i", "open"),
    ]
    assert tested[0].difference.n == 3


def test_less_damage_is_better(tmp_path):
    claims = [{"better": "score", "than": "plain", "metric": "c_to_i"}]
    results = three_seeds(tmp_path, claims)
    for seed, result in results.by_variant["score"].items():
        result.evaluation["c_to_i"] = 0.01 * seed
    ((result,), _) = claim_results(results)
    assert (result.outcome, result.difference.mean < 0) == (ClaimOutcome.HOLDS, True)


def test_a_variant_without_updates_is_compared_as_one_number_with_every_seed(tmp_path):
    suite, runs = planned(tmp_path, variants={"base": BASE, "score": {}}, seeds=[0, 1, 2])
    for run in runs:
        finish(run, 0.5, 0.4 if run.variant == "base" else 0.5 + run.config.seed / 10)
    results = gather(suite, runs, [])
    there = results.difference("score", "base", "acc_t2")
    back = results.difference("base", "score", "acc_t2")
    assert (there.n, there.mean) == (3, pytest.approx(0.2))
    assert (back.n, back.mean, back.p) == (3, pytest.approx(-0.2), pytest.approx(there.p))


def test_a_claim_without_runs_is_not_tested(tmp_path):
    claims = [{"better": "score", "than": "plain", "metric": "delta"}]
    suite, runs = planned(tmp_path, claims=claims)
    finish(runs[0])
    tested, untested = claim_results(gather(suite, runs, []))
    assert (tested, untested) == ([], list(suite.claims))


def test_flips_are_counted_and_tested_within_each_run(make_results):
    rows = flip_rows(make_results())
    assert rows[0] == ("SCoRe", "0", "100", "20", "10", "0.099")
    assert rows[2][:5] == ("plain", "0", "100", "10", "10")
    assert rows[2][5] == "1"


def test_a_budget_is_counted_in_the_records_of_the_runs(make_results):
    score, plain = budget_rows(make_results())
    # Two iterations of 8 + 8 verdicts, 40 and 100 tokens, 2 s; 90 s for one run of two.
    assert score == ("SCoRe", "2", "32", "80", "200", "4 s", "45 s")
    assert plain[-1] == "unknown"


def test_a_given_first_attempt_was_not_sampled(tmp_path):
    more = ["rollout.offline_share=0.5", "rollout.problems=2", "rollout.samples=2"]
    suite, runs = planned(tmp_path, overrides=[*planned(tmp_path)[0].overrides, *more])
    finish(runs[0])
    # Of 16 attempts in each of two iterations, those of one problem's two samples.
    assert budget_rows(gather(suite, runs, []))[0][2] == "28"


def test_unequal_budgets_are_named(tmp_path):
    variants = {"score": {}, "longer": {"overrides": ["stages.0.iterations=3"]}}
    suite, runs = planned(tmp_path, variants=variants)
    for run in runs:
        finish(run)
    assert unequal_budgets(gather(suite, runs, [])) == ["longer"]
    assert unequal_budgets(gather(suite, [r for r in runs if r.variant == "score"], [])) == []


def test_tiny_ps_are_bounds_and_a_single_seed_has_no_interval(make_results):
    assert [short_p(p) for p in (1.0, 0.0417, 0.00031, 1e-9)] == ["1", "0.042", "0.00031", "< 1e-6"]
    results = make_results()
    results.by_variant["plain"].pop(1)
    assert interval(results.difference("score", "plain", "acc_t2")) == "+10.0"
