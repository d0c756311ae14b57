"""Model folders with something missing or damaged."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.bad_inputs.case import Case, Make, nothing
from tests.bad_inputs.inputs import both, edited, file, removed

KIND = "models"
WEIGHTS = "model/model.safetensors"
TEMPLATE = "model/chat_template.jinja"
CHAT = ("train", "run.yaml", "prompts.system=Be brief.")


def model(name: str, says: str, make: Make = nothing, *overrides: str, **more) -> Case:
    """Return a case of training the model in the folder `model`."""
    return Case(KIND, name, ("train", "run.yaml", *overrides), says, make, **more)


def settings(**changes) -> Make:
    """Return what changes keys of the model's config.json."""
    return edited("model/config.json", lambda old: json.dumps(json.loads(old) | changes).encode())


def tensors(change: Callable[[dict], None]) -> Make:
    """Return what changes the tensors in the model's safetensors file."""

    def make(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, metadata={"format": "pt"})

    return make


def without_one(found: dict) -> None:
    """Remove a tensor of the first layer."""
    found.pop("model.layers.0.mlp.up_proj.weight")


def another_shape(found: dict) -> None:
    """Cut a tensor of the first layer in half."""
    found["model.layers.0.mlp.up_proj.weight"] = found["model.layers.0.mlp.up_proj.weight"][
        :32
    ].clone()


def not_finite(found: dict) -> None:
    """Put NaN into a tensor of the first layer."""
    found["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")


def sharded(folder: Path) -> None:
    """Name a second file of weights in an index, and leave it out."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "pt") as opened:
        names = list(opened.keys())
    (folder / WEIGHTS).rename(folder / "model" / "model-00001-of-00002.safetensors")
    files = dict.fromkeys(names, "model-00001-of-00002.safetensors")
    files[names[-1]] = "model-00002-of-00002.safetensors"
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": files})
    (folder / "model" / "model.safetensors.index.json").write_text(index)


def only_tokenizer_config(folder: Path) -> None:
    """Remove the tokenizer."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "model" / name).unlink()


OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
PLACES = [
    model("a model folder that is missing", r"model\.path.*\./nowhere", nothing, "model.path=./nowhere"),
    model("a file as model", r"model\.path.*train\.jsonl", nothing, "model.path=./train.jsonl"),
    model("a built-in model that is none", r"model\.path.*embedded:algebra", nothing, "model.path=embedded:algebra"),
    model("a hub's model without a network", r"model\.path: no-one/nothing .*cannot be reached", nothing, "model.path=no-one/nothing", environment=OFFLINE, seconds=60),
    model("an empty model folder", r"model\.path: \./bare .*config\.json", file("bare/readme.txt", ""), "model.path=./bare"),
]  # fmt: skip
FILES = [
    model("a model without config.json", r"model\.path: \./model .*config\.json", removed("model/config.json")),
    model("a model without weights", r"model\.path: \./model: its weights do not load: .*model\.safetensors", removed(WEIGHTS)),
    model("a model without a tokenizer", r"model\.path: \./model has no tokenizer that loads: .*\w", only_tokenizer_config),
    model("a config.json that is not JSON", r"model\.path: \./model .*config\.json.*not a valid JSON", file("model/config.json", "{")),
    model("a tokenizer.json that is cut off", r"model\.path: \./model has no tokenizer that loads: .*line 7", edited("model/tokenizer.json", lambda old: old[:99])),
    model("a model of an unknown type", r"model\.path: \./model .*nothing", settings(model_type="nothing", architectures=["Nothing"])),
    model("weights that are cut off", r"model\.path: \./model: .*cut off", edited(WEIGHTS, lambda old: old[:-5000])),
    model("weights that are text", r"model\.path: \./model: .*damaged", file(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n")),
    model("a missing tensor", r"model\.path: \./model: 1 of .*model\.layers\.0\.mlp\.up_proj\.weight", tensors(without_one)),
    model("a tensor of another shape", r"model\.path: \./model: .*another shape.*model\.layers\.0\.mlp\.up_proj\.weight has \[32, 64\]", tensors(another_shape)),
    model("a NaN in the weights", r"finite", tensors(not_finite), heavy=True, seconds=200, lines=20, left=("runs", "runs/*")),
    model("a missing file of an index", r"model\.path: \./model: .*model-00002-of-00002", sharded),
    model("weights of pickle that are damaged", r"model\.path: \./model: its \.bin file", both(removed(WEIGHTS), file("model/pytorch_model.bin", "x" * 99))),
]  # fmt: skip
CHATS = [
    Case(KIND, "a template that refuses a system prompt", CHAT, r"template.*No system", file(TEMPLATE, "{{ raise_exception('No system role here') }}")),
    Case(KIND, "a template with a fault of syntax", CHAT, r"chat template of \./model fails: .*'endfor'", file(TEMPLATE, "{% for m in messages %}{{ m.content }}")),
    Case(KIND, "a template that calls what is not there", CHAT, r"chat template of \./model fails: 'nothing'", file(TEMPLATE, "{{ nothing() }}")),
]  # fmt: skip
FIT = [
    model("more tokens than positions", r"model\.max_length.*65.*64", nothing, "model.max_length=65"),
    model("too few tokens for the prompts", r"its prompt has 6 tokens; model\.max_length leaves", nothing, "model.max_length=12"),
    model("logits that are scaled", r"model\.path.*logit", settings(logit_scale=0.5)),
    model("layers that the model lacks", r"learner\.lora\.targets.*no_such", nothing, "learner.lora.rank=4", "learner.lora.targets=[no_such]"),
]  # fmt: skip
CASES = [*PLACES, *FILES, *CHATS, *FIT]
