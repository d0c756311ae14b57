"""A direct broadcast in one process and without a GPU: only calls that need CUDA are replaced.

vLLM's senders, its packing and its receivers are real, and so are our client, sender and
engines. Queues carry the buffers in place of NCCL, and threads make the calls in place of Ray.
"""

import contextlib
import queue
import threading
from collections.abc import Mapping
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import torch
from vllm.distributed.utils import StatelessProcessGroup
from vllm.distributed.weight_transfer import nccl_engine, packed_tensor

from score_ray.rollout.engine import VllmEngine
from score_ray.runtime import engine_client
from score_ray.runtime.engine_client import EngineClient, Recipients
from score_ray.weights import nccl
from score_ray.weights.nccl import NcclSender
from score_ray.weights.policy_source import PolicySource
from score_ray.weights.sender import WeightSender

HOST = "127.0.0.1"
BUFFER_BYTES = 60


class Stream:
    def synchronize(self) -> None:
        """Do nothing: all work is done at once."""


class Sending:
    """Rank 0's communicator; the broadcast of number `stuck_at` waits until it is destroyed."""

    def __init__(self, queues: dict[int, queue.Queue], store: Any, stuck_at: int) -> None:
        self.queues, self.store = queues, store
        self.sent, self.stuck_at = 0, stuck_at
        self.destroyed = threading.Event()

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        assert src == 0
        if self.sent == self.stuck_at:
            assert self.destroyed.wait(60)
            raise RuntimeError("NCCL error: aborted")
        self.sent += 1
        for queue_of_engine in self.queues.values():
            queue_of_engine.put(tensor.clone())

    def destroy(self) -> None:
        self.destroyed.set()


class Receiving:
    """An engine's communicator; it waits for the next buffer until it is destroyed."""

    def __init__(self, incoming: queue.Queue) -> None:
        self.incoming = incoming

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        buffer = self.incoming.get(timeout=60)
        if buffer is None:
            raise RuntimeError("NCCL error: aborted")
        tensor.copy_(buffer)

    def destroy(self) -> None:
        self.incoming.put(None)


class Network:
    """Makes communicators from queues and real stores, and keeps the senders', one per setup."""

    def __init__(self) -> None:
        self.senders: list[Sending] = []
        self.stuck_at = -1
        self.queues: dict[int, dict[int, queue.Queue]] = {}

    def sender(self, info: Any) -> Sending:
        ranks = range(1, info.world_size)
        self.queues[info.master_port] = {rank: queue.Queue() for rank in ranks}
        store = StatelessProcessGroup.create(
            info.master_address, info.master_port, 0, info.world_size
        )
        self.senders.append(Sending(self.queues[info.master_port], store, self.stuck_at))
        return self.senders[-1]

    def receiver(self, info: Any, parallel: Any) -> Receiving:
        StatelessProcessGroup.create(
            info.master_address, info.master_port, info.rank_offset, info.world_size
        )
        return Receiving(self.queues[info.master_port][info.rank_offset])


class Model(torch.nn.Module):
    """Takes weights as an engine's model does, and keeps copies of them by name."""

    def __init__(self) -> None:
        super().__init__()
        self.got: dict[str, torch.Tensor] = {}

    def load_weights(self, weights: Any) -> None:
        self.got |= {name: tensor.clone() for name, tensor in weights}


class Llm:
    """The part of vLLM's LLM that VllmEngine uses, around one real weight-transfer engine."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.calls = engine, []

    def init_weight_transfer_engine(self, request: dict) -> None:
        self.calls.append("init")
        self.engine.init_transfer_engine(self.engine.parse_init_info(request["init_info"]))

    def start_weight_update(self) -> None:
        self.calls.append("start")

    def update_weights(self, request: dict) -> None:
        self.calls.append("update")
        self.engine.update_weights(request["update_info"])

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.calls.append(f"finish {weight_version}")

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset")
        return True

    def collective_rpc(self, function: Any) -> list:
        return [function(SimpleNamespace(weight_transfer_engine=self.engine))]


class RemoteMethod:
    """A function that is called in a thread, as a method of a Ray actor in its process."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def remote(self, *args: Any) -> futures.Future:
        result: futures.Future = futures.Future()

        def run() -> None:
            try:
                result.set_result(self.function(*args))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return result


def steps_of(engine: VllmEngine) -> SimpleNamespace:
    """Return a rollout actor's steps of a direct broadcast, for an engine of this process."""
    return SimpleNamespace(
        link=RemoteMethod(engine.link),
        start_update=RemoteMethod(engine.start_update),
        receive=RemoteMethod(engine.receive),
        finish_update=RemoteMethod(engine.finish_update),
    )


class Actor:
    """A rollout actor with a real engine's steps; functions in `trouble` replace them by name."""

    def __init__(self, engine_class: type, number: int = 0) -> None:
        config = SimpleNamespace(
            parallel_config=None, model_config=SimpleNamespace(hf_config=SimpleNamespace())
        )
        self.model = Model()
        engine: Any = engine_class
        self.transfer = engine(None, config, torch.device("cpu", number), self.model)
        self.vllm_engine = VllmEngine.__new__(VllmEngine)
        self.vllm_engine._asleep, self.vllm_engine._updating, self.vllm_engine.version = (
            set(),
            False,
            0,
        )
        self.vllm_engine._adapter = None
        self.llm = self.vllm_engine._llm = Llm(self.transfer)
        self.trouble: dict[str, Any] = {}
        steps = steps_of(self.vllm_engine)
        self.link = self._troubled("link", steps.link)
        self.start_update = self._troubled("start_update", steps.start_update)
        self.receive = self._troubled("receive", steps.receive)
        self.finish_update = self._troubled("finish_update", steps.finish_update)

    def _troubled(self, step: str, method: RemoteMethod) -> RemoteMethod:
        def run(*args: Any) -> None:
            self.trouble.get(step, method.function)(*args)

        return RemoteMethod(run)


class Threads:
    """The part of Ray that the client uses."""

    @staticmethod
    def wait(refs: list, num_returns: int, timeout: float | None = None) -> tuple[list, list]:
        done, waiting = futures.wait(refs, timeout, futures.FIRST_COMPLETED)
        return list(done)[:num_returns], list(waiting)

    @staticmethod
    def get(ref: futures.Future) -> Any:
        return ref.result()


def without_cuda(patch: Any) -> Network:
    """Replace CUDA, NCCL and Ray, and return the network that carries the buffers instead."""
    network = Network()
    patch.setattr(packed_tensor, "_get_streams", lambda device, count: [Stream()] * count)
    patch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    patch.setattr(torch.cuda, "current_stream", lambda: Stream())
    patch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    patch.setattr(torch.accelerator, "set_device_index", lambda device: None)
    patch.setattr(nccl_engine, "open_trainer_endpoint", network.sender)
    patch.setattr(nccl, "worker_init_process_group", network.receiver)
    patch.setattr(engine_client, "ray", Threads)
    return network


def send(
    sender: WeightSender,
    actors: Mapping[str, Any],
    version: int = 1,
    seconds: float = 60.0,
    buffer_bytes: int = BUFFER_BYTES,
) -> EngineClient:
    """Broadcast to actors as a learner rank does; return the client, which knows the lost ones."""
    together = isinstance(sender, NcclSender)
    client = EngineClient(Recipients(actors, 1, version), together, seconds, sender.call_off)
    sender.send(client, buffer_bytes)
    return client


def tensors() -> dict[str, torch.Tensor]:
    """Return tensors of several types and shapes, which fill several buffers of BUFFER_BYTES.

    vLLM packs without gaps, so a float32 must not follow an odd number of bfloat16 values.
    """
    torch.manual_seed(0)
    return {
        "a": torch.randn(3, 5),
        "b": torch.randn(8).bfloat16(),
        "c": torch.randn(2, 3, 4),
        "d": torch.randn(1),
        "e": torch.randn(30).bfloat16(),
    }


def source_of(weights: dict[str, torch.Tensor]) -> PolicySource:
    """Return a weight source that gives these tensors."""
    return PolicySource(lambda: iter(weights.items()))


def same(got: dict[str, torch.Tensor], sent: dict[str, torch.Tensor]) -> bool:
    """Return whether names, order, types and bits are the same."""
    return list(got) == list(sent) and all(
        torch.equal(got[n], sent[n]) and got[n].dtype == sent[n].dtype for n in sent
    )
