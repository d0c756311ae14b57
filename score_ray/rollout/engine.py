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
# On a GPU, attention in float32 would be computed with ten bits of mantissa.
os.environ.setdefault("TRITON_F32_DEFAULT", "ieee")

import numpy as np
import torch
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.sampling_params import RequestOutputKind

from score_ray.rollout.setup import EngineSetup
from score_ray.types import Completion, Episode, Finish, PeerLost, Request
from score_ray.weights.backend import OBJECT_STORE
from score_ray.weights.lora_adapter import Adapter, adapter_options
from score_ray.weights.packing import PackedTensor
from score_ray.weights.plugin import ENGINES, registered
from score_ray.weights.rendezvous import CALLED_OFF, was_called_off

# The smallest block the CPU kernels take; the default of 128 never hits the prefix cache
# on short prompts, and attempt 2's prompt is attempt 1 plus one turn.
CPU_BLOCK_SIZE = 32
MEMORY = ("weights", "kv_cache")  # what an engine holds of its GPU, in vLLM's words


class VllmEngine:
    """A running batch of requests in vLLM, and its weights."""

    def __init__(self, setup: EngineSetup, stop_ids: Sequence[int]) -> None:
        self.version = 0
        self._running: set[str] = set()
        self._asleep: set[str] = set()
        self._updating = False
        self._stop_ids = list(stop_ids)
        self._tokenizer = AutoTokenizer.from_pretrained(setup.model_folder)
        self._llm: Any = LLM(
            model=setup.model_folder,
            skip_tokenizer_init=True,
            dtype=setup.model.dtype,  # type: ignore[arg-type]
            max_model_len=setup.model.max_length,
            max_num_seqs=setup.rollout.max_running,
            max_num_batched_tokens=_tokens_of_a_step(setup),
            enable_prefix_caching=True,
            tensor_parallel_size=setup.rollout.tensor_parallel,
            seed=0,
            disable_log_stats=True,
            # Of the distribution that was drawn from: the default ignores the temperature.
            logprobs_mode="processed_logprobs",
            weight_transfer_config=WeightTransferConfig(backend=ENGINES[setup.backend][0]),
            **adapter_options(setup.adapter_rank, setup.adapter_layers),
            **_platform_options(setup),
        )
        self._adapter = Adapter(self._llm.llm_engine) if setup.adapter_rank else None
        _require(setup.backend)
        if setup.backend == OBJECT_STORE:  # the others are set up by the learner's end
            self.link({})

    def sleep(self) -> None:
        """Leave the GPU to others; what a later call needs of it is taken again by that call.

        The weights go to the CPU's memory. To drop them instead (vLLM's level 2) would be right
        only where a broadcast comes next, and after an evaluation, a checkpoint or an iteration
        that is not broadcast it does not.
        """
        if self._asleep != set(MEMORY):
            self._llm.sleep(level=1)
            self._asleep = set(MEMORY)

    def add(self, request: Request) -> None:
        """Put a request into the running batch."""
        self._wake(*MEMORY)
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
        self._llm.llm_engine.add_request(
            request.key, prompt, params, lora_request=self._adapter_request()
        )
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

    def load_weights(
        self, parts: Iterable[tuple[list[PackedTensor], np.ndarray]], version: int
    ) -> None:
        """Replace the weights, or the adapter, by packed ones, which every back end takes."""
        if self._adapter is not None:
            self._wake("weights")
            self._adapter.load(parts)
            self._serve(version)
            return
        self.start_update()
        for entries, buffer in parts:
            self.receive({"entries": entries, "buffer": buffer})
        self.finish_update(version)

    def link(self, init_info: dict[str, Any]) -> None:
        """Set up the way to the learner; PeerLost if its other end does not come about."""
        self._llm.init_weight_transfer_engine({"init_info": init_info})
        self._require_end()

    def start_update(self) -> None:
        """Make the weights replaceable; until `finish_update` nothing may be sampled."""
        # Not yet the cache: on a shared GPU the learner, where the weights come from, is there.
        self._wake("weights")
        if self._updating:  # of an update that broke off the layers are half taken apart
            self._llm.finish_weight_update()
        self._llm.start_weight_update()
        self._updating = True

    def receive(self, update_info: dict[str, Any]) -> None:
        """Take what one update describes; PeerLost if not all of it came."""
        self._llm.update_weights({"update_info": update_info})
        self._require_end()

    def finish_update(self, version: int) -> None:
        """Serve what was received, and nothing that was computed with the old weights.

        The prefix cache holds keys and values of the old weights and an update does not
        reset it, so this does, and refuses to go on if vLLM declines.
        """
        self._llm.finish_weight_update(weight_version=str(version))
        self._updating = False
        self._serve(version)

    def _serve(self, version: int) -> None:
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM refused to reset its prefix cache: requests are still running")
        self.version = version

    def score(self, rows: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """Log-probs of every token of each row but the first, from the weights being served."""
        self._wake(*MEMORY)
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        outputs = self._llm.generate(
            prompts, params, use_tqdm=False, lora_request=self._adapter_request()
        )
        return [
            [at[token].logprob for at, token in zip(o.prompt_logprobs[1:], row[1:], strict=True)]
            for o, row in zip(outputs, rows, strict=True)
        ]

    def offline_seconds(self, episodes: Sequence[Episode]) -> float:
        """What `LLM.generate` takes for the same attempts, to the same lengths.

        One call per attempt, as a loop with a barrier between attempts would.
        """
        self._wake(*MEMORY)
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
            self._llm.generate(
                prompts, params, use_tqdm=False, lora_request=self._adapter_request()
            )
        return time.perf_counter() - start

    def _adapter_request(self) -> Any:
        return self._adapter.request if self._adapter is not None else None

    def _wake(self, *memory: str) -> None:
        wanted = [tag for tag in memory if tag in self._asleep]
        if wanted:
            self._llm.wake_up(tags=wanted)
            self._asleep -= set(wanted)

    def _require_end(self) -> None:
        if any(self._llm.collective_rpc(was_called_off)):
            raise PeerLost(CALLED_OFF)


def _require(backend: str) -> None:
    if not registered(backend):
        raise RuntimeError(
            f"vLLM did not load the weight-transfer back end {backend!r}: is score_ray "
            "installed (pip install -e .), and does VLLM_PLUGINS exclude it?"
        )


def _tokens_of_a_step(setup: EngineSetup) -> int:
    """As many as are needed for prompts not to be read in parts.

    On a CPU that crashes the engine when requests carry their own seeds. And vLLM tries a step
    of all these tokens out, for which no request may be longer than the model allows.
    """
    most = setup.rollout.max_running * setup.model.max_length
    return max(min(16384, most), setup.model.max_length)


def _platform_options(setup: EngineSetup) -> dict:
    # Left to itself vLLM would ask Ray for GPUs beyond those that the actor already has.
    executor = {
        "distributed_executor_backend": "uni" if setup.rollout.tensor_parallel == 1 else "mp"
    }
    if torch.cuda.is_available():
        return executor | {
            "gpu_memory_utilization": setup.rollout.gpu_memory,
            "enable_sleep_mode": setup.rollout.share_gpus,
        }
    return executor | {
        "enforce_eager": True,
        "kv_cache_memory_bytes": int(setup.rollout.kv_cache_gb * 2**30),
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
