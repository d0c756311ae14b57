import glob
import tempfile
from pathlib import Path

import pytest

from score_ray.weights.plain_folder import PLAIN, plain_folder

NAMES = [
    "m[1]",
    "a*b",
    "what?",
    "{x}",
    "a b",
    "größe 数",
    "user@host",
    "owner:tag",
    "~",
    "#2",
    "%s",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_below_the_plain_name_finds_the_files_of_this_folder_alone(name, tmp_path):
    """The folders m1, aXb and whatX would match what the names are as patterns."""
    for other in ("m1", "aXb", "whatX", name):
        (tmp_path / other).mkdir()
        (tmp_path / other / "weights.bin").write_text(other)
    with plain_folder(tmp_path / name) as plain:
        assert PLAIN.fullmatch(plain)
        assert [Path(p).read_text() for p in glob.glob(f"{plain}/*.bin")] == [name]
    assert not Path(plain).exists()
    assert (tmp_path / name / "weights.bin").read_text() == name


def test_a_special_sign_in_a_folder_above_and_a_relative_path_are_no_fault(tmp_path, monkeypatch):
    (tmp_path / "in [here]" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with plain_folder("in [here]/model") as plain:
        assert Path(plain).resolve() == tmp_path / "in [here]" / "model"


def test_a_plain_folder_and_a_hugging_face_name_are_left_as_they_are(tmp_path):
    (tmp_path / "model-1.5_b").mkdir()
    for given in (str(tmp_path / "model-1.5_b"), "Qwen/Qwen2.5-1.5B", "nobody/no[1]"):
        with plain_folder(given) as plain:
            assert plain == given


def test_the_link_is_plain_where_the_folder_for_temporary_files_is_not(tmp_path, monkeypatch):
    (tmp_path / "tmp [x]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp [x]"))
    with plain_folder(tmp_path / "tmp [x]") as plain:
        assert PLAIN.fullmatch(plain)
        assert Path(plain).resolve() == tmp_path / "tmp [x]"
