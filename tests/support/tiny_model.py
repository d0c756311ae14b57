"""A random model of 0.1M weights, and roles around it, for tests with real Ray."""

import functools
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from score_ray.algorithm.batch import Row
from score_ray.rollout.prompter import load_prompter
from score_ray.runtime.learner_group import LearnerGroup
from score_ray.runtime.placement import placements
from score_ray.runtime.remote_calls import RemoteCalls, Retries
from score_ray.runtime.resources import ResourceRequest
from score_ray.runtime.rollout_pool import RolloutPool
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.tasks.prompts import Prompts
from score_ray.types import LearnerLost, Problem
from tests.support.setups import engine_setup, learner_setup

ROWS = [
    Row((1, 2, 10, 3, 4, 11), (0, 0, 0, 1, 0, 2), (0.0,) * 6),
    Row((5, 5, 10, 3, 1), (0, 0, 1, 0, 2), (0.0,) * 5),
    Row((7, 5, 10, 3, 1), (0, 0, 1, 0, 2), (0.0,) * 5),
]
ADVANTAGES = np.array([[0.5, -1.0], [0.25, 2.0], [-0.5, 0.1]])
PROBE = [row.token_ids for row in ROWS]
PROBLEMS = [Problem(i, f"{i}+1=", str(i + 1)) for i in range(8)]
PART_BYTES = 2**16  # several parts even of this model
START = 120.0


def make_model(folder: Path, tied: bool = True) -> Path:
    """Save the model and its tokenizer to a folder; `tied`: its output head is the embedding."""
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(model_config(tokenizer, tied)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Events(list):
    """Collects the events that roles record."""

    def __call__(self, kind: str, who: str, what: str, **numbers: float) -> None:
        self.append((kind, who, what))


@contextmanager
def on_ray(num_actors: int, num_ranks: int):
    """Start Ray, and yield the placements of so many processes of each role."""
    requests = [
        ResourceRequest("rollout actor", num_actors),
        ResourceRequest("learner rank", num_ranks),
    ]
    with placements(requests, patience=0.0, deadline=START) as reserved:
        yield reserved


def make_pool(
    where,
    model: Path,
    record_event,
    grace: float = 60.0,
    retries: int = 3,
    tensor_parallel: int = 1,
    make_room=lambda: None,
) -> RolloutPool:
    """Return a pool with an actor at each placement of `where`."""
    words = Prompts("{question}", "?")
    actor_args = (
        engine_setup(str(model), tensor_parallel=tensor_parallel),
        functools.partial(load_prompter, str(model), words),
    )
    calls, tries = RemoteCalls(START, grace), Retries(retries)
    return RolloutPool(where, actor_args, calls, tries, record_event, make_room)


def make_group(
    where, model: Path, record_event, zero_stage: int = 0, grace: float = 60.0, retries: int = 3
) -> LearnerGroup:
    """Return a learner group with a rank at each placement of `where`."""
    setup = learner_setup(str(model), zero_stage=zero_stage)
    calls = RemoteCalls(START, grace, LearnerLost)
    return LearnerGroup(where, setup, calls, Retries(retries), record_event)
