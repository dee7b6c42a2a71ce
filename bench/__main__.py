"""python -m bench: the command line."""

from __future__ import annotations

import difflib
import errno
import importlib
import sys

from bench.errors import NotFinite, UsageError

USAGE = """\
Which policy classes find, keep and control several ways of solving a task.

  python -m bench list [algos|tasks]     what there is
  python -m bench run algo=A task=T      train, evaluate, record and report
  python -m bench report [results=DIR]   figures, tables and one HTML page from records
  python -m bench status [results=DIR]   how far every run is
  python -m bench eval RUN_DIR           fresh episodes of a trained policy
  python -m bench replan RUN_DIR         its policy before obstacles that it never saw
  python -m bench render RUN_DIR         a video and a picture of paths, one colour per mode
  python -m bench export RUN_DIR         its episodes, or its replay, as a Minari dataset
  python -m bench speed [algo=A]         env steps/s and updates/s as shares of the machine's limit
  python -m bench bandit                 which of four equal peaks every algorithm keeps

Examples:
  python -m bench run algo=ddiffpg task=pointmaze-v3
  python -m bench run algo=ddiffpg,sac task=pointmaze seed=0,1,2 experiment=mazes
  python -m bench report results=results/reference out=report

Each command explains itself: python -m bench COMMAND --help
"""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # no fault of ours
COMMANDS = (
    "list", "run", "report", "status", "eval", "replan", "render", "export", "speed", "bandit",
)  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0 fine, 1 a run or the disk failed, 2 bad input."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    sys.path.insert(0, "")  # plugins are found in the working directory
    try:
        if words[0] not in COMMANDS:
            near = difflib.get_close_matches(words[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"unknown command {words[0]!r}.{hint} Valid: {', '.join(COMMANDS)}")
        name = "listing" if words[0] == "list" else words[0]
        return importlib.import_module(f"bench.commands.{name}").main(words[1:])
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except NotFinite as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # of a folder that is named on the command line
            print(f"bench: {error.filename}: {error.strerror}", file=sys.stderr)
            return 2
        if error.errno not in DISK:
            raise
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
