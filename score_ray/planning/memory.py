"""How much GPU memory a learner rank and an engine need, computed before one starts.

Pure numbers, from a config and a model's shape. Items are bytes of one GPU; W is the width of
the model's numbers, 2 bytes in bfloat16 and 4 in float32.
"""

from dataclasses import dataclass

from score_ray.config.config import Config
from score_ray.planning.gpus import GIB, Gpu
from score_ray.planning.model_shape import ModelShape

WIDTH = {"float32": 4, "bfloat16": 2}
# Of a process at work: CUDA's context, NCCL's buffers, libraries' workspaces, and what an
# allocator cannot use of what it holds. A stated guess, as is what follows.
RESERVE = 3 * GIB
# What a side leaves on a shared GPU while the other has its turn: context, CUDA graphs.
ASLEEP = 2 * GIB
BUCKET = 500_000_000  # numbers that DeepSpeed collects before it reduces them
GATHERED = 1_000_000_000  # numbers that ZeRO-3 holds whole at once, at most
PREFILL = 16384  # prompt tokens that an engine takes in one step (sampler.py)
# Copies of the float32 logits while their gradient is computed: logits in W, in float32, their
# softmax and its gradient.
LOGITS = 4
ENGINE_LOGITS = 4  # of a running batch, while a token of each request is drawn
PASSING = ("activations", "logits", "buckets", "gathered", "optimizer step", "loading")
STATE = 12  # bytes of a weight: its float32 master and Adam's two moments


@dataclass(frozen=True, slots=True)
class Demand:
    """What one process needs of a GPU at its fullest moment, by item, and of its node's memory."""

    items: tuple[tuple[str, int], ...]
    host: int = 0

    @property
    def total(self) -> int:
        """Bytes of the GPU, all items together."""
        return sum(size for _, size in self.items)


@dataclass(frozen=True, slots=True)
class Plan:
    """Both sides of a run on one kind of GPU."""

    learner: Demand
    engine: Demand
    held: int  # bytes that a learner rank holds between its updates
    share: int  # bytes that the engine may take
    cache_tokens: int  # that fit beside what else the engine needs; may be negative


def learner_demand(config: Config, shape: ModelShape) -> Demand:
    """A learner rank: its states, and the larger of a backward pass and an optimizer step.

    Per trained weight mixed precision has 2 bytes of weight, the float32 master and Adam's two
    moments 12; ZeRO-1 shards these 12 over the ranks, ZeRO-2 the gradients too, ZeRO-3 the
    weights too (arXiv 1910.02054, sections 3.1 and 5). In float32, DeepSpeed keeps a master
    from ZeRO-1 on.
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
    passing = _busiest(config, shape, trained // sharded)
    if stage == 3:
        # ZeRO-3 divides a model that is whole on the GPU; the reference comes first.
        loading = shape.parameters * width + dict(kept)["reference"] + RESERVE
        beyond = loading - sum(size for _, size in kept)
        passing = max(passing, [("loading", beyond)], key=lambda items: sum(s for _, s in items))
    return Demand((*kept, *passing), host)


def trained_weights(config: Config, shape: ModelShape) -> int:
    """Weights that have a gradient: all, or those of the adapters."""
    lora = config.learner.lora
    return shape.adapter(lora.rank, lora.targets) if lora.rank else shape.parameters


def activations(config: Config, shape: ModelShape) -> int:
    """What a backward pass keeps of one micro-batch's forward pass.

    The account of arXiv 2205.05198 (section 4.1), made for a gated decoder as transformers
    writes it. Per token and layer: a normalisation's input (in float32 if it is not so anyway),
    its normalised copy and its output; queries, keys and values for every head and their result
    (4 W heads * head_size); the gated network's four intermediates (4 W intermediate). "eager"
    attention, which "auto" may be where a model caps its scores, adds these; all other kinds
    recompute them. Adapters in float32 beside bfloat16 keep such copies of what goes into the seven
    maps, whose own inputs need not be kept while they are frozen. Gradient checkpointing keeps each
    layer's input and one layer's full account.
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
    """One GPU of an engine, without the cache: its share of the weights, and a step's work."""
    width, ranks = WIDTH[config.model.dtype], config.rollout.tensor_parallel
    prefill = max(PREFILL, config.model.max_length)
    wide = 4 * shape.hidden + 2 * (shape.intermediate + shape.heads * shape.head_size) // ranks
    drawing = ENGINE_LOGITS * config.rollout.max_running * shape.vocabulary * 4
    weights = shape.parameters * width // ranks
    items = (
        ("weights", weights),
        ("work of a step", prefill * wide * width + drawing),
        ("reserve", RESERVE),
    )
    return Demand(items, weights if config.rollout.share_gpus else 0)


def cache_per_token(config: Config, shape: ModelShape) -> int:
    """Bytes of keys and values of one token, on each GPU of an engine."""
    heads = -(-shape.kv_heads // config.rollout.tensor_parallel)  # at least one on every GPU
    return 2 * shape.layers * heads * shape.head_size * WIDTH[config.model.dtype]


def plan(config: Config, shape: ModelShape, gpu: Gpu) -> Plan:
    """What a run needs of such a GPU."""
    engine = engine_demand(config, shape)
    share = int(config.rollout.gpu_memory * gpu.memory)
    room = (share - engine.total) // cache_per_token(config, shape)
    learner = learner_demand(config, shape)
    held = sum(size for name, size in learner.items if name not in PASSING)
    return Plan(learner, engine, held, share, room)


def _weights(config: Config, shape: ModelShape) -> int:
    """The policy; adapters stand in float32 beside the model."""
    own = shape.parameters * WIDTH[config.model.dtype]
    return own + (4 * trained_weights(config, shape) if config.learner.lora.rank else 0)


def _stage(config: Config) -> int:
    """ZeRO's stage as optimizer.py has it: in bfloat16, 1 takes the place of 0."""
    return max(config.learner.zero_stage, int(config.model.dtype == "bfloat16"))


def _gradients(config: Config, trained: int) -> int:
    """What outlives a backward pass: the sum over micro-batches, in float32.

    In bfloat16 the newest gradient stands beside the sum, until ZeRO-2 gives it away as it
    comes. With the optimizer offloaded, ZeRO-3 keeps the sum in the node's memory, and below it
    so does float32 alone: what is sharded is collected on the GPU in bfloat16.
    """
    learner, stage, mixed = config.learner, _stage(config), config.model.dtype == "bfloat16"
    share = 4 * trained // learner.num_ranks
    if learner.offload_optimizer:
        collected = share if mixed and stage < 3 else 0
    else:
        collected = share if stage > 1 else 0
    whole = trained * (6 if mixed else 4) if stage < 2 else 0
    return whole + collected


def _busiest(config: Config, shape: ModelShape, own: int) -> list[tuple[str, int]]:
    """Passing: a micro-batch's backward pass, or the step on a rank's `own` weights.

    Under ZeRO-2 gradients are collected in a buffer of a fixed size, and in bfloat16 turned into
    float32 to be added up over the ranks (ZeRO-3 holds on to a buffer of its own); below it they
    are added up after the backward pass, in copies of that size. A step takes a flat copy of the
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
    step = sums + (0 if learner.offload_optimizer else 8 * own)
    return backward if sum(size for _, size in backward) >= step else [("optimizer step", step)]
