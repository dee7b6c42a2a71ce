"""The audit of dependencies, on packages made here."""

import base64
import hashlib
import subprocess
from importlib.metadata import PathDistribution

import pytest

from docs import audit_dependencies as audit


def package(folder, licence="License-Expression: MIT\n"):
    """Return an installed package of one file."""
    info = folder / "sound_one-1.0.dist-info"
    info.mkdir()
    (folder / "sound.py").write_text("x = 1\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: Sound_One\nVersion: 1.0\n{licence}"
    )
    (info / "RECORD").write_text(f"sound.py,sha256={digest},6\nlost.pyc,sha256=x,1\nRECORD,,\n")
    return PathDistribution(info)


def test_pins_files_and_licences_are_checked_without_a_network(tmp_path):
    one = package(tmp_path)
    assert audit.read_pins("a_b==1.0  # why\n\nc>=2\n") == (
        {"a-b": "1.0"}, ["constraints.txt: 'c>=2' pins no version"]
    )  # fmt: skip
    assert audit.unpinned([one], {"sound-one": "1.0"}) == []
    assert audit.unpinned([one], {"sound-one": "2.0"}) == ["sound-one 1.0: 2.0 is pinned"]
    assert audit.unpinned([one], {}) == ["sound-one 1.0: not pinned"]
    assert audit.licence(one) == "MIT" and list(audit.changed(one)) == []
    (tmp_path / "sound.py").write_text("x = 2\n")
    assert list(audit.changed(one)) == ["sound-one: sound.py has changed since it was installed"]
    (tmp_path / "sound.py").unlink()
    assert list(audit.changed(one)) == ["sound-one: sound.py is missing"]


def test_a_package_without_a_licence_is_named(tmp_path):
    assert audit.licence(package(tmp_path, "")) == ""


@pytest.mark.parametrize("installed, out, error, status, said", [
    (False, "", "", 0, "not looked up: pip-audit is not installed"),
    (True, "", "noise\nConnectionError: no route", 0, "not looked up: ConnectionError: no route"),
    (True, "a 1.0 PYSEC-1", "found 1", 1, "a 1.0 PYSEC-1"),
])  # fmt: skip
def test_a_service_that_is_not_there_is_said_in_one_line(
    monkeypatch, capsys, installed, out, error, status, said
):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: installed or None)
    done = subprocess.CompletedProcess([], 1, out, error)
    monkeypatch.setattr(audit.subprocess, "run", lambda *words, **more: done)
    assert audit.vulnerabilities() == status
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 and said in printed[0]
