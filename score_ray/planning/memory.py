"""Computes the GPU memory that a learner rank and an engine need, before one starts.

It is computed from a config and a model's shape alone. Items are bytes of one GPU. W is the
width of the model's numbers: 2 bytes in bfloat16 and 4 in float32.
"""

from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.config.schema import STEP_TOKENS
from score_ray.planning.gpus import GIB, Gpu
from score_ray.planning.model_shape import ModelShape

WIDTH = {"float32": 4, "bfloat16": 2}
# An estimate of what a working process needs besides: CUDA's context, NCCL's buffers, libraries'
# workspaces, and memory that the allocator holds and cannot use.
RESERVE = 3 * GIB
# An estimate of what a sleeping side leaves on a shared GPU: its context and CUDA graphs.
ASLEEP = 2 * GIB
BUCKET = 500_000_000  # numbers that DeepSpeed collects before it sums them over ranks
GATHERED = 1_000_000_000  # most weights that ZeRO-3 holds whole at once
# Tensors of the size of the float32 logits while their gradient is computed: the logits in W and
# in float32, their softmax, and its gradient.
LOGITS = 4
ENGINE_LOGITS = 4  # the same while an engine samples a token of each running request
# Items that exist during a part of an iteration only.
TRANSIENT = ("activations", "logits", "buckets", "gathered", "optimizer step", "loading")
STATE = 12  # bytes per weight: its float32 master and Adam's two moments


@dataclass(frozen=True, slots=True)
class Demand:
    """The bytes that a process needs of its GPU at its peak, by item, and of its node's memory."""

    items: tuple[tuple[str, int], ...]
    host: int = 0

    @property
    def total(self) -> int:
        """Bytes of the GPU, all items together."""
        return sum(size for _, size in self.items)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory of both sides of a run on one kind of GPU."""

    learner: Demand
    engine: Demand
    held: int  # bytes that a learner rank holds between updates
    share: int  # bytes that the engine may take
    cache_tokens: int  # tokens for whose keys and values the engine has room; may be negative


def learner_demand(config: Config, shape: ModelShape) -> Demand:
    """Return a rank's states, and the larger of a backward pass and an optimizer step.

    In mixed precision a trained weight takes 2 bytes, and its float32 master and Adam's two
    moments take 12. ZeRO-1 shards these 12 over the ranks, ZeRO-2 also the gradients, ZeRO-3
    also the weights (arXiv 1910.02054, sections 3.1 and 5). In float32 DeepSpeed keeps a
    master copy from ZeRO-1 on.
    """
    learner, stage = config.learner, _stage(config)
    trained, width = trained_weights(config, shape), WIDTH[config.model.dtype]
    sharded = learner.num_ranks if stage else 1
    whole = learner.num_ranks if stage == 3 else 1
    state = (STATE if stage else STATE - 4) * trained // sharded
    kept = [
        ("weights", _weights(config, shape) // whole),
        ("reference", 0 if learner.lora.rank else shape.parameters * width // whole),
        ("gradients", _gradients(config, trained)),
        ("masters, Adam", 0 if learner.offload_optimizer else state),
        ("gradient buffer", 4 * BUCKET if stage == 3 else 0),
        ("offload buffer", shape.head * width if learner.offload_optimizer and stage < 3 else 0),
        ("reserve", RESERVE),
    ]
    host = state + 4 * trained // sharded if learner.offload_optimizer else 0
    if config.rollout.share_gpus:
        host += sum(size for name, size in kept if name != "reserve")
    transient = _peak_of_update(config, shape, trained // sharded)
    if stage == 3:
        # ZeRO-3 shards the policy when it is whole on the GPU, with the reference there already.
        loading = shape.parameters * width + dict(kept)["reference"] + RESERVE
        more = [("loading", loading - sum(size for _, size in kept))]
        transient = max(transient, more, key=lambda items: sum(size for _, size in items))
    return Demand((*kept, *transient), host)


def trained_weights(config: Config, shape: ModelShape) -> int:
    """Return the number of weights that have a gradient: all, or those of the adapters."""
    lora = config.learner.lora
    return shape.adapter(lora.rank, lora.targets) if lora.rank else shape.parameters


def activations(config: Config, shape: ModelShape) -> int:
    """Return the bytes of a micro-batch's forward pass that its backward pass needs.

    This is the count of arXiv 2205.05198 (section 4.1) for a gated decoder as transformers
    writes it. Per token and layer there are:

    - of each normalisation, its input in float32, its normalised copy and its output;
    - queries, keys, values and their result for every head (4 W heads * head_size);
    - the gated network's four intermediates (4 W intermediate);
    - the scores, if attention is "eager", or "auto" for a model that caps its scores; other
      kernels recompute them;
    - for float32 adapters on a bfloat16 model, float32 copies of the inputs of the seven linear
      layers, whose own inputs are not needed while they are frozen.

    Gradient checkpointing keeps every layer's input, and all of this for one layer.
    """
    width, hidden = WIDTH[config.model.dtype], shape.hidden
    tokens = max(config.learner.tokens_per_micro_batch, config.model.max_length)
    seen = tokens if config.learner.packing else config.model.max_length  # by the mask
    norm = hidden * (12 if width == 4 else 4 + 2 * width)
    layer = shape.norms * norm + 4 * width * (shape.heads * shape.head_size + shape.intermediate)
    if config.learner.lora.rank and width == 2:
        layer += 2 * (9 * hidden + shape.intermediate)
    if config.model.attention == "eager" or (config.model.attention == "auto" and shape.capped):
        layer += shape.heads * seen * (4 if width == 4 else 4 + width)
    mask = 0 if config.model.attention == "flash_attention_2" else seen * (1 + width)
    if config.learner.gradient_checkpointing:
        return tokens * (shape.layers * hidden * width + layer + norm + mask)
    return tokens * (shape.layers * layer + norm + mask)


def engine_demand(config: Config, shape: ModelShape) -> Demand:
    """Return the demand of an engine on each GPU: its share of the weights and a step, no cache."""
    width, ranks = WIDTH[config.model.dtype], config.rollout.tensor_parallel
    prefill = max(STEP_TOKENS, config.model.max_length)
    wide = 4 * shape.hidden + 2 * (shape.intermediate + shape.heads * shape.head_size) // ranks
    sampling = ENGINE_LOGITS * config.rollout.max_running * shape.vocabulary * 4
    weights = shape.parameters * width // ranks
    items = (
        ("weights", weights),
        ("work of a step", prefill * wide * width + sampling),
        ("reserve", RESERVE),
    )
    return Demand(items, weights if config.rollout.share_gpus else 0)


def cache_per_token(config: Config, shape: ModelShape) -> int:
    """Return the bytes of one token's keys and values on each GPU of an engine."""
    heads = -(-shape.kv_heads // config.rollout.tensor_parallel)  # at least one on every GPU
    return 2 * shape.layers * heads * shape.head_size * WIDTH[config.model.dtype]


def plan_memory(config: Config, shape: ModelShape, gpu: Gpu) -> MemoryPlan:
    """Return the memory that a run needs, and leaves for the cache, on such GPUs."""
    engine = engine_demand(config, shape)
    share = int(config.rollout.gpu_memory * gpu.memory)
    room = (share - engine.total) // cache_per_token(config, shape)
    learner = learner_demand(config, shape)
    held = sum(size for name, size in learner.items if name not in TRANSIENT)
    return MemoryPlan(learner, engine, held, share, room)


def _weights(config: Config, shape: ModelShape) -> int:
    """Return the bytes of the policy, with its adapters, which are float32."""
    model = shape.parameters * WIDTH[config.model.dtype]
    return model + (4 * trained_weights(config, shape) if config.learner.lora.rank else 0)


def _stage(config: Config) -> int:
    """Return ZeRO's stage as learner/optimizer.py sets it: in bfloat16, 1 in place of 0."""
    return max(config.learner.zero_stage, int(config.model.dtype == "bfloat16"))


def _gradients(config: Config, trained: int) -> int:
    """Return the bytes of gradients that outlive a backward pass: the float32 sum of them.

    In bfloat16 the newest gradient is kept next to the sum over micro-batches; from ZeRO-2 on it
    is passed on as soon as it is computed. An offloaded optimizer has the sum in the node's
    memory, except in bfloat16 below ZeRO-3, where each rank collects its shard on the GPU.
    """
    learner, stage, mixed = config.learner, _stage(config), config.model.dtype == "bfloat16"
    share = 4 * trained // learner.num_ranks
    if learner.offload_optimizer:
        collected = share if mixed and stage < 3 else 0
    else:
        collected = share if stage > 1 else 0
    whole = trained * (6 if mixed else 4) if stage < 2 else 0
    return whole + collected


def _peak_of_update(config: Config, shape: ModelShape, shard: int) -> list[tuple[str, int]]:
    """Return the larger of a micro-batch's backward pass and the step on a rank's `shard`.

    ZeRO-2 collects gradients in a buffer of a fixed size, and converts it to float32 in bfloat16
    to sum it over the ranks; ZeRO-3's buffer is there all the time. Below ZeRO-2 gradients are
    summed after the backward pass, in copies of that size. A step makes a flat copy of the
    gradient and, in torch's Adam, one more number per weight.
    """
    learner, width, stage = config.learner, WIDTH[config.model.dtype], _stage(config)
    sums = 4 * min(BUCKET, trained_weights(config, shape))
    buckets = BUCKET * width + (sums if width == 2 else 0)
    backward = [
        ("activations", activations(config, shape)),
        ("logits", int(LOGITS * learner.logits_mb * 2**20)),
        ("buckets", buckets if stage == 2 else 0),
        ("gathered", min(shape.parameters, GATHERED) * width if stage == 3 else 0),
    ]
    step = sums + (0 if learner.offload_optimizer else 8 * shard)
    return backward if sum(size for _, size in backward) >= step else [("optimizer step", step)]
