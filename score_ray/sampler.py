"""The vLLM engine behind the Engine protocol: one per rollout actor.

The engine runs in the actor's own process and takes token ids, never text. Requests may
join its running batch at any step, which is what lets rollout.py start a second attempt
the moment its first one ends.
"""

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
# Tensor parallel on CPUs would refuse a machine with fewer NUMA nodes than processes.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

import numpy as np
import torch
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.sampling_params import RequestOutputKind

from score_ray.types import Completion, EngineOptions, Episode, Finish, Request
from score_ray.weights.plugin import BACKEND
from score_ray.weights.source import Entry

# The smallest block the CPU kernels take; the default of 128 never hits the prefix cache
# on short prompts, and attempt 2's prompt is attempt 1 plus one turn.
CPU_BLOCK_SIZE = 32


class Sampler:
    """A running batch of requests in vLLM, and its weights."""

    def __init__(self, options: EngineOptions, stop_ids: Sequence[int]) -> None:
        self.version = 0
        self._running: set[str] = set()
        self._stop_ids = list(stop_ids)
        self._tokenizer = AutoTokenizer.from_pretrained(options.model)
        self._llm: Any = LLM(
            model=options.model,
            skip_tokenizer_init=True,
            dtype=options.dtype,  # type: ignore[arg-type]
            max_model_len=options.max_length,
            max_num_seqs=options.max_running,
            # Prefills are never split: on CPU a prompt prefilled in parts crashes the
            # engine when requests carry their own seeds.
            max_num_batched_tokens=max(16384, options.max_length),
            enable_prefix_caching=True,
            tensor_parallel_size=options.tensor_parallel,
            seed=0,
            disable_log_stats=True,
            # Of the distribution that was drawn from: the default ignores the temperature.
            logprobs_mode="processed_logprobs",
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            **_platform_options(options),
        )
        self._require_backend()
        self._llm.init_weight_transfer_engine({"init_info": {}})

    def add(self, request: Request) -> None:
        """Put a request into the running batch."""
        greedy = request.temperature == 0
        params = SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=None if greedy else request.seed,
            logprobs=0,
            stop_token_ids=self._stop_ids,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        self._llm.llm_engine.add_request(request.key, prompt, params)
        self._running.add(request.key)

    def step(self) -> list[Completion]:
        """Advance every running request by a token; return those that ended."""
        ended = [o for o in self._llm.llm_engine.step() if o.finished]
        self._running -= {o.request_id for o in ended}
        if not ended:
            return []
        texts = self._tokenizer.batch_decode(
            [o.outputs[0].token_ids for o in ended], skip_special_tokens=True
        )
        return [_completion(o, text) for o, text in zip(ended, texts, strict=True)]

    def clear(self) -> None:
        """Take what is still running out of the batch: whoever asked for it is gone."""
        self._llm.llm_engine.abort_request(list(self._running))
        self._running.clear()

    def load_weights(self, parts: Iterable[tuple[list[Entry], np.ndarray]], version: int) -> None:
        """Replace the weights, then everything that was computed with the old ones.

        The prefix cache holds keys and values of the old weights and an update does not
        reset it, so this does, and refuses to go on if vLLM declines.
        """
        self._llm.start_weight_update()
        for entries, buffer in parts:
            self._llm.update_weights({"update_info": {"entries": entries, "buffer": buffer}})
        self._llm.finish_weight_update(weight_version=str(version))
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM refused to reset its prefix cache: requests are still running")
        self.version = version

    def score(self, rows: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """Log-probs of every token of each row but the first, from the weights being served."""
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [
            [at[token].logprob for at, token in zip(o.prompt_logprobs[1:], row[1:], strict=True)]
            for o, row in zip(outputs, rows, strict=True)
        ]

    def offline_seconds(self, episodes: Sequence[Episode]) -> float:
        """What `LLM.generate` takes for the same attempts, to the same lengths.

        One call per attempt, as a loop with a barrier between attempts would.
        """
        self._llm.reset_prefix_cache()
        start = time.perf_counter()
        for number in range(len(episodes[0].attempts)):
            attempts = [e.attempts[number] for e in episodes]
            params = [
                SamplingParams(
                    max_tokens=len(a.completion_ids), ignore_eos=True, logprobs=0, detokenize=False
                )
                for a in attempts
            ]
            prompts = [{"prompt_token_ids": list(a.prompt_ids)} for a in attempts]
            self._llm.generate(prompts, params, use_tqdm=False)
        return time.perf_counter() - start

    def _require_backend(self) -> None:
        # vLLM only logs a plug-in that fails to load.
        if BACKEND not in WeightTransferEngineFactory._registry:
            raise RuntimeError(
                f"vLLM did not load the weight-transfer back end {BACKEND!r}: is score_ray "
                "installed (pip install -e .), and does VLLM_PLUGINS exclude it?"
            )


def _platform_options(options: EngineOptions) -> dict:
    if torch.cuda.is_available():
        return {"gpu_memory_utilization": 0.4}
    return {
        "distributed_executor_backend": "uni" if options.tensor_parallel == 1 else "mp",
        "enforce_eager": True,
        "kv_cache_memory_bytes": options.kv_cache_bytes,
        "block_size": CPU_BLOCK_SIZE,
    }


def _completion(output: Any, text: str) -> Completion:
    best = output.outputs[0]
    ids = tuple(best.token_ids)
    return Completion(
        key=output.request_id,
        token_ids=ids,
        logprobs=tuple(at[i].logprob for at, i in zip(best.logprobs, ids, strict=True)),
        text=text.strip(),
        finish=Finish.LENGTH if best.finish_reason == "length" else Finish.STOP,
    )
