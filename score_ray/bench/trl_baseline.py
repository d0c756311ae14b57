"""Do the work of `score-ray bench --gpu` with one attempt, by TRL's GRPO trainer.

This script imports nothing of score_ray, because it runs in another environment, which has TRL.
Its argument is JSON (`gpu_layouts.run_trl` writes it), and the last line that it prints is JSON.
"""

import importlib.util
import json
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]


class StepTimes(TrainerCallback):
    """The time at which each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Record the time, once the GPU has done its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Return 1 for every completion that begins with the sum of its prompt, else 0."""
    sums = [sum(map(int, p[-6:-1].split("+"))) for p in prompts]
    return [float(c.startswith(str(s))) for c, s in zip(completions, sums, strict=True)]


def settings(work: dict[str, Any], vllm: bool) -> GRPOConfig:
    """Return TRL's settings: one update per generation, the same KL and micro-batch tokens."""
    episodes = work["problems"] * work["samples"]
    longest = len(work["prompt"]) + work["max_tokens"]
    micro = max(work["tokens"] // longest, 1)
    while episodes % micro:  # a larger micro-batch is to TRL's advantage
        micro += 1
    return GRPOConfig(
        output_dir=work["folder"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=episodes // micro,
        num_generations=work["samples"],
        max_completion_length=work["max_tokens"],
        max_steps=work["iterations"] + 1,
        learning_rate=work["rate"],
        beta=work["kl"],
        temperature=1.0,
        bf16=work["dtype"] == "bfloat16",
        gradient_checkpointing=work["checkpointing"],
        # TRL computes in bf16 by autocast from float32 masters; frozen weights need no masters.
        model_init_kwargs={"dtype": "bfloat16" if work["lora"] else "float32"},
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        **(engine_settings(work) if vllm else {}),
    )


def engine_settings(work: dict[str, Any]) -> dict[str, Any]:
    """Return TRL's settings for vLLM in the same process."""
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_enable_sleep_mode": True,
        # TRL keeps policy, reference and Adam on the GPU, so there is no room for more.
        "vllm_gpu_memory_utilization": 0.3,
        # The correction needs one more forward pass, which score_ray does not make either.
        "vllm_importance_sampling_correction": False,
        "vllm_max_model_length": work["max_length"],
    }


def main() -> None:
    """Train for one step to warm up and then the measured steps; print their mean time."""
    work = json.loads(sys.argv[1])
    vllm = torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None
    count = work["problems"] * (work["iterations"] + 1)
    numbers = [(10 + i % 90, 10 + i * 7 % 90) for i in range(count)]
    prompts = [work["prompt"].format(question=f"{a}+{b}=") for a, b in numbers]
    times = StepTimes()
    GRPOTrainer(
        model=work["model"],
        reward_funcs=reward,
        args=settings(work, vllm),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(work["model"], padding_side="left"),
        callbacks=[times],
        peft_config=adapter(work["lora"]),
    ).train()
    steps = [after - before for before, after in zip(times.ends, times.ends[1:], strict=False)]
    engine = f"vLLM {version('vllm')}" if vllm else "transformers' generate"
    print(json.dumps({"seconds": statistics.fmean(steps), "by": f"TRL {version('trl')}, {engine}"}))


def adapter(rank: int) -> Any:
    """Return low-rank adapters for every linear layer but the head, or None for rank 0."""
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=32, target_modules="all-linear")


if __name__ == "__main__":
    main()
