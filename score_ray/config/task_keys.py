"""The keys of the `task` section that each task reads; any other one is refused if it is set."""

_FILES = ("train", "test", "skip_unusable")

TASK_KEYS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("name", "held_out"),
    "sums": ("name", "held_out", "largest"),
    "math": ("name", *_FILES, "question", "question_column", "answer_column"),
    "mbpp": ("name", *_FILES, "packages"),
    "mbpp_r": ("name", *_FILES, "packages", "attempt_column"),
    "humaneval": ("name", *_FILES, "packages"),
}
GENERATED = ("arithmetic", "sums")  # the tasks that make their own problems
