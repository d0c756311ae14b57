"""The pool of rollout actors, which replaces lost actors.

Each actor has a slot. When its process dies or stops answering, a new one takes the slot. It
serves as soon as it has loaded the current weights and has been checked on them. The lost
actor's unfinished problems go to the others at once, because an episode does not depend on the
actor that samples it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from score_ray.rollout.setup import EngineSetup
from score_ray.runtime.actors import LoadedWeights
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.placement import Placement
from score_ray.runtime.ray_library import ray
from score_ray.runtime.remote_calls import STARTING, RecordEvent, RemoteCalls, Retries
from score_ray.runtime.rollout_slots import (
    CurrentWeights,
    PackWeights,
    RolloutSlot,
    SampleCall,
    SlotState,
)
from score_ray.types import Episode, LearnerLost, Problem, ProcessLost, SamplingPlan
from score_ray.weights.backend import NCCL
from score_ray.weights.probe import Probe

TICK = 1.0  # seconds between two checks for late actors
SAMPLING, LOADING, SCORING = "sampling", "loading weights", "scoring the probe"
LEAVING = "leaving its GPU"

SendWeights = Callable[[Recipients], dict[str, str]]  # returns how each lost actor was lost


class Loaded(NamedTuple):
    """The mismatch of each checked actor, and the seconds that loading the weights took."""

    mismatches: dict[str, float]
    seconds: float


class RolloutPool:
    """All rollout actors of a run, each in a slot."""

    def __init__(
        self,
        placements: Sequence[Placement],
        actor_args: tuple[EngineSetup, Callable[[], Any]],
        calls: RemoteCalls,
        retries: Retries,
        record_event: RecordEvent,
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        """`actor_args` are the engine's setup, and a function that makes an actor's prompter.

        `make_room` is called before an engine starts, and after engines have loaded weights and
        before they use them. On shared GPUs it returns when the learner has left them.
        """
        self._calls, self._retries, self._record_event = calls, retries, record_event
        self._make_room = make_room
        self._setup = actor_args[0]
        self._restarts = 0
        # None before the first broadcast, and after the learner lost the weights.
        self._weights: CurrentWeights | None = None
        self._mismatches: dict[str, float] = {}  # of actors checked on the current weights
        self._slots = [
            RolloutSlot(number, placement, actor_args)
            for number, placement in enumerate(placements)
        ]
        for slot in self._slots:
            slot.start(None)

    def wait_ready(self) -> None:
        """Return when every engine serves; an actor that is lost before that is replaced."""
        self._wait_until_all_serve()
        self._retries.refill()

    def sleep(self) -> None:
        """Make every engine leave its GPU, and wait until all have, also those that are starting.

        An engine takes its GPU again when it is next called.
        """
        self._wait_until_all_serve()
        while len(self._call_all(LEAVING, lambda actor: actor.sleep.remote())) < len(self._slots):
            self._wait_until_all_serve()

    def take_restarts(self) -> int:
        """Return how many rollout actors were replaced since the last call."""
        taken, self._restarts = self._restarts, 0
        return taken

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream every episode exactly once, and empty lists as signs of life."""
        current = SampleCall(problems, plan.samples)
        while current.missing or current.streams:
            self._assign(current, plan)
            yield current.take(self._wait(current))
        self._retries.refill()

    def load_weights(
        self, pack: PackWeights, probe: Probe, send: SendWeights | None = None
    ) -> Loaded:
        """Make every engine serve the weights of the probe's version, and check that it does.

        `pack` returns references to them in parts, which Ray shares per node. With `send`,
        engines that serve get the weights directly. Then only actors that are starting, or are
        lost during the broadcast, load the parts. Raises WeightMismatch for an engine that does
        not serve the weights, and LearnerLost if a part of them is gone.
        """
        self._weights = weights = CurrentWeights(probe.version, probe, cache(pack))
        self._mismatches = {}
        began = time.monotonic()
        if send:
            self._send_to_serving(send, weights)
        else:
            parts = self._packed(weights)
            self._call_all(LOADING, lambda actor: actor.load_weights.remote(parts, probe.version))
        seconds = time.monotonic() - began
        self._make_room()
        scores = self._call_all(SCORING, lambda actor: actor.score.remote(probe.rows))
        for slot, its_scores in scores.items():
            self._mismatches[slot.name] = probe.check(its_scores, slot.name)
        while not self._mismatches:
            self._wait(SampleCall.nothing())
        return Loaded(self._mismatches, seconds)

    def run_on_engines(
        self, doing: str, function: Callable, arguments: Sequence[tuple] = ()
    ) -> dict[str, Any]:
        """Return what function(engine, *arguments) gives in each actor, by name, for measurements.

        `arguments` has a tuple for each actor to call, in order; if empty, all are called.
        """
        calls = zip(self._slots, arguments or [()] * len(self._slots), strict=False)
        refs = {slot.name: slot.actor.run.remote(function, *args) for slot, args in calls}
        return dict(zip(refs, self._calls.gather(doing, refs), strict=True))

    def _slots_in(self, state: SlotState) -> list[RolloutSlot]:
        return [slot for slot in self._slots if slot.state is state]

    def _wait_until_all_serve(self) -> None:
        """Wait until every slot serves."""
        while self._slots_in(SlotState.STARTING):
            self._wait(SampleCall.nothing())

    def _call_all(self, doing: str, start: Callable[[Any], Any]) -> dict[RolloutSlot, Any]:
        """Call every actor, and return the answers of those that serve.

        An actor that is starting answers the call before it serves. Lost actors are replaced
        after all others have answered: on a shared GPU the others may need the learner there,
        and a new engine needs it gone.
        """
        began, refs = time.monotonic(), {}
        for slot in self._slots:
            ref = start(slot.actor)
            if slot.state is SlotState.STARTING:
                slot.unanswered.append(ref)
            else:
                refs[slot] = ref
        answers: dict[RolloutSlot, Any] = {}
        lost_slots: dict[RolloutSlot, ProcessLost] = {}
        for slot, ref in refs.items():
            try:
                answers[slot] = self._calls.gather(doing, {slot.name: ref}, began=began)[0]
            except LearnerLost:
                self._weights = None
                raise
            except ProcessLost as lost:
                lost_slots[slot] = lost
        for slot, lost in lost_slots.items():
            self._replace(slot, lost)
        return answers

    def _send_to_serving(self, send: SendWeights, weights: CurrentWeights) -> None:
        """Make the learner send until every actor that serves has the weights.

        With NCCL a loss ends the broadcast for all, so it is repeated for the actors that are left.
        """
        for slot in self._slots_in(SlotState.STARTING):
            parts = self._packed(weights)
            slot.unanswered.append(slot.actor.load_weights.remote(parts, weights.version))
        while serving := {slot.name: slot for slot in self._slots_in(SlotState.SERVING)}:
            actors = {name: slot.actor for name, slot in serving.items()}
            gpus = self._setup.rollout.tensor_parallel
            try:
                lost = send(Recipients(actors, gpus, weights.version))
            except LearnerLost:
                self._weights = None
                raise
            for name, how in lost.items():
                self._replace(serving[name], ProcessLost(name, LOADING, how))
            if not lost or self._setup.backend != NCCL:
                return

    def _packed(self, weights: CurrentWeights) -> Sequence[Any]:
        """Return the parts of the weights, which the learner packs if it has not yet."""
        began = time.monotonic()
        parts = weights.pack()
        # Packing blocked the driver: do not count that time as the actors' silence.
        spent = time.monotonic() - began
        for slot in self._slots:
            slot.heard_at += spent
        return parts

    def _to_load(self) -> LoadedWeights | None:
        """Return what a new actor loads and is checked with; None while that is the base model."""
        weights = self._weights
        return weights and (self._packed(weights), weights.version, weights.probe.rows)

    def _assign(self, current: SampleCall, plan: SamplingPlan) -> None:
        """Share unassigned problems out evenly among the serving slots, if there are any."""
        serving, busy = self._slots_in(SlotState.SERVING), current.busy()
        for number, slot in enumerate(serving):
            share = current.unassigned[number :: len(serving)]
            if share:
                sample = slot.actor.sample.options(num_returns="streaming")
                current.streams[sample.remote(share, plan)] = slot, share
                if slot not in busy:
                    slot.heard_at = time.monotonic()
        if serving:
            current.unassigned = []

    def _wait(self, current: SampleCall) -> list[Episode]:
        """Return the next episodes, or none after a second; replace lost actors meanwhile."""
        starting = {slot.unanswered[0]: slot for slot in self._slots_in(SlotState.STARTING)}
        waiting = [*current.streams, *starting]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=TICK) if waiting else ([], [])
        episodes: list[Episode] = []
        for ref in ready:
            slot = starting[ref] if ref in starting else current.streams[ref][0]
            try:
                if ref in starting:
                    self._take_start_answer(slot, ref)
                else:
                    episodes += self._read(current, ref, slot)
            except LearnerLost:
                # The engine itself is up, and newer weights may be on their way to it.
                slot.unanswered.remove(ref)
                if slot.unanswered:
                    continue
                self._weights = None
                raise
            except ProcessLost as lost:
                current.release(slot)
                self._replace(slot, lost)
        self._replace_late(current)
        return episodes

    def _read(self, current: SampleCall, stream: Any, slot: RolloutSlot) -> list[Episode]:
        try:
            episodes = self._calls.fetch(next(stream), slot.name, SAMPLING)
        except StopIteration:
            del current.streams[stream]
            return []
        now = time.monotonic()
        self._calls.learn(SAMPLING, now - slot.heard_at)
        slot.heard_at = now
        return episodes

    def _take_start_answer(self, slot: RolloutSlot, ref: Any) -> None:
        """Take one answer of a starting actor; after its last answer it is checked and serves."""
        scores = self._calls.fetch(ref, slot.name, STARTING)
        slot.unanswered.remove(ref)
        if slot.state is SlotState.STARTING:
            return
        if self._weights:
            self._mismatches[slot.name] = self._weights.probe.check(scores, slot.name)
        if slot.lost_at:
            seconds = round(time.monotonic() - slot.lost_at, 1)
            self._record_event("rollout_actor", slot.name, "serves again", seconds=seconds)

    def _replace_late(self, current: SampleCall) -> None:
        busy = current.busy()
        for slot in self._slots:
            starting = slot.state is SlotState.STARTING
            if not (starting or slot in busy):
                continue
            doing = STARTING if starting else SAMPLING
            if time.monotonic() - slot.heard_at > self._calls.allowed(doing):
                current.release(slot)
                self._replace(slot, self._calls.late(slot.name, doing))

    def _replace(self, slot: RolloutSlot, lost: ProcessLost) -> None:
        """Start a new actor in a lost one's slot; raise RunError if that was tried too often."""
        self._make_room()
        self._record_event(
            "rollout_actor", slot.name, f"{lost.how} while {lost.doing}; being replaced"
        )
        self._retries.spend(lost)
        self._restarts += 1
        slot.lost_at = time.monotonic()
        ray.kill(slot.actor)
        slot.start(self._to_load())
