"""What stays of Python: distributions, the standard library, and what neither needs."""

from __future__ import annotations

from pathlib import Path

from shelf_of_units import Files, contents, distribution, seen

from ramekin.image.oci import Runtime
from ramekin.slim.units import Bytecode, Choice, Level, Selection, complete
from ramekin.store.store import Store

LIB = "usr/local/lib/python3.12"
SITE = f"{LIB}/site-packages"
STDLIB: Files = {
    f"{LIB}/os.py": "import abc\nimport stat\n",
    f"{LIB}/abc.py": "",
    f"{LIB}/stat.py": "",
    f"{LIB}/encodings/__init__.py": "",
    f"{LIB}/encodings/koi8_r.py": "",
    f"{LIB}/json/__init__.py": "from . import decoder\n",
    f"{LIB}/json/decoder.py": "",
    f"{LIB}/lib-dynload/_json.cpython-312-x86_64-linux-gnu.so": b"",
    f"{LIB}/sched.py": "import heapq\n",
    f"{LIB}/wave.py": "",
    f"{LIB}/pydoc.py": "import pydoc_data.topics\n",
    f"{LIB}/pydoc_data/topics.py": "",
    f"{LIB}/fileinput.py": "def help():\n    import pydoc\n",
    f"{LIB}/test/test_os.py": "import os\n",
    f"{LIB}/__pycache__/os.cpython-312.pyc": b"\xcb\r\r\n",
    f"{LIB}/__pycache__/abc.cpython-312.opt-2.pyc": b"\xcb\r\r\n",
    f"{LIB}/__pycache__/gone.cpython-312.pyc": b"\xcb\r\r\n",
    "usr/local/bin/python3.12": b"",
    "usr/local/bin/python3": "-> python3.12",
}
RUN = Runtime(working_dir="/app", cmd=("python3", "main.py"), env=("PATH=/usr/local/bin",))


def select(
    store: Store, tmp_path: Path, *opened: str, choice: Choice | None = None, **files: Files
) -> Selection:
    layers = [STDLIB, *files.values()]
    found = contents(store, tmp_path, *layers, run=RUN)
    return complete(found, seen(f"{LIB}/os.py", "usr/local/bin/python3.12", *opened), choice or Choice())


def test_a_used_distribution_stays_whole_but_for_its_tests(store: Store, tmp_path: Path) -> None:
    used = distribution(
        "used",
        {"used/__init__.py": "", "used/rare.py": "", "used/tests/__init__.py": "", "used/tests/data": "x"},
    )
    found = select(store, tmp_path, f"{SITE}/used/__init__.py", used=used)
    assert found.kept[f"{SITE}/used/rare.py"].rule == "distribution"
    assert found.kept[f"{SITE}/used-1.0.dist-info/METADATA"].unit == "python:used"
    assert found.dropped[f"{SITE}/used/tests/data"].rule == "tests"


def test_tests_that_the_library_itself_imports_stay(store: Store, tmp_path: Path) -> None:
    used = distribution(
        "used",
        {
            "used/__init__.py": "from .tests import helper\n",
            "used/tests/__init__.py": "",
            "used/tests/a.py": "",
        },
    )
    found = select(store, tmp_path, f"{SITE}/used/__init__.py", used=used)
    assert f"{SITE}/used/tests/__init__.py" in found.kept


def test_requirements_stay_and_extras_and_strangers_go(store: Store, tmp_path: Path) -> None:
    found = select(
        store,
        tmp_path,
        f"{SITE}/used/__init__.py",
        used=distribution(
            "used",
            {"used/__init__.py": "try:\n    import extra\nexcept ImportError:\n    pass\n"},
            requires=("Needed>=1", 'extra; extra == "more"'),
        ),
        needed=distribution("needed", {"needed.py": ""}),
        extra=distribution("extra", {"extra.py": ""}),
        stranger=distribution("stranger", {"stranger.py": ""}),
    )
    assert found.kept[f"{SITE}/needed.py"].rule == "required"
    assert found.dropped[f"{SITE}/extra.py"].rule == "unreached"
    assert found.dropped[f"{SITE}/stranger.py"].rule == "unreached"


def test_what_the_author_imports_late_or_names_in_quotes_stays(store: Store, tmp_path: Path) -> None:
    found = select(
        store,
        tmp_path,
        app={
            "app/main.py": "def page():\n    import late\n    return late\n",
            "app/settings.py": "APPS = ['django.contrib.admin', 'plugged.apps']\n# commented is not used\n",
        },
        late=distribution("late", {"late/__init__.py": ""}),
        plugged=distribution("plugged", {"plugged/apps.py": "", "plugged/__init__.py": ""}),
        commented=distribution("commented", {"commented.py": ""}),
    )
    assert found.kept[f"{SITE}/late/__init__.py"].rule == "import"
    assert found.kept[f"{SITE}/plugged/apps.py"].rule == "named"
    assert f"{SITE}/commented.py" in found.dropped


def test_those_that_offer_entry_points_to_a_used_distribution_stay(store: Store, tmp_path: Path) -> None:
    found = select(
        store,
        tmp_path,
        f"{SITE}/host/__init__.py",
        host=distribution("host", {"host/__init__.py": ""}),
        plug=distribution("plug", {"plug.py": ""}, entry_points="[host.plugins]\nplug = plug\n"),
        other=distribution("other", {"other.py": ""}, entry_points="[console_scripts]\nother = other:main\n"),
    )
    assert found.kept[f"{SITE}/plug.py"].rule == "plug-in"
    assert f"{SITE}/other.py" in found.dropped


def test_reading_the_metadata_of_all_distributions_uses_none(store: Store, tmp_path: Path) -> None:
    names = ("one", "two", "three")
    found = select(
        store,
        tmp_path,
        *(f"{SITE}/{name}-1.0.dist-info/METADATA" for name in names),
        one=distribution("one", {"one.py": ""}),
        two=distribution("two", {"two.py": ""}),
        three=distribution("three", {"three.py": ""}),
    )
    assert all(f"{SITE}/{name}.py" in found.dropped for name in names)


def test_that_setuptools_hooks_into_every_start_shows_no_use(store: Store, tmp_path: Path) -> None:
    hook = f"{SITE}/_distutils_hack/__init__.py"
    found = select(
        store,
        tmp_path,
        hook,
        f"{SITE}/distutils-precedence.pth",
        tools=distribution(
            "setuptools",
            {
                "setuptools/__init__.py": "",
                "_distutils_hack/__init__.py": "",
                "distutils-precedence.pth": "import os\n",
            },
        ),
    )
    assert hook in found.dropped
    assert found.dropped[f"{SITE}/setuptools/__init__.py"].rule == "package-manager"


def test_the_standard_library_stays_by_the_import_graph(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path, app={"app/main.py": "def f():\n    import sched\n    import fileinput\n"})
    assert found.kept[f"{LIB}/sched.py"].rule == "standard-library"
    assert found.kept[f"{LIB}/json/decoder.py"].unit == "python3.12:json"
    assert found.dropped[f"{LIB}/wave.py"].rule == "module"
    assert found.dropped[f"{LIB}/test/test_os.py"].rule == "tests"


def test_codecs_stay_whatever_was_observed(store: Store, tmp_path: Path) -> None:
    assert f"{LIB}/encodings/koi8_r.py" in select(store, tmp_path).kept


def test_modules_for_developers_stay_where_they_are_imported_at_once(store: Store, tmp_path: Path) -> None:
    late = select(store, tmp_path, app={"app/main.py": "import fileinput\n"})
    assert late.dropped[f"{LIB}/pydoc.py"].rule == "developers"
    author = select(store, tmp_path, app={"app/main.py": "import pydoc\n"})
    assert {f"{LIB}/pydoc.py", f"{LIB}/pydoc_data/topics.py"} <= author.kept.keys()


def test_byte_code_that_this_interpreter_does_not_read_goes(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path)
    assert found.dropped[f"{LIB}/__pycache__/abc.cpython-312.opt-2.pyc"].rule == "optimized-bytecode"
    assert f"{LIB}/__pycache__/gone.cpython-312.pyc" in found.dropped


def test_byte_code_goes_when_the_user_says_so_and_its_source_stays(store: Store, tmp_path: Path) -> None:
    app: Files = {"app/main.py": "", "app/__pycache__/main.cpython-312.pyc": b"\xcb\r\r\n"}
    compiled = "app/__pycache__/main.cpython-312.pyc"
    choice = Choice(bytecode=Bytecode.DROP)
    found = select(store, tmp_path, compiled, app=app, choice=choice)
    assert found.dropped[compiled].rule == "bytecode"
    assert compiled in found.deliberate
    assert "app/main.py" in found.kept
    assert compiled in select(store, tmp_path, compiled, app=app).kept


def test_other_languages_go_when_the_user_says_so(store: Store, tmp_path: Path) -> None:
    messages = {
        f"used/locale/{language}/LC_MESSAGES/django.{kind}": "x"
        for language in ("en", "fr", "fr_CA", "de", "pt_BR")
        for kind in ("po", "mo")
    }
    used = distribution("used", {"used/__init__.py": "", "used/locale/de/formats.py": "", **messages})
    start = f"{SITE}/used/locale"
    every = select(store, tmp_path, f"{SITE}/used/__init__.py", used=used)
    assert every.kept[f"{start}/de/LC_MESSAGES/django.mo"].rule == "distribution"
    assert every.dropped[f"{start}/de/LC_MESSAGES/django.po"].rule == "message-sources"
    few = select(store, tmp_path, f"{SITE}/used/__init__.py", used=used, choice=Choice(locales=("en", "fr")))
    assert f"{start}/fr_CA/LC_MESSAGES/django.mo" in few.kept
    assert few.dropped[f"{start}/de/LC_MESSAGES/django.mo"].rule == "locales"
    assert few.dropped[f"{start}/de/formats.py"].rule == "locales"
    assert f"{start}/pt_BR/LC_MESSAGES/django.mo" in few.deliberate


def test_optional_components_stay_when_the_author_names_them(store: Store, tmp_path: Path) -> None:
    django = distribution(
        "Django",
        {"django/__init__.py": "", "django/contrib/gis/__init__.py": "", "django/contrib/gis/db.py": ""},
    )
    part = f"{SITE}/django/contrib/gis/db.py"
    start = f"{SITE}/django/__init__.py"
    assert select(store, tmp_path, start, django=django).dropped[part].rule == "component"
    app = {"app/settings.py": "APPS = ['django.contrib.gis']\n"}
    assert part in select(store, tmp_path, start, django=django, app=app).kept


def test_hints_at_distributions_that_go_are_told(store: Store, tmp_path: Path) -> None:
    found = select(
        store,
        tmp_path,
        driver=distribution("psycopg2", {"psycopg2/__init__.py": ""}),
        app={"app/settings.py": "ENGINE = 'django.db.backends.postgresql'\n"},
    )
    assert f"{SITE}/psycopg2/__init__.py" in found.dropped
    assert any("python:psycopg2" in note and "--keep" in note for note in found.notes)


def test_at_level_files_only_seen_files_and_what_they_import_stay(store: Store, tmp_path: Path) -> None:
    used = distribution(
        "used",
        {
            "used/__init__.py": "from . import core\n",
            "used/core.py": "def fail():\n    from .errors import Page\n",
            "used/errors.py": "import json\n",
            "used/rare.py": "",
        },
    )
    found = select(
        store,
        tmp_path,
        f"{SITE}/used/__init__.py",
        f"{SITE}/used/core.py",
        used=used,
        choice=Choice(level=Level.FILES),
    )
    assert found.kept[f"{SITE}/used/errors.py"].rule == "import"
    assert f"{LIB}/json/__init__.py" in found.kept
    assert found.dropped[f"{SITE}/used/rare.py"].rule == "not-seen"


def test_without_an_observation_the_command_line_and_the_authors_files_tell(
    store: Store, tmp_path: Path
) -> None:
    found = complete(
        contents(
            store,
            tmp_path,
            STDLIB,
            {"app/main.py": "import needed\n"},
            distribution("needed", {"needed.py": ""}),
            distribution("stranger", {"stranger.py": ""}),
            run=RUN,
        ),
        None,
        Choice(),
    )
    assert {"usr/local/bin/python3", "usr/local/bin/python3.12", f"{SITE}/needed.py", f"{LIB}/abc.py"} <= (
        found.kept.keys()
    )
    assert f"{SITE}/stranger.py" in found.dropped
    assert any("nothing was observed" in note for note in found.notes)


def test_at_level_files_dropped_byte_code_leaves_its_source(store: Store, tmp_path: Path) -> None:
    compiled = f"{LIB}/__pycache__/os.cpython-312.pyc"
    found = select(store, tmp_path, compiled, choice=Choice(level=Level.FILES, bytecode=Bytecode.DROP))
    assert found.dropped[compiled].rule == "bytecode"
    assert {f"{LIB}/os.py", f"{LIB}/abc.py"} <= found.kept.keys()


def test_imports_are_found_however_they_are_written() -> None:
    from ramekin.slim.units.python import _statements

    source = b"""import a, b.c as d
from e import (  # why
    f as g,
    h,
)
from . import i
from ..j import k, \\
    l
def late():
    from .m import *
"""
    assert sorted(_statements(source)) == sorted(
        [
            ("a", 0, True),
            ("b.c", 0, True),
            ("e", 0, True),
            ("e.f", 0, True),
            ("e.h", 0, True),
            ("", 1, True),
            ("i", 1, True),
            ("j", 2, True),
            ("j.k", 2, True),
            ("j.l", 2, True),
            ("m", 1, False),
        ]
    )


def test_at_level_files_metadata_stays_with_its_distribution(store: Store, tmp_path: Path) -> None:
    used = distribution("used", {"used.py": "", "rare.py": ""}, entry_points="[used.parts]\nrare = rare\n")
    files = Choice(level=Level.FILES)
    found = select(store, tmp_path, f"{SITE}/used.py", used=used, choice=files)
    assert f"{SITE}/used-1.0.dist-info/entry_points.txt" in found.kept
    assert f"{SITE}/rare.py" in found.dropped


def test_a_file_stays_with_its_compressed_form(store: Store, tmp_path: Path) -> None:
    app: Files = {"app/static/site.css": "a{}", "app/static/site.css.gz": b"\x1f\x8b"}
    files = Choice(level=Level.FILES)
    found = select(store, tmp_path, "app/static/site.css.gz", app=app, choice=files)
    assert found.kept["app/static/site.css"].rule == "squeezed"


def test_the_whole_library_stays_where_the_image_starts_the_interpreter_alone(
    store: Store, tmp_path: Path
) -> None:
    developers = {f"{LIB}/unittest/__init__.py": "", f"{LIB}/asyncio/__init__.py": ""}
    for number, (cmd, source, stays) in enumerate(
        [
            (("python3.12",), {}, True),
            (("python3.12", "-m", "http.server"), {}, False),
            (("python3.12",), {"app/main.py": "print(1)\n"}, False),
        ]
    ):
        (place := tmp_path / str(number)).mkdir()
        bare = Runtime(cmd=cmd, env=("PATH=/usr/local/bin",))
        found = complete(
            contents(store, place, {**STDLIB, **developers, **source}, run=bare),
            seen(f"{LIB}/os.py", executed=("usr/local/bin/python3.12",)),
            Choice(),
        )
        assert (developers.keys() <= found.kept.keys()) is stays
