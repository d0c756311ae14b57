"""Two real ranks under ZeRO-3, where every pass through a layer is a collective."""

import os
import socket

import numpy as np
import pytest
import torch

from score_ray.algorithm.loss import add_up
from score_ray.learner.setup import LearnerSetup
from tests.support.setups import changed, learner_setup
from tests.support.tiny_model import ADVANTAGES, ROWS, make_model

pytestmark = pytest.mark.ray
SHARES = [[[0, 1]], [[2]]]  # of rank 0 and of rank 1: five scored positions, and two
ONE = 4 * 15 / 2**20  # MiB of one position's logits
CHANGES = [
    {},
    {"logits_mb": ONE},
    {"logits_mb": 2 * ONE, "gradient_checkpointing": True, "packing": True},
]


def work(rank: int, port: int, setup: LearnerSetup, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    from score_ray.learner.learner import Learner
    from score_ray.learner.ranks import join_ranks

    join_ranks("127.0.0.1", port, rank, 2, None)
    found = []
    for changes in CHANGES:
        learner = Learner(changed(setup, **changes), rank, 2)
        sums = learner.reference_sums(ROWS, SHARES[rank], 2)
        updates = [learner.update(ROWS, ADVANTAGES, SHARES[rank], n) for n in range(2)]
        found.append((sums, updates, learner.score([ROWS[0].token_ids])))
    torch.save(found, f"{folder}/{rank}")


def test_ranks_that_need_different_numbers_of_chunks_make_the_same_number(tmp_path):
    """Otherwise they would wait for each other for ever, or add up unrelated tensors."""
    model = str(make_model(tmp_path / "model"))
    setup = learner_setup(model, temperature=0.7, zero_stage=3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (port, setup, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / str(rank), weights_only=False) for rank in range(2)]
    results = []
    for one, other in zip(*ranks, strict=True):
        sums = {**one[0], **other[0]}
        updates = [add_up(both) for both in zip(one[1], other[1], strict=True)]
        numbers = [
            np.ravel(u[key]) for u in updates for key in ("loss", "grad_norm", "mismatch_kl")
        ]
        results.append(np.concatenate([*(sums[i] for i in range(3)), *numbers, *one[2]]))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-4, atol=1e-4)
