"""Malformed configs, data and models: each is one ConfigError that names what is wrong."""

import pickle
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from score_ray.config.loading import load
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.training.inputs import check_inputs
from score_ray.types import ConfigError

RECIPE = Path("configs/arithmetic.yaml")
ROWS = b'{"question": "1+1=", "answer": "2"}\n{"question": "2+2=", "answer": "4"}\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(model_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing is fetched, and nothing is found again."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def check(tmp_path: Path, model: object, *overrides: str) -> None:
    check_inputs(load(RECIPE, [f"model.path={model}", *overrides]), tmp_path / "models")


def sources(folder: Path, train: bytes = ROWS, name: str = "train.jsonl") -> list[str]:
    """Overrides for a mathematics run on these two files."""
    (folder / name).write_bytes(train)
    (folder / "test.jsonl").write_bytes(ROWS)
    both = [f"task.train={folder / name}", f"task.test={folder / 'test.jsonl'}"]
    return ["task.name=math", "rollout.problems=2", *both]


def only_error(caught: pytest.ExceptionInfo) -> str:
    """Its text, which is short and no traceback."""
    text = str(caught.value)
    assert "Traceback" not in text
    assert len(text) < 600
    return text


def test_a_well_formed_config_and_data_pass(tmp_path, model):
    check(tmp_path, model)
    check(tmp_path, model, *sources(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [", r"c\.yaml: not valid YAML"),
        (b"", r"c\.yaml: a mapping of sections is expected"),
        (b"- model\n- task\n", r"c\.yaml: a mapping of sections is expected"),
        (b"just words", r"c\.yaml: a mapping of sections is expected"),
        (b"name: x\n", r"model: this key is required"),
        ("name: höhe\n".encode("latin-1"), r"c\.yaml: line 1: .*0xf6 is not UTF-8"),
        (b"seed: 2024-01-01\n", "seed: .*valid integer; got '2024-01-01'"),
        (b"model: tiny\n", r"model: .*; got 'tiny'"),
    ],
)
def test_a_malformed_config_file_is_refused(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path / "c.yaml")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.name=adam", r"optimizer\.name: unknown key"),
        ("rollout.sample=4", r"rollout\.sample: unknown key"),
        ("rollout.samples=four", r"rollout\.samples: .*valid integer.*'four'"),
        ("rollout.samples=1.5", r"rollout\.samples: .*valid integer"),
        ("rollout.samples=0", r"rollout\.samples: .*greater than 0"),
        ("rollout.samples=-4", r"rollout\.samples: .*greater than 0; got -4"),
        ("learner.learning_rate=-1.0e-5", r"learner\.learning_rate: .*greater than 0"),
        ("learner.learning_rate=.inf", r"learner\.learning_rate: .*finite"),
        ("rollout.temperature=0", r"rollout\.temperature: .*greater than 0"),
        ("seed=-1", "seed: .*greater than or equal to 0"),
        ("model.dtype=float64", r"model\.dtype: .*'float32' or 'bfloat16'"),
        ("stages.0.kl=[0.1]", "'stage_1' needs 2 numbers in reward and kl"),
        ("stages.0.reward=[0, 1, 1]", "'stage_1' needs 2 numbers in reward and kl"),
        ("stages.0.iterations=0", r"stages\.0\.iterations: .*greater than 0"),
        ("stages.5.iterations=1", "'5' is not an index into a list of 2"),
        ("stages.first.iterations=1", "'first' is not an index into a list of 2"),
        ("stages=[", r"stages=\[': the value is not valid YAML"),
        ("prompts.first=What is it?", r"prompts\.first: must contain {question}"),
        ("prompts.preset=nobody", r"prompts\.preset: .*'paper_math'"),
        ("task.name=geography", r"task\.name: .*'math'"),
        ("task.name=math", r'task\.train and task\.test: task "math" needs both'),
        ("rollout.attempts=3", "one per attempt"),
        ("rollout", r"'rollout': an override has the form section\.key=value"),
        ("seed.x=1", "'seed' is not a section"),
    ],
)
def test_a_malformed_value_in_a_config_is_refused(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(RECIPE, [override])
    only_error(caught)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "train.jsonl", r"train\.jsonl: the file is empty"),
        (b"question,answer\n", "train.csv", r"train\.csv: the train split is empty"),
        (b"question,answer\n1+1=,2,3\n", "train.csv", r"train\.csv: cannot be read"),
        (ROWS + b'{"question": \n', "train.jsonl", r"train\.jsonl: cannot be read: line 3: "),
        (b'{"question": "1+1=", "a": "2"}', "train.jsonl", r"no column 'answer'; it has .*'a'"),
        (b'{"q": "1+1=", "answer": "2"}', "train.jsonl", r"no column 'question'; it has .*'q'"),
        (ROWS + b'{"question": "3+3=", "answer": null}', "train.jsonl", "row 2: column 'answer' is missing"),
        (ROWS + b'{"question": "3+3=", "answer": ""}', "train.jsonl", "row 2: column 'answer' is empty"),
        (ROWS + b'{"question": " ", "answer": "6"}', "train.jsonl", "row 2: column 'question' is empty"),
        (b'{"question": ["1+1="], "answer": "2"}', "train.jsonl", "'question' holds a list"),
        (b'{"question": "1+1=", "answer": {"n": 2}}', "train.jsonl", "'answer' holds a mapping"),
        (ROWS + b'{"question": "3+3=", "answer": "####"}', "train.jsonl", "row 2: no final answer"),
        (ROWS + b'{"question": "3=", "answer": "so \\\\boxed{6"}', "train.jsonl", "row 2: no final"),
        (b"1+1= 2", "train.txt", "not a data file; json, jsonl, csv, tsv, parquet"),
        (b"PK\x03\x04", "train.parquet", r"train\.parquet: cannot be read: Parquet"),
        ('{"question": "ö", "answer": "2"}'.encode("utf-16"), "train.jsonl", "cannot be read"),
        ("question,answer\nö,2\n".encode("latin-1"), "train.csv", "line 2: the byte 0xf6 is not UTF-8"),
        (ROWS.splitlines()[0], "train.jsonl", r"rollout\.problems and .* need 2 training problems; the train split has 1 prob"),
        (ROWS + b'{"question": "' + b"1+" * 20 + b'1=", "answer": "21"}', "train.jsonl",
         r"row 2: its prompt has 42 tokens; model\.max_length leaves room for 22 next"),
    ],
)  # fmt: skip
def test_malformed_data_are_refused(tmp_path, model, content, name, message):
    overrides = sources(tmp_path, content, name)
    with pytest.raises(ConfigError, match=message) as caught:
        check(tmp_path, model, *overrides)
    only_error(caught)


def test_malformed_test_data_are_refused_too(tmp_path, model):
    overrides = sources(tmp_path)
    (tmp_path / "test.jsonl").write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"test\.jsonl: cannot be read: line 1"):
        check(tmp_path, model, *overrides)


def test_missing_data_are_refused(tmp_path, model):
    (tmp_path / "empty").mkdir()
    (tmp_path / "set").mkdir()
    overrides = sources(tmp_path / "set")
    (tmp_path / "set" / "test.jsonl").unlink()
    for source, message in [
        (tmp_path / "none.jsonl", r"none\.jsonl: no such data file or folder"),
        (tmp_path / "none", "none: no such data file or folder"),
        (tmp_path / "empty", "no data files in this folder"),
        (tmp_path / "set", r"no split 'test'.*named after @"),
        ("nobody/nothing", "nobody/nothing: no such file or folder, and no data set"),
    ]:
        with pytest.raises(ConfigError, match=message) as caught:
            check(tmp_path, model, *overrides, f"task.test={source}")
        only_error(caught)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{here}/none", r"model\.path: there is no folder .*none"),
        ("{here}/empty", r"model\.path: .*empty is a folder without a config\.json"),
        ("{here}/broken", r"model\.path: .*broken"),
        ("{here}/no_tokenizer", r"model\.path: .*no_tokenizer.*tokenizer"),
        ("embedded:geometry", r"model\.path: 'embedded:geometry' is not one of embedded:arith"),
        ("nobody/nothing", r"model\.path: .*nobody/nothing"),
    ],
)
def test_a_malformed_model_is_refused(tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    model_config(character_tokenizer()).save_pretrained(tmp_path / "no_tokenizer")
    with pytest.raises(ConfigError, match=message) as caught:
        check(tmp_path, path.format(here=tmp_path))
    only_error(caught)


def test_a_length_beyond_the_model_is_refused(tmp_path, model):
    with pytest.raises(ConfigError, match=r"model\.max_length: 100 is more than the 64 positions"):
        check(tmp_path, model, "model.max_length=100")


def test_attempts_that_leave_no_room_for_a_prompt_are_refused(tmp_path, model):
    message = r"model\.max_length: 32 leaves no room for a question: 2 attempts.* take 32 tokens"
    with pytest.raises(ConfigError, match=message):
        check(tmp_path, model, "rollout.max_tokens=15")
    with pytest.raises(ConfigError, match=r"train problem 0, '\d+\+\d+=': its prompt has 6 tok"):
        check(tmp_path, model, "rollout.max_tokens=13")


@pytest.mark.parametrize(
    ("broadcast", "rank", "layers"), [("merged", 0, ()), ("adapter", 2, ("q_proj",))]
)
def test_workers_get_sections_of_the_config_and_engines_an_adapter_if_it_is_sent(
    broadcast, rank, layers, tmp_path, model
):
    lora = ("learner.lora.rank=2", "learner.lora.targets=[q_proj]")
    config = load(RECIPE, [f"model.path={model}", *lora, f"learner.lora.broadcast={broadcast}"])
    inputs = check_inputs(config, tmp_path / "models")
    engine, learner = (
        pickle.loads(pickle.dumps(s)) for s in (inputs.engine_setup(), inputs.learner_setup())
    )
    assert (engine.model, engine.rollout) == (config.model, config.rollout)
    assert (engine.adapter_rank, engine.adapter_layers) == (rank, layers)
    assert (learner.model, learner.learner) == (config.model, config.learner)
    assert learner.sends_adapter == bool(rank)
    assert engine.model_folder == learner.model_folder == str(model)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{% for m in messages %}{{ m.content }}", "Unexpected end of template"),
        ("{{ messages[0].content.nothing.more }}", "has no attribute 'nothing'"),
    ],
)
def test_a_chat_template_that_fails_is_named_with_its_reason(template, reason, model, tmp_path):
    folder = tmp_path / "chat"
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, folder, *sources(tmp_path))
    text = only_error(caught)
    assert text.startswith(f"model.path: the chat template of {folder} fails: ")
    assert reason in text
    assert "\n" not in text


def test_a_model_without_one_of_its_weights_is_refused_before_anything_starts(model, tmp_path):
    folder = tmp_path / "lost"
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"would be random: model\.norm\.weight"):
        check(tmp_path, folder)


@pytest.mark.parametrize("seconds", [5.0, 9.9])
def test_a_deadline_that_ends_before_a_program_does_is_refused(seconds, tmp_path, model):
    """A program that does not end would otherwise never be judged wrong."""
    programs = ["task.name=mbpp", "task.train=tests/fixtures/mbpp.jsonl",
                "task.test=tests/fixtures/mbpp.jsonl", f"grading.deadline={seconds}"]  # fmt: skip
    with pytest.raises(ConfigError, match="grading.deadline: a program may take 6 s") as caught:
        check(tmp_path, model, *programs)
    assert "set it to 10 or more" in only_error(caught)
