import pytest

from tests.support.command_line import output, refusal
from tests.support.sample_figure_run import add_extra_samples, make_run


def run(*words) -> list[str]:
    return output("figures", *words).splitlines()


@pytest.mark.slow
def test_the_figures_of_a_run_go_into_its_folder_with_a_page_of_them_all(tmp_path):
    folder = make_run(tmp_path / "run <1>")
    lines = run(folder, "--no-sampling")
    names = ["accuracy.png", "edit_distance.png", "changed.png", "levels.png", "figures.html"]
    assert lines == [str(folder / "figures" / name) for name in names]
    page = (folder / "figures" / "figures.html").read_text()
    assert page.count("<picture>") == 4
    assert "<h1>score_ray: run &lt;1&gt;</h1>" in page


@pytest.mark.slow
def test_existing_samples_are_not_sampled_again(tmp_path):
    folder = make_run(tmp_path / "run")
    # Of another size than asked for: this folder has no model that more could be sampled from.
    add_extra_samples(folder)
    before = {path: path.read_bytes() for path in (folder / "study").iterdir()}
    lines = run(folder)
    assert len(lines) == 7
    assert {path: path.read_bytes() for path in (folder / "study").iterdir()} == before


@pytest.mark.slow
def test_the_figures_of_several_runs_go_where_out_says(tmp_path):
    folders = [make_run(tmp_path / name) for name in "ab"]
    assert "--out: name a folder" in refusal("figures", *folders, "--no-sampling")
    lines = run(*folders, "--no-sampling", "--out", tmp_path / "out")
    assert lines[-1] == str(tmp_path / "out" / "figures.html")
    assert "<h1>score_ray: a, b</h1>" in (tmp_path / "out" / "figures.html").read_text()


def test_a_folder_without_a_finished_run_is_named(tmp_path):
    message = "none: not a run folder: it has no config.yaml"
    assert message in refusal("figures", tmp_path / "none")
    folder = make_run(tmp_path / "run")
    (folder / "model").rmdir()
    message = "run: has no model yet; a finished run leaves one"
    assert message in refusal("figures", folder, "--no-sampling")
    assert not (folder / "figures").exists()


@pytest.mark.parametrize("name", ["metrics", "evals", "answers/after_000004"])
@pytest.mark.parametrize("line", ["[1, 2]", '{"iteration": '])
def test_a_damaged_record_is_named_before_anything_is_drawn(name, line, tmp_path):
    folder = make_run(tmp_path / "run")
    path = folder / f"{name}.jsonl"
    path.write_text(f"{line}\n{path.read_text()}")
    assert f"{path}, line 1: not a JSON record" in refusal("figures", folder, "--no-sampling")
    assert not (folder / "figures").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--samples", 4), ("--temperature", 0.7), ("--problems", 0), ("--attempts", 10)],
)
def test_an_option_of_sampling_is_refused_if_nothing_is_sampled(option, value, tmp_path):
    message = refusal("figures", tmp_path / "none", "--no-sampling", option, value)
    assert message == f"{option}: nothing is sampled with --no-sampling; leave it out"
