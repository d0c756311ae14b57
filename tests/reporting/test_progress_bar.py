import pytest

from score_ray.reporting.progress_bar import ProgressBar


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


def test_without_a_terminal_lines_are_printed_as_they_are_and_there_is_no_bar(capsys):
    bar = ProgressBar(10, 2)
    assert not bar.visible
    bar.print("[red]a line " + "x" * 300)
    bar.update(5, "half way")
    bar.close()
    assert capsys.readouterr().err == "[red]a line " + "x" * 300 + "\n"


def test_on_a_terminal_the_bar_keeps_its_description_until_it_gets_another(terminal, capsys):
    bar = ProgressBar(10, 2)
    assert bar.visible
    bar.update(5, "[half] way")
    bar.update(6)
    bar.print("a line")
    bar.close()
    shown = capsys.readouterr().err
    assert "a line" in shown
    assert "[half] way" in shown.rpartition("a line")[2]


def test_quiet_shows_nothing_even_on_a_terminal(terminal, capsys):
    bar = ProgressBar(10, 2, quiet=True)
    assert not bar.visible
    bar.print("a line")
    bar.update(5, "half way")
    bar.close()
    assert capsys.readouterr() == ("", "")
