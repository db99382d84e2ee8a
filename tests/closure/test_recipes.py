"""Recipes and the other data files."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from closure.shelf import package, ready

from ramekin.closure import accounts, data, recipes, scripts, slices
from ramekin.errors import FormatError

NAMES = sorted(path.name.removesuffix(".yaml") for path in (data.ROOM / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_gives_its_reasons(name: str) -> None:
    recipe = data.load(f"recipes/{name}.yaml", data.Recipe)
    assert recipe.reason.strip()
    assert all(rule.reason.strip() and rule.command.strip("* ") for rule in recipe.covers)
    assert set(recipe.built_in) <= recipes.BUILT_IN
    table = accounts.table()
    owners = [*recipe.directories, *recipe.files, *recipe.owners]
    assert {rule.owner for rule in owners if rule.owner} <= set(table.users)
    assert {rule.group for rule in owners if rule.group} <= set(table.groups)
    assert not recipe.image.user or recipe.image.user in table.users
    for rule in owners:
        assert not rule.mode or 0 <= int(rule.mode, 8) <= 0o7777


@pytest.mark.parametrize(
    ("package_name", "recipe_name"),
    [
        ("postgresql-15", "postgresql-_"),
        ("postgresql-common", "postgresql-common"),
        ("openjdk-21-jre-headless", "openjdk-_-jre-headless"),
        ("php8.4-cli", "php_-cli"),
        ("php-cli", "php-cli"),
        ("python3.13-minimal", "python_-minimal"),
        ("python3", "python3"),
    ],
)
def test_a_name_with_a_version_finds_its_recipe(package_name: str, recipe_name: str) -> None:
    assert recipes.recipe(package_name) == data.load(f"recipes/{recipe_name}.yaml", data.Recipe)


def test_most_packages_need_no_recipe() -> None:
    assert recipes.recipe("libzstd1") is None


def test_what_packages_use_without_saying_so_is_known() -> None:
    assert list(recipes.needs(["postgresql-15", "curl"])) == ["dash"]
    assert recipes.needs(["curl"]) == {}


def test_the_version_is_filled_in() -> None:
    prepared = ready(package("postgresql-17"))
    assert "var/lib/postgresql/17" in prepared.tree
    assert b"/usr/lib/postgresql/17/bin" in prepared.tree["usr/bin/postgresql-entrypoint"].read()
    assert "PGDATA=/var/lib/postgresql/17/main" in prepared.facts.hints.env


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"reason: x\nfiels: []\n", "demo.yaml: Object contains unknown field `fiels`"),
        (
            b"reason: x\nlinks:\n  - {path: a}\n",
            r"demo.yaml: Object missing required field `target` - at `\$.links\[0\]`",
        ),
        (b"reason: [x\n", "demo.yaml line 2 is not YAML"),
    ],
)
def test_a_wrong_recipe_is_an_error_that_names_file_and_key(text: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        data.parse(text, data.Recipe, where="demo.yaml")


def test_every_slice_says_why() -> None:
    assert all(rule.reason and rule.paths for rule in slices.rules().values())


def test_no_needless_command_is_also_performed() -> None:
    from ramekin.closure import commands, queries

    needless = {name for name in scripts.needless().commands if " " not in name}
    assert needless.isdisjoint(commands._HANDLERS)
    assert needless.isdisjoint(queries.QUIET | queries.QUERIES)


def test_needless_triggers_have_distinct_patterns() -> None:
    triggers = list(scripts.needless().triggers)
    assert not [
        one
        for one in triggers
        if any(one != other and fnmatch(one, other) for other in triggers if "*" in other)
    ]
