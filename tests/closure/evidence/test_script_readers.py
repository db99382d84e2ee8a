"""What scripts call and import, by the readers of each language."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.closure.evidence import java, languages, python, shell
from ramekin.closure.evidence import settings as configuration


@pytest.mark.parametrize(
    ("script", "called"),
    [
        ("grep x file | sed s/a/b/ && awk '{print $1}'", {"grep", "sed", "awk"}),
        ("if test -f x; then cat x; else tac x; fi", {"cat", "tac"}),
        ("x=$(date +%s)\ny=`uname -s`", {"date", "uname"}),
        ('echo "today $(date -u) and `hostname`"', {"date", "hostname"}),
        ("# find nothing here\nls # not sort\n", {"ls"}),
        ("cat <<EOF\nsort this uniq\nEOF\nwc -l", {"cat", "wc"}),
        ("cat <<-'END' | tr a b\n\tsort\n\tEND\nhead", {"cat", "tr", "head"}),
        ("case $x in\n a) ls;;\n b|c) cp a b ;;\nesac\nmv a b", {"ls", "cp", "mv"}),
        ("work() { cut -f1; }\nwork", {"cut"}),
        ("VAR=1 OTHER='a b' env -i perl -e 1", {"env", "perl"}),
        ("/usr/bin/find . -name x", {"/usr/bin/find"}),
        ("for i in sort uniq; do stat $i; done", {"stat"}),
        ("exec nginx -g 'daemon off;'", {"nginx"}),
        ("echo 'grep in quotes' \"sed in quotes\"", set()),
        ('$PROGRAM --help; "$OTHER" x', set()),
        ("a=1; [ $a = 1 ] && ! cmp -s a b", {"cmp"}),
        ("while read x; do basename $x; done < /etc/list", {"basename"}),
        ("ls >/dev/null 2>&1 || true", {"ls"}),
        (". git-sh-setup\n. /usr/share/demo/lib.sh", {"git-sh-setup", "/usr/share/demo/lib.sh"}),
    ],
)
def test_commands_stand_where_the_shell_looks_for_them(script: str, called: set[str]) -> None:
    found = shell.commands(script)
    assert called <= found
    assert not found - called - {"env", "perl"}


def test_python_imports_are_parsed_and_guesses_are_told_from_them() -> None:
    source = b'''"""import nothing"""
import os, json as j
from email.message import Message
from . import local
def late():
    import sqlite3
try:
    import simplejson
except ImportError:
    import fallback
text = """
import inside_a_string
"""
'''
    found = python.imports(source)
    assert found == {
        "os": False,
        "json": False,
        "email.message": False,
        "sqlite3": False,
        "simplejson": True,
        "fallback": True,
    }
    sure, doubtful = python.candidates(source)
    assert sure >= {"os", "json", "email.message", "sqlite3", "simplejson"}
    assert doubtful == {"inside_a_string"}


@pytest.mark.parametrize("source", [b"print 'two'\n", b"\0", b"(" * 5000, b"x = \xff"])
def test_source_of_another_python_is_a_syntax_error_and_no_more(source: bytes) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        python.imports(source)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("usr/lib/python3/dist-packages/requests/__init__.py", "requests"),
        ("usr/lib/python3/dist-packages/requests/api.py", "requests.api"),
        ("usr/lib/python3/dist-packages/yaml/_yaml.cpython-311-x86_64-linux-gnu.so", "yaml._yaml"),
        ("usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", "_ssl"),
        ("usr/lib/python3.11/os.py", "os"),
        ("usr/share/demo/os.py", None),
        ("usr/lib/python3/dist-packages/demo.txt", None),
    ],
)
def test_a_python_file_is_imported_by_its_place(path: str, name: str | None) -> None:
    assert python.module_name(path) == name


def test_perl_modules_are_those_of_code_and_not_of_documentation() -> None:
    source = b"""#!/usr/bin/perl
use strict; use v5.10;
use parent qw(IO::Handle Exporter);
require JSON::PP;
eval { require Term::ReadKey; };
=head1 NAME

use Nothing::Here

=cut
use POSIX qw(floor);
__END__
use Nothing::There;
"""
    assert languages.perl(source) >= {
        "strict",
        "IO::Handle",
        "Exporter",
        "JSON::PP",
        "Term::ReadKey",
        "POSIX",
    }
    assert not {name for name in languages.perl(source) if name.startswith("Nothing")}
    assert languages.perl_module("usr/share/perl5/JSON/PP.pm") == "JSON::PP"


def test_php_includes_what_lies_beside_it() -> None:
    source = b"<?php require_once __DIR__ . '/../Psr/Log/autoload.php'; include(dirname(__FILE__).'/x.php');"
    assert languages.php_beside(source, "usr/share/php/Demo/autoload.php") == {
        "/usr/share/php/Psr/Log/autoload.php",
        "/usr/share/php/Demo/x.php",
    }


def test_ruby_php_and_node_name_what_they_load() -> None:
    assert languages.ruby(b"require 'net/http'\n# require 'no'\nautoload :Set, 'set'\n") == {
        "net/http",
        "set",
    }
    assert languages.php(b"<?php require_once('Twig/autoload.php'); include \"a.php\";") == {
        "Twig/autoload.php",
        "a.php",
    }
    assert languages.node(
        b"const a=require('semver');import b from \"@x/y\";require('./own');import 'z'"
    ) == {
        "semver",
        "@x/y",
        "z",
    }


def test_configuration_names_modules_and_programs() -> None:
    assert configuration.modules("etc/pam.d/demo", b"auth required pam_unix.so\n# pam_no.so\n") == {
        "pam_unix.so"
    }
    assert configuration.modules("etc/nsswitch.conf", b"hosts: files mymachines dns\n") >= {
        "libnss_mymachines.so.2"
    }
    assert configuration.modules(
        "etc/php/8.2/cli/conf.d/x.ini", b"extension=curl\nzend_extension=opcache.so\n"
    ) == {
        "curl.so",
        "opcache.so",
    }
    assert configuration.services(b"[Service]\nExecStart=-/usr/sbin/demo --x\n") == {"/usr/sbin/demo"}


def test_what_is_no_jar_is_a_bad_jar() -> None:
    with pytest.raises(java.BadJar):
        java.class_path(b"PK\x03\x04 nothing")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab $(){}`'\"\\;|&<>#\n=cassein[]EOF"), max_size=80))
def test_no_text_upsets_the_reader_of_shell(text: str) -> None:
    assert all(isinstance(name, str) for name in shell.commands(text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_upset_the_readers_of_languages(data: bytes) -> None:
    for read in (languages.perl, languages.ruby, languages.php, languages.node, python.candidates):
        read(data)
    for path in ("etc/pam.d/x", "etc/nsswitch.conf", "etc/php/x.ini"):
        configuration.modules(path, data)
    configuration.services(data)
    try:
        java.class_path(b"PK\x03\x04" + data)
    except java.BadJar:
        pass
