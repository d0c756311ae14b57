"""A learner rank's calls to the engines, in the order that vLLM's senders make them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from score_ray.runtime.ray_library import RayError, RayTaskError, ray
from score_ray.runtime.remote_calls import SETTLE_SECONDS
from score_ray.types import PeerLost

StartCall = Callable[[Any, int], Any]  # from a rollout actor and its number to a reference


@dataclass(frozen=True)
class Recipients:
    """The rollout actors, by name, that are to receive a version of the weights."""

    actors: Mapping[str, Any]
    gpus_each: int  # of each actor's engine
    version: int


@dataclass
class EngineClient:
    """Calls every engine at once, and goes on without those that die or fall silent.

    With `together` the engines need each other to receive, so the first loss ends the broadcast:
    `on_loss` calls it off, the others have some seconds to answer that they noticed, and are
    not called again. All calls together may take `seconds`. An error that an engine raises
    itself is raised unchanged.
    """

    to: Recipients
    together: bool
    seconds: float
    on_loss: Callable[[], None]
    lost: dict[str, str] = field(default_factory=dict)  # how each lost actor was lost, by name

    def __post_init__(self) -> None:
        self.members = list(self.to.actors.values())
        self.workers = len(self.members) * self.to.gpus_each
        self._until = time.monotonic() + self.seconds

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Set up the engines; in a communicator their ranks follow the learner's rank 0."""

        def info_of(number: int) -> dict[str, Any]:
            offset = {"rank_offset": 1 + number * self.to.gpus_each} if self.together else {}
            return init_info | offset

        self._call(lambda actor, number: actor.link.remote(info_of(number)))

    def start_weight_update(self) -> None:
        """Make the engines prepare their weights for replacement."""
        self._call(lambda actor, _: actor.start_update.remote())

    def update_weights(self, update_info: Any) -> None:
        """Make the engines receive; return when they have, or when they are given up."""
        self._call(lambda actor, _: actor.receive.remote(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Make the engines serve what they received, under the version of the recipients.

        `weight_version` is ignored: vLLM's senders do not know the version.
        """
        self._call(lambda actor, _: actor.finish_update.remote(self.to.version))

    def _call(self, start: StartCall) -> None:
        if self.together and self.lost:
            return
        waiting = {
            start(actor, number): who
            for number, (who, actor) in enumerate(self.to.actors.items())
            if who not in self.lost
        }
        until, called_off, cut_off = self._until, False, {}
        while waiting:
            left = max(until - time.monotonic(), 0.0)
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=left)
            for ref in ready:
                self._take_answer(ref, waiting.pop(ref), cut_off)
            if not ready and (called_off or not self.together):
                self._give_up(waiting.values())
                break
            if self.together and not called_off and (not ready or self.lost or cut_off):
                self.on_loss()  # takes seconds where an address is slow to be looked up
                called_off, until = True, time.monotonic() + SETTLE_SECONDS
        # If no actor is dead or silent, those that were cut off count as lost.
        self.lost = self.lost or cut_off

    def _take_answer(self, ref: Any, who: str, cut_off: dict[str, str]) -> None:
        """Record a lost actor in `lost`, and one that did not reach the sender in `cut_off`."""
        try:
            ray.get(ref)
        except PeerLost as error:
            cut_off[who] = str(getattr(error, "cause", error))
        except RayTaskError:
            self.on_loss()
            raise
        except RayError:
            self.lost[who] = "the process died"

    def _give_up(self, names: Iterable[str]) -> None:
        self.lost |= dict.fromkeys(names, f"no sign of life for {self.seconds:.0f} s")
