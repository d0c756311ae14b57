"""Which files of a reward travel with a job, and that it can be imported from them alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.runtime import ray_jobs
from score_ray.runtime.reward_files import reward_files
from score_ray.types import ConfigError


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(place: str) -> set[str]:
    return {str(file) for file in reward_files(place)}


def test_a_module_travels_with_the_neighbours_that_it_imports_and_theirs(here):
    write(here, {
        "mine.py": "import json, helper\nfrom numbers_of import one\ndef score(p, t): return 1.0",
        "helper.py": "def late():\n    import deeper\n",
        "numbers_of.py": "import importlib\nhidden = importlib.import_module('by_name')\none = 1",
        "deeper.py": "import mine\n",
        "by_name.py": "",
        "unrelated.py": "",
        "data.jsonl": "{}",
        ".env": "KEY=secret",
    })  # fmt: skip
    found = names("mine:score")
    assert found == {"mine.py", "helper.py", "numbers_of.py", "deeper.py", "by_name.py"}


def test_a_package_travels_whole_with_its_data_and_without_secrets_and_caches(here):
    write(here, {
        "rewards/__init__.py": "",
        "rewards/deep/own.py": "from ..words import known\nimport beside",
        "rewards/words.py": "known = open(__file__)",
        "rewards/words.txt": "yes",
        "rewards/secret_santa.py": "",
        "rewards/.env": "", "rewards/prod.env": "", "rewards/server.pem": "",
        "rewards/api_secret.yaml": "", "rewards/.git/config": "",
        "rewards/__pycache__/words.cpython-311.pyc": "",
        "rewards/venv/pyvenv.cfg": "", "rewards/venv/lib/numpy.py": "",
        "beside.py": "",
    })  # fmt: skip
    assert names("rewards.deep.own:score") == {
        "rewards/__init__.py", "rewards/deep/own.py", "rewards/words.py", "rewards/words.txt",
        "rewards/secret_santa.py", "beside.py",
    }  # fmt: skip


def test_a_module_on_pythonpath_travels_to_the_top_of_the_job(here, monkeypatch):
    write(here, {"elsewhere/far_reward.py": "import far_helper", "elsewhere/far_helper.py": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(here / "elsewhere")])
    assert names("far_reward:score") == {"far_reward.py", "far_helper.py"}


@pytest.mark.parametrize(
    "place", ["", "json:dumps", "numpy:sum", "score_ray.types:Problem", "none:f"]
)
def test_what_is_installed_or_missing_does_not_travel(place, here):
    assert reward_files(place) == {}


def test_a_module_that_cannot_be_parsed_travels_all_the_same(here):
    write(here, {"torn.py": "def score(:"})
    assert names("torn:score") == {"torn.py"}


def test_too_much_data_is_refused_and_named(here):
    write(here, {"big/__init__.py": "", "big/table.bin": "x" * (21 * 2**20)})
    with pytest.raises(ConfigError, match="big has 21 MiB .* such as big/table.bin, out of"):
        reward_files("big:score")


def test_the_packed_reward_is_imported_from_the_jobs_folder_alone(here, tmp_path_factory):
    write(here, {
        "own/reward.py": "from pathlib import Path\nimport helper\n"
        "WORDS = Path(__file__).with_name('words.txt').read_text()\n"
        "def score(problem, text): return helper.value if text in WORDS else 0.0",
        "own/words.txt": "right",
        "helper.py": "value = 0.5",
    })  # fmt: skip
    recipe = Path(__file__).parents[2] / "configs/arithmetic.yaml"
    job = tmp_path_factory.mktemp("job")
    ray_jobs.pack(job, load(recipe, ["grading.reward=own.reward:score"]))
    program = (
        "from score_ray.tasks.custom_reward import import_reward\n"
        "print(import_reward('own.reward:score')(None, 'right'))"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=job, env=env, capture_output=True, text=True
    )
    assert done.stdout == "0.5\n", done.stderr
