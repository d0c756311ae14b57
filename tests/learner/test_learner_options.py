"""Real DeepSpeed engines of one rank: settings that save memory change no result."""

import numpy as np
import pytest
import torch

from score_ray.learner.setup import LearnerSetup
from score_ray.weights.packing import unpack
from tests.support.setups import changed, learner_setup
from tests.support.single_rank import one_rank
from tests.support.tiny_model import ADVANTAGES, ROWS, make_model

pytestmark = pytest.mark.ray
WEIGHTS = 132_352
SHARDS = [[0, 1], [2]]
STAGES = [0, 1, 2, 3]
of_every_stage = pytest.mark.parametrize("stage", STAGES)
CHANGES = {
    "chunks": {"logits_mb": 2 * 4 * 15 / 2**20},  # of two positions
    "packing": {"packing": True},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "all": {"logits_mb": 2**-20, "packing": True, "gradient_checkpointing": True},
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("model"))
    with one_rank():
        yield learner_setup(str(folder), temperature=0.7)


def make(setup: LearnerSetup, **changes):
    from score_ray.learner.learner import Learner

    return Learner(changed(setup, **changes), 0, 1)


def weights_of(learner) -> dict[str, torch.Tensor]:
    return {n: t.clone() for part in learner.packed_weights(2**16) for n, t in unpack(*part)}


def results(learner) -> tuple[list, dict[str, torch.Tensor]]:
    """Return numbers of the reference, two updates and scoring, and the weights after them."""
    sums = learner.reference_sums(ROWS, SHARDS, 2)
    updates = [learner.update(ROWS, ADVANTAGES, SHARDS, number) for number in range(2)]
    scores = learner.score([row.token_ids for row in ROWS])
    metrics = [
        np.ravel(m[key]).tolist() for m in updates for key in ("loss", "grad_norm", "mismatch_kl")
    ]
    return [*sums.values(), *metrics, *scores], weights_of(learner)


def assert_same(one: tuple, other: tuple, tolerance: float) -> None:
    for ours, theirs in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    for name, tensor in one[1].items():
        torch.testing.assert_close(tensor, other[1][name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def plain(setup):
    return results(make(setup))


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_settings_that_save_memory_change_no_result(setup, plain, stage, changes):
    assert_same(results(make(setup, zero_stage=stage, **changes)), plain, 1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_offloaded_optimizer_changes_no_result(setup, stage, dtype):
    """In bfloat16 the last bit of a weight may differ; weights are at most 1."""
    tolerance = {"float32": 1e-4, "bfloat16": 2**-8}[dtype]
    common = {"zero_stage": stage, "dtype": dtype}
    found = results(make(setup, **common, offload_optimizer=True))
    assert_same(found, results(make(setup, **common)), tolerance)


@of_every_stage
def test_bfloat16_weights_have_float32_masters(setup, stage):
    """A step of 1e-3 is lost on a bfloat16 weight of 1, whose neighbours are 2^-8 away at best.

    Of 6 such steps those that go one way add up.
    """
    learner = make(setup, dtype="bfloat16", zero_stage=stage, learning_rate=1e-3)
    norms = [name for name in weights_of(learner) if "norm" in name]
    learner.update(ROWS, np.ones((3, 2)), SHARDS, 0)
    after_one = weights_of(learner)
    assert all(after_one[name].dtype == torch.bfloat16 for name in norms)
    assert all((after_one[name] == 1).all() for name in norms)
    for number in range(1, 6):
        learner.update(ROWS, np.ones((3, 2)), SHARDS, number)
    after_many = weights_of(learner)
    moved = torch.cat([(after_many[name].float() - 1).abs() for name in norms])
    assert float((moved >= 2**-8).float().mean()) > 0.1
    assert float(moved.max()) <= 6e-3 + 2**-8


@of_every_stage
def test_micro_batches_add_up_in_float32(setup, stage):
    """32 times 1/512 of a gradient: in bfloat16 each of them would be lost next to the sum."""
    learner = make(setup, dtype="bfloat16", zero_stage=stage, learning_rate=0.0)
    rows = [ROWS[0]] * 33
    weights = np.array([[1.0, 1.0]] + [[2**-9, 2**-9]] * 32)
    one = learner.update(rows, weights, [[0]], 0)["grad_norm"][0]
    added = learner.update(rows, weights, [[i] for i in range(33)], 0)["grad_norm"][0]
    assert added == pytest.approx((1 + 2**-4) * one, rel=1e-4)


@pytest.mark.parametrize("offload", [False, True], ids=["", "offloaded"])
@of_every_stage
def test_a_bfloat16_run_resumes_from_its_checkpoint(setup, stage, offload, tmp_path):
    changes = {"offload_optimizer": offload and stage > 0}  # stage 0 has nothing to offload
    learner = make(setup, dtype="bfloat16", zero_stage=stage, **changes)
    learner.update(ROWS, ADVANTAGES, SHARDS, 0)
    learner.save(tmp_path)
    wanted = results(learner)
    other = make(setup, dtype="bfloat16", zero_stage=stage, **changes)
    other.restore(tmp_path)
    assert_same(results(other), wanted, 0.0)


def held_by(learner) -> tuple[int, int]:
    """Return the bytes of the learner's tensors: of all of them, and of those torch can free."""
    found = learner.tensors()
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in found if not t.is_meta}
    freeable = [s.nbytes() for s in storages.values() if s.resizable()]
    return sum(s.nbytes() for s in storages.values()), sum(freeable)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@of_every_stage
def test_a_learner_that_has_slept_computes_the_same_as_one_that_has_not(setup, stage, dtype):
    """While asleep it has freed at least the optimizer's two numbers per weight."""
    awake, other = (make(setup, dtype=dtype, zero_stage=stage) for _ in range(2))
    for learner in (awake, other):
        learner.update(ROWS, ADVANTAGES, SHARDS, 0)
    for _ in range(2):
        before, _ = held_by(other)
        other.sleep()
        other.sleep()
        after, freeable = held_by(other)
        assert freeable == 0
        assert before - after >= 2 * 4 * WEIGHTS
        other.wake()
        other.wake()
    assert_same(results(other), results(awake), 0.0)
