"""Keys, values and options that are wrong or of no use."""

from tests.bad_inputs.case import Case, Make, nothing
from tests.bad_inputs.inputs import ARITHMETIC, config, file

KIND = "options"


def given(name: str, says: str, *words: str, make: Make = nothing) -> Case:
    """Return a case of overrides or options."""
    return Case(KIND, name, ("train", "run.yaml", *words), says, make)


def written(name: str, says: str, make: Make) -> Case:
    """Return a case of a config file."""
    return Case(KIND, name, ("train", "run.yaml"), says, make)


def usage(name: str, says: str, *words: str) -> Case:
    """Return a case of a command line that is not understood."""
    return Case(KIND, name, words, says, codes=(2,), lines=10)


FILES = [
    written("a section twice", r"run\.yaml: model is given twice, in lines 2 and 11", file("run.yaml", f"{ARITHMETIC}model: {{path: x, max_length: 9}}\n")),
    written("a key twice in a section", r"run\.yaml.*rollout\.samples.*line 5", config("samples: 2", "samples: 2, samples: 4")),
    written("a key twice in a stage", r"run\.yaml.*stages\.0\.iterations.*line 7", config("iterations: 2", "iterations: 2, iterations: 3")),
    written("a mistyped key in the file", r"run\.yaml(?s:.*)rollout\.max_token\b.*rollout\.max_tokens", config("max_tokens: 4", "max_token: 4")),
    written("a number as text", r"prompts\.correction: a text is expected.*\(1 ", config('correction: "?"', "correction: 1")),
    written("a truth value as text", r"prompts\.correction: a text is expected.*\(False ", config('correction: "?"', "correction: no")),
    written("a tab in the file", r"run\.yaml: .*line 11: a tab", file("run.yaml", ARITHMETIC.replace("seed", "\tseed") + "\tseed: 1\n")),
    written("an open bracket in the file", r"run\.yaml: .*line 12: expected ',' or '}'", file("run.yaml", f"{ARITHMETIC}weights: {{part_mb: 1\n")),
    written("a file in Latin-1", r"run\.yaml: .*line 1: .*0xe9.*UTF-8", file("run.yaml", "name: é\n".encode("latin-1") + ARITHMETIC.encode())),
    written("an empty file", r"run\.yaml.*mapping", file("run.yaml", "")),
    written("a list as file", r"run\.yaml.*mapping", file("run.yaml", "- name: run\n")),
    written("an alias of itself", r"run\.yaml: line 11: an alias", file("run.yaml", f"{ARITHMETIC}weights: &a {{backend: *a}}\n")),
    written("a Python object in the file", r"run\.yaml: .*line 11: .*python/object", file("run.yaml", f"{ARITHMETIC}seed: !!python/object/apply:os.getcwd []\n")),
    written("a required key missing", r"learner\.learning_rate.*required", config("learning_rate: 1.0e-4", "")),
    written("the key of another task in the file", r"run\.yaml: task\.largest: .*arithmetic", config("held_out: 20", "held_out: 20, largest: 50")),
    Case(KIND, "a missing config", ("train", "nowhere.yaml"), r"nowhere\.yaml: no such config file"),
    Case(KIND, "a folder as config", ("train", "model"), r"model: a folder; a config file is expected"),
]  # fmt: skip
KEYS = [
    given("a mistyped key", r"rollout\.max_token\b.*rollout\.max_tokens", "rollout.max_token=8"),
    given("a key without its section", r"max_tokens.*rollout\.max_tokens", "max_tokens=8"),
    given("a mistyped section", r"rolout.*rollout", "rolout.max_tokens=8"),
    given("a mistyped name of a task", r"task\.name.*arithmatic.*arithmetic", "task.name=arithmatic"),
    given("an override without =", r"rollout\.samples.*section\.key=value", "rollout.samples"),
    given("an override without a key", r"'=3': .*section\.key=value", "=3"),
    given("a value in place of a section", r"task: keys and values.*got 5", "task=5"),
    given("a key below a value", r"seed: .*integer", "seed.x=5"),
    given("a stage that is not there", r"stages\.7\.iterations.*'7' is not an index", "stages.7.iterations=1"),
    usage("an option that does not exist", "No such option.*--model-name", "train", "run.yaml", "--model-name", "x"),
    usage("a command that does not exist", "No such command.*trian", "trian", "run.yaml"),
    usage("no config", "Missing argument", "train"),
]  # fmt: skip
VALUES = [
    given("a word as number", r"rollout\.samples.*four", "rollout.samples=four"),
    given("a fraction of an episode", r"rollout\.samples.*2\.5", "rollout.samples=2.5"),
    given("a negative seed", r"seed.*-1", "seed=-1"),
    given("NaN as learning rate", r"learner\.learning_rate: .*nan", "learner.learning_rate=.nan"),
    given("a zero_stage that is none", r"learner\.zero_stage.*7", "learner.zero_stage=7"),
    given("an open bracket as value", r"stages=.*not valid YAML", "stages=[{name: s"),
    given("a question without a place for it", r"prompts\.first.*\{question\}", "prompts.first=What?"),
    given("a stage with three coefficients", r"stages.*only.*reward", "stages.0.reward=[1, 1, 1]"),
]  # fmt: skip
UNREAD = [
    given("a data set for a task that makes its own", r"task\.train.*arithmetic", "--dataset_name", "nowhere.csv"),
    given("a column for a task that has none", r"task\.question_column.*arithmetic", "--question_column", "nope"),
    given("the key of another task", r"task\.largest.*arithmetic", "task.largest=50"),
    given("a judge's text without a judge", r"prompts\.judge_yes.*grading\.judge", "prompts.judge_yes=Right"),
    given("an adapter's key without an adapter", r"learner\.lora\.alpha.*learner\.lora\.rank", "learner.lora.alpha=16.0"),
    given("what a stage imitates where none does", r"stages\.0\.keep: .*reinforce", "stages.0.keep=[c_to_c]"),
    given("a reward and a judge", r"grading.*judge.*reward", "grading.judge=true", "grading.reward=a:b"),
    given("a selection without what selects", r"checkpoint\.select.*held_out", "checkpoint.select=held_out"),
    given("a flag that contradicts an override", r"--model_name.*model\.path", "model.path=./model", "--model_name", "./other"),
    given("an empty flag", r"model\.path: .*not empty", "--model_name", ""),
]  # fmt: skip
NAMES = [
    given("a name that leaves --runs", r"\bname\b.*\.\./escape", "name=../escape"),
    given("an absolute name", r"\bname\b.*/tmp/escape", "name=/tmp/escape"),
    given("an empty name", r"name: ''", "name="),
    given("a dot as name", r"name: '\.' ", "name=."),
    given("a name of 300 letters", r"name: .*300 bytes", f"name={'a' * 300}"),
    given("a name with a line break", r"name: .*line break", "name=a\nb"),
]
CASES = [*FILES, *KEYS, *VALUES, *UNREAD, *NAMES]
