"""The rollout actors as one: an actor that is lost is replaced, and nothing else is.

An actor sits in a seat. When it dies or falls silent a new one takes the seat, and serves as
soon as it has the current weights and has been checked on them. What it owed is dealt to the
others at once: what an episode is does not depend on who samples it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ray

from score_ray.rollout.setup import EngineSetup
from score_ray.runtime.actors import PeakMemory
from score_ray.runtime.engine_client import Recipients
from score_ray.runtime.placement import Place
from score_ray.runtime.remote_calls import STARTING, Calls, Retries, Tell
from score_ray.runtime.rollout_slots import Round, Seat
from score_ray.types import Episode, LearnerLost, Problem, ProcessLost, SamplingPlan
from score_ray.weights.backend import NCCL
from score_ray.weights.probe import Probe

TICK = 1.0  # seconds between two looks at who is late
SAMPLING, LOADING, SCORING = "sampling", "loading weights", "scoring the probe"
LEAVING = "leaving its GPU"

Pack = Callable[[], Sequence[Any]]  # references to the weights in parts
Send = Callable[[Recipients], dict[str, str]]  # who was lost on the way, and how


class Loaded(NamedTuple):
    """The mismatch by actor, and the seconds until all that serve had the weights."""

    gaps: dict[str, float]
    seconds: float


class RolloutPool:
    """All rollout actors."""

    def __init__(
        self,
        places: Sequence[Place],
        make: tuple[Any, Callable[[], Any]],
        calls: Calls,
        retries: Retries,
        tell: Tell,
    ) -> None:
        """`make` is what a rollout actor is made from: engine settings and a prompter's maker."""
        self._calls, self._retries, self._tell = calls, retries, tell
        self._restarts = 0
        self._engines: EngineSetup = make[0]
        self._pack: Pack = tuple
        self._parts: Sequence[Any] | None = None
        self._probe: Probe | None = None
        self._gaps: dict[str, float] = {}
        # Called before an engine starts, and between its loading weights and its using them;
        # where GPUs are shared (turns.py) it returns when the learner has left them.
        self.make_room: Callable[[], None] = lambda: None
        self._seats = [Seat(number, place, make) for number, place in enumerate(places)]
        for seat in self._seats:
            seat.fill(None)

    def wait_ready(self) -> None:
        """Return when every engine is up; one that is lost before that is replaced."""
        self._settle()
        self._retries.refill()

    def sleep(self) -> None:
        """Return when every engine has left its GPU, those that are still starting included.

        An engine takes its GPU again when it is next called.
        """
        self._settle()
        while len(self._ask(LEAVING, "sleep")) < len(self._seats):
            self._settle()

    def take_restarts(self) -> int:
        """How many rollout actors were replaced since this was last asked."""
        taken, self._restarts = self._restarts, 0
        return taken

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream every episode exactly once, from whoever has it; nothing, as a sign of life."""
        current = Round(problems, plan.samples)
        while current.missing or current.streams:
            self._deal(current, plan)
            yield current.take(self._wait(current))
        self._retries.refill()

    def load_weights(self, pack: Pack, probe: Probe, send: Send | None = None) -> Loaded:
        """Have every engine serve the weights of the probe's version, and check that it does.

        `pack` gives them in parts, which Ray shares per node. With `send`, engines that serve
        get them directly; and actors that are still starting, or are lost on the way, load the
        parts when they join.
        Raises WeightMismatch for an engine that does not serve them, LearnerLost if a part of
        them is gone.
        """
        self._pack, self._parts, self._probe, self._gaps = pack, None, probe, {}
        began = time.monotonic()
        if send:
            self._reach(send, probe.version)
        else:
            self._ask(LOADING, "load_weights", self._packed(), probe.version)
        seconds = time.monotonic() - began
        self.make_room()
        for seat, scores in self._ask(SCORING, "score", probe.rows).items():
            self._gaps[seat.who] = probe.check(scores, seat.who)
        while not self._gaps:
            self._wait(Round([], 0))
        return Loaded(self._gaps, seconds)

    def offline_seconds(self, episodes: Sequence[Episode]) -> float:
        """Seconds of vLLM's own offline generation, each actor on its share."""
        count = len(self._seats)
        return max(
            self._calls.gather(
                "generating offline",
                {
                    seat.who: seat.actor.offline_seconds.remote(list(episodes[number::count]))
                    for number, seat in enumerate(self._seats)
                    if episodes[number::count]
                },
            )
        )

    def peak_memory(self) -> dict[str, PeakMemory]:
        """Of each rollout actor."""
        refs = {seat.who: seat.actor.peak_memory.remote() for seat in self._seats}
        return dict(zip(refs, self._calls.gather("telling its memory", refs), strict=True))

    def _settle(self) -> None:
        nothing = Round([], 0)
        while any(seat.joining for seat in self._seats):
            self._wait(nothing)

    def _ask(self, doing: str, method: str, *args: Any) -> dict[Seat, Any]:
        """Call a method of every actor; the answers of those that serve.

        Those that are joining answer it with the rest of what they have to. Who is lost is
        replaced after all others have answered: on a shared GPU these may need the learner
        there, and the new engine needs it gone.
        """
        began, refs = time.monotonic(), {}
        for seat in self._seats:
            ref = getattr(seat.actor, method).remote(*args)
            if seat.joining:
                seat.joining.append(ref)
            else:
                refs[seat] = ref
        answers: dict[Seat, Any] = {}
        missing: dict[Seat, ProcessLost] = {}
        for seat, ref in refs.items():
            try:
                answers[seat] = self._calls.gather(doing, {seat.who: ref}, began=began)[0]
            except LearnerLost:
                self._parts, self._probe = (), None
                raise
            except ProcessLost as lost:
                missing[seat] = lost
        for seat, lost in missing.items():
            self._replace(seat, lost)
        return answers

    def _reach(self, send: Send, version: int) -> None:
        """Have the learner send until everyone who serves has the weights.

        With NCCL a loss is everyone's: those that are left are sent to again.
        """
        for seat in self._seats:
            if seat.joining:
                seat.joining.append(seat.actor.load_weights.remote(self._packed(), version))
        while serving := {seat.who: seat for seat in self._seats if not seat.joining}:
            actors = {who: seat.actor for who, seat in serving.items()}
            try:
                lost = send(Recipients(actors, self._engines.rollout.tensor_parallel, version))
            except LearnerLost:
                self._probe = None
                raise
            for who, how in lost.items():
                self._replace(serving[who], ProcessLost(who, LOADING, how))
            if not lost or self._engines.backend != NCCL:
                return

    def _packed(self) -> Sequence[Any]:
        """The current weights in parts, packed when they are first asked for."""
        if self._parts is None:
            began = time.monotonic()
            self._parts = self._pack()
            spent = time.monotonic() - began
            for seat in self._seats:  # nobody was listened to for so long
                seat.seen += spent
        return self._parts

    def _weights(self) -> tuple | None:
        """What an actor loads to serve the current weights."""
        return (self._packed(), self._probe.version, self._probe.rows) if self._probe else None

    def _deal(self, current: Round, plan: SamplingPlan) -> None:
        """Give out what nobody owes, evenly over those who serve; without any it waits."""
        serving = [seat for seat in self._seats if not seat.joining]
        busy = current.busy()
        for number, seat in enumerate(serving):
            share = current.undealt[number :: len(serving)]
            if share:
                sample = seat.actor.sample.options(num_returns="streaming")
                current.streams[sample.remote(share, plan)] = seat, share
                seat.seen = seat.seen if seat in busy else time.monotonic()
        if serving:
            current.undealt = []

    def _wait(self, current: Round) -> list[Episode]:
        """The next episodes, none after a tick; looks after the lost, the late and the new."""
        joining = {seat.joining[0]: seat for seat in self._seats if seat.joining}
        waiting = [*current.streams, *joining]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=TICK) if waiting else ([], [])
        found: list[Episode] = []
        for ref in ready:
            seat = joining[ref] if ref in joining else current.streams[ref][0]
            try:
                if ref in joining:
                    self._welcome(seat, ref)
                else:
                    found += self._read(current, ref, seat)
            except LearnerLost:
                # The engine itself is up, and newer weights may be on their way to it.
                seat.joining.remove(ref)
                if seat.joining:
                    continue
                self._parts, self._probe = (), None
                raise
            except ProcessLost as lost:
                current.release(seat)
                self._replace(seat, lost)
        self._replace_late(current)
        return found

    def _read(self, current: Round, stream: Any, seat: Seat) -> list[Episode]:
        try:
            episodes = self._calls.fetch(next(stream), seat.who, SAMPLING)
        except StopIteration:
            del current.streams[stream]
            return []
        now = time.monotonic()
        self._calls.took(SAMPLING, now - seat.seen)
        seat.seen = now
        return episodes

    def _welcome(self, seat: Seat, ref: Any) -> None:
        """One call of a new actor was answered; after the last one it serves."""
        scores = self._calls.fetch(ref, seat.who, STARTING)
        seat.joining.remove(ref)
        if seat.joining:
            return
        if self._probe:
            self._gaps[seat.who] = self._probe.check(scores, seat.who)
        if seat.lost_at:
            seconds = time.monotonic() - seat.lost_at
            self._tell("rollout_actor", seat.who, "serves again", seconds=round(seconds, 1))

    def _replace_late(self, current: Round) -> None:
        busy = current.busy()
        for seat in self._seats:
            doing = STARTING if seat.joining else SAMPLING
            if not (seat.joining or seat in busy):
                continue
            if time.monotonic() - seat.seen > self._calls.allowed(doing):
                current.release(seat)
                self._replace(seat, self._calls.late(seat.who, doing))

    def _replace(self, seat: Seat, lost: ProcessLost) -> None:
        """Put a new actor in a lost one's seat; raise RunError when that is hopeless."""
        self.make_room()
        self._tell("rollout_actor", seat.who, f"{lost.how} while {lost.doing}; being replaced")
        self._retries.spend(lost)
        self._restarts += 1
        seat.lost_at = time.monotonic()
        ray.kill(seat.actor)
        seat.fill(self._weights())
