"""Engines and learner ranks on the same GPUs, taking turns: nobody else knows that they do.

A call of the learner is the learner's turn: the engines leave the GPUs first. A call of the
engines is theirs, and the learner leaves. Only while weights are handed over inside the GPUs
are both there, the engines with their weights alone; before they use them the learner leaves.
"""

from collections.abc import Callable, Mapping
from typing import Any

Take = Callable[[], None]


class Turns:
    """Whose turn it is; `pool` and `learner` are what the rest of the run talks to.

    It begins as the learner's, with engines that have left the GPUs. A process that starts
    later has its GPU: an engine in the engines' turn, since the pool has room made for it, and
    a rank in the learner's. `handed_over`: weights go from GPU memory to GPU memory.
    """

    def __init__(self, pool: Any, learner: Any, handed_over: bool) -> None:
        self._engines, self._ranks = pool, learner
        self._engines_there, self._ranks_there = False, True
        pool.make_room = self._engines_turn
        at_any_time = ("take_restarts", "peak_memory", "wait_ready", "close")
        free: dict[str, Take | None] = dict.fromkeys(at_any_time)
        # The engines' turn comes within this call, when the pool has room made.
        loading = {"load_weights": self._learners_turn if handed_over else self._engines_turn}
        self.pool: Any = InTurn(pool, self._engines_turn, free | loading)
        self.learner: Any = InTurn(learner, self._learners_turn, free | {"restart": self._restart})

    def _engines_turn(self) -> None:
        if self._ranks_there:
            self._ranks.sleep()
            self._ranks_there = False
        self._engines_there = True  # from the next call on, which takes what it needs

    def _learners_turn(self) -> None:
        self._leave_engines()
        if not self._ranks_there:
            self._ranks.wake()
            self._ranks_there = True

    def _restart(self) -> None:
        # First the ranks that are left: an engine that died with a rank, on the same node, can
        # then be replaced. And whether engines are there is open, in the midst of a broadcast.
        self._ranks.close()
        self._ranks_there, self._engines_there = False, True
        self._leave_engines()
        self._ranks_there = True

    def _leave_engines(self) -> None:
        if self._engines_there:
            self._engines.sleep()
            self._engines_there = False


class InTurn:
    """A role whose calls take a turn first: `take`, or by name what `otherwise` has, or none."""

    def __init__(self, role: Any, take: Take, otherwise: Mapping[str, Take | None]) -> None:
        self._role, self._take, self._otherwise = role, take, otherwise

    def __getattr__(self, name: str) -> Any:
        method, take = getattr(self._role, name), self._otherwise.get(name, self._take)
        if take is None:
            return method

        def call(*args: Any) -> Any:
            take()
            return method(*args)

        return call
