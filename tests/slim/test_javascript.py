"""What the text of a JavaScript file leads to."""

from __future__ import annotations

import pytest

from ramekin.slim.units.javascript import leads, modules_by_name, packages_by_path


@pytest.mark.parametrize(
    "text",
    [
        "const a = require('./a')",
        'import a, {b} from "./a";',
        "import'./a'",
        "export * from './a'",
        "await import(/* webpackChunkName: \"a\" */ './a')",
        "new Worker(require.resolve('./a'))",
        "import.meta.resolve('./a')",
    ],
)
def test_specifiers_that_stand_there_are_followed(text: str) -> None:
    assert "./a" in leads(text.encode()).relative


@pytest.mark.parametrize(
    "text, beginning",
    [
        ("require('./locale/' + name)", "./locale/"),
        ("require(`./locale/${name}`)", "./locale/"),
        ("var load = require; load('./locale/' + name)", "./locale/"),
        ("const kinds = {a: './kinds/a'}; require(kinds[kind])", "./kinds/a"),
        ("require(`moment/locale/${name}`)", "moment/locale/"),
        ("require('@scope/pkg/part-' + n)", "@scope/pkg/part-"),
        ("names.map(require); ['./x']", "./x"),
        ("register('hooks/loader.mjs', import.meta.url)", "hooks/loader.mjs"),
        ("const load = createRequire(import.meta.url); load('./x')", "./x"),
    ],
)
def test_names_that_are_made_up_are_followed_by_their_beginning(text: str, beginning: str) -> None:
    assert beginning in leads(text.encode()).beginnings


def test_names_in_quotes_count_only_where_names_are_made_up() -> None:
    assert not leads(b"const kinds = './kinds/a'; typeof require === 'function'").beginnings


@pytest.mark.parametrize(
    "text, place",
    [
        ("fs.readdirSync(path.join(__dirname, 'lib', 'rules'))", "lib/rules"),
        ("path.join(__dirname, '..', 'file.js')", "../file.js"),
        ("readFile(__dirname + '/worker.js')", "worker.js"),
        ("`${__dirname}/views`", "views"),
        ("new Worker(new URL('./worker.js', import.meta.url))", "./worker.js"),
    ],
)
def test_places_beside_a_file_are_followed(text: str, place: str) -> None:
    found = leads(text.encode())
    assert (found.beside, found.around) == ({place}, False)


@pytest.mark.parametrize(
    "text",
    [
        "fs.readdirSync(__dirname)",
        "const here = fileURLToPath(import.meta.url)",
        "require('require-directory')(module)",
        "path.join(__dirname, name)",
    ],
)
def test_what_looks_around_in_other_ways_is_told(text: str) -> None:
    assert leads(text.encode()).around


def test_asking_whether_a_module_was_started_is_not_looking_around() -> None:
    assert not leads(b"if (process.argv[1] === __filename) main()").around


def test_packages_named_by_their_paths_are_found() -> None:
    assert packages_by_path(b"express.static('node_modules/bootstrap/dist')") == ({"bootstrap"}, False)
    assert packages_by_path(b"spawn('node_modules/.bin/knex')") == (frozenset(), False)
    assert packages_by_path(b"join(__dirname, 'node_modules', '@org', 'icons')") == ({"@org/icons"}, False)
    assert packages_by_path(b"join(root, 'node_modules', name)")[1]


@pytest.mark.parametrize(
    "text, name",
    [
        ("express.static(path.dirname(require.resolve('chart.js')))", "chart.js"),
        (
            "createRequire(import.meta.url)\nrequire_.resolve('@scope/ui/package.json')",
            "@scope/ui/package.json",
        ),
        ("new URL('.', import.meta.resolve('chart.js/auto'))", "chart.js/auto"),
        ("resolve.sync('chart.js/package.json', { basedir })", "chart.js/package.json"),
    ],
)
def test_modules_of_which_the_place_is_asked_for_are_told(text: str, name: str) -> None:
    assert leads(text.encode()).located == {name}


def test_settings_name_modules_inside_packages() -> None:
    assert modules_by_name(b"driver: store/drivers/memory\nuse: '@scope/pkg/part'\n./own/file") == {
        "store/drivers/memory",
        "@scope/pkg/part",
    }
