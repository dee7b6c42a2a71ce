"""Audit what is installed: pins, files, licences, and known vulnerabilities.

  python -m docs.audit_dependencies [files=true] [online=true]

Printed is one line for every finding; the exit status is 1 where there is one that must be acted
on. Without a network: every package that is installed is pinned in constraints.txt, to the version
that is installed; every file is what its wheel said (`files=false` leaves that out); every licence
is known. With one: `pip-audit` (`pip install pip-audit`) asks for vulnerabilities of the pins. If
it is not installed or its service cannot be reached, one line says so, and the rest counts.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from bench.errors import UsageError
from bench.words import parse
from docs.studies import start

PINS = Path(__file__).parents[1] / "constraints.txt"
OWN = ("multimodal-rl-bench", "pip", "setuptools", "wheel", "pip-audit")  # not pinned by us
PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;]+)")
PRECOMPILED = ".pyc"  # written anew by Python
AUDIT = ["-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "-r"]
PATIENCE = 300  # s


def main(words: list[str]) -> int:
    """Print all findings."""
    _, values = parse(words, {"files": "true", "online": "true"})
    for key, value in values.items():
        if value not in ("true", "false"):
            raise UsageError(f"{key}={value}: valid are true, false")
    found = list(distributions())
    pins, findings = read_pins(PINS.read_text())
    findings += unpinned(found, pins)
    if values["files"] == "true":
        findings += [line for one in found for line in changed(one)]
    licences = {name_of(one): licence(one) for one in found}
    findings += [f"{name}: no licence is declared" for name, said in licences.items() if not said]
    print(*findings, sep="\n", end="\n" if findings else "")
    counted = Counter(filter(None, licences.values())).most_common()
    print("licences: " + "; ".join(f"{said} {count}" for said, count in counted))
    print(f"{len(found)} packages, {len(pins)} pins: {len(findings)} findings")
    status = vulnerabilities() if values["online"] == "true" else 0
    return 1 if findings else status


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(one: Distribution) -> str:
    """Return the name of a package that is installed."""
    return normal(one.metadata["Name"])


def read_pins(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the versions that are pinned, by package, and the lines that pin none."""
    pins, findings = {}, []
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        if pin := PIN.match(line):
            pins[normal(pin[1])] = pin[2]
        else:
            findings.append(f"{PINS.name}: {line!r} pins no version")
    return pins, findings


def unpinned(found: Iterable[Distribution], pins: dict[str, str]) -> list[str]:
    """Return what is installed in no version, or another, than is pinned."""
    findings = []
    for one in found:
        name, version = name_of(one), one.version.partition("+")[0]  # torch's +cpu
        if name in OWN:
            continue
        if name not in pins:
            findings.append(f"{name} {version}: not pinned")
        elif pins[name].partition("+")[0] != version:
            findings.append(f"{name} {version}: {pins[name]} is pinned")
    return sorted(findings)


def changed(one: Distribution) -> Iterator[str]:
    """Yield which files of a package are not what its wheel said."""
    for file in one.files or ():
        path = Path(str(one.locate_file(file)))
        if file.hash is None or file.suffix == PRECOMPILED:
            continue
        try:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, file.hash.mode).digest()
        except OSError:
            yield f"{name_of(one)}: {file} is missing"
            continue
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            yield f"{name_of(one)}: {file} has changed since it was installed"


def licence(one: Distribution) -> str:
    """Return the licence that a package declares, or nothing."""
    said, kinds, texts = (
        one.metadata.get_all(key) or [] for key in ("License-Expression", "Classifier", "License")
    )
    known = [kind.rpartition(" :: ")[2] for kind in kinds if kind.startswith("License ::")]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return ", ".join(said or known) or (lines[0].strip()[:60] if lines else "")


def vulnerabilities() -> int:
    """Ask for known vulnerabilities of the pins; return 1 if there are some."""
    if importlib.util.find_spec("pip_audit") is None:
        print("vulnerabilities: not looked up: pip-audit is not installed (pip install pip-audit)")
        return 0
    try:
        done = subprocess.run([sys.executable, *AUDIT, str(PINS)], capture_output=True, text=True,
                              timeout=PATIENCE)  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"vulnerabilities: not looked up: no answer in {PATIENCE} s")
        return 0
    if done.returncode and not done.stdout.strip():  # it lists vulnerabilities there
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"vulnerabilities: not looked up: {last}")
        return 0
    print(done.stdout.strip() or "vulnerabilities: none is known")
    return done.returncode


if __name__ == "__main__":
    start(main)
