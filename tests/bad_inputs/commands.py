"""Bad inputs of the commands besides train."""

from tests.bad_inputs.case import Case, Make, nothing
from tests.bad_inputs.inputs import both, edited, file
from tests.bad_inputs.resumed import RUN, broken, finished, unfinished

KIND = "commands"
OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
SUITE = """\
name: suite
config: run.yaml
seeds: [0, 1]
variants:
  score: {}
  plain: {overrides: ["stages.0.bonus=0.5"]}
"""


def command(line: str, name: str, says: str, make: Make = nothing, **more) -> Case:
    """Return a case of a command line without spaces in its words."""
    return Case(KIND, f"{line.split()[0]}: {name}", tuple(line.split()), says, make, **more)


def suite(name: str, says: str, old: str, new: str) -> Case:
    """Return a case of a suite file in which a text is replaced."""
    assert old in SUITE
    make = file("suite.yaml", SUITE.replace(old, new))
    return command("reproduce suite.yaml", name, says, make)


def usage(line: str, name: str, says: str) -> Case:
    """Return a case of a command line that is not understood."""
    return command(line, name, says, codes=(2,), lines=10)


def report(name: str, says: str, make: Make) -> Case:
    """Return a case of the report of a run folder."""
    return command(f"report {RUN}", name, says, make)


REPORTS = [
    command("report nowhere", "a missing folder", r"nowhere: no such run folder"),
    command("report model", "another program's folder", r"model: no iteration in metrics\.jsonl"),
    command("report train.jsonl", "a file", r"train\.jsonl: no such run folder"),
    report("a line of metrics that is a list", r"metrics\.jsonl.*line 1", broken("metrics.jsonl", lambda old: b"[1, 2]\n" + old)),
    report("a line of metrics without numbers", r"metrics\.jsonl.*line 1", broken("metrics.jsonl", lambda old: b"{}\n" + old)),
    report("a text as accuracy", r"metrics\.jsonl, line 1: 'train/acc_t1'", broken("metrics.jsonl", lambda old: old.replace(b"0.3125", b'"high"'))),
    report("a line of evaluations that is a text", r"evals\.jsonl.*line 1", broken("evals.jsonl", lambda old: b'"x"\n' + old)),
    report("a line of evaluations without numbers", r"evals\.jsonl.*line 1", broken("evals.jsonl", lambda old: b'{"split": "test"}\n' + old)),
    report("a line of episodes that is a number", r"generations\.jsonl.*line 1", broken("generations.jsonl", lambda old: b"3\n" + old)),
]  # fmt: skip
EXPORTS = [
    command("export nowhere out", "a missing run", r"nowhere/config\.yaml: no such"),
    command(f"export {RUN} out --iteration 100", "a checkpoint that is not kept", r"no checkpoint after 100 updates; kept are those after 0, 1", unfinished),
    command(f"export {RUN} train.jsonl/out", "a place below a file", r"train\.jsonl/out: .*train\.jsonl is a file", unfinished),
    command(f"export {RUN} train.jsonl", "a file as place", r"train\.jsonl is a file", unfinished),
    command(f"export {RUN} model", "a folder that holds another model", r"model: the folder is not empty", unfinished),
    command(f"export {RUN} out --iteration -1", "a negative number of updates", r"--iteration.*greater than or equal to 0", unfinished, codes=(2,), lines=10),
    command(f"export {RUN} out", "only damaged checkpoints", r"^error: no checkpoint can be read: .*iteration_000001.*iteration_000000", both(unfinished, edited(f"{RUN}/checkpoints/iteration_000000/weights.bin", lambda old: b"1"), edited(f"{RUN}/checkpoints/iteration_000001/weights.bin", lambda old: b"1"))),
]  # fmt: skip
EVALS = [
    command("eval nowhere", "a missing run", r"nowhere/config\.yaml: no such"),
    command("eval model", "another program's folder", r"model/config\.yaml: no such"),
    command(f"eval {RUN}", "an unfinished run", r"runs/run: has no model yet", unfinished),
    command(f"eval {RUN} evaluation.problem=5", "a mistyped key", r"evaluation\.problem\b.*evaluation\.problems", finished),
    command(f"eval {RUN}", "a trained model without weights", r"runs/run/model: its weights do not load", both(finished, lambda folder: (folder / RUN / "model/model.safetensors").unlink())),
    command(f"eval {RUN}", "a trained model that is cut off", r"runs/run/model: .*cut off", both(finished, edited(f"{RUN}/model/model.safetensors", lambda old: old[:-5000]))),
]  # fmt: skip
GRADES = [
    command("grade math.yaml --split dev", "a split that is none", r"--split.*dev.*train.*test"),
    command("grade math.yaml", "no column of solutions", r"test\.jsonl.*no column 'solution'"),
    command("grade math.yaml --column anwser", "a mistyped column", r"test\.jsonl.*anwser.*answer"),
    command("grade run.yaml", "a task that has no data set", r"generates its problems.*no solutions"),
    command("grade math.yaml --column solution", "a solution that is NaN", r"test\.jsonl.*row 1", file("test.jsonl", '{"question": "1", "answer": "1", "solution": "1"}\n{"question": "1", "answer": "1", "solution": NaN}\n')),
    command("grade math.yaml --column question", "solutions that are wrong", r"8 wrong(?s:.*)not correct: 0, 1", nothing),
]  # fmt: skip
FIGURES = [
    command("figures nowhere", "a missing run", r"nowhere: not a run folder"),
    command(f"figures {RUN}", "an unfinished run", r"runs/run: has no model yet", unfinished),
    command(f"figures {RUN} {RUN}", "no place for several runs", r"--out", finished),
    command(f"figures {RUN} --no-sampling", "a line of metrics that is a list", r"metrics\.jsonl.*line 1", both(finished, edited(f"{RUN}/metrics.jsonl", lambda old: b"[1, 2]\n" + old))),
    command(f"figures {RUN} --no-sampling", "a line of answers that is cut off", r"answers/.*line 1", both(finished, file(f"{RUN}/answers/after_000000.jsonl", '{"problem":\n{}\n'))),
    command(f"figures {RUN} --no-sampling --out train.jsonl/x", "a place below a file", r"train\.jsonl/x: ", finished),
    usage(f"figures {RUN} --attempts 1", "too few attempts", "attempts"),
]  # fmt: skip
SUITES = [
    command("reproduce nowhere.yaml", "a missing suite", r"nowhere\.yaml: no such suite file"),
    command("reproduce run.yaml", "a config in place of a suite", r"run\.yaml(?s:.*)(variants|seeds)", lines=16),
    suite("a missing config", r"none\.yaml", "run.yaml", "none.yaml"),
    suite("a mistyped key", r"varients(?s:.*)variants", "variants", "varients"),
    suite("a variant twice", r"suite\.yaml.*variants\.score.*lines? \d", "plain: {", "score: {"),
    suite("a mistyped override", r"variants\.plain(?s:.*)stages\.0\.bonis", "bonus", "bonis"),
    suite("no seeds", r"seeds", "[0, 1]", "[]"),
    suite("a seed twice", r"seed", "[0, 1]", "[1, 1]"),
    suite("a name that leaves --runs", r"name", "name: suite", "name: ../suite"),
    suite("an open bracket", r"suite\.yaml.*line", "[0, 1]", "[0, 1"),
    usage("reproduce run.yaml --jobs 0", "no runs side by side", "jobs"),
    command("reproduce suite.yaml --runs train.jsonl", "a file as --runs", r"train\.jsonl", file("suite.yaml", SUITE)),
]  # fmt: skip
PLANS = [
    command("plan run.yaml --gpu RTX9000", "a GPU that nobody knows", r"--gpu RTX9000.*H100"),
    command("plan run.yaml", "no GPU here", r"--gpu.*H100"),
    command("plan run.yaml --gpu H100 --gpus 1", "too few GPUs", r"GPU"),
    command("plan run.yaml --gpu H100 --gpus -3", "fewer than no GPUs", r"gpus", codes=(1, 2), lines=10),
    command("plan run.yaml --gpu H100 --attempt -5", "a negative number of tokens", r"attempt", codes=(1, 2), lines=10),
    command("plan run.yaml --gpu H100 model.path=no-one/nothing", "a hub's model without a network", r"model\.path.*no-one/nothing", environment=OFFLINE, seconds=30),
    command("plan run.yaml --gpu H100 model.path=./bare", "a model folder without a config", r"model\.path.*bare", file("bare/x", "")),
]  # fmt: skip
BENCHES = [
    command("bench nowhere.yaml", "a missing config", r"nowhere\.yaml: no such config file"),
    command("bench run.yaml --iterations 0", "nothing to measure", r"iterations", codes=(1, 2), lines=10),
    command("bench scale run.yaml --actors 0", "no rollout actors", r"actors", codes=(1, 2), lines=10),
    command("bench scale run.yaml --gbit 0", "a network without speed", r"gbit", codes=(1, 2), lines=10),
    command("bench gpu --shape 9B", "a size of model that is none", r"shape.*9B(?s:.*)7B", codes=(1, 2), lines=10),
]  # fmt: skip
JOBS = [
    command("job list --address http://127.0.0.1:9", "no job server", r"127\.0\.0\.1:9.*no Ray job server"),
    command("job list --address here", "an address that is none", r"--address here.*http://host:8265"),
    command("job list --address http://no-such-host.invalid:8265", "an unknown host", r"no-such-host"),
    command("job list --address http://10.0.0.1:8265", "a proxy that does not answer", r"http_proxy.*127\.0\.0\.1:9", environment={"http_proxy": "http://127.0.0.1:9"}),
    command("submit run.yaml --extra tpu", "packages that are none", r"--extra.*tpu.*gpu"),
    command("submit run.yaml --env NO_SUCH_VARIABLE", "a variable that is not set", r"--env.*NO_SUCH_VARIABLE"),
    command("submit run.yaml --address http://127.0.0.1:9", "no job server", r"127\.0\.0\.1:9.*no Ray job server"),
    command("submit run.yaml rollout.sample=2", "a mistyped key", r"rollout\.sample\b.*rollout\.samples"),
]  # fmt: skip
CASES = [*REPORTS, *EXPORTS, *EVALS, *GRADES, *FIGURES, *SUITES, *PLANS, *BENCHES, *JOBS]
