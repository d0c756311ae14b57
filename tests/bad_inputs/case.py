"""A bad input: how it is made, the command that gets it, and what the command must answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Make = Callable[[Path], None]


def nothing(folder: Path) -> None:
    """Make nothing beyond the usual files."""


@dataclass(frozen=True)
class Case:
    """A command that must fail with a clear message, and leave all as it was.

    `kind` and `name` say what the input is. `words` are the command's words after `score-ray`; it
    runs in a fresh folder, which `make` has prepared. `says` is a pattern of the message. `codes`
    are the exit codes that are right. `seconds` is the deadline, and `lines` the most lines that
    may be printed to stderr. `left` are patterns of what may be left behind in the folder.
    `environment` is added to the process's own. `shell` are shell commands that come first, in
    mount points of their own if `mounts` is set. `interrupt` is the number of seconds until Ctrl-C.
    A `heavy` case starts Ray, vLLM or a learner; one with `trained` needs a run that did. With
    `shows_trace` the traceback of the user's own function is shown, once.
    """

    kind: str
    name: str
    words: tuple[str, ...]
    says: str
    make: Make = nothing
    codes: tuple[int, ...] = (1,)
    seconds: float = 60.0
    lines: int = 8
    left: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    shell: str = ""
    mounts: bool = False
    interrupt: float = 0.0
    heavy: bool = False
    trained: bool = False
    shows_trace: bool = False

    @property
    def title(self) -> str:
        """The kind and the name, which no other case has."""
        return f"{self.kind}: {self.name}"

    @property
    def alone(self) -> bool:
        """Whether the case needs a process of its own, in place of a fork of another one."""
        special = self.shell or self.interrupt or self.environment
        return self.heavy or self.trained or bool(special)
