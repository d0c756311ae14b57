"""The sections of a config: every key, its type, its default and its meaning.

A key without a default has to be set. A key marked Free may change when a run is resumed. The
keys of `prompts` are in prompt_texts.py.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic import NonNegativeFloat as NonNegative

from score_ray.config.section import Fraction, Free, Section
from score_ray.config.train_source import TrainSource, check_train_sources

# An engine reads at most this many prompt tokens in one step, or one whole prompt if
# model.max_length is larger. How much memory the engine needs depends on it.
STEP_TOKENS = 16384


class ModelConfig(Section):
    """The model that training starts from, which is also the frozen reference of every stage."""

    # A folder, a Hugging Face name, "embedded:arithmetic" or "package:smollm2".
    path: Annotated[str, Field(min_length=1)]
    # The type of the weights in engines and learner. The optimizer's state is always float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # The learner's attention kernels. "auto" is flash_attention_2 if it is installed and can
    # run. Otherwise it is sdpa, or eager for a model that caps its attention scores.
    attention: Free[Literal["auto", "eager", "sdpa", "flash_attention_2"]] = "auto"
    # Most tokens of an episode: the prompts and all attempts together.
    max_length: PositiveInt


class TaskConfig(Section):
    """The problems, and how answers to them are checked.

    Arithmetic and sums generate their problems; the other tasks read them from `train` and `test`.
    """

    name: Literal["arithmetic", "sums", "math", "mbpp", "mbpp_r", "humaneval"]
    # Arithmetic and sums: number of problems in the test split.
    held_out: PositiveInt = 1000
    # Sums: the largest number that is added.
    largest: PositiveInt = 99
    # A file, a folder or a Hugging Face data set: PLACE[:CONFIG][@SPLIT]. Or a list of several:
    # [{path: a.jsonl, weight: 2.0}, {path: b.csv, question_column: problem}].
    train: str | tuple[TrainSource, ...] = ""
    # As `train`. For mbpp both may name the same file, which is then split by task_id as
    # published.
    test: str = ""
    # Leave out rows that cannot be used, in place of refusing the data set.
    skip_unusable: bool = False
    # Math: a question put together from columns, "{Body} {Question}", in place of a column.
    question: str = ""
    # Math: the columns of the data set that hold questions and answers. A dot leads into a
    # column of mappings or lists: "answer.value", "choices.0".
    question_column: str = "question"
    answer_column: str = "answer"
    # Mbpp_r: the column that holds the first program, which the model has to repair.
    attempt_column: str = ""
    # Mbpp, mbpp_r, humaneval: packages beside the standard library that programs and their tests
    # may import, such as [numpy]. They must be installed where score-ray is.
    packages: tuple[str, ...] = ()

    def model_post_init(self, _: object) -> None:
        """Check what depends on several keys."""
        if self.question and self.question_column != "question":
            raise ValueError(
                "question: the template names the columns of a question, so question_column "
                f"must not be set too; it is {self.question_column!r}"
            )
        if not isinstance(self.train, str):
            check_train_sources(self.train)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each data set of `train` by its path; none if it is one text."""
        return {source.path: source.weight for source in self.train_sources}

    @property
    def train_sources(self) -> tuple[TrainSource, ...]:
        """The data sets of `train` if it lists several; none if it is one text."""
        return () if isinstance(self.train, str) else self.train


class RolloutConfig(Section):
    """Sampling of episodes."""

    # Rollout actors. Each is a process with one vLLM engine.
    num_actors: Free[PositiveInt] = 1
    # GPUs of each engine, all on one node.
    tensor_parallel: Free[PositiveInt] = 1
    # Problems of an iteration, and episodes sampled for each of them.
    problems: PositiveInt
    samples: PositiveInt
    # Attempts of an episode, and the most tokens of an attempt.
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    max_tokens: PositiveInt
    temperature: PositiveFloat = 1.0
    # Share of an iteration's problems whose first attempt is given: one that the base model
    # wrote before training.
    offline_share: Fraction = 0.0
    # Most requests that an engine runs at once.
    max_running: Free[PositiveInt] = 256
    # On a CPU: GiB of an engine's cache of keys and values.
    kv_cache_gb: Free[PositiveFloat] = 1.0
    # On a GPU: share of its memory that an engine takes.
    gpu_memory: Free[Annotated[float, Field(gt=0, lt=1)]] = 0.85
    # Engines and learner ranks use the same GPUs, one side at a time.
    share_gpus: Free[bool] = False
    # Iterations that are sampled ahead, while the learner still updates: 0 or 1.
    overlap: Annotated[int, Field(ge=0, le=1)] = 0

    @property
    def num_gpus(self) -> int:
        """GPUs of all engines together."""
        return self.num_actors * self.tensor_parallel


class AdapterConfig(Section):
    """Training of low-rank adapters (LoRA) in place of all weights.

    The model without its adapter is then the reference.
    """

    # Rank of the adapters; 0 trains all weights.
    rank: Annotated[int, Field(ge=0, le=512)] = 0
    # An adapter is scaled by alpha / rank.
    alpha: PositiveFloat = 32.0
    # Names of the layers that get an adapter; if empty, all linear layers but the output head.
    targets: tuple[str, ...] = ()
    # What engines are sent: the adapter alone, or whole weights with the adapter merged in.
    # "auto" sends the adapter alone in bfloat16, where merging would round it.
    broadcast: Free[Literal["auto", "merged", "adapter"]] = "auto"


class LearnerConfig(Section):
    """The DeepSpeed side: what an update computes, and how its ranks share the work."""

    num_ranks: PositiveInt = 1
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    learning_rate: PositiveFloat
    # Iterations over which the learning rate rises to its value.
    warmup_iterations: Annotated[int, Field(ge=0)] = 0
    # Share of the learning rate that is left at the end of the run; it decays linearly.
    decay_to: Fraction = 1.0
    weight_decay: NonNegative = 0.0
    # Gradients with a larger norm are scaled down to it.
    max_grad_norm: PositiveFloat = 1.0
    # Most tokens of a micro-batch. Padding counts, unless rows are packed.
    tokens_per_micro_batch: PositiveInt = 4096
    # Concatenate the rows of a micro-batch instead of padding them.
    packing: bool = False
    # Most MiB of float32 logits at once. Longer batches pass the output head in chunks.
    logits_mb: Free[PositiveFloat] = 512.0
    # Recompute activations in the backward pass instead of keeping them.
    gradient_checkpointing: Free[bool] = False
    # Keep the optimizer's state in the CPU's memory. Needs zero_stage 1, 2 or 3 in float32.
    offload_optimizer: Free[bool] = False
    # Bound of the importance weights, which correct for tokens that were sampled from other
    # weights than those being trained; 0 applies none.
    max_importance: NonNegative = 0.0
    lora: AdapterConfig = AdapterConfig()


class Stage(Section):
    """A stage of training: numbers per attempt (see algorithm/objective.py).

    `learn` names the training batch (see algorithm/training_batch.py): "reinforce" is SCoRe's
    policy gradient, "star" and "pairs" are the paper's baselines, which imitate correct answers.
    """

    name: str
    iterations: PositiveInt
    learn: Literal["reinforce", "star", "pairs"] = "reinforce"
    # Coefficient of each attempt's reward; for star and pairs, of its tokens' log-probs.
    reward: tuple[NonNegative, ...]
    # Alpha: coefficient of the gain in reward from one attempt to the next.
    bonus: NonNegative = 0.0
    # Coefficient of each attempt's KL to the reference.
    kl: tuple[NonNegative, ...]
    # Nats of KL that each coefficient is steered to; 0, or an empty list, keeps it fixed.
    kl_target: tuple[NonNegative, ...] = ()
    # For star and pairs, the episodes to imitate: those in which a correct answer follows a wrong
    # first attempt ("i_to_c") or a correct one ("c_to_c").
    keep: tuple[Literal["i_to_c", "c_to_c"], ...] = ("i_to_c",)
    # Iterations that sample from the same weights before engines get new ones.
    refresh: PositiveInt = 1

    def model_post_init(self, _: object) -> None:
        """Check what depends on several keys."""
        if self.kl_target and len(self.kl_target) != len(self.kl):
            raise ValueError(
                f"kl_target: needs {len(self.kl)} numbers, one per attempt; it has "
                f"{len(self.kl_target)}"
            )
        if any(t and not k for t, k in zip(self.kl_target, self.kl, strict=False)):
            raise ValueError("kl_target: a coefficient in kl that is steered must not start at 0")
        imitates = self.learn != "reinforce"
        if imitates and (self.bonus or any(self.kl)):
            raise ValueError(f"learn: {self.learn} has no bonus and no kl; set them to 0")
        if imitates and (len(self.reward) != 2 or not self.keep):
            raise ValueError(f"learn: {self.learn} needs two attempts, and an outcome in keep")
        if self.refresh > 1 and not imitates:
            raise ValueError(
                f"refresh: reinforce needs episodes of the current weights; set it to 1 "
                f"({self.refresh} is set)"
            )


class WeightSync(Section):
    """The broadcast of weights from the learner to the engines, and the check after it."""

    # How weights travel; "auto" chooses by hardware and by rollout.share_gpus.
    backend: Free[Literal["auto", "object_store", "nccl", "ipc"]] = "auto"
    # MiB of a part: weights are sent in parts of about this size.
    part_mb: Free[PositiveFloat] = 256.0
    # Largest mean |log-prob difference| between engine and learner on the probe.
    max_mismatch: PositiveFloat = 1e-3
    # Tokens of the probe, which both sides score after a broadcast.
    probe_tokens: PositiveInt = 256


class EvaluationConfig(Section):
    """Greedy evaluation on the test split: before training and after every stage."""

    # Most test problems that are evaluated.
    problems: PositiveInt = 1000
    # Iterations between further evaluations; 0 makes none.
    every: Annotated[int, Field(ge=0)] = 0
    # Attempts of an evaluated episode; 0 is rollout.attempts.
    attempts: Annotated[int, Field(ge=0, le=10)] = 0
    # Training problems that are not trained on, for checkpoint.select.
    held_out: Annotated[int, Field(ge=0)] = 0


class GradingConfig(Section):
    """Grading of attempts."""

    num_workers: Free[PositiveInt] = 1
    # Seconds that grading one attempt may take.
    deadline: Free[PositiveFloat] = 10.0
    # Largest share of an iteration's measurements that may fail. A run in which more of them
    # fail three iterations in a row stops, as does one in which all of one iteration do.
    max_failed: Free[Fraction] = 0.5
    # A reward function of your own, "module:function", in place of the task's check.
    reward: str = ""
    # Let the frozen reference judge answers, in place of the task's check.
    judge: bool = False


class CheckpointConfig(Section):
    """Checkpoints, from which a run is resumed."""

    # Iterations between checkpoints, and how many of the newest ones are kept.
    every: PositiveInt = 10
    keep: PositiveInt = 2
    # The checkpoint that becomes the trained model: the last one, the one with the best training
    # reward, or the one with the best accuracy on evaluation.held_out.
    select: Literal["last", "train_reward", "held_out"] = "last"


class RecoveryConfig(Section):
    """When a process counts as lost, and how often lost ones are replaced."""

    # Seconds for loading models, and for the first call of each kind.
    start: PositiveFloat = 600.0
    # Seconds that a later call may take beyond the slowest one of its kind so far.
    grace: PositiveFloat = 60.0
    # Seconds to wait for a cluster to grow to what the run needs.
    cluster: NonNegative = 0.0
    # Replacements in a row, without progress between them, after which the run fails.
    retries: Annotated[int, Field(ge=0)] = 3
