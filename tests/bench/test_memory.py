"""What is freed stays in the process."""

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, torch
from bench.memory import keep_freed_memory
{keep}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until a hole fits
    torch.ones(40 << 20, dtype=torch.uint8)
before = faults()
for _ in range(10):
    torch.ones(40 << 20, dtype=torch.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is meant")
def test_a_large_tensor_takes_the_memory_of_the_one_before():
    """40 MB are beyond the size from which glibc by itself never keeps a block."""
    found = [
        int(subprocess.check_output([sys.executable, "-c", PAGES.format(keep=keep)], text=True))
        for keep in ("", "keep_freed_memory()")
    ]
    assert found[1] < found[0] / 10, found
