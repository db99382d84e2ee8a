"""Images as the command line builds them, once a session, with packages kept under .cache/store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import Layout, ramekin, unpacked

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".cache" / "store"


@pytest.fixture(scope="session")
def store() -> Path:
    """The store that all acceptance tests share, so that each package is fetched once."""
    STORE.mkdir(parents=True, exist_ok=True)
    return STORE


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
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda image: stack.enter_context(unpacked(image))
