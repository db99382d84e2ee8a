"""How a fuzz target is run: guided by coverage with atheris, or by chance without it.

- `python tests/fuzz/fuzz_X.py [OPTION…] [CORPUS…]` with atheris; options are libFuzzer's;
- `python tests/fuzz/fuzz_X.py --seconds 60` without it too: seeds changed at random;
- `make fuzz` gives each ten minutes.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def fuzz(one: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    """Give `one` bytes until it raises, as the command line says."""
    if sys.argv[1:2] == ["--seconds"]:
        _at_random(one, seeds, float(sys.argv[2]))
        return
    import atheris  # type: ignore

    atheris.instrument_all()
    with tempfile.TemporaryDirectory(prefix="seeds-") as folder:
        for number, seed in enumerate(seeds):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([*sys.argv, folder], one)
        atheris.Fuzz()


def _at_random(one: Callable[[bytes], None], seeds: Sequence[bytes], seconds: float) -> None:
    rng, start, count = random.Random(1), time.monotonic(), 0
    while time.monotonic() - start < seconds:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((0, 1, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 1, 8)))
        one(bytes(data))
        count += 1
    print(f"{count:,} inputs were read or refused")
