"""Maintainer scripts: performed, needless, covered or reported."""

from __future__ import annotations

import pytest
from closure.shelf import configured, package, ready

from ramekin.closure import scripts
from ramekin.image.tree import Kind, file


def unknown(script: str, **members: str) -> list[str]:
    return [item.text for item in configured(script, **members).facts.unknown]


@pytest.mark.parametrize(
    "script",
    [
        'echo "hello" >&2; printf "%s" x; test -z "$2" || exit 1',
        'if [ "$1" = "abort-upgrade" ]; then frobnicate; fi',
        'case "$1" in remove|upgrade) frobnicate ;; configure) ;; *) frobnicate ;; esac',
        'if [ -n "$2" ]; then frobnicate; fi',
        '[ -z "$2" ] || frobnicate',
        'if dpkg --compare-versions "$2" lt-nl 2.0; then frobnicate; fi',
        'if dpkg --compare-versions "$2" ge 2.0; then frobnicate; fi',
        "if [ -d /run/systemd/system ]; then frobnicate; fi",
        ". /usr/share/debconf/confmodule; db_get demo/x || true; db_stop",
        "systemctl daemon-reload >/dev/null || true; invoke-rc.d demo start; update-rc.d demo defaults",
        "exit 0; frobnicate",
        "f() { frobnicate; }; g() { return 0; frobnicate; }; g",
        "py3compile -p demo; ldconfig; dpkg-trigger --no-await x",
        'x=$(uname -s); if [ "$x" != Linux ]; then frobnicate; fi',
        "for x in; do frobnicate; done",
        "rm -f /etc/demo.old /var/cache/demo/x",
        "if ! getent passwd root >/dev/null; then frobnicate; fi",
        "while read x; do echo $x; done < /etc/hosts",
        "fc-cache -s >/var/log/fontconfig.log 2>&1",
    ],
)
def test_what_has_no_effect_on_a_fresh_image_is_not_reported(script: str) -> None:
    assert unknown(script) == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("frobnicate --now", "frobnicate --now"),
        ("cd /etc && \\\n  frobnicate  x", "frobnicate x"),
        ("if maybe; then :; fi", "maybe"),
        ('if which gizmo >/dev/null; then frobnicate "$x"; fi', 'frobnicate "$x"'),
        ("x=$(frobnicate)", "frobnicate"),
        ("echo a | frobnicate", "frobnicate"),
        ("sed -i s/a/b/ /etc/demo.conf", "sed -i s/a/b/ /etc/demo.conf"),
        ("find /var -name x -delete", "find /var -name x -delete"),
        ("date > /etc/demo.stamp", "date > /etc/demo.stamp"),
        ("$tool --make", "--make"),
        ('"$(which gizmo)" --make', '"$(which gizmo)" --make'),
        ("chown nobodyknows /usr/share/x", "chown nobodyknows /usr/share/x"),
        ("if which gizmo; then chmod 600 /etc/demo; fi", "chmod 600 /etc/demo"),
        ("for f in $(ls /x); do frobnicate $f; done", "frobnicate $f"),
        ("eval frobnicate", "frobnicate"),
    ],
)
def test_what_nobody_covers_is_reported(script: str, expected: str) -> None:
    found = unknown(script)
    assert any(expected in text for text in found), found


def test_a_report_names_script_line_and_text() -> None:
    (item,) = configured(":\n\nfrobnicate a\n").facts.unknown
    assert str(item) == "postinst line 5: frobnicate a"


def test_a_script_that_cannot_be_read_is_reported_not_raised() -> None:
    assert "is not closed" in unknown("echo 'x")[0]


def test_a_script_in_another_language_is_reported() -> None:
    facts = ready(package(scripts={"postinst": "#!/usr/bin/perl\nunlink 'x';\n"})).facts
    assert facts.unknown[0].text == "is not a shell script (#!/usr/bin/perl)"


def test_an_endless_script_ends() -> None:
    assert unknown("f() { f; f; }; f; while true; do :; done") is not None


def test_a_value_that_grows_without_end_becomes_unknown() -> None:
    numbers = " ".join(map(str, range(200)))
    assert unknown(f'V=ab; for i in {numbers}; do V="$V$V"; done; mkdir "/etc/$V"')


def test_sections_of_debhelper_are_known_by_their_tool() -> None:
    text = (
        "# Automatically added by dh_installsystemd/13.11.4\nfrobnicate\n# End automatically added section\n"
        "# Automatically added by dh_unheardof/1\ngizmo\n# End automatically added section\n"
    )
    prepared = configured(text)
    assert [item.text for item in prepared.facts.unknown] == ["gizmo"]
    assert any("dh_installsystemd" in line for line in prepared.facts.handled)


def test_folders_owners_and_modes_are_performed() -> None:
    tree = configured(
        "adduser --system --group --home /var/lib/redis redis\n"
        "Setup() { mkdir -p $1; chown redis:$2 $1; chmod $3 $1; }\n"
        "Setup /var/lib/redis redis 750\nSetup /var/log/redis adm 2750\n"
        "install -d -m 2775 -o redis -g redis /var/run/redis\n"
    ).tree
    assert (tree["var/lib/redis"].uid, tree["var/lib/redis"].gid, tree["var/lib/redis"].mode) == (
        101,
        101,
        0o750,
    )
    assert (tree["var/log/redis"].gid, tree["var/log/redis"].mode) == (4, 0o2750)
    assert tree["run/redis"].mode == 0o2775


def test_accounts_get_the_published_ids() -> None:
    facts = configured(
        "addgroup --system memcache\n"
        "adduser --system --ingroup memcache --home /nonexistent --no-create-home \\\n"
        "  --shell /bin/false memcache\n"
        "adduser memcache ssl-cert\n"
    ).facts
    assert [(user.name, user.uid, user.gid, user.shell) for user in facts.users] == [
        ("memcache", 102, 102, "/bin/false")
    ]
    assert [(group.name, group.gid, group.members) for group in facts.groups] == [
        ("memcache", 102, ()),
        ("ssl-cert", 301, ("memcache",)),
    ]


def test_an_account_without_a_published_id_gets_one_from_its_name() -> None:
    first, second = (configured("useradd --system --home-dir /x gizmo").facts.users[0].uid for _ in range(2))
    assert first == second
    assert 500 <= first <= 998


def test_an_account_is_changed_by_the_scripts_that_made_it() -> None:
    facts = configured(
        "adduser --system --group --home /var/lib/demo demo\n"
        'usermod -c "A demo" -d /srv/demo -s /bin/sh -g adm -G tty,demo demo; usermod -L demo\n'
    ).facts
    (user,) = facts.users
    assert (user.comment, user.home, user.shell, user.gid) == ("A demo", "/srv/demo", "/bin/sh", 4)
    assert {group.name for group in facts.groups if "demo" in group.members} >= {"tty", "demo"}
    assert unknown("usermod -d /srv/other somebody") == ["usermod -d /srv/other somebody"]
    assert unknown("adduser --system demo; usermod -u 5 demo") == ["usermod -u 5 demo"]


def test_files_are_copied_written_linked_and_removed() -> None:
    tree = configured(
        "[ -e /etc/demo.conf ] || cp -p /usr/share/demo/demo.conf /etc/demo.conf\n"
        "cat > /etc/demo.d <<EOF\nfor $1\nEOF\n"
        "echo one > /etc/demo.list; echo two >> /etc/demo.list\n"
        "ln -s /usr/share/demo /etc/demo-link\n"
        "touch /var/lib/demo.stamp\n"
        "ucf --three-way /usr/share/demo/demo.conf /etc/ucf.conf\n"
        "rm /usr/share/demo/old\n",
        {"usr/share/demo/demo.conf": "x=1\n", "usr/share/demo/old": ""},
    ).tree
    assert tree["etc/demo.conf"].read() == b"x=1\n"
    assert tree["etc/ucf.conf"].read() == b"x=1\n"
    assert tree["etc/demo.d"].read() == b"for configure\n"
    assert tree["etc/demo.list"].read() == b"one\ntwo\n"
    assert tree["etc/demo-link"].target == "/usr/share/demo"
    assert tree["var/lib/demo.stamp"].kind is Kind.FILE
    assert "usr/share/demo/old" not in tree


def test_alternatives_are_taken_down_with_their_slaves() -> None:
    facts = configured(
        "for p in php phar; do update-alternatives --install /usr/bin/$p $p /usr/bin/${p}8.2 82 "
        "--slave /usr/share/man/man1/$p.1.gz $p.1.gz /usr/share/man/man1/${p}8.2.1.gz; done",
        {"usr/bin/php8.2": "", "usr/bin/phar8.2": "", "usr/share/man/man1/php8.2.1.gz": ""},
    ).facts
    assert [(one.name, one.path, one.priority, one.slaves) for one in facts.alternatives] == [
        ("php", "/usr/bin/php8.2", 82, ()),
        ("phar", "/usr/bin/phar8.2", 82, ()),
    ]


def test_diversions_are_taken_down() -> None:
    script = "#!/bin/sh\ndpkg-divert --package demo --rename --divert /bin/x.other --add /bin/x\n"
    facts = ready(package(scripts={"preinst": script})).facts
    assert [(one.path, one.to) for one in facts.diversions] == [("usr/bin/x", "usr/bin/x.other")]


def test_overrides_and_capabilities_are_performed() -> None:
    tree = configured(
        "dpkg-statoverride --list /etc/demo >/dev/null || \\\n"
        "  dpkg-statoverride --update --add root shadow 640 /etc/demo\n"
        "setcap cap_net_raw+ep /bin/ping\n",
        {"etc/demo": "", "bin/ping": ""},
    ).tree
    assert (tree["etc/demo"].gid, tree["etc/demo"].mode) == (42, 0o640)
    (attribute,) = tree["usr/bin/ping"].xattrs
    assert attribute == ("security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("u+s", 0o755, 0o4755),
        ("g+rwX,o-rwx", 0o755, 0o770),
        ("a=r", 0o755, 0o444),
        ("2750", 0o755, 0o2750),
        ("+x", 0o644, 0o755),
    ],
)
def test_modes_are_those_of_chmod(mode: str, before: int, after: int) -> None:
    content = package(
        entries=[file("usr/bin/demo", b"", mode=before)],
        scripts={"postinst": f"#!/bin/sh\nchmod {mode} /usr/bin/demo\n"},
    )
    assert ready(content).tree["usr/bin/demo"].mode == after


def test_debconf_answers_with_defaults() -> None:
    templates = "Template: demo/on\nType: boolean\nDefault: true\n\nTemplate: demo/off\nType: string\n"
    script = (
        ". /usr/share/debconf/confmodule\ndb_get demo/on\n"
        'if [ "$RET" = true ]; then mkdir /etc/on; fi\ndb_get demo/off\n[ -z "$RET" ] || frobnicate\n'
    )
    prepared = configured(script, templates=templates)
    assert "etc/on" in prepared.tree
    assert prepared.facts.unknown == ()


def test_triggers_that_nobody_knows_are_reported() -> None:
    facts = ready(
        package(scripts={"triggers": "interest-noawait ldconfig\ninterest /usr/share/gizmo\nactivate x\n"})
    ).facts
    assert [str(item) for item in facts.unknown] == ["triggers line 2: interest /usr/share/gizmo"]


def test_declared_accounts_and_folders_are_made() -> None:
    prepared = ready(
        package(
            files={
                "usr/lib/sysusers.d/demo.conf": (
                    'u redis - "Redis" /var/lib/redis\ng input -\nm redis input\n'
                ),
                "usr/lib/tmpfiles.d/demo.conf": (
                    "d /run/redis 2755 redis redis -\nL /run/x - - - - /run/redis\nr! /etc/x\n"
                ),
            }
        )
    )
    assert [user.uid for user in prepared.facts.users] == [101]
    assert [(g.name, g.gid, g.members) for g in prepared.facts.groups] == [
        ("input", 302, ("redis",)),
        ("redis", 101, ()),
    ]
    assert (prepared.tree["run/redis"].mode, prepared.tree["run/redis"].uid) == (0o2755, 101)
    assert prepared.tree["run/x"].target == "/run/redis"


def test_folders_of_every_image_are_never_replaced_by_links() -> None:
    prepared = ready(
        package(
            files={
                "usr/lib/tmpfiles.d/demo.conf": "L /var/run - - - - ../run\nL+ /var/lock - - - - /run/lock\n"
            },
            scripts={"postinst": "#!/bin/sh\nln -s /run /var/run; ln -sfn /elsewhere /var/lib\n"},
        )
    )
    assert not [entry for entry in prepared.tree.entries() if entry.kind is Kind.SYMLINK]


def test_what_a_shell_would_expand_is_expanded() -> None:
    prepared = configured(
        'V=${DPKG_MAINTSCRIPT_PACKAGE#de}; W=${V%o}; mkdir /etc/$W "/etc/a b" /etc/${NONE:-other}\n'
        "set -- p q; for i; do mkdir /etc/$i; done; echo x:y | cut -d: -f2\n"
        "to=$(echo x:y | cut -d: -f2); mkdir /etc/$to; mkdir /etc/$(basename /a/z.conf .conf)\n"
        "for f in /usr/share/demo/*.ini; do ln -s $f /etc/; done\n",
        {"usr/share/demo/1.ini": "", "usr/share/demo/deep/2.ini": ""},
    )
    made = {path.removeprefix("etc/") for path in prepared.tree if path.startswith("etc/")}
    assert made == {"m", "a b", "other", "p", "q", "y", "z", "1.ini"}


def test_a_needless_script_is_known_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from ramekin.closure import data

    text = "#!/bin/sh\nfrobnicate\n"
    known = data.Needless(
        {},
        {},
        {},
        (),
        (data.NeedlessScript(hashlib.sha256(text.encode()).hexdigest(), "demo", "postinst", "read"),),
    )
    monkeypatch.setattr(scripts, "needless", lambda: known)
    assert ready(package(scripts={"postinst": text})).facts.unknown == ()
