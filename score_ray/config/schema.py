"""The sections of a config: what can be set, of which type, and what it is without being set.

Each section is read by the module of its name.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic import NonNegativeFloat as NonNegative

Fraction = Annotated[float, Field(ge=0, le=1)]
JUDGE = (
    "Question:\n{question}\n\nCorrect answer:\n{answer}\n\nProposed answer:\n{attempt}\n\n"
    "Is the proposed answer correct? Reply with Yes or No."
)


class Section(BaseModel):
    """Strict and frozen: no unknown key, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelConfig(Section):
    """The policy's starting point, which is also the frozen reference in every stage."""

    path: str  # a folder, a Hugging Face name, "embedded:arithmetic" or "package:smollm2"
    dtype: Literal["float32", "bfloat16"] = "float32"  # of both sides; the optimizer's is float32
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"  # the learner's
    max_length: PositiveInt  # tokens of a whole episode: prompts and all attempts


class TaskConfig(Section):
    """Where problems come from: generated, or read from `train` and `test`."""

    name: Literal["arithmetic", "sums", "math", "mbpp", "mbpp_r", "humaneval"]
    held_out: PositiveInt = 1000  # generated tasks: problems kept for evaluation
    largest: PositiveInt = 99  # sums: the largest number that is added
    train: str = ""  # file, folder or Hugging Face name: PLACE[:CONFIG][@SPLIT]
    test: str = ""  # mbpp: one file named for both is split by task_id, as published
    question_column: str = "question"  # math
    answer_column: str = "answer"  # math
    attempt_column: str = ""  # mbpp_r: holds the first program, which is to be repaired


class PromptConfig(Section):
    """The words around a question; `preset` names a pair from prompts.py instead."""

    preset: Literal["", "paper_math", "self_refine_math", "paper_mbpp", "paper_humaneval"] = ""
    first: str = ""  # contains {question}
    correction: str = ""
    feedback: str = ""  # asked between an attempt and its correction; the reply is context
    system: str = ""
    judge: str = JUDGE  # contains {question}, {answer} and {attempt}
    judge_yes: str = "Yes"
    judge_no: str = "No"


class RolloutConfig(Section):
    """How episodes are sampled."""

    num_actors: PositiveInt = 1  # rollout actors, each with a vLLM engine
    tensor_parallel: PositiveInt = 1  # GPUs of each engine, all on one node
    problems: PositiveInt  # problems per iteration
    samples: PositiveInt  # episodes per problem
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    max_tokens: PositiveInt  # tokens per attempt
    temperature: PositiveFloat = 1.0
    offline_share: Fraction = 0.0  # of the problems: first attempt given, by the base model
    max_running: PositiveInt = 256  # requests in an engine's running batch
    kv_cache_gb: PositiveFloat = 1.0  # on a CPU
    gpu_memory: Annotated[float, Field(gt=0, lt=1)] = 0.85  # on a GPU: an engine's share of it
    share_gpus: bool = False  # engines and learner ranks on the same GPUs, in turns
    overlap: Annotated[int, Field(ge=0, le=1)] = 0  # iterations that are sampled ahead


class AdapterConfig(Section):
    """Low-rank adapters in place of all weights; the reference is the model without them."""

    rank: Annotated[int, Field(ge=0, le=512)] = 0  # 0: all weights are trained
    alpha: PositiveFloat = 32.0
    targets: tuple[str, ...] = ()  # names of layers; none: every linear one but the head
    # Whole weights, or the adapter alone; "auto" sends it alone in bfloat16, where merging rounds.
    broadcast: Literal["auto", "merged", "adapter"] = "auto"


class LearnerConfig(Section):
    """The DeepSpeed side."""

    num_ranks: PositiveInt = 1
    zero_stage: Literal[0, 1, 2, 3] = 0
    learning_rate: PositiveFloat
    warmup_iterations: Annotated[int, Field(ge=0)] = 0
    decay_to: Fraction = 1.0  # of learning_rate, which falls to it over the run, linearly
    weight_decay: NonNegative = 0.0
    max_grad_norm: PositiveFloat = 1.0
    tokens_per_micro_batch: PositiveInt = 4096  # with padding, unless packed
    packing: bool = False  # rows one after the other in place of padding them
    logits_mb: PositiveFloat = 512.0  # of float32 logits at once
    gradient_checkpointing: bool = False
    offload_optimizer: bool = False  # its state in the CPU's memory; zero_stage 1 to 3
    max_importance: NonNegative = 0.0  # bound of a token's importance weight; 0: none is applied
    lora: AdapterConfig = AdapterConfig()


class Stage(Section):
    """A stage is a row of numbers, one per attempt (see objective.py and lesson.py)."""

    name: str
    iterations: PositiveInt
    learn: Literal["reinforce", "star", "pairs"] = "reinforce"
    reward: tuple[NonNegative, ...]  # of an attempt; where a stage imitates: of its tokens
    bonus: NonNegative = 0.0  # alpha
    kl: tuple[NonNegative, ...]
    kl_target: tuple[NonNegative, ...] = ()  # nats that kl is steered to; 0, or none: kl is fixed
    keep: tuple[Literal["i_to_c", "c_to_c"], ...] = ("i_to_c",)  # what star and pairs imitate
    refresh: PositiveInt = 1  # iterations that draw from the same weights

    def model_post_init(self, _: object) -> None:
        """Check what spans keys."""
        if self.kl_target and len(self.kl_target) != len(self.kl):
            raise ValueError(f"kl_target: {len(self.kl)} numbers are needed, one per attempt")
        if any(t and not k for t, k in zip(self.kl_target, self.kl, strict=False)):
            raise ValueError("kl_target: a coefficient that is to be steered must not start at 0")
        imitates = self.learn != "reinforce"
        if imitates and (self.bonus or any(self.kl)):
            raise ValueError(f"learn: {self.learn} has no bonus and no kl; set them to 0")
        if imitates and (len(self.reward) != 2 or not self.keep):
            raise ValueError(f"learn: {self.learn} takes two attempts, and something to keep")
        if self.refresh > 1 and not imitates:
            raise ValueError(
                "refresh: reinforce needs episodes of the current weights; set it to 1"
            )


class WeightSync(Section):
    """The broadcast, and the check after it."""

    backend: Literal["auto", "object_store", "nccl", "ipc"] = "auto"
    part_mb: PositiveFloat = 256.0  # a broadcast is sent in parts of about this size
    max_mismatch: PositiveFloat = 1e-3  # mean |log-prob difference| between engine and learner
    probe_tokens: PositiveInt = 256


class EvaluationConfig(Section):
    """Greedy evaluation on the test split: before, between and after the stages."""

    problems: PositiveInt = 1000
    every: Annotated[int, Field(ge=0)] = 0  # also every so many iterations; 0: not
    attempts: Annotated[int, Field(ge=0, le=10)] = 0  # 0: as many as in training
    held_out: Annotated[int, Field(ge=0)] = 0  # training problems kept back to choose a checkpoint


class GradingConfig(Section):
    """The process pool that judges answers."""

    num_workers: PositiveInt = 1
    deadline: PositiveFloat = 10.0  # seconds per attempt
    reward: str = ""  # "module:function" of your own, in place of the task's check
    judge: bool = False  # the frozen reference judges, in place of the task's check


class CheckpointConfig(Section):
    """What a killed run goes on from."""

    every: PositiveInt = 10  # iterations
    keep: PositiveInt = 2
    select: Literal["last", "train_reward", "held_out"] = "last"  # which one becomes the model


class RecoveryConfig(Section):
    """When a process counts as lost, and how often lost ones are replaced."""

    start: PositiveFloat = 600.0  # seconds for loading models, and for the first call of a kind
    grace: PositiveFloat = 60.0  # seconds beyond the slowest call of its kind so far
    cluster: NonNegative = 0.0  # seconds that a cluster may take to grow to what is asked
    retries: Annotated[int, Field(ge=0)] = 3  # replacements in a row that get no further
