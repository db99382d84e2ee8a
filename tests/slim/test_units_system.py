"""What stays of a system: its packages by evidence, what every program expects, and what the author added."""

from __future__ import annotations

from pathlib import Path

import pytest
from shelf_of_units import Files, contents, dpkg, seen
from support.elves import elf

from ramekin.errors import UsageError
from ramekin.image.oci import Runtime
from ramekin.slim.units import Choice, Level, Selection, State, complete
from ramekin.store.store import Store

X86 = "usr/lib/x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"
BASE: Files = {
    "bin": "-> usr/bin",
    "lib": "-> usr/lib",
    "lib64": "-> usr/lib64",
    "usr/lib64/ld-linux-x86-64.so.2": f"-> /{X86}/ld.so",
    f"{X86}/ld.so": elf(soname="ld-linux-x86-64.so.2"),
    f"{X86}/libc.so.6": elf(soname="libc.so.6"),
    f"{X86}/libidle.so.1": elf(soname="libidle.so.1", needed=["libc.so.6"]),
    f"{X86}/libssl.so.3": elf(soname="libssl.so.3", needed=["libc.so.6"]),
    f"{X86}/libdl-only.so.1": elf(soname="libdl-only.so.1"),
    f"{X86}/libused.so.1.2": elf(soname="libused.so.1", needed=["libc.so.6"]),
    f"{X86}/libused.so.1": "-> libused.so.1.2",
    "usr/bin/sh": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/server": elf(
        program=True,
        interpreter=LOADER,
        needed=["libused.so.1", "libc.so.6"],
        strings=["libdl-only.so.1", "/usr/share/server/pages/index"],
        imports=["dlopen"],
    ),
    "usr/bin/server-tool": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/idle": elf(program=True, interpreter=LOADER, needed=["libidle.so.1"]),
    "usr/bin/perl": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/cut": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/tac": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/lib/server/rare-helper": "#!/usr/bin/perl\nprint 1;\n",
    "usr/share/server/pages/index": "index\n",
    "usr/share/server/templates/error": "error\n",
    "usr/share/doc/server/copyright": "mine\n",
    "usr/share/doc/server/README": "read\n",
    "usr/share/man/man1/server.1": ".TH\n",
    "usr/share/locale/fr/LC_MESSAGES/server.mo": "x",
    "usr/share/idle/data": "i" * 100,
    "etc/server/server.conf": "include /etc/server/more\nroot /usr/share/server/pages\n",
    "etc/server/more": "\n",
    "etc/passwd": "root:x:0:0:root:/root:/usr/bin/idle\n",
    "etc/nsswitch.conf": "passwd: files\n",
    "etc/ssl/certs/ca-certificates.crt": "-----BEGIN\n",
    "usr/share/zoneinfo/Europe/Paris": "TZif2",
    "usr/share/zoneinfo/UTC": "TZif2",
    "etc/localtime": "-> /usr/share/zoneinfo/UTC",
    "usr/bin/localedef": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/sbin/locale-gen": "#!/bin/sh\nlocaledef -i fr_FR -f UTF-8 fr_FR.UTF-8\n",
    "usr/share/i18n/locales/fr_FR": "LC_IDENTIFICATION\n",
    "usr/share/locales/supported": "fr_FR.UTF-8\n",
    "var/cache/apt/pkgcache.bin": "c" * 100,
    "tmp/": "",
    **dpkg(
        {
            "libc6": ("", [f"{X86}/libc.so.6", f"{X86}/ld.so", "usr/lib64/ld-linux-x86-64.so.2"]),
            "dash": ("Essential: yes\nDepends: libc6", ["usr/bin/sh"]),
            "coreutils": ("Essential: yes\nDepends: libc6", ["usr/bin/cut", "usr/bin/tac"]),
            "libc-bin": ("Essential: yes\nDepends: libc6", ["usr/bin/localedef"]),
            "locales": (
                "Depends: libc-bin",
                ["usr/sbin/locale-gen", "usr/share/i18n/locales/fr_FR", "usr/share/locales/supported"],
            ),
            "perl": ("Depends: libc6", ["usr/bin/perl"]),
            "libused1": ("Depends: libc6", [f"{X86}/libused.so.1.2", f"{X86}/libused.so.1"]),
            "libdl1": ("", [f"{X86}/libdl-only.so.1"]),
            "libidle1": ("Depends: libc6", [f"{X86}/libidle.so.1", "usr/share/idle/data"]),
            "libssl3": ("Depends: libc6", [f"{X86}/libssl.so.3"]),
            "idle": ("Depends: libidle1", ["usr/bin/idle"]),
            "tzdata": ("", ["usr/share/zoneinfo/Europe/Paris", "usr/share/zoneinfo/UTC"]),
            "server": (
                "Depends: libused1, libdl1, server-data, perl\nSource: server",
                [
                    "usr/bin/server",
                    "usr/bin/server-tool",
                    "usr/lib/server/rare-helper",
                    "etc/server/server.conf",
                    "etc/server/more",
                    "usr/share/doc/server/copyright",
                    "usr/share/doc/server/README",
                    "usr/share/man/man1/server.1",
                    "usr/share/locale/fr/LC_MESSAGES/server.mo",
                ],
            ),
            "server-data": (
                "Source: server",
                ["usr/share/server/pages/index", "usr/share/server/templates/error"],
            ),
        }
    ),
}
RUN = Runtime(cmd=("server",), env=("PATH=/usr/bin",))


def select(
    store: Store,
    tmp_path: Path,
    *opened: str,
    added: Files | None = None,
    choice: Choice | None = None,
    run: Runtime = RUN,
) -> Selection:
    found = contents(store, tmp_path, BASE, added or {}, run=run)
    return complete(found, seen("usr/bin/server", *opened, executed=("usr/bin/server",)), choice or Choice())


def test_the_loader_and_libraries_stay_with_their_links(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path)
    assert found.kept[f"{X86}/libused.so.1.2"].rule == "needed"
    assert found.kept[f"{X86}/libused.so.1"].rule == "link"
    assert {f"{X86}/ld.so", "usr/lib64/ld-linux-x86-64.so.2", "lib64"} <= found.kept.keys()
    assert f"{X86}/libidle.so.1" in found.dropped


def test_what_a_program_opens_by_name_stays(store: Store, tmp_path: Path) -> None:
    assert select(store, tmp_path).kept[f"{X86}/libdl-only.so.1"].rule == "loaded"


def test_a_used_package_keeps_what_no_evidence_could_lead_to(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path)
    assert found.kept["etc/server/server.conf"].rule == "package"
    assert "usr/share/server/templates/error" in found.kept
    assert "usr/share/doc/server/copyright" in found.kept
    assert found.dropped["usr/share/doc/server/README"].rule == "slice"
    assert found.dropped["usr/share/man/man1/server.1"].rule == "slice"


def test_tools_of_the_program_that_ran_stay_and_those_of_the_base_system_do_not(
    store: Store, tmp_path: Path
) -> None:
    found = select(store, tmp_path, "usr/bin/sh")
    assert found.kept["usr/bin/server-tool"].rule == "tools"
    assert found.dropped["usr/bin/tac"].rule == "unreached"
    cut = complete(
        contents(store, tmp_path, BASE, run=RUN), seen(executed=("usr/bin/server", "usr/bin/cut")), Choice()
    )
    assert cut.kept["usr/bin/cut"].rule == "observed"
    assert cut.dropped["usr/bin/tac"].rule == "part"


def test_scripts_that_only_fill_their_package_do_not_bring_their_interpreter(
    store: Store, tmp_path: Path
) -> None:
    found = select(store, tmp_path)
    assert found.dropped["usr/lib/server/rare-helper"].rule == "script"
    assert "usr/bin/perl" in found.dropped
    used = select(store, tmp_path, "usr/lib/server/rare-helper")
    assert used.kept["usr/bin/perl"].rule == "interpreter"


def test_accounts_stay_and_what_they_name_does_not(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path)
    assert found.kept["etc/passwd"].rule == "essential"
    assert "usr/bin/idle" in found.dropped


def test_certificates_stay_with_a_library_that_speaks_tls(store: Store, tmp_path: Path) -> None:
    bundle = "etc/ssl/certs/ca-certificates.crt"
    assert select(store, tmp_path, f"{X86}/libssl.so.3").kept[bundle].rule in ("author", "certificates")


def test_time_zones_stay_when_the_image_sets_one(store: Store, tmp_path: Path) -> None:
    paris = "usr/share/zoneinfo/Europe/Paris"
    assert paris in select(store, tmp_path).dropped
    assert "usr/share/zoneinfo/UTC" in select(store, tmp_path).kept
    zoned = Runtime(cmd=("server",), env=("PATH=/usr/bin", "TZ=Europe/Paris"))
    assert select(store, tmp_path, run=zoned).kept[paris].rule == "time-zones"


def test_sources_of_locales_stay_where_locales_are_compiled(store: Store, tmp_path: Path) -> None:
    source = "usr/share/i18n/locales/fr_FR"
    found = select(store, tmp_path, "usr/share/locales/supported")
    assert found.by_name["dpkg:locales"].state is State.PART
    assert found.dropped[source].rule == "part"
    compiled = select(store, tmp_path, added={"start.sh": "#!/bin/sh\nlocale-gen\n"})
    assert compiled.kept[source].rule == "locale-sources"


def test_translations_go_where_the_c_library_knows_no_other_language(store: Store, tmp_path: Path) -> None:
    messages = "usr/share/locale/fr/LC_MESSAGES/server.mo"
    assert select(store, tmp_path).dropped[messages].rule == "messages"
    spoken = select(store, tmp_path, added={"usr/lib/locale/fr_FR.utf8/LC_MESSAGES/SYS_LC_MESSAGES": "x"})
    assert messages in spoken.kept


def test_what_the_author_added_stays_and_caches_go(store: Store, tmp_path: Path) -> None:
    added = {
        "opt/tool/run.sh": "#!/bin/sh\ncut -d: -f1 /etc/passwd\nfind . -exec tac '{}' +\n",
        "srv/page.html": "<p>",
        "root/.cache/pip/x": "x",
    }
    found = select(store, tmp_path, added=added)
    assert found.kept["opt/tool/run.sh"].rule == "author"
    assert found.kept["srv/page.html"].unit == "files:/srv"
    assert found.kept["usr/bin/cut"].rule == "command"
    assert found.kept["usr/bin/tac"].rule == "command"
    assert found.dropped["root/.cache/pip/x"].rule == "cache"
    assert found.dropped["var/cache/apt/pkgcache.bin"].rule == "cache"


def test_packages_that_add_to_the_program_stay(store: Store, tmp_path: Path) -> None:
    module = "usr/lib/server/modules/one.so"
    more = dpkg(
        {
            "server": ("", ["usr/bin/server", "usr/lib/server/modules/own.so"]),
            "server-module-one": ("Depends: server", [module]),
            "stranger": ("Depends: server", ["usr/share/stranger/file"]),
            "libc6": ("", [f"{X86}/libc.so.6", f"{X86}/ld.so"]),
        }
    )
    files = {
        module: elf(needed=["libidle.so.1"]),
        "usr/lib/server/modules/own.so": elf(),
        "usr/share/stranger/file": "x",
    }
    found = select(store, tmp_path, added={**more, **files})
    assert found.kept[module].rule == "add-on"
    assert "usr/share/stranger/file" in found.dropped


def test_keep_and_drop_take_globs_and_units(store: Store, tmp_path: Path) -> None:
    choice = Choice(keep=("dpkg:idle", "/usr/share/man/**"), drop=("/etc/server/more", "dpkg:tzdata"))
    found = select(store, tmp_path, choice=choice)
    assert found.kept["usr/bin/idle"].rule == "keep"
    assert found.kept[f"{X86}/libidle.so.1"].rule == "needed"
    assert "usr/share/man/man1/server.1" in found.kept
    assert found.dropped["etc/server/more"].rule == "drop"
    assert "usr/share/zoneinfo/UTC" in found.deliberate


@pytest.mark.parametrize(
    ("choice", "hint"),
    [
        (Choice(keep=("dpkg:serve",)), "dpkg:server"),
        (Choice(drop=("/etc/serve/more",)), "absolute"),
    ],
)
def test_a_word_that_means_nothing_is_refused(
    store: Store, tmp_path: Path, choice: Choice, hint: str
) -> None:
    with pytest.raises(UsageError) as error:
        select(store, tmp_path, choice=choice)
    assert hint in (error.value.hint or "")


def test_a_unit_that_is_kept_has_what_it_needs(store: Store, tmp_path: Path) -> None:
    assert select(store, tmp_path).by_name["dpkg:idle"].state is State.DROPPED
    kept = select(store, tmp_path, choice=Choice(keep=("dpkg:idle",)))
    assert kept.by_name["dpkg:idle"].state is State.WHOLE
    assert {"usr/bin/idle", f"{X86}/libidle.so.1"} <= kept.kept.keys()


def test_at_level_files_packages_are_not_filled(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path, choice=Choice(level=Level.FILES))
    assert {
        "usr/bin/server",
        f"{X86}/libused.so.1.2",
        f"{X86}/libused.so.1",
        "usr/share/server/pages/index",
    } <= (found.kept.keys())
    assert found.dropped["etc/server/server.conf"].rule == "not-seen"
    assert found.dropped["usr/bin/server-tool"].rule == "not-seen"


def test_every_path_has_one_reason_and_every_reason_a_rule(store: Store, tmp_path: Path) -> None:
    from ramekin.slim.units.table import rules

    image = contents(store, tmp_path, BASE, run=RUN)
    found = complete(image, seen("usr/bin/server", executed=("usr/bin/server",)), Choice())
    assert not found.kept.keys() & found.dropped.keys()
    assert sorted({*found.kept, *found.dropped}) == sorted(image.paths)
    known = rules()
    assert all(known[reason.rule].effect == "keep" for reason in found.kept.values())
    assert all(known[reason.rule].effect == "drop" for reason in found.dropped.values())
    assert found.size == sum(unit.size for unit in found.units)


def test_the_same_image_and_observation_are_judged_the_same(store: Store, tmp_path: Path) -> None:
    one, two = (select(store, tmp_path, "usr/bin/sh") for _ in range(2))
    assert (one.kept, one.dropped, one.units) == (two.kept, two.dropped, two.units)


def test_logs_go_but_for_links_to_the_output(store: Store, tmp_path: Path) -> None:
    logs: Files = {"var/log/web/old.log": "x", "var/log/web/access.log": "-> /dev/stdout"}
    found = complete(contents(store, tmp_path, {**BASE, **logs}), seen("usr/bin/server"), Choice())
    assert found.dropped["var/log/web/old.log"].rule == "cache"
    assert "var/log/web/access.log" in found.kept


def test_units_that_may_be_meant_are_of_the_kind_that_was_said(store: Store, tmp_path: Path) -> None:
    found = contents(store, tmp_path, {**BASE, **dpkg({"server": ("", ["usr/bin/server"])})})
    with pytest.raises(UsageError) as error:
        complete(found, None, Choice(keep=("dpkg:severs",)))
    assert error.value.hint == "did you mean dpkg:server?"
    with pytest.raises(UsageError) as error:
        complete(found, None, Choice(keep=("dpkg:zzz",)))
    assert error.value.hint == "units are named as in python:Django"


def test_time_zones_stay_with_interpreters_whose_programs_name_them(store: Store, tmp_path: Path) -> None:
    assert "usr/share/zoneinfo/Europe/Paris" not in select(store, tmp_path).kept
    ruby = f"{X86}/libruby-3.1.so.3.1"
    found = select(store, tmp_path, ruby, added={ruby: elf(soname="libruby-3.1.so.3.1")})
    assert found.kept["usr/share/zoneinfo/Europe/Paris"].rule == "time-zones"


TOOLCHAIN: Files = {
    "usr/bin/gcc-12": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/cpp-12": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/bin/as": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/libexec/gcc/12/cc1": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/libexec/gcc/12/collect2": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
    "usr/include/stdio.h": "int puts(const char *);\n",
    "usr/include/idle.h": "int idle(void);\n",
    "usr/local/include/mine.h": "int mine(void);\n",
    f"{X86}/libm.so": f"GROUP ( /{X86}/libm.so.6 AS_NEEDED ( /{X86}/libmvec.so.1 ) )\n",
    f"{X86}/libm.so.6": elf(soname="libm.so.6"),
    f"{X86}/libmvec.so.1": elf(soname="libmvec.so.1"),
    f"{X86}/libc.a": "!<arch>\n",
    "var/lib/dpkg/status.d/gcc-12": "Package: gcc-12\nSource: gcc\nVersion: 1\nDepends: libc6, cpp-12\n",
    "var/lib/dpkg/status.d/gcc-12.md5sums": "".join(
        f"{'0' * 32}  {path}\n" for path in ("usr/bin/gcc-12", "usr/libexec/gcc/12/collect2")
    ),
    "var/lib/dpkg/status.d/cpp-12": "Package: cpp-12\nSource: gcc\nVersion: 1\nDepends: libc6\n",
    "var/lib/dpkg/status.d/cpp-12.md5sums": "".join(
        f"{'0' * 32}  {path}\n" for path in ("usr/bin/cpp-12", "usr/libexec/gcc/12/cc1")
    ),
    "var/lib/dpkg/status.d/binutils": "Package: binutils\nVersion: 1\nArchitecture: amd64\n",
    "var/lib/dpkg/status.d/binutils.md5sums": f"{'0' * 32}  usr/bin/as\n",
    "var/lib/dpkg/status.d/libc6-dev": "Package: libc6-dev\nVersion: 1\nArchitecture: amd64\n",
    "var/lib/dpkg/status.d/libc6-dev.md5sums": "".join(
        f"{'0' * 32}  {path}\n" for path in ("usr/include/stdio.h", f"{X86}/libm.so", f"{X86}/libc.a")
    ),
    "var/lib/dpkg/status.d/libm6": "Package: libm6\nVersion: 1\nArchitecture: amd64\n",
    "var/lib/dpkg/status.d/libm6.md5sums": "".join(
        f"{'0' * 32}  {X86}/{name}\n" for name in ("libm.so.6", "libmvec.so.1")
    ),
    "var/lib/dpkg/status.d/libidle-dev": "Package: libidle-dev\nVersion: 1\nArchitecture: amd64\n",
    "var/lib/dpkg/status.d/libidle-dev.md5sums": f"{'0' * 32}  usr/include/idle.h\n",
}
LINKED = {
    "usr/bin/as",
    "usr/include/stdio.h",
    "usr/include/idle.h",
    "usr/local/include/mine.h",
    f"{X86}/libm.so",
    f"{X86}/libm.so.6",
    f"{X86}/libmvec.so.1",
    f"{X86}/libc.a",
}


@pytest.mark.parametrize(
    ("executed", "keep", "compiles"),
    [
        (("usr/bin/gcc-12",), (), True),
        (("usr/bin/gcc-12", "usr/libexec/gcc/12/cc1", "usr/libexec/gcc/12/collect2"), (), True),
        # so Python's ctypes looks for a library
        (("usr/bin/gcc-12", "usr/libexec/gcc/12/collect2"), (), False),
        ((), ("/usr/bin/gcc*",), True),
        ((), (), False),
    ],
)
def test_headers_and_libraries_to_link_with_stay_where_a_compiler_does(
    store: Store, tmp_path: Path, executed: tuple[str, ...], keep: tuple[str, ...], compiles: bool
) -> None:
    found = contents(store, tmp_path, BASE, TOOLCHAIN, run=RUN)
    seen_ = seen("usr/bin/server", executed=("usr/bin/server", *executed))
    kept = complete(found, seen_, Choice(keep=keep)).kept
    assert LINKED & kept.keys() == (LINKED if compiles else set())
    assert not compiles or "usr/libexec/gcc/12/cc1" in kept


def test_packages_of_an_interpreter_stay_where_the_image_starts_nothing_else(
    store: Store, tmp_path: Path
) -> None:
    added: Files = {
        "usr/bin/perl": elf(program=True, interpreter=LOADER, needed=["libc.so.6"]),
        "usr/share/perl/5.36.0/threads.pm": "1;\n",
        "usr/share/perl5/LWP.pm": "1;\n",
        "var/lib/dpkg/status": "",
        **dpkg(
            {
                "perl-base": ("Source: perl\nEssential: yes", ["usr/bin/perl"]),
                "perl-modules": ("Source: perl\nDepends: perl-base", ["usr/share/perl/5.36.0/threads.pm"]),
                "libwww-perl": ("Depends: perl-base", ["usr/share/perl5/LWP.pm"]),
            }
        ),
    }
    for number, (cmd, script, stays) in enumerate(
        [
            (("perl",), {}, True),
            (("perl", "/app/x"), {}, False),
            (("perl",), {"app/x.pl": "print 1;\n"}, False),
        ]
    ):
        (place := tmp_path / str(number)).mkdir()
        found = select(store, place, added={**added, **script}, run=Runtime(cmd=cmd, env=("PATH=/usr/bin",)))
        assert ("usr/share/perl/5.36.0/threads.pm" in found.kept) is stays
        assert "usr/share/perl5/LWP.pm" not in found.kept
        assert any("starts /usr/bin/perl and no program" in note for note in found.notes) is stays


def test_fonts_stay_with_what_lays_out_text(store: Store, tmp_path: Path) -> None:
    pango, font = f"{X86}/libpango-1.0.so.0", "usr/share/fonts/truetype/sans.ttf"
    added: Files = {
        pango: elf(soname="libpango-1.0.so.0"),
        font: "glyphs",
        "var/lib/dpkg/status": "",
        **dpkg({"libpango": ("", [pango]), "fonts-sans": ("", [font])}),
    }
    (tmp_path / "without").mkdir()
    assert font not in select(store, tmp_path / "without", added=added).kept
    assert select(store, tmp_path, pango, added=added).kept[font].rule == "fonts"


def test_links_that_checksums_do_not_list_belong_to_the_package_that_has_their_folder(
    store: Store, tmp_path: Path
) -> None:
    added: Files = {
        "usr/share/server-1/config": "-> ../misc/config",
        "usr/share/server-1/other": "text",
        "usr/share/misc/config": "guess",
        "var/lib/dpkg/status.d/more": "Package: more\nVersion: 1\n",
        "var/lib/dpkg/status.d/more.md5sums": f"{'0' * 32}  usr/share/server-1/other\n",
        "var/lib/dpkg/status.d/misc": "Package: misc\nVersion: 1\n",
        "var/lib/dpkg/status.d/misc.md5sums": f"{'0' * 32}  usr/share/misc/config\n",
    }
    kept = select(store, tmp_path, "usr/share/server-1/other", added=added).kept
    assert {"usr/share/server-1/config", "usr/share/misc/config"} <= kept.keys()
