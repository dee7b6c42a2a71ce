#!/usr/bin/env bash
# A plain `pip install rliable` gives packages that cannot be imported together.
#
# rliable 1.2.0 requires arch below 8, of which the last is 7.2.0, and any pandas from 1.0 on; arch
# 7.2.0 requires any pandas from 1.1 on. pip chooses pandas 3.1.1, and says nothing. Seen: `import
# rliable.library` ends with a TypeError from arch, on a decorator that pandas keeps for itself and
# has changed; `rliable.metrics`, which needs no arch, works. arch 8.0.0 is mended, but rliable's
# requirement keeps it out. Remedy: pin pandas below 3 beside rliable.
#
# Output seen:
#   rliable 1.2.0 requires arch<8.0,>=5.3.1
#   pandas 3.1.1, arch 7.2.0: TypeError: deprecate_kwarg() missing 1 required positional argument: 'new_arg_name'
#   pandas 3.1.1, metrics alone: imported
#   pandas 2.3.3, arch 7.2.0: imported
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$folder/venv/bin/pip" install --quiet rliable==1.2.0 arch==7.2.0 numpy==2.4.6 pandas==3.1.1
required=$("$python" -c 'from importlib.metadata import requires
print(next(one for one in requires("rliable") if one.startswith("arch")))')
echo "rliable 1.2.0 requires $required"
last() { "$python" -c "import $1" 2>&1 | tail -n 1; }
three=$(last rliable.library || true)
echo "pandas 3.1.1, arch 7.2.0: $three"
"$python" -c 'import rliable.metrics' && echo "pandas 3.1.1, metrics alone: imported"
"$folder/venv/bin/pip" install --quiet pandas==2.3.3
"$python" -c 'import rliable.library' && echo "pandas 2.3.3, arch 7.2.0: imported"
[[ $required == arch*"<8.0"* && $three == "TypeError: deprecate_kwarg() missing"* ]]
