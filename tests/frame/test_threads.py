"""Values that several threads read at once are read without harm, from the very first on.

msgspec learns the fields of a type when a value of it is first read; two threads that make it do so at the
same time end the process with a segmentation fault. Each case is a process of its own, where nothing is known
yet.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

CASES = {
    "facts of packages": "from ramekin.closure.model import decode; read = lambda: decode(b'{}')",
    "manifests": "from ramekin.image import oci; read = lambda: oci.decode(b'{}', oci.Manifest, where='')",
    "slices": "from ramekin.closure import slices; read = slices.rules.__wrapped__",
    "needless scripts": "from ramekin.closure import scripts; read = scripts.needless.__wrapped__",
}

RACE = """
import sys, threading
sys.setswitchinterval(1e-6)
{case}
def run():
    barrier.wait()
    try:
        read()
    except Exception:
        pass
barrier = threading.Barrier(8)
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("what", CASES)
def test_threads_that_read_at_once_do_no_harm(what: str) -> None:
    for _ in range(3):
        subprocess.run([sys.executable, "-c", RACE.format(case=CASES[what])], check=True, timeout=60)
