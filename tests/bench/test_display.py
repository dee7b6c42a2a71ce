"""Tables in the terminal and in a pipe."""

from rich.table import Table
from rich.text import Text

from bench.printing import show


def printed(capsys, monkeypatch, terminal):
    table = Table("name", "what", "why")
    table.add_row("an algorithm with a long name", "words " * 40, "words " * 40)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    show(table)
    return Text.from_ansi(capsys.readouterr().out).plain.splitlines()


def test_a_terminal_gets_whole_names_and_its_own_width(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, terminal=True)
    assert max(map(len, lines)) == 60 and len(lines) > 6, "the long cell is broken"
    assert any("an algorithm with a long name" in line for line in lines)


def test_a_pipe_gets_a_line_per_row(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, terminal=False)
    assert len(lines) == 5 and max(map(len, lines)) > 480
