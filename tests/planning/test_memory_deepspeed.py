"""The planner's bytes of a rank, against those that real DeepSpeed engines hold."""

from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.planning.memory import BUCKET, learner_demand
from score_ray.planning.model_shape import read_shape
from tests.support.setups import learner_setup
from tests.support.single_rank import one_rank
from tests.support.tiny_model import ADVANTAGES, ROWS, make_model

pytestmark = pytest.mark.ray
HELD = ("weights", "reference", "gradients", "masters, Adam", "gradient buffer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = str(make_model(tmp_path_factory.mktemp("model")))
    with one_rank(bucket=BUCKET):
        yield path


@pytest.mark.parametrize(
    ("dtype", "stage"),
    [("float32", 0), ("float32", 1), ("bfloat16", 0), ("bfloat16", 2), ("bfloat16", 3)],
)
def test_before_its_step_a_rank_holds_the_planned_bytes(folder, dtype, stage, monkeypatch):
    from score_ray.learner.learner import Learner

    learner = Learner(learner_setup(folder, dtype=dtype, zero_stage=stage), 0, 1)
    step, held = learner._engine.step, []

    def look(*args, **kwargs):
        found = (t.untyped_storage() for t in learner.tensors())
        held.append(sum({s.data_ptr(): s.nbytes() for s in found}.values()))
        return step(*args, **kwargs)

    monkeypatch.setattr(learner._engine, "step", look)
    for iteration in range(2):  # Adam's moments come with the first step
        learner.update(ROWS, ADVANTAGES, [[0, 1, 2]], iteration)
    own = [f"model.dtype={dtype}", f"learner.zero_stage={stage}"]
    config = load(Path("configs/arithmetic.yaml"), own)
    items = dict(learner_demand(config, read_shape(folder, folder)).items)
    assert held[1] == pytest.approx(sum(items[name] for name in HELD), rel=0.01)
