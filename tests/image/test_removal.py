"""Whatever an image has made of a folder, it can be taken away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ramekin.image.removal import remove
from ramekin.image.tree import Tree, file
from ramekin.image.unpack import unpack


def test_a_folder_goes_with_all_below_it_and_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/file").write_text("x")
    (folder / "a/b/out").symlink_to(tmp_path)
    (folder / "round").symlink_to("round")
    os.mkfifo(folder / "a/b/pipe")
    (tmp_path / "beside").write_text("stays")
    remove(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["beside"]


@pytest.mark.parametrize("depth", [1500, 5000])
def test_depth_is_no_hindrance(depth: int, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    unpack(Tree([file("d/" * depth + "file", b"x")]).with_parents(), folder, owners=False)
    remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_closed_folders_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "closed/inner/more").mkdir(parents=True)
    (folder / "closed/inner/file").write_text("x")
    for path in ("closed/inner", "closed", "."):
        (folder / path).chmod(0o000 if path != "." else 0o500)
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        # root is let in everywhere; somebody else shall do it
        child = os.fork()
        if child == 0:
            os.chdir(tmp_path)
            os.setresuid(65534, 65534, 65534)
            remove(Path("folder"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    else:
        remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_needs_no_removal(tmp_path: Path) -> None:
    remove(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, so is tried as root only")
def test_what_the_system_holds_stays_and_the_rest_goes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ramekin.image.removal import remove\n"
        "remove(Path(sys.argv[1])); print(sorted(p.name for p in Path(sys.argv[1]).rglob('*')))"
    )
    folder = tmp_path / "folder"
    (folder / "a/held").mkdir(parents=True)
    (folder / "a/file").write_text("x")
    command = f'mount -t tmpfs small "$0/a/held" && exec {sys.executable} -c "$1" "$0"'
    result = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, folder, script],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.returncode, result.stdout) == (0, "['a', 'held']\n"), result.stderr
