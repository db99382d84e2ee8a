"""The shell's language as maintainer scripts use it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.closure import shell


def commands(node: object) -> list[str]:
    """The texts of all simple commands, in order."""
    if isinstance(node, shell.Simple):
        return [node.text]
    if isinstance(node, tuple):
        return [text for inner in node for text in commands(inner)]
    if isinstance(node, str | shell.Word | shell.HereDocument) or not hasattr(node, "__slots__"):
        return []
    return [text for slot in node.__slots__ for text in commands(getattr(node, slot))]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a; b & c\nd", ["a", "b", "c", "d"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("case $1 in a|b) c;; (d) e ;; *) f\nesac", ["c", "e", "f"]),
        ("for x in 1 2; do a $x; done; for y; do b; done", ["a $x", "b"]),
        ("while read x; do a; done < f", ["read x", "a"]),
        ("f() { a; }; g () ( b )", ["a", "b"]),
        ("a && b || ! c | d", ["a", "b", "c", "d"]),
        ("x=1 y=$(z) a \\\n  b # c", ["x=1 y=$(z) a b"]),
        ("cat <<EOF && b\nif (broken $x\nEOF\nc", ["cat <<EOF", "b", "c"]),
        ("cat <<-'E'\n\tit's\n\tE\nd", ["cat <<-'E'", "d"]),
        ("a 2>/dev/null >&2 <b", ["a 2>/dev/null >&2 <b"]),
        (
            'echo "$(echo \'a)b\' "c")" ${x:-"d }"} `e \\`f\\``',
            ['echo "$(echo \'a)b\' "c")" ${x:-"d }"} `e \\`f\\``'],
        ),
        ("echo $((1 + (2 * 3))) ${#x} ${x##*/} ${y%%.*}", ["echo $((1 + (2 * 3))) ${#x} ${x##*/} ${y%%.*}"]),
    ],
)
def test_commands_are_found(script: str, expected: list[str]) -> None:
    assert commands(shell.parse(script, where="test")) == expected


def test_lines_are_counted_over_here_documents_and_quotes() -> None:
    tree = shell.parse("a <<E\n1\n2\nE\nb 'x\ny'\nc\n", where="test")
    assert [node.line for node in tree.nodes if isinstance(node, shell.Simple)] == [1, 5, 7]


@pytest.mark.parametrize(
    "script", ["if a", "a 'b", 'a "b', "a $(b", "case x in", "a )", "{ a", "${", "fi", "a | | b"]
)
def test_broken_scripts_are_errors_with_a_line(script: str) -> None:
    with pytest.raises(shell.ShellSyntaxError, match="demo line 1"):
        shell.parse(script, where="demo")


def test_nesting_is_bounded() -> None:
    with pytest.raises(shell.ShellSyntaxError, match="nested too deeply"):
        shell.parse("( " * 5000, where="demo")


@given(st.text(alphabet="ab $(){}'\"`;|&<>\n\\#=!", max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_is_a_clear_error(script: str) -> None:
    try:
        shell.parse(script, where="demo")
    except shell.ShellSyntaxError:
        return


def test_functions_and_subshells_hold_their_commands() -> None:
    tree = shell.parse("f() { a; }", where="test")
    assert isinstance(tree.nodes[0], shell.Function)
    assert tree.nodes[0].name == "f"


def test_sample_agrees_with_the_system_shell() -> None:
    """The same script is accepted by `sh -n`."""
    script = 'set -e\ncase "$1" in\n (configure) [ -z "$2" ] && echo "${2#*-}" ;;\nesac\nexit 0\n'
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    assert commands(shell.parse(script, where="test"))[-1] == "exit 0"
