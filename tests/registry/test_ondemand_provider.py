"""Images made on demand, asked of the provider as the registry does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.archive import SigningKey
from support.kitchen import SUITE, Kitchen
from support.larder import SETTINGS, open_larder, season

from ramekin.image.image import Image
from ramekin.image.oci import Descriptor
from ramekin.image.validate import validate
from ramekin.progress import SILENT
from ramekin.registry import sweeping
from ramekin.registry.catalog import Catalog
from ramekin.registry.ondemand.builds import Build
from ramekin.registry.ondemand.provider import OnDemandProvider
from ramekin.registry.ondemand_config import OnDemand
from ramekin.registry.provider import Asker, Provided, Refusal
from ramekin.store import cleaning
from ramekin.store.store import Store

BUILDER = Asker("", "127.0.0.1", True)
READER = Asker("", "127.0.0.1", False)


@pytest.fixture
def kitchen(tmp_path: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    made = open_larder(tmp_path / "kitchen", signing_key)
    for name, value in made.env().items():
        monkeypatch.setenv(name, value)
    return made


Serve = Callable[..., contextlib.AbstractAsyncContextManager[OnDemandProvider]]


@pytest.fixture
def serve(kitchen: Kitchen, tmp_path: Path) -> Serve:
    """`async with serve(packages=3) as provider`, over one store."""

    @contextlib.asynccontextmanager
    async def serve(**settings: Any) -> AsyncIterator[OnDemandProvider]:
        config = OnDemand(**{**SETTINGS, **settings})
        provider = OnDemandProvider(config, Store.at(tmp_path / "store"), ahead=False)
        await provider.start()
        try:
            yield provider
        finally:
            await provider.stop()

    return serve


def run(work: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))  # type: ignore[arg-type]


async def given(provider: OnDemandProvider, name: str, tag: str = "latest") -> Provided:
    found = await provider.provide(name, tag, BUILDER)
    assert isinstance(found, Provided), found
    return found


async def refused(provider: OnDemandProvider, name: str, tag: str = "latest") -> Refusal:
    found = await provider.provide(name, tag, BUILDER)
    assert isinstance(found, Refusal), found
    return found


def image(found: Provided, tmp_path: Path) -> Image:
    described = Descriptor(found.media_type, found.digest, len(found.data))
    return Image(described, Store.at(tmp_path / "store"), "", found.referrers)


def test_a_name_is_an_index_of_both_architectures(serve: Serve, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve() as provider:
            made = image(await given(provider, "gratin"), tmp_path)
            platforms = [str(entry.platform) for entry in made.manifests()]
            assert platforms == ["linux/amd64", "linux/arm64/v8"]
            assert validate(made, SILENT) == []
            one = await given(provider, "arm64/gratin")
            assert one.digest == made.manifests()[1].digest

    run(work())


def test_the_order_of_packages_and_a_restart_do_not_matter(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            first = await given(provider, "shell/gratin/leek")
            assert (await given(provider, "shell/leek/gratin")).digest == first.digest
        async with serve() as provider:
            assert (await given(provider, "shell/leek/gratin")).digest == first.digest

    run(work())


def test_a_shell_starts_in_bash_and_other_images_in_their_program(serve: Serve, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve() as provider:
            for name, entrypoint, cmd in [
                ("amd64/shell/gratin", None, ("/bin/bash",)),
                ("amd64/gratin/leek", ("/usr/bin/gratin",), None),
            ]:
                made = image(await given(provider, name), tmp_path)
                started = made.config(made.manifest()).config
                assert started is not None
                assert (started.entrypoint, started.cmd) == (entrypoint, cmd)

    run(work())


def test_names_that_repositories_cannot_have_are_spelled(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            await given(provider, "pan_p_p")
            assert "no package" in (await refused(provider, "pan_p")).message
            assert "write gratin" in (await refused(provider, "x_xgratin")).message

    run(work())


def test_one_build_for_all_who_ask(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            names = ["gratin/leek", "leek/gratin"] * 50
            found = await asyncio.gather(*(given(provider, name) for name in names))
            assert len({one.digest for one in found}) == 1
            assert provider.builds.counts["made"] == 1

    run(work())


def test_one_build_for_all_servers(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as one, serve() as other:
            found = await asyncio.gather(given(one, "gratin"), given(other, "gratin"))
            assert found[0].digest == found[1].digest
            layers = []
            for provider in (one, other):
                build = provider.start_build("gratin", "latest", BUILDER)
                assert not isinstance(build, Build)
                layers.append(build)

    run(work())


@pytest.mark.parametrize(
    ("name", "tag", "words"),
    [
        ("gratn", "latest", "gratin"),
        ("stew", "latest", "rabbit"),
        ("fork/gratin", "latest", "cream"),
        ("gratin", "buster", "buster"),
        ("gratin", "v1.0", "no tag of an image made on demand"),
        ("gratin", "20200101", "20200101"),
        ("gratin", "29990101", "has not come yet"),
        ("gratin", "lock-" + "0" * 64, "no lock"),
        ("gratin/shell", "latest", "wrong place"),
        ("gratin/leek/cream/potato", "latest", "names 4 packages"),
        ("a__b", "latest", "spells no package"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_reason(
    serve: Serve, name: str, tag: str, words: str
) -> None:
    async def work() -> None:
        async with serve(named=3) as provider:
            refusal = await refused(provider, name, tag)
            assert (refusal.status, refusal.code) == (404, "MANIFEST_UNKNOWN")
            assert words in refusal.message
            counts = dict(provider.builds.counts)
            assert await refused(provider, name, tag) == refusal
            # without anybody having tried again
            assert provider.builds.counts == counts

    run(work())


def test_images_that_are_too_large_are_refused(serve: Serve) -> None:
    async def work() -> None:
        async with serve(size=1000) as provider:
            assert "may hold" in (await refused(provider, "gratin")).message
        async with serve(packages=2) as provider:
            assert "may hold 4 packages" in (await refused(provider, "gratin")).message

    run(work())


def test_an_image_that_takes_too_long_is_given_up(serve: Serve) -> None:
    async def work() -> None:
        async with serve(time=0.05) as provider:
            assert "within" in (await refused(provider, "gratin")).message

    run(work())


def test_who_may_not_build_gets_only_what_is_made(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            found = await provider.provide("gratin", "latest", READER)
            assert isinstance(found, Refusal)
            assert (found.status, found.code) == (403, "DENIED")
            made = await given(provider, "gratin")
            found = await provider.provide("gratin", "latest", READER)
            assert isinstance(found, Provided)
            assert found.digest == made.digest
        async with serve() as provider:
            assert isinstance(await provider.provide("gratin", "latest", READER), Provided)

    run(work())


def test_who_may_not_build_gets_what_was_made_last(serve: Serve, kitchen: Kitchen, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(fresh=0.0, stale=0.0) as provider:
            made = await given(provider, "gratin")
            season(kitchen)
            age(tmp_path)
            found = await provider.provide("gratin", "latest", READER)
            assert isinstance(found, Provided)
            assert found.digest == made.digest

    run(work())


def test_one_client_may_not_have_everything_made(serve: Serve) -> None:
    async def work() -> None:
        async with serve(rate=2) as provider:
            await given(provider, "gratin")
            await given(provider, "leek")
            refusal = await refused(provider, "cream")
            assert (refusal.status, refusal.code) == (429, "TOOMANYREQUESTS")
            assert refusal.retry_after is not None
            assert 0 < refusal.retry_after <= 30
            await given(provider, "gratin")

    run(work())


def age(tmp_path: Path) -> None:
    """Make the indexes' last check long ago."""
    for path in (tmp_path / "store" / "indexes" / "state").glob("*.json"):
        if path.name.count(".") == 1:
            state = msgspec.json.decode(path.read_bytes())
            state["checked"] -= 1000
            path.write_bytes(msgspec.json.encode(state))


def test_latest_follows_the_suite_and_locks_and_days_do_not(
    serve: Serve, kitchen: Kitchen, tmp_path: Path
) -> None:
    async def work() -> None:
        today = time.strftime("%Y%m%d", time.gmtime())
        async with serve(fresh=0.0, stale=0.0) as provider:
            before = await given(provider, "gratin")
            assert (await given(provider, "gratin", SUITE)).digest == before.digest
            assert (await given(provider, "gratin", today)).digest == before.digest
            tags = await provider.tags("gratin", READER)
            assert tags is not None
            lock = next(tag for tag in tags if tag.startswith("lock-"))
            assert set(tags) == {"latest", SUITE, today, lock}
            season(kitchen)
            age(tmp_path)
            assert (await given(provider, "gratin")).digest != before.digest
            assert (await given(provider, "gratin", today)).digest == before.digest
            assert (await given(provider, "gratin", lock)).digest == before.digest
            # another image of that day has the potatoes of that day
            mine = await given(provider, "leek/potato", today)
            now = await given(provider, "leek/potato")
            assert mine.digest != now.digest
        async with serve() as provider:
            assert (await given(provider, "gratin", today)).digest == before.digest

    run(work())


def test_tags_that_never_move_survive_making_room(serve: Serve, kitchen: Kitchen, tmp_path: Path) -> None:
    def make_room() -> None:
        store = Store.at(tmp_path / "store")
        kept = sweeping.roots(Catalog(store))
        gone = cleaning.collect(store, older_than=0.0, grace=0.0, roots=kept).removed
        assert [name for name in gone if name.startswith("results/")]

    async def work() -> None:
        today = time.strftime("%Y%m%d", time.gmtime())
        async with serve() as provider:
            before = await given(provider, "gratin", today)
            tags = await provider.tags("gratin", READER)
            assert tags is not None
            lock = next(tag for tag in tags if tag.startswith("lock-"))
        season(kitchen)
        age(tmp_path)
        async with serve() as provider:
            assert (await given(provider, "gratin")).digest != before.digest
        make_room()
        async with serve() as provider:
            assert set(await provider.tags("gratin", READER) or ()) > {today, lock}
            for tag in (today, lock):
                # nothing is made, so nobody need be allowed to
                found = await provider.provide("gratin", tag, READER)
                assert isinstance(found, Provided)
                assert found.digest == before.digest
            # an image that was not made that day has what that day had
            leek = await given(provider, "leek/potato", today)
        make_room()
        async with serve() as provider:
            assert (await given(provider, "leek/potato", today)).digest == leek.digest
            assert (await given(provider, "leek/potato")).digest != leek.digest

    run(work())


def test_what_a_lock_stands_for_is_made_again_or_not_at_all(serve: Serve, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve() as provider:
            before = await given(provider, "gratin")
            lock = next(tag for tag in await provider.tags("gratin", READER) or () if "lock" in tag)
        cleaning.collect(Store.at(tmp_path / "store"), older_than=0.0, grace=0.0)
        async with serve() as provider:
            assert (await given(provider, "gratin", lock)).digest == before.digest
        cleaning.collect(Store.at(tmp_path / "store"), older_than=0.0, grace=0.0)
        # as if it had been made by a version that made another one
        for path in (tmp_path / "store/registry/promises/images").iterdir():
            data = path.read_bytes().replace(before.digest.encode(), b"sha256:" + b"0" * 64)
            path.write_bytes(data)
        async with serve() as provider:
            refusal = await refused(provider, "gratin", lock)
            assert "not kept here any more" in refusal.message

    run(work())


def test_a_stale_answer_is_given_while_the_new_one_is_made(
    serve: Serve, kitchen: Kitchen, tmp_path: Path
) -> None:
    async def work() -> None:
        async with serve(fresh=0.0, stale=100.0) as provider:
            before = await given(provider, "gratin")
            season(kitchen)
            age(tmp_path)
            told: list[tuple[str, int]] = []
            provider.tell(lambda what, seconds, running: told.append((what, running)))
            assert (await given(provider, "gratin")).digest == before.digest
            assert told[:2] == [("", 1), ("given", 1)]
            while (await given(provider, "gratin")).digest == before.digest:
                await asyncio.sleep(0.1)

    run(work())


def test_images_of_a_spec_are_served_and_made_anew_when_it_changes(serve: Serve, tmp_path: Path) -> None:
    async def work() -> None:
        spec = tmp_path / "ramekin.yaml"
        text = f"images:\n  gratin: {{packages: [leek], source: 'debian:{SUITE}', env: {{A: 1}}}}\n"
        spec.write_text(text)
        async with serve(specs=(str(spec),)) as provider:
            before = await given(provider, "gratin")
            started = image(before, tmp_path).choose(image(before, tmp_path).manifests()[0].platform)  # type: ignore[arg-type]
            config = started.config(started.manifest()).config
            assert config is not None and config.env is not None and "A=1" in config.env
            assert await provider.tags("gratin", READER) == ("latest",)
            assert "image of a spec" in (await refused(provider, "gratin", SUITE)).message
            spec.write_text(text.replace("A: 1", "A: 22"))
            await asyncio.sleep(1.1)
            assert (await given(provider, "gratin")).digest != before.digest
            spec.write_text("images: {gratin: {pakages: x}}")
            await asyncio.sleep(1.1)
            assert "packages" in (await refused(provider, "gratin")).message

    run(work())


def test_blobs_that_have_gone_are_made_again(serve: Serve, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve() as provider:
            made = await given(provider, "gratin")
            store = Store.at(tmp_path / "store")
            layer = image(made, tmp_path).manifest(image(made, tmp_path).manifests()[0]).layers[1]
            path = store.path(layer.digest)
            assert path is not None
            path.unlink()
            again = await provider.provide("gratin", "latest", BUILDER, anew=True)
            assert isinstance(again, Provided)
            assert again.digest == made.digest
            assert store.has(layer.digest)

    run(work())


def test_an_image_is_seen_before_it_is_made(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            view = await provider.view("gratin", "latest", "arm64")
            assert view is not None and not isinstance(view, Refusal)
            assert (view.made, view.architecture) == (False, "arm64")
            assert {name for layer in view.layers for name in layer.packages} >= {
                "cream=1.0-1",
                "gratin=1.0-1",
                "potato=1.0-1",
            }
            await given(provider, "gratin")
            view = await provider.view("gratin", "latest", "arm64")
            assert view is not None and not isinstance(view, Refusal)
            assert view.made and all(layer.exact and layer.held for layer in view.layers)
            graph = await provider.graph("gratin", "latest", "amd64")
            assert isinstance(graph, str)
            assert graph.startswith("<svg") and "potato" in graph
            found = await provider.search(("grat",), 5)
            assert not isinstance(found, Refusal)
            assert [one.name for one in found] == ["gratin"]

    run(work())


def test_a_build_tells_how_it_goes(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            build = provider.start_build("gratin", "latest", BUILDER)
            assert isinstance(build, Build)
            assert provider.start_build("gratin", "latest", BUILDER) is build
            labels: set[str] = set()
            async for state in build.changes():
                labels |= {step.label for step in state.steps.values()}
            labels |= {step.label for step in build.steps.values()}
            assert {"packages", "layers"} <= labels
            assert all(step.ended for step in build.steps.values())

    run(work())


def test_a_client_that_goes_does_not_end_the_build(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            waiting = asyncio.ensure_future(provider.provide("gratin", "latest", BUILDER))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await given(provider, "gratin")
            assert provider.builds.counts["made"] == 1

    run(work())


def test_a_store_in_memory_is_worked_on_in_threads(kitchen: Kitchen) -> None:
    async def work() -> None:
        config = OnDemand(**SETTINGS)  # type: ignore[arg-type]
        provider = OnDemandProvider(config, Store.at("memory://ondemand"), ahead=False)
        await provider.start()
        await given(provider, "gratin")
        await provider.stop()

    run(work())


def test_what_it_makes_is_counted(serve: Serve) -> None:
    async def work() -> None:
        async with serve() as provider:
            told: list[tuple[str, bool, int]] = []
            provider.tell(lambda what, seconds, running: told.append((what, seconds is not None, running)))
            await given(provider, "amd64/gratin")
            await given(provider, "amd64/gratin")
            await refused(provider, "amd64/no-such-package")
            assert told == [
                ("", False, 1),
                ("made", True, 0),
                ("given", False, 0),
                ("", False, 1),
                ("failed", True, 0),
            ]

    run(work())
