"""What real tools of others make: programs packed by UPX, databases written by rpm."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from handmade import image_of, read, tar_of
from support.containers import need, ramekin

from ramekin.analyze.examine import packed, rpm
from ramekin.analyze.owners import owners
from ramekin.analyze.stack import stack
from ramekin.image.tree import file
from ramekin.store.store import Store

pytestmark = [pytest.mark.archive, pytest.mark.runtime]

SPEC = """\
Name: demo
Epoch: 4
Version: 1.2
Release: 3
Summary: A demonstration
License: MIT
BuildArch: noarch
%description
It has two files.
%install
mkdir -p %{buildroot}/usr/share/demo %{buildroot}/usr/bin
echo data > %{buildroot}/usr/share/demo/data
echo '#!/bin/sh' > %{buildroot}/usr/bin/demo
%files
/usr/share/demo
/usr/bin/demo
"""
FOUND = {
    "name": "demo",
    "version": "4:1.2-3",
    "architecture": "noarch",
    "source": "demo-1.2-3.src.rpm",
    "files": ["/usr/bin/demo", "/usr/share/demo", "/usr/share/demo/data"],
}


@pytest.fixture(scope="module")
def tools(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Callable[..., str]]:
    """`tools(SUITE, PACKAGE…)`: a function that runs a command of these packages in a folder."""
    need("bwrap")

    def have(suite: str, *packages: str) -> Callable[..., str]:
        root = tmp_path_factory.mktemp("tools") / "root"
        folder = Path(__file__).parents[2] / ".cache" / "store"
        ramekin("build", *packages, "--source", f"debian:{suite}", "-o", f"rootfs:{root}", "--store", folder)

        def run(work: Path, *command: str) -> str:
            sandbox = ["bwrap", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
            inside = [*sandbox, "--tmpfs", "/var/tmp", "--bind", work, "/mnt", "--chdir", "/mnt", *command]
            done = subprocess.run(list(map(str, inside)), capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return run

    return have


def test_what_upx_packed_is_recognized(tools: Callable[..., Callable[..., str]], tmp_path: Path) -> None:
    upx = tools("trixie", "upx-ucl")
    windows = next(Path(pytest.__file__).parents[1].glob("pip/_vendor/distlib/t64.exe"), None)
    programs = {"bash": Path("/bin/bash"), "perl": Path("/usr/bin/perl")}
    if windows is not None:
        programs["launcher.exe"] = windows
    for name, path in programs.items():
        before = path.read_bytes()
        assert not packed.wants(name, len(before), before[:512]) or packed.examine(name, before) is None
        (tmp_path / name).write_bytes(before)
        (tmp_path / name).chmod(0o755)
        upx(tmp_path, "/usr/bin/upx-ucl", "-q", "-1", name)
        after = (tmp_path / name).read_bytes()
        assert packed.wants(name, len(after), after[:512])
        found = packed.examine(name, after)
        assert found is not None
        if name.endswith(".exe"):
            assert found["form"] == "PE"
            assert found["unpacked"] >= len(before)
        else:
            assert found == {"form": "ELF", "unpacked": len(before)}


def test_databases_that_rpm_writes_are_read(
    tools: Callable[..., Callable[..., str]], tmp_path: Path, store: Store
) -> None:
    new = tools("trixie", "rpm", "bash", "coreutils", "findutils", "grep", "sed", "gawk", "tar")
    # by Depends, and what Debian takes for granted: it has no merged /usr yet
    old = tools("bullseye", "rpm", "dash", "--closure", "depends")
    (tmp_path / "demo.spec").write_text(SPEC)
    new(tmp_path, "rpmbuild", "-bb", "--define", "_topdir /mnt/b", "--define", "_rpmdir /mnt", "demo.spec")
    install = ("-i", "--justdb", "--nodeps", "noarch/demo-1.2-3.noarch.rpm")

    def database(run: Callable[..., str], backend: str, *more: str) -> None:
        run(
            tmp_path,
            "rpm",
            "--define",
            f"_db_backend {backend}",
            "--dbpath",
            f"/mnt/{backend}",
            *more,
            *install,
        )

    database(new, "sqlite", "--nosignature")
    database(new, "ndb", "--nosignature")
    database(old, "bdb", "--force-debian")
    names = {"sqlite": "rpmdb.sqlite", "ndb": "Packages.db", "bdb": "Packages"}
    for backend, name in names.items():
        data = (tmp_path / backend / name).read_bytes()
        assert rpm.examine(f"var/lib/rpm/{name}", data) == {"backend": backend, "packages": [FOUND]}
        layer = tar_of(
            [file(f"var/lib/rpm/{name}", data), file("usr/bin/demo", b"x"), file("usr/bin/other", b"y")]
        )
        stacked = stack(read(store, image_of(store, [layer])))
        found = owners(stacked)
        package = found.package("usr/bin/demo")
        assert package is not None
        assert (package.system, package.name, package.version) == ("rpm", "demo", "4:1.2-3")
        assert found.package("usr/bin/other") is None
        damages(f"var/lib/rpm/{name}", data)


def damages(path: str, data: bytes) -> None:
    """No damage to a database does more than leave it unread."""
    found: list[Mapping[str, object] | None] = []
    for place in range(0, len(data), max(1, len(data) // 400)):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        found.append(rpm.examine(path, broken))
        found.append(rpm.examine(path, data[:place]))
    assert all(one is not None and one["backend"] for one in found)


def layer_of(folder: Path, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(folder, arcname=name)
    return out.getvalue()


def test_gems_that_are_installed_own_their_files(
    tools: Callable[..., Callable[..., str]], tmp_path: Path, store: Store
) -> None:
    ruby = tools("bookworm", "ruby3.1", "ruby-rubygems")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/demo_gem.rb").write_text("module DemoGem; end\n")
    (tmp_path / "demo.gemspec").write_text(
        "Gem::Specification.new { |s| s.name = 'demo-gem'; s.version = '1.2.3.pre4'; s.summary = 'x'; "
        "s.authors = ['x']; s.files = ['lib/demo_gem.rb'] }\n"
    )
    ruby(tmp_path, "gem3.1", "build", "demo.gemspec")
    ruby(tmp_path, "gem3.1", "install", "--local", "--install-dir", "/mnt/gems", "demo-gem-1.2.3.pre4.gem")
    stacked = stack(read(store, image_of(store, [layer_of(tmp_path / "gems", "var/lib/gems/3.1.0")])))
    found = owners(stacked)
    root = "var/lib/gems/3.1.0"
    for path in (
        f"{root}/gems/demo-gem-1.2.3.pre4/lib/demo_gem.rb",
        f"{root}/specifications/demo-gem-1.2.3.pre4.gemspec",
        f"{root}/cache/demo-gem-1.2.3.pre4.gem",
    ):
        package = found.package(path)
        assert package is not None, path
        assert (package.system, package.name, package.version) == ("ruby", "demo-gem", "1.2.3.pre4")


def test_what_composer_installed_owns_its_files(
    tools: Callable[..., Callable[..., str]], tmp_path: Path, store: Store
) -> None:
    composer = tools("bookworm", "composer", "php-cli")
    package = tmp_path / "package"
    (package / "src").mkdir(parents=True)
    (package / "src/Demo.php").write_text("<?php class Demo {}\n")
    (package / "composer.json").write_text(
        json.dumps({"name": "acme/demo", "version": "2.1.0", "autoload": {"classmap": ["src"]}})
    )
    here = {"type": "path", "url": "../package", "options": {"symlink": False}}
    (tmp_path / "app").mkdir()
    (tmp_path / "app/composer.json").write_text(
        json.dumps({"repositories": [here, {"packagist.org": False}], "require": {"acme/demo": "2.1.0"}})
    )
    composer(tmp_path, "composer", "install", "--no-interaction", "--working-dir=/mnt/app")
    stacked = stack(read(store, image_of(store, [layer_of(tmp_path / "app", "srv/app")])))
    found = owners(stacked).package("srv/app/vendor/acme/demo/src/Demo.php")
    assert found is not None
    assert (found.system, found.name, found.version.lstrip("v")) == ("php", "acme/demo", "2.1.0")
