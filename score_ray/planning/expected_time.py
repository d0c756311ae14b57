"""Computes the expected time of an iteration from operations and bytes.

Operations are those of flops.py. Sampling a token reads all weights and the cache once for the
whole running batch.
"""

import math
from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.planning.flops import FORWARD, forward_flops, recomputed_flops, update_flops
from score_ray.planning.gpus import GPUS_PER_NODE, Gpu
from score_ray.planning.memory import WIDTH, MemoryPlan, cache_per_token, trained_weights
from score_ray.planning.model_shape import ModelShape

# Assumed shares of the speeds in a GPU's data sheet.
TRAINING = 0.35  # of its operations, in the learner
PREFILLING = 0.5  # of its operations, while an engine reads prompts
READING = 0.6  # of its memory's bandwidth, while an engine samples tokens
STEP = 0.005  # seconds of an engine step besides reading: scheduling, launching, sampling
FLOAT32 = 1 / 16  # speed in float32, as a share of the bfloat16 operations
WITHIN_NODE, BETWEEN_NODES = 150e9, 25e9  # bytes per second: a GPU's NVLink, a node's network
CHECKING = 1.0  # seconds of a broadcast besides the transfer: the calls, and the check after it
TO_HOST = 20e9  # bytes per second between a GPU and its node's memory
HOST_STEP = 5e9  # bytes of optimizer state per second, of one rank's offloaded step


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected seconds of an iteration, by phase."""

    rollout: float
    reference: float
    update: float
    broadcast: float
    colocation: float  # moving the sleeping side to the node's memory and back
    overlapped: bool = False

    @property
    def iteration(self) -> float:
        """Seconds from one iteration to the next."""
        learner = self.reference + self.update
        both = max(self.rollout, learner) if self.overlapped else self.rollout + learner
        return both + self.broadcast + self.colocation


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a mean episode: those of prompts, which are read, and of attempts, sampled."""

    read: float
    sampled: float

    @property
    def all(self) -> float:
        """Tokens of the episode's row."""
        return self.read + self.sampled


def mean_tokens(config: Config, prompt: int, attempt: int) -> Tokens:
    """Return a mean episode's tokens, given those of its prompts together and of an attempt.

    A number that is 0 is taken to be half of its limit.
    """
    rollout = config.rollout
    room = max(config.model.max_length - rollout.attempts * rollout.max_tokens, 0)
    return Tokens(prompt or room / 2, rollout.attempts * (attempt or rollout.max_tokens / 2))


def expect(
    config: Config, shape: ModelShape, gpu: Gpu, plan: MemoryPlan, tokens: Tokens
) -> Expected:
    """Return the expected phases of an iteration, without grading, evaluations and starting."""
    speed = TRAINING * _flops_per_second(config, gpu)
    learner, shared = config.learner, config.rollout.share_gpus
    rows = config.rollout.problems * config.rollout.samples / learner.num_ranks
    read, sampled = rows * tokens.all, rows * tokens.sampled
    gathering = math.ceil(read / learner.tokens_per_micro_batch) * _gathering(config, shape)
    computing = (
        update_flops(config, shape, read, sampled) + recomputed_flops(config, shape, read, sampled)
    ) / speed
    moving = 2 * (plan.learner.host + plan.engine.host) / TO_HOST
    return Expected(
        rollout=_rollout(config, shape, gpu, plan, tokens),
        reference=forward_flops(shape, read, sampled) / speed + gathering,
        update=computing + 2 * gathering + _reducing(config, shape) + _step(config, shape),
        broadcast=shape.parameters * WIDTH[config.model.dtype] / _link(config.num_gpus) + CHECKING,
        colocation=moving if shared else 0.0,
        overlapped=bool(config.rollout.overlap),
    )


def _flops_per_second(config: Config, gpu: Gpu) -> float:
    return gpu.flops if config.model.dtype == "bfloat16" else gpu.flops * FLOAT32


def _rollout(
    config: Config, shape: ModelShape, gpu: Gpu, plan: MemoryPlan, tokens: Tokens
) -> float:
    """Return an engine's seconds for its equal share of the episodes."""
    rollout, width = config.rollout, WIDTH[config.model.dtype]
    episodes = math.ceil(rollout.problems / rollout.num_actors) * rollout.samples
    fit_in_cache = max(plan.cache_tokens / tokens.all, 1.0)
    running = min(rollout.max_running, episodes, fit_in_cache)
    # This many run at a time; at the end the longest episodes still run, up to their limit.
    longest = rollout.attempts * rollout.max_tokens
    steps = episodes * tokens.sampled / running + (longest - tokens.sampled)
    weights = shape.parameters * width / rollout.tensor_parallel
    cache = running * tokens.all * cache_per_token(config, shape)
    reading = (weights + cache) / (READING * gpu.bandwidth)
    speed = PREFILLING * _flops_per_second(config, gpu) * rollout.tensor_parallel
    prefill = FORWARD * shape.body * episodes * tokens.read / speed
    return steps * (reading + STEP) + prefill


def _link(num_gpus: int) -> float:
    """Return the bytes per second along a ring of GPUs, which has one network link per node."""
    return WITHIN_NODE if num_gpus <= GPUS_PER_NODE else BETWEEN_NODES


def _gathering(config: Config, shape: ModelShape) -> float:
    """Return the seconds for all weights to reach each rank, which ZeRO-3 needs in every pass."""
    learner = config.learner
    if learner.zero_stage < 3 or learner.num_ranks == 1:
        return 0.0
    return shape.parameters * WIDTH[config.model.dtype] / _link(learner.num_ranks)


def _reducing(config: Config, shape: ModelShape) -> float:
    """Return the seconds for summing gradients over ranks: each sends and receives them once."""
    learner = config.learner
    if learner.num_ranks == 1:
        return 0.0
    return 2 * 4 * trained_weights(config, shape) / _link(learner.num_ranks)


def _step(config: Config, shape: ModelShape) -> float:
    """Return the seconds of an offloaded optimizer step; on a GPU it takes next to none."""
    learner = config.learner
    if not learner.offload_optimizer:
        return 0.0
    return 16 * trained_weights(config, shape) / learner.num_ranks / HOST_STEP
