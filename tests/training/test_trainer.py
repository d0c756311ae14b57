"""The trainer with fakes: what it does, in which order, and that the reward rises."""

import re
from dataclasses import replace

import pytest
import torch

from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.run_folder import RunFolder
from score_ray.training.checkpoint import Checkpoint, Progress, read_progress
from score_ray.training.iteration import RolloutError, draw, in_order
from score_ray.types import (
    Attempt,
    Episode,
    Finish,
    GradedEpisode,
    LearnerLost,
    Problem,
    RunError,
    Verdict,
)
from tests.support.fake_roles import PROBLEMS, Coin, metrics, run


def test_an_iteration_goes_through_its_phases_in_order(tmp_path):
    log = run(tmp_path, stages=(1, 1)).log
    one = ["sample", "reference", "update"]
    assert log == ["broadcast 0", "sample", *one, "broadcast 1", "sample", "save",
                   *one, "broadcast 2", "sample", "save", "export"]  # fmt: skip


def test_stage_1_teaches_the_second_attempt_alone_and_stage_2_both(tmp_path):
    first = run(tmp_path / "a", stages=(12, 1)).logits
    assert first[1] > 0.5
    assert abs(first[0]) < 0.6
    both = run(tmp_path / "b", stages=(6, 20)).logits
    assert both[0] > 0.5
    assert both[1] > 0.5


def test_a_resumed_run_writes_what_the_whole_run_writes(tmp_path):
    whole = run(tmp_path / "whole")
    config = tmp_path / "cut"
    run(config)
    saved = sorted((config / "checkpoints").iterdir())[0]
    # As a version wrote it that kept neither KL coefficients nor saved checkpoints.
    again = run(config, saved=Checkpoint(saved, Progress(int(saved.name[-6:]))))
    torch.testing.assert_close(again.logits, whole.logits)
    assert metrics(config) == metrics(tmp_path / "whole")
    assert [r["iteration"] for r in read_jsonl(config / "evals.jsonl")] == [0, 6, 12]


KEEP_KL = ["stages.0.kl_target=[0.01, 0.01]", "stages.1.kl_target=[0.02, 0]"]


def test_steered_kl_coefficients_begin_with_the_stages_and_continue_after_a_resume(tmp_path):
    run(tmp_path / "whole", more=KEEP_KL)
    run(tmp_path / "cut", more=KEEP_KL)
    path = sorted((tmp_path / "cut" / "checkpoints").iterdir())[0]
    saved = Checkpoint(path, read_progress(path))
    assert saved.progress.iteration == 10
    run(tmp_path / "cut", saved=saved, more=KEEP_KL)
    found = [r["kl_coef/t1"] for r in metrics(tmp_path / "whole")]
    assert found[0] == 0.3
    assert found[6] == 0.2
    assert found[1] != found[0]
    assert found[11] != found[6]
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


@pytest.mark.parametrize("more", [[], KEEP_KL])
def test_a_run_that_is_made_longer_goes_on_as_the_longer_run_would(tmp_path, more):
    whole = run(tmp_path / "whole", stages=(6, 12), more=more)
    run(tmp_path / "cut", stages=(6, 6), more=more)
    path = sorted((tmp_path / "cut" / "checkpoints").iterdir())[-1]
    saved = Checkpoint(path, read_progress(path))
    assert saved.progress.iteration == 12
    longer = run(tmp_path / "cut", saved=saved, stages=(6, 12), more=more)
    torch.testing.assert_close(longer.logits, whole.logits, rtol=0, atol=0)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    evals = [r["iteration"] for r in read_jsonl(tmp_path / "cut" / "evals.jsonl")]
    assert evals == [0, 6, 12, 18]
    assert RunFolder(tmp_path / "cut").model_updates == 18


STAR = ["stages=[{name: star, iterations: 7, learn: star, keep: [i_to_c, c_to_c], reward: [0, 1],"
        " kl: [0, 0], refresh: 3}]"]  # fmt: skip


def test_a_stage_that_refreshes_every_3_samples_from_the_weights_of_each_rounds_start(tmp_path):
    more = [*STAR, "checkpoint.every=2", "evaluation.every=2"]
    coin = run(tmp_path, stages=(), more=more)
    assert [x for x in coin.log if x.startswith(("broadcast", "save"))] == [
        "broadcast 0", "broadcast 3", "save", "broadcast 6", "save", "broadcast 7", "save",
    ]  # fmt: skip
    assert [r["version"] for r in metrics(tmp_path)] == [0, 0, 3, 3, 3, 6, 7]
    assert [r["iteration"] for r in read_jsonl(tmp_path / "evals.jsonl")] == [0, 3, 6, 7]
    assert coin.logits[1] > 0.5 > abs(coin.logits[0])


def test_without_a_stage_the_base_model_is_evaluated_and_nothing_is_trained(tmp_path):
    log = run(tmp_path, stages=(), more=["stages=[]"]).log
    assert log == ["broadcast 0", "sample", "export"]
    (record,) = read_jsonl(tmp_path / "evals.jsonl")
    assert record["label"] == "base"


def test_an_evaluation_leaves_the_answer_to_every_problem(tmp_path):
    run(tmp_path, stages=(1, 1))
    names = sorted(p.name for p in (tmp_path / "answers").iterdir())
    assert names == ["after_000000.jsonl", "after_000001.jsonl", "after_000002.jsonl"]
    lines = read_jsonl(tmp_path / "answers" / names[0])
    assert [x["problem"] for x in lines] == [0, 1, 2, 3]
    assert lines[0]["attempts"] == ["4", "4"]
    assert lines[0]["verdicts"] == ["wrong", "wrong"]


@pytest.mark.parametrize("by", ["train_reward", "held_out"])
def test_the_selected_checkpoint_is_kept_restored_and_evaluated(tmp_path, by, monkeypatch):
    """The score of each is set here: the one after 4 updates is the best of 2, 4, 6, 8."""
    monkeypatch.setattr(
        "score_ray.training.trainer.best", lambda by, m, e, saved, s: min(4, saved[-1])
    )
    more = [f"checkpoint.select={by}", "evaluation.held_out=3", "checkpoint.every=2",
            "checkpoint.keep=1"]  # fmt: skip
    coin = run(tmp_path, stages=(4, 4), more=more, held_out=PROBLEMS[:3])
    assert sorted(p.name[-2:] for p in (tmp_path / "checkpoints").iterdir()) == ["04", "08"]
    assert coin.log[-4:] == ["restore", "broadcast 4", "sample", "export"]
    evals = read_jsonl(tmp_path / "evals.jsonl")
    assert evals[-1]["label"] == "selected, iteration 4"
    held_out = [(r["iteration"], r["n"]) for r in evals if r["split"] == "held_out"]
    assert held_out == [(2, 3), (4, 3), (6, 3), (8, 3)]


@pytest.mark.parametrize("updates", [3, 8])
def test_after_a_lost_learner_the_run_goes_back_and_ends_as_if_nothing_had_happened(
    updates, tmp_path
):
    whole, coin = run(tmp_path / "whole"), Coin()
    update = coin.update

    def dying(*args):
        if coin.log.count("update") == updates and "restart" not in str(coin.log):
            raise LearnerLost("learner rank 1", "update", "the process died")
        return update(*args)

    coin.update = dying
    run(tmp_path / "hurt", coin=coin)
    assert coin.log.count("restart after learner rank 1: the process died while update") == 1
    assert coin.log.count("restore") == (1 if updates > 5 else 0)
    torch.testing.assert_close(coin.logits, whole.logits)
    assert metrics(tmp_path / "hurt") == metrics(tmp_path / "whole")
    evals = [read_jsonl(tmp_path / name / "evals.jsonl") for name in ("hurt", "whole")]
    assert evals[0] == evals[1]


def test_a_learner_lost_while_an_actor_starts_ends_the_rollout_and_not_the_run(tmp_path):
    whole, coin = run(tmp_path / "whole"), Coin()
    sample = coin.sample

    def losing(problems, plan):
        # After some episodes of the seventh iteration have been handed on for grading.
        yield from (part[:3] for part in sample(problems, plan))
        if coin.log.count("update") == 6:
            raise LearnerLost("rollout actor 1", "starting", "a part of the weights is lost")

    def flawless(problems, plan):
        yield from sample(problems, plan)

    def either(problems, plan):
        hurt = coin.log.count("update") == 6 and "restart" not in str(coin.log)
        return (losing if hurt else flawless)(problems, plan)

    coin.sample = either
    run(tmp_path / "hurt", coin=coin)
    assert "restart after rollout actor 1" in str(coin.log)
    torch.testing.assert_close(coin.logits, whole.logits)
    assert metrics(tmp_path / "hurt") == metrics(tmp_path / "whole")


def test_metrics_have_the_names_that_others_read(tmp_path):
    run(tmp_path, stages=(1, 1))
    names = set(read_jsonl(tmp_path / "metrics.jsonl")[0])
    documented = (
        "iteration stage version train/acc_t1 train/acc_t2 train/delta train/i_to_c train/c_to_i "
        "train/changed train/truncated_t1 train/truncated_t2 kl/t1 kl/t2 loss grad_norm lr "
        "mismatch/logp_mean_abs weights/checked restarts/rollout tokens/sampled tokens/trained "
        "time/rollout time/grade time/reference time/update time/broadcast time/iteration"
    )
    assert names >= set(documented.split())


def test_the_base_models_first_attempts_are_sampled_once_and_given_to_their_share(tmp_path):
    coin = run(tmp_path, stages=(2, 2), more=["rollout.offline_share=0.4"])
    assert coin.log[:4] == ["broadcast 0", "sample", "sample", "sample"]
    records = RunFolder(tmp_path).first_attempts()
    texts = {record["problem"]: record["text"] for record in records}
    planned = {p.index for i in range(4) for p in draw(PROBLEMS, 5, 0, i)[:2]}
    assert texts.keys() == planned
    assert set(texts.values()) <= {"4", "5"}
    lines = read_jsonl(tmp_path / "metrics.jsonl")
    # 5 problems x 8 samples x 2 attempts of one token, without 2 x 8 first attempts.
    assert {line["tokens/sampled"] for line in lines} == {64}
    (tmp_path / "first_attempts.jsonl").unlink()
    saved = sorted((tmp_path / "checkpoints").iterdir())[0]
    with pytest.raises(RunError, match="first attempts are missing"):
        run(
            tmp_path,
            saved=Checkpoint(saved, Progress(2)),
            coin=coin,
            stages=(2, 2),
            more=["rollout.offline_share=0.4"],
        )


def test_an_evaluation_may_have_more_attempts_than_training(tmp_path):
    run(tmp_path, stages=(1, 1), more=["evaluation.attempts=4"])
    assert all({"acc_t3", "acc_t4"} <= r.keys() for r in read_jsonl(tmp_path / "evals.jsonl"))
    assert "train/acc_t3" not in read_jsonl(tmp_path / "metrics.jsonl")[0]


def test_draw_repeats_no_problem_within_an_epoch_and_is_a_function_of_seed_and_iteration():
    epoch = [p.index for i in range(3) for p in draw(PROBLEMS, 3, seed=1, iteration=i)]
    assert len(set(epoch)) == 9
    assert draw(PROBLEMS, 3, 1, 2) == draw(PROBLEMS, 3, 1, 2)
    assert draw(PROBLEMS, 3, 1, 0) != draw(PROBLEMS, 3, 2, 0)
    assert draw(PROBLEMS, 3, 1, 0) != draw(PROBLEMS, 3, 1, 3)


def graded(index: int, number: int, version: int = 3) -> GradedEpisode:
    attempt = Attempt((1,), (2,), (-1.0,), "", Finish.STOP, version)
    return GradedEpisode.by_verdict(
        Episode(Problem(index, "", ""), number, (attempt,)), (Verdict.WRONG,)
    )


TWO = [Problem(7, "", ""), Problem(2, "", "")]


def test_in_order_undoes_the_order_of_arrival():
    arrived = [graded(2, 1), graded(7, 1), graded(2, 0), graded(7, 0)]
    ordered = in_order(arrived, TWO, samples=2, version=3)
    found = [(g.episode.problem.index, g.episode.sample) for g in ordered]
    assert found == [(7, 0), (7, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("arrived", "message"),
    [
        ([graded(7, 0)], "2 episodes were requested; 1 arrived"),
        ([graded(7, 0), graded(2, 0), graded(2, 0)], "3 arrived, 2 of them distinct"),
        ([graded(7, 0), graded(5, 0)], "2 arrived, 2 of them distinct and 1 as requested"),
        ([graded(7, 0), graded(2, 0, version=2)], r"version \[2, 3\]; the expected version is 3"),
    ],
)
def test_lost_doubled_foreign_and_stale_episodes_are_named(arrived, message):
    with pytest.raises(RolloutError, match=message):
        in_order(arrived, TWO, samples=1, version=3)


class Broken(Coin):
    """A learner whose second update, or second reference, gives this number."""

    def __init__(self, where: str, value: float):
        super().__init__()
        self.where, self.value = where, value

    def breaks(self, where):
        return where == self.where and self.log.count(where) == 2

    def update(self, rows, advantages, iteration):
        result = super().update(rows, advantages, iteration)
        return replace(result, loss=self.value) if self.breaks("update") else result

    def reference_sums(self, rows, num_attempts):
        sums = super().reference_sums(rows, num_attempts)
        return sums + self.value if self.breaks("reference") else sums


@pytest.mark.parametrize(
    ("where", "value", "text"),
    [
        ("update", float("nan"), "the loss (nan): not finite in iteration 1"),
        ("update", float("inf"), "the loss (inf): not finite in iteration 1"),
        ("reference", float("nan"), "log-probs of the reference (nan): not finite in"),
        ("reference", float("-inf"), "log-probs of the reference (-inf): not finite in"),
    ],
)
def test_a_number_that_is_not_finite_ends_the_run_before_the_broadcast(
    where, value, text, tmp_path
):
    coin = Broken(where, value)
    with pytest.raises(RunError, match=re.escape(text)):
        run(tmp_path, coin=coin, more=["checkpoint.every=1"])
    assert [x for x in coin.log if x.startswith(("broadcast", "save"))] == [
        "broadcast 0", "broadcast 1", "save"
    ]  # fmt: skip
