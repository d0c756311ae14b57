"""A learner rank's calls to the engines, in the order that vLLM's senders make them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from score_ray.runtime.remote_calls import SETTLE_SECONDS
from score_ray.types import PeerLost


@dataclass(frozen=True)
class Recipients:
    """Rollout actors by name that are to get a version of the weights; GPUs of each engine."""

    actors: Mapping[str, Any]
    workers_each: int
    version: int


@dataclass
class EngineClient:
    """Calls every engine at once, and does without those that die or fall silent.

    `together`: the engines need each other to receive. The first loss then ends the broadcast:
    the others have some seconds to say that they noticed, and are not called again. Everything
    together may take `seconds`. An engine's own error is raised as it is.
    """

    to: Recipients
    together: bool
    seconds: float
    lost: dict[str, str] = field(default_factory=dict)
    on_loss: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.members = list(self.to.actors.values())
        self.workers = len(self.members) * self.to.workers_each
        self._until = time.monotonic() + self.seconds

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Set the engines up; those of a communicator have the ranks after the learner's."""
        each = [
            init_info | {"rank_offset": 1 + number * self.to.workers_each} if self.together
            else init_info
            for number in range(len(self.members))
        ]  # fmt: skip
        self._call("link", each)

    def start_weight_update(self) -> None:
        """Have the engines ready to receive."""
        self._call("start_update")

    def update_weights(self, update_info: Any) -> None:
        """Have the engines receive; returns when they have, or when it is given up."""
        self._call("receive", [update_info] * len(self.members))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Have the engines serve what they received, under its version.

        vLLM's senders do not know the version, so theirs is not asked for.
        """
        self._call("finish_update", [self.to.version] * len(self.members))

    def _call(self, method: str, each: list[Any] | None = None) -> None:
        if self.together and self.lost:
            return
        waiting = {
            actor.engine.remote(method, *([each[number]] if each else [])): who
            for number, (who, actor) in enumerate(self.to.actors.items())
            if who not in self.lost
        }
        until, given_up, missed = self._until, False, {}
        while waiting:
            left = max(until - time.monotonic(), 0.0)
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=left)
            for ref in ready:
                who = waiting.pop(ref)
                self._answer(ref, who, missed)
            if not ready and (given_up or not self.together):
                silence = f"no sign of life for {self.seconds:.0f} s"
                self.lost |= dict.fromkeys(waiting.values(), silence)
                break
            if self.together and not given_up and (not ready or self.lost or missed):
                self.on_loss()  # takes seconds where an address is slow to be looked up
                given_up, until = True, time.monotonic() + SETTLE_SECONDS
        # Where nobody is dead or silent, it is those who did not get through that are at fault.
        self.lost = self.lost or missed

    def _answer(self, ref: Any, who: str, missed: dict[str, str]) -> None:
        try:
            ray.get(ref)
        except PeerLost as error:
            missed[who] = str(getattr(error, "cause", error))
        except RayTaskError:
            self.on_loss()
            raise
        except RayError:
            self.lost[who] = "the process died"
