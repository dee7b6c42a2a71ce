"""Which versions the suite was seen working with: fresh environments, and a table of them.

  python -m tests.matrix versions=oldest|newest [torch=VERSION|FOLDER] [python=python3]
                         [out=docs/installation.md]

An environment of the given Python is made in a folder that goes afterwards. The suite is installed
there with every dependency at the oldest release that pyproject.toml allows, or at the newest that
pip finds; then come `pip check`, a smoke run of two algorithms with its report, a step of every
task, and a part of the tests. What was seen is a row of the table in `out`; the same Python and
versions replace it.

torch is the version that is given. A folder is one that holds a torch already, which is borrowed:
that of another environment, or of a system that packages torch itself, as Debian does.
This script needs nothing but Python, and runs in any system: also in one of `debootstrap`.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from bench.errors import UsageError
from bench.words import parse
from docs.marks import read, write

ROOT = Path(__file__).parents[1]
NAMES = ("torch", "gymnasium", "mujoco", "numpy", "pandas", "scikit-learn")  # in the table
HEAD = ("Python", "versions", *NAMES, "`pip check`", "smoke run and report", "tests")
SMOKE = ("run", "algo=sac,ddiffpg", "task=pointmaze-v1", "budget=smoke", "threads=1")
STEPS = """
import bench.tasks
for name in bench.tasks.registry:
    if name not in ("gym", "pointmaze", "antmaze"):  # which need settings
        env = bench.tasks.make_env(name, seed=0)
        env.reset(seed=0)
        env.step(env.action_space.sample())
"""  # of every task
TESTS = (  # quick ones of everything that other packages give: tensors, physics, tables, files
    "tests/bench/test_storage.py", "tests/bench/test_old_records.py", "tests/bench/test_rollout.py",
    "tests/tasks/test_vector.py", "tests/analysis/test_diversity.py",
    "tests/analysis/test_stats.py",
)  # fmt: skip
MARK = ("matrix", "tests.matrix")


def oldest() -> list[str]:
    """Return the oldest release of every dependency that is allowed, but for torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pairs = [line.partition(">=") for line in project["dependencies"]]
    return [f"{name}=={least.partition(',')[0]}" for name, _, least in pairs if name != "torch"]


def call(words: list[str], where: Path, **variables: str) -> tuple[bool, str]:
    """Return whether a command succeeds, and what it prints."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=where, env=clean | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    print(done.stdout[-4000:] if done.returncode else done.stdout[-300:], flush=True)
    return done.returncode == 0, done.stdout


def try_out(python: str, versions: str, torch: str, folder: Path) -> dict[str, str]:
    """Return the row of one environment.

    Raises:
        RuntimeError: if the suite cannot be installed in it.
    """
    subprocess.run([python, "-m", "venv", folder / "env"], check=True)
    own = str(folder / "env/bin/python")
    pip = [own, "-m", "pip", "--disable-pip-version-check"]
    if Path(torch).is_dir():
        place = subprocess.check_output(
            [own, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        )
        (Path(place.strip()) / "borrowed.pth").write_text(f"{Path(torch).absolute()}\n")
        torch = version(own, "torch")
    constraints = folder / "constraints.txt"
    wanted = [f"torch=={torch}", *(oldest() if versions == "oldest" else ())]
    constraints.write_text("\n".join(wanted) + "\n")
    suite = ["install", "-c", str(constraints), f"torch=={torch}", str(ROOT), "pytest"]
    installed, said = call([*pip, *suite], folder)
    if not installed:
        raise RuntimeError(f"pip cannot install it: {said.strip().splitlines()[-1]}")
    found = {name: version(own, name) for name in NAMES}
    checked, said = call([*pip, "check"], folder)
    smoke, _ = call([own, "-m", "bench", *SMOKE], folder)
    stepped, _ = call([own, "-c", STEPS], folder)
    smoke = smoke and stepped and (folder / "results/default/report/index.html").exists()
    _, counted = call([own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS], ROOT)
    return {
        "Python": version(own), "versions": versions, **found,
        "`pip check`": "clean" if checked else said.strip().splitlines()[0],
        "smoke run and report": "done" if smoke else "fails",
        "tests": counted.strip().splitlines()[-1].partition(" in ")[0],
    }  # fmt: skip


def version(python: str, package: str = "") -> str:
    """Return the version of a package, or of a Python."""
    program = "import json, platform; print(json.dumps(platform.python_version()))"
    if package:
        program = (
            f"import json; from importlib.metadata import version as of; "
            f"print(json.dumps(of({package!r})))"
        )
    return str(json.loads(subprocess.check_output([python, "-c", program], text=True)))


def with_row(table: str, row: dict[str, str]) -> str:
    """Return a table with one more row, in place of one of the same Python and versions."""
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")]
            for line in table.splitlines()[2:]]  # fmt: skip
    new = [row[name] for name in HEAD]
    rows = [one for one in rows if one[:2] != new[:2]] + [new]
    rows.sort(key=lambda one: ([int(part) for part in one[0].split(".")], one[1] == "newest"))
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main(words: list[str]) -> int:
    """Try one environment out and write its row; return 1 if anything fails in it."""
    defaults = {"versions": "newest", "torch": "2.13.0", "python": sys.executable,
                "out": "docs/installation.md"}  # fmt: skip
    plain, values = parse(words, defaults)
    if plain or values["versions"] not in ("oldest", "newest"):
        raise UsageError(f"versions={values['versions']}: valid are oldest, newest")
    with tempfile.TemporaryDirectory() as folder:
        row = try_out(values["python"], values["versions"], values["torch"], Path(folder))
    write(values["out"], MARK[0], with_row(read(values["out"], *MARK), row), MARK[1])
    print(row)
    sound = row["`pip check`"] == "clean" and row["smoke run and report"] == "done"
    return int(not sound or "failed" in row["tests"] or "error" in row["tests"])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (UsageError, RuntimeError) as error:
        sys.exit(f"matrix: {error}")
