"""The vLLM engine behind the Engine protocol: one per rollout actor.

The engine runs in the actor's own process and takes token ids, never text. Requests may
join its running batch at any step, so that episodes.py can start a second attempt the moment
its first one ends.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
# With tensor parallelism on CPUs vLLM refuses machines with fewer NUMA nodes than processes.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
# Otherwise a GPU computes attention in float32 with ten bits of mantissa.
os.environ.setdefault("TRITON_F32_DEFAULT", "ieee")

import numpy as np
import torch
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.config import WeightTransferConfig
from vllm.sampling_params import RequestOutputKind

from score_ray.config.schema import STEP_TOKENS
from score_ray.rollout.setup import EngineSetup
from score_ray.types import Completion, Finish, PeerLost, Request
from score_ray.weights.backend import OBJECT_STORE
from score_ray.weights.lora_adapter import Adapter, adapter_options
from score_ray.weights.packing import PackedTensor
from score_ray.weights.plain_folder import plain_folder
from score_ray.weights.plugin import ENGINES, is_registered
from score_ray.weights.rendezvous import CALLED_OFF, was_called_off

# The smallest block that the CPU kernels accept. The prefix cache holds whole blocks, and with
# vLLM's 128 it would never serve short prompts, though a second prompt repeats the first attempt.
CPU_BLOCK_SIZE = 32
MEMORY = ("weights", "kv_cache")  # vLLM's names for what an engine keeps on its GPU


class VllmEngine:
    """A vLLM engine: a running batch of requests, and the weights that serve them."""

    def __init__(self, setup: EngineSetup, stop_ids: Sequence[int]) -> None:
        self.version = 0
        self._running: set[str] = set()
        self._asleep: set[str] = set()
        self._updating = False
        self._stop_ids = list(stop_ids)
        self._tokenizer = AutoTokenizer.from_pretrained(setup.model_folder)
        with plain_folder(setup.model_folder) as folder:
            self._llm: Any = _start(folder, setup)
        self._adapter = Adapter(self._llm.llm_engine) if setup.adapter_rank else None
        _check_registered(setup.backend)
        if setup.backend == OBJECT_STORE:  # the learner's side sets up the others
            self.link({})

    def sleep(self) -> None:
        """Free the GPU's memory; a later call takes back what it needs of it.

        The weights move to the CPU's memory. To drop them (vLLM's level 2) would work only if
        a broadcast came next. None does after an evaluation, a checkpoint or an iteration whose
        weights are not broadcast.
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
        """Advance every running request by a token; return the completions of those that ended."""
        ended = [o for o in self._llm.llm_engine.step() if o.finished]
        self._running -= {o.request_id for o in ended}
        if not ended:
            return []
        texts = self._tokenizer.batch_decode(
            [o.outputs[0].token_ids for o in ended], skip_special_tokens=True
        )
        return [_completion(o, text) for o, text in zip(ended, texts, strict=True)]

    def clear(self) -> None:
        """Abort the requests that are still running, because nobody waits for them any more."""
        self._llm.llm_engine.abort_request(list(self._running))
        self._running.clear()

    def load_weights(
        self, parts: Iterable[tuple[list[PackedTensor], np.ndarray]], version: int
    ) -> None:
        """Replace the weights, or the adapter, by packed ones; this works with every back end."""
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
        """Set up the transfer from the learner; raise PeerLost if it was called off."""
        self._llm.init_weight_transfer_engine({"init_info": init_info})
        self._check_called_off()

    def start_update(self) -> None:
        """Prepare the weights for replacement; nothing may be sampled until `finish_update`."""
        # The cache stays off the GPU: on a shared one the learner, which sends, is still there.
        self._wake("weights")
        if self._updating:  # an update broke off and left layers half prepared
            self._llm.finish_weight_update()
        self._llm.start_weight_update()
        self._updating = True

    def receive(self, update_info: dict[str, Any]) -> None:
        """Receive the tensors that an update describes; raise PeerLost if it was called off."""
        self._llm.update_weights({"update_info": update_info})
        self._check_called_off()

    def finish_update(self, version: int) -> None:
        """Serve the weights that were received, as this version.

        vLLM keeps the old weights' keys and values in its prefix cache, so this resets the cache.
        Raises RuntimeError if vLLM refuses to.
        """
        self._llm.finish_weight_update(weight_version=str(version))
        self._updating = False
        self._serve(version)

    def reset_prefix_cache(self) -> None:
        """Forget all cached keys and values; raise RuntimeError if requests are still running."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM refused to reset its prefix cache: requests are still running")

    def generate(self, prompts: Sequence[tuple[int, ...]], params: Any) -> list[Any]:
        """Return vLLM's outputs for these token ids, while no other requests are running.

        `params` are vLLM's SamplingParams: one for all prompts, or one for each.
        """
        self._wake(*MEMORY)
        token_ids = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        return self._llm.generate(
            token_ids, params, use_tqdm=False, lora_request=self._adapter_request()
        )

    def generate_to_lengths(
        self, prompts: Sequence[tuple[int, ...]], lengths: Sequence[int]
    ) -> None:
        """Sample exactly this many tokens after each prompt, past any end; for measurements."""
        params = [
            SamplingParams(max_tokens=length, ignore_eos=True, logprobs=0, detokenize=False)
            for length in lengths
        ]
        self.generate(prompts, params)

    def _serve(self, version: int) -> None:
        self.reset_prefix_cache()
        self.version = version

    def score(self, rows: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """Return the served policy's log-probs of every token of each row but the first."""
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        outputs = self.generate(rows, params)
        return [
            [at[token].logprob for at, token in zip(o.prompt_logprobs[1:], row[1:], strict=True)]
            for o, row in zip(outputs, rows, strict=True)
        ]

    def _adapter_request(self) -> Any:
        return self._adapter.request if self._adapter is not None else None

    def _wake(self, *memory: str) -> None:
        wanted = [tag for tag in memory if tag in self._asleep]
        if wanted:
            self._llm.wake_up(tags=wanted)
            self._asleep -= set(wanted)

    def _check_called_off(self) -> None:
        if any(self._llm.collective_rpc(was_called_off)):
            raise PeerLost(CALLED_OFF)


def _start(folder: str, setup: EngineSetup) -> LLM:
    """Start vLLM with the model in a folder, or of a Hugging Face name."""
    return LLM(
        model=folder,
        skip_tokenizer_init=True,
        dtype=setup.model.dtype,  # type: ignore[arg-type]
        max_model_len=setup.model.max_length,
        max_num_seqs=setup.rollout.max_running,
        max_num_batched_tokens=step_tokens(setup),
        enable_prefix_caching=True,
        tensor_parallel_size=setup.rollout.tensor_parallel,
        seed=0,
        disable_log_stats=True,
        # Log-probs of the distribution that tokens are sampled from; vLLM's default ignores the
        # temperature.
        logprobs_mode="processed_logprobs",
        weight_transfer_config=WeightTransferConfig(backend=ENGINES[setup.backend][0]),
        **adapter_options(setup.adapter_rank, setup.adapter_layers),
        **_platform_options(setup),
    )


def _check_registered(backend: str) -> None:
    if not is_registered(backend):
        raise RuntimeError(
            f"vLLM did not load the weight-transfer back end {backend!r}: is score_ray "
            "installed (pip install -e .), and does VLLM_PLUGINS exclude it?"
        )


def step_tokens(setup: EngineSetup) -> int:
    """Return the most tokens of an engine step: enough that no prompt is read in parts.

    Reading a prompt in parts crashes the engine on a CPU if requests have seeds. The result is no
    more than all requests can fill, because vLLM tries out a full step when it starts, with
    requests that are no longer than the model allows.
    """
    most = setup.rollout.max_running * setup.model.max_length
    return max(min(STEP_TOKENS, most), setup.model.max_length)


def _platform_options(setup: EngineSetup) -> dict:
    # By default vLLM asks Ray for more GPUs, although the actor has them already.
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
