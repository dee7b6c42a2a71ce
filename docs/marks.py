"""Texts that scripts write into Markdown files, between marks."""

from pathlib import Path


def marks(name: str, script: str) -> tuple[str, str]:
    """Return the lines between which a script's text of that name stands."""
    return f"<!-- {name}: python -m {script} -->\n", f"<!-- end of {name} -->\n"


def read(path: str, name: str, script: str) -> str:
    """Return the text between the marks of that name and script.

    Raises:
        ValueError: if there are none.
    """
    begin, end = marks(name, script)
    _, found, rest = Path(path).read_text().partition(begin)
    text, ended, _ = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{path} has no marks for {name}")
    return text


def write(path: str, name: str, text: str, script: str = "docs.write_results") -> None:
    """Put a text between the marks of that name and script.

    Raises:
        ValueError: if there are none.
    """
    begin, end = marks(name, script)
    before = read(path, name, script)
    content = Path(path).read_text()
    Path(path).write_text(content.replace(begin + before + end, begin + text + end))
