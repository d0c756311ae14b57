"""How long an iteration should take, from operations and bytes alone: computed, not measured.

N are the weights that a token passes through. A forward pass takes 2N operations a token, a
backward pass 4N (2N where weights are frozen beside adapters), recomputing activations 2N more.
Drawing a token reads all weights and the cache once for the whole running batch.
"""

import math
from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.planning.gpus import Gpu
from score_ray.planning.memory import WIDTH, Plan, cache_per_token, trained_weights
from score_ray.planning.model_shape import ModelShape

# Assumed shares of what a GPU's data sheet says.
TRAINING = 0.35  # of its operations, in the learner
PREFILLING = 0.5  # of its operations, when an engine reads prompts
READING = 0.6  # of its memory's bandwidth, when an engine draws tokens
STEP = 0.005  # seconds of an engine step beyond its reading: scheduling, launching, sampling
FLOAT32 = 1 / 16  # of the bfloat16 operations
WITHIN_NODE, BETWEEN_NODES = 150e9, 25e9  # bytes per second: a GPU's NVLink, a node's network
CHECKING = 1.0  # seconds of a broadcast beyond its bytes: the calls, and the check after it
TO_HOST = 20e9  # bytes per second between a GPU and its node's memory
HOST_STEP = 5e9  # bytes of optimizer state per second of an offloaded step, of a rank
GPUS_OF_NODE = 8


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds of an iteration, by phase."""

    rollout: float
    reference: float
    update: float
    broadcast: float
    turns: float  # moving what sleeps to the node's memory and back
    overlapped: bool = False

    @property
    def iteration(self) -> float:
        """Seconds from one iteration to the next."""
        learner = self.reference + self.update
        both = max(self.rollout, learner) if self.overlapped else self.rollout + learner
        return both + self.broadcast + self.turns


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a mean episode: what is read (all prompts), and what is drawn (all attempts)."""

    read: float
    drawn: float

    @property
    def all(self) -> float:
        """The episode's row."""
        return self.read + self.drawn


def tokens_of(config: Config, prompt: int, attempt: int) -> Tokens:
    """A mean episode, from the tokens of its prompts and of an attempt; 0: half of the longest."""
    own = config.rollout
    room = max(config.model.max_length - own.attempts * own.max_tokens, 0)
    return Tokens(prompt or room / 2, own.attempts * (attempt or own.max_tokens / 2))


def expect(config: Config, shape: ModelShape, gpu: Gpu, plan: Plan, tokens: Tokens) -> Expected:
    """The phases of one iteration; grading, evaluations and starting are not in it."""
    width = WIDTH[config.model.dtype]
    speed = gpu.flops if width == 2 else gpu.flops * FLOAT32
    rows = config.rollout.problems * config.rollout.samples / config.learner.num_ranks
    body, head = rows * tokens.all * shape.body, rows * tokens.drawn * shape.head
    backward = 2 if config.learner.lora.rank else 4
    again = 2 if config.learner.gradient_checkpointing else 0
    passes = math.ceil(rows * tokens.all / config.learner.tokens_per_micro_batch)
    gather = passes * _gathering(config, shape)
    work = (2 + backward + again) * body + (4 + backward) * head  # logits are made twice
    shared = config.rollout.share_gpus
    return Expected(
        rollout=_rollout(config, shape, gpu, plan, tokens),
        reference=2 * (body + head) / (TRAINING * speed) + gather,
        update=work / (TRAINING * speed)
        + 2 * gather
        + _reducing(config, shape)
        + _step(config, shape),
        broadcast=shape.parameters * width / _link(_gpus(config)) + CHECKING,
        turns=2 * (plan.learner.host + plan.engine.host) / TO_HOST if shared else 0.0,
        overlapped=bool(config.rollout.overlap),
    )


def _rollout(config: Config, shape: ModelShape, gpu: Gpu, plan: Plan, tokens: Tokens) -> float:
    """Seconds of the engine with its equal share of the episodes."""
    own, width = config.rollout, WIDTH[config.model.dtype]
    speed = gpu.flops if width == 2 else gpu.flops * FLOAT32
    episodes = math.ceil(own.problems / own.num_actors) * own.samples
    fits = max(plan.cache_tokens / tokens.all, 1.0)
    running = min(own.max_running, episodes, fits)
    # So many at a time, and then a tail: the last episodes are as long as they may be.
    longest = own.attempts * own.max_tokens
    steps = episodes * tokens.drawn / running + (longest - tokens.drawn)
    weights = shape.parameters * width / own.tensor_parallel
    cache = running * tokens.all * cache_per_token(config, shape)
    reading = (weights + cache) / (READING * gpu.bandwidth)
    prefill = 2 * shape.body * episodes * tokens.read / (PREFILLING * speed * own.tensor_parallel)
    return steps * (reading + STEP) + prefill


def _gpus(config: Config) -> int:
    engines = config.rollout.num_actors * config.rollout.tensor_parallel
    return engines + (0 if config.rollout.share_gpus else config.learner.num_ranks)


def _link(count: int) -> float:
    """Bytes per second that pass along a ring of so many GPUs, through one network per node."""
    return WITHIN_NODE if count <= GPUS_OF_NODE else BETWEEN_NODES


def _gathering(config: Config, shape: ModelShape) -> float:
    """Seconds for all weights to pass to each rank once, as ZeRO-3 does in every pass."""
    learner = config.learner
    if learner.zero_stage < 3 or learner.num_ranks == 1:
        return 0.0
    return shape.parameters * WIDTH[config.model.dtype] / _link(config.learner.num_ranks)


def _reducing(config: Config, shape: ModelShape) -> float:
    """Seconds for the gradients to be summed over the ranks: each sends and receives them once."""
    learner = config.learner
    if learner.num_ranks == 1:
        return 0.0
    return 2 * 4 * trained_weights(config, shape) / _link(config.learner.num_ranks)


def _step(config: Config, shape: ModelShape) -> float:
    """Seconds of an offloaded optimizer step; on the GPU it is not worth counting."""
    learner = config.learner
    if not learner.offload_optimizer:
        return 0.0
    return 16 * trained_weights(config, shape) / learner.num_ranks / HOST_STEP
