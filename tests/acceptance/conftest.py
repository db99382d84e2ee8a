"""Images as the command line builds them, with packages kept under .cache/store from one session to the next.

What was made of the packages is kept only while the code is the same, so that no test passes on the work of
code that is no more.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.containers import Layout, ramekin, unpacked

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".cache" / "store"


@pytest.fixture(scope="session")
def store() -> Path:
    """The store that all acceptance tests share, so that each package is fetched once."""
    STORE.mkdir(parents=True, exist_ok=True)
    made_by = STORE / "made-by"
    with (STORE.parent / "store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = code()
        if not made_by.exists() or made_by.read_text() != now:
            shutil.rmtree(STORE / "results", ignore_errors=True)
            made_by.write_text(now)
    return STORE


def code() -> str:
    """A digest of the package's files."""
    state = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            state.update(
                f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode()
            )
    return state.hexdigest()


@pytest.fixture(scope="session")
def build(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Layout]:
    """`build("redis-server")`: the image that `ramekin build redis-server` makes."""
    built: dict[tuple[str, ...], Layout] = {}

    def build(*words: str) -> Layout:
        if words not in built:
            layout = tmp_path_factory.mktemp("image") / "layout"
            ramekin("build", *words, "-o", f"oci:{layout}", "--store", store)
            built[words] = Layout(layout)
        return built[words]

    return build


@pytest.fixture
def laid_out() -> Iterator[Callable[[Layout], Path]]:
    """`laid_out(image)`: the image's files below a folder that the test may change."""
    with ExitStack() as stack:
        yield lambda image: stack.enter_context(unpacked(image))
