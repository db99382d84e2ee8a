"""What stays of Node packages, gems, Java archives and runtimes below /usr/local."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from shelf_of_units import Files, contents, dpkg, package_json, seen

from ramekin.image.oci import Runtime
from ramekin.slim.units import Choice, Level, Selection, complete
from ramekin.store.store import Store


def select(
    store: Store,
    tmp_path: Path,
    files: Files,
    *opened: str,
    choice: Choice | None = None,
    workdir: str = "/app",
    env: tuple[str, ...] = (),
) -> Selection:
    found = contents(store, tmp_path, files, run=Runtime(working_dir=workdir, env=env))
    return complete(found, seen(*opened), choice or Choice())


MODULES = "app/node_modules"
SITE: Files = {
    "app/package.json": package_json(
        "site", dependencies={"used": "1"}, devDependencies={"linter": "1", "odd": "1"}
    ),
    "app/server.js": "const odd = require('odd/part');\n",
    f"{MODULES}/used/package.json": package_json(
        "used",
        dependencies={"@scope/needed": "1"},
        peerDependencies={"peer": "1"},
        peerDependenciesMeta={"peer": {"optional": True}},
    ),
    f"{MODULES}/used/index.js": "require('./lib/rare')\n",
    f"{MODULES}/used/lib/rare.js": "",
    f"{MODULES}/used/index.d.ts": "",
    f"{MODULES}/used/README.md": "",
    f"{MODULES}/used/LICENSE.md": "",
    f"{MODULES}/used/index.js.map": "",
    f"{MODULES}/@scope/needed/package.json": package_json("@scope/needed"),
    f"{MODULES}/@scope/needed/index.js": "",
    f"{MODULES}/peer/package.json": package_json("peer"),
    f"{MODULES}/linter/package.json": package_json("linter"),
    f"{MODULES}/linter/index.js": "",
    f"{MODULES}/odd/package.json": package_json("odd"),
    f"{MODULES}/odd/part.js": "",
    f"{MODULES}/.bin/linter": "-> ../linter/index.js",
    "usr/local/bin/node": b"",
    "usr/local/bin/npm": "-> ../lib/node_modules/npm/cli.js",
    "usr/local/lib/node_modules/npm/package.json": package_json("npm", dependencies={"inner": "1"}),
    "usr/local/lib/node_modules/npm/cli.js": "",
    "usr/local/lib/node_modules/npm/node_modules/inner/package.json": package_json("inner"),
    "usr/local/include/node/node.h": "",
}


def test_a_used_package_stays_whole_with_those_that_it_requires(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path, SITE, f"{MODULES}/used/index.js", "usr/local/bin/node")
    assert found.kept[f"{MODULES}/used/lib/rare.js"].unit == "node:used"
    assert found.kept[f"{MODULES}/@scope/needed/index.js"].rule == "required"
    assert f"{MODULES}/peer/package.json" in found.dropped
    assert f"{MODULES}/used/LICENSE.md" in found.kept
    for name in ("index.d.ts", "README.md", "index.js.map"):
        assert found.dropped[f"{MODULES}/used/{name}"].rule == "node-extras"


def test_the_authors_dependencies_stay_and_those_for_developing_go_unless_required(
    store: Store, tmp_path: Path
) -> None:
    found = select(store, tmp_path, SITE, "usr/local/bin/node")
    assert f"{MODULES}/used/index.js" in found.kept
    assert found.kept[f"{MODULES}/odd/part.js"].unit == "node:odd"
    assert {f"{MODULES}/linter/index.js", f"{MODULES}/.bin/linter"} <= found.dropped.keys()


PARTS: Files = {
    "app/package.json": package_json("site", dependencies={"parts": "1"}),
    "app/server.js": "const parts = require('parts');\nrequire(`parts/locale/${language}`);\n",
    f"{MODULES}/parts/package.json": json.dumps(
        {
            "name": "parts",
            "version": "1.0",
            "main": "./lib",
            "browser": "./dist/parts.js",
            "bin": {"parts": "./bin/parts.js"},
            "exports": {
                ".": {"browser": "./dist/parts.js", "node": "./lib/index.js", "default": "./lib/late.js"}
            },
        }
    ),
    f"{MODULES}/parts/lib/index.js": "require('./made/' + kind); fs.readFileSync(__dirname + '/beside.js')\n",
    f"{MODULES}/parts/lib/made/one.js": "require('other/deep')\n",
    f"{MODULES}/parts/lib/beside.js": "",
    f"{MODULES}/parts/lib/late.js": "",
    f"{MODULES}/parts/lib/data.json": "{}",
    f"{MODULES}/parts/bin/parts.js": "",
    f"{MODULES}/parts/locale/fr.js": "",
    f"{MODULES}/parts/dist/parts.js": "",
    f"{MODULES}/parts/dist/parts.min.js": "",
    f"{MODULES}/parts/src/parts.ts": "",
}
GONE = {
    f"{MODULES}/parts/{name}"
    for name in ("lib/late.js", "dist/parts.js", "dist/parts.min.js", "src/parts.ts")
}


def test_source_of_a_package_to_which_nothing_leads_goes(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path, PARTS, "app/server.js")
    assert {path for path in PARTS if path in found.dropped} == GONE
    assert {found.dropped[path].rule for path in GONE} == {"node-graph"}
    french = found.kept[f"{MODULES}/parts/locale/fr.js"]
    assert french.because == "/app/server.js makes up names in that folder"


@pytest.mark.parametrize(
    "more",
    [
        {"app/serve.js": "express.static('node_modules/parts/dist')\n"},
        {"app/serve.js": "express.static(path.join(root, 'node_modules', name))\n"},
        {"app/nginx.conf": "root /app/node_modules/parts;\n"},
        {"app/serve.js": "express.static(path.dirname(require.resolve('parts')))\n"},
        {"app/start.sh": "exec node ./node_modules/parts/src/parts.js\n"},
        {f"{MODULES}/parts/lib/made/one.js": "dirname(require.resolve('parts/package.json'))\n"},
        {f"{MODULES}/parts/lib/made/two.js": "fs.readdirSync(path.join(__dirname, '../..'))\n"},
        {
            "app/package.json": package_json("site", dependencies={"parts": "1", "webpack": "5"}),
            f"{MODULES}/webpack/package.json": package_json("webpack"),
        },
    ],
    ids=[
        "served",
        "served-by-name",
        "named-by-a-server",
        "located",
        "started",
        "located-by-a-package",
        "looked-through",
        "bundled",
    ],
)
def test_a_package_stays_entire_where_its_files_may_be_read_otherwise(
    store: Store, tmp_path: Path, more: Files
) -> None:
    found = select(store, tmp_path, {**PARTS, **more}, "app/server.js")
    assert not found.dropped.keys() & PARTS.keys()


@pytest.mark.parametrize(
    "more",
    [
        {"app/config.yaml": "driver: parts/lib/late\n"},
        {"app/config.json": '{"driver": "parts/lib/late"}'},
        {"app/settings.js": "exports.driver = 'parts/lib/late'\n"},
        {"app/start.sh": "exec node -r parts/lib/late .\n"},
        {"usr/local/bin/start": "#!/bin/sh\ncd /app; node_modules/.bin/parts; node -r parts/lib/late .\n"},
        {
            "app/package.json": package_json(
                "site", dependencies={"parts": "1"}, scripts={"start": "node -r parts/lib/late ."}
            )
        },
    ],
    ids=["yaml", "json", "module", "script", "entry-point", "npm"],
)
def test_modules_that_the_authors_settings_and_commands_name_stay(
    store: Store, tmp_path: Path, more: Files
) -> None:
    found = select(store, tmp_path, {**PARTS, **more}, "app/server.js", "usr/local/bin/start")
    assert {path for path in PARTS if path in found.dropped} == GONE - {f"{MODULES}/parts/lib/late.js"}


def test_type_declarations_stay_where_a_compiler_reads_them(store: Store, tmp_path: Path) -> None:
    more: Files = {
        "app/package.json": package_json("site", dependencies={"parts": "1", "typescript": "5"}),
        f"{MODULES}/parts/lib/index.d.ts": "",
        f"{MODULES}/typescript/package.json": package_json("typescript"),
        f"{MODULES}/typescript/lib/lib.d.ts": "",
    }
    found = select(store, tmp_path, {**PARTS, **more}, "app/server.js")
    assert f"{MODULES}/typescript/lib/lib.d.ts" in found.kept
    assert found.dropped[f"{MODULES}/parts/lib/index.d.ts"].rule == "node-extras"
    more["app/package.json"] = package_json("site", dependencies={"parts": "1", "ts-node": "1"})
    more[f"{MODULES}/ts-node/package.json"] = package_json("ts-node", peerDependencies={"typescript": "5"})
    assert more.keys() <= select(store, tmp_path, {**PARTS, **more}, "app/server.js").kept.keys()


def test_packages_behind_links_are_found_as_pnpm_lays_them_out(store: Store, tmp_path: Path) -> None:
    shelf = f"{MODULES}/.pnpm"
    files: Files = {
        "app/package.json": package_json("site", dependencies={"used": "1"}),
        "app/server.js": "",
        f"{MODULES}/used": "-> .pnpm/used@1.0/node_modules/used",
        f"{shelf}/used@1.0/node_modules/used/package.json": package_json(
            "used", dependencies={"needed": "1"}
        ),
        f"{shelf}/used@1.0/node_modules/used/index.js": "",
        f"{shelf}/used@1.0/node_modules/needed": "-> ../../needed@1.0/node_modules/needed",
        f"{shelf}/needed@1.0/node_modules/needed/package.json": package_json("needed"),
        f"{shelf}/needed@1.0/node_modules/needed/index.js": "",
    }
    assert not select(store, tmp_path, files, "app/server.js").dropped


def test_npm_goes_where_nothing_ran_it(store: Store, tmp_path: Path) -> None:
    found = select(store, tmp_path, SITE, "usr/local/bin/node")
    assert found.dropped["usr/local/lib/node_modules/npm/cli.js"].rule == "package-manager"
    assert "usr/local/bin/npm" in found.dropped
    assert found.dropped["usr/local/include/node/node.h"].rule == "documents"
    ran = select(store, tmp_path, SITE, "usr/local/lib/node_modules/npm/cli.js")
    assert {
        "usr/local/bin/npm",
        "usr/local/lib/node_modules/npm/node_modules/inner/package.json",
    } <= ran.kept.keys()


def test_at_level_files_node_follows_requires(store: Store, tmp_path: Path) -> None:
    found = select(
        store, tmp_path, SITE, f"{MODULES}/used/index.js", "app/server.js", choice=Choice(level=Level.FILES)
    )
    assert {f"{MODULES}/used/lib/rare.js", f"{MODULES}/odd/part.js"} <= found.kept.keys()
    assert found.dropped[f"{MODULES}/used/LICENSE.md"].rule in ("not-seen", "node-extras")


def test_gems_stay_with_those_that_they_depend_on(store: Store, tmp_path: Path) -> None:
    home = "usr/local/bundle"
    gems: Files = {
        f"{home}/{path}": text
        for name, depends in (("rack", ()), ("web", ("rack",)), ("idle", ()))
        for path, text in (
            (
                f"specifications/{name}-1.0.gemspec",
                "".join(f's.add_runtime_dependency(%q<{one}>.freeze, [">= 1"])\n' for one in depends),
            ),
            (f"gems/{name}-1.0/lib/{name}.rb", ""),
            (f"gems/{name}-1.0/lib/{name}/rare.rb", ""),
            (f"gems/{name}-1.0/spec/{name}_spec.rb", ""),
            (f"cache/{name}-1.0.gem", "x"),
        )
    }
    found = select(store, tmp_path, gems, f"{home}/gems/web-1.0/lib/web.rb")
    assert found.kept[f"{home}/gems/rack-1.0/lib/rack/rare.rb"].rule == "required"
    assert found.dropped[f"{home}/gems/idle-1.0/lib/idle.rb"].rule == "unreached"
    assert {f"{home}/cache/web-1.0.gem", f"{home}/gems/web-1.0/spec/web_spec.rb"} <= found.dropped.keys()
    asked = select(store, tmp_path, {**gems, "app/Gemfile": 'gem "idle"\n'})
    assert f"{home}/gems/idle-1.0/lib/idle/rare.rb" in asked.kept


def jar(path: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\nClass-Path: {path}\n" if path else ""
        )
    return out.getvalue()


def test_java_archives_and_runtimes_stay_whole_but_for_what_developers_need(
    store: Store, tmp_path: Path
) -> None:
    home = "opt/java/openjdk"
    files: Files = {
        "app/app.jar": jar("lib/one.jar"),
        "app/lib/one.jar": jar(),
        f"{home}/bin/java": b"",
        f"{home}/lib/modules": b"m" * 100,
        f"{home}/lib/security/cacerts": b"c",
        f"{home}/jmods/java.base.jmod": b"j" * 100,
        f"{home}/lib/src.zip": b"s",
    }
    found = select(store, tmp_path, files, "app/app.jar", f"{home}/bin/java")
    assert {"app/lib/one.jar", f"{home}/lib/modules", f"{home}/lib/security/cacerts"} <= found.kept.keys()
    assert {f"{home}/jmods/java.base.jmod", f"{home}/lib/src.zip"} <= found.dropped.keys()


def test_links_in_a_java_runtime_of_a_package_stay_with_it(store: Store, tmp_path: Path) -> None:
    home = "usr/lib/jvm/java-17"
    owned = [f"{home}/bin/java", f"{home}/lib/modules", "etc/java-17/security/java.security"]
    files: Files = {
        f"{home}/bin/java": b"",
        f"{home}/lib/modules": b"m",
        "etc/java-17/security/java.security": "policy\n",
        # which checksums do not list
        f"{home}/conf/security/java.security": "-> /etc/java-17/security/java.security",
        **dpkg({"jre": ("", owned)}),
    }
    found = select(store, tmp_path, files, f"{home}/bin/java")
    assert {*owned, f"{home}/conf/security/java.security"} <= found.kept.keys()


def test_the_library_of_ruby_stays_with_its_interpreter(store: Store, tmp_path: Path) -> None:
    files: Files = {
        "usr/local/bin/ruby": b"",
        "usr/local/lib/ruby/3.3.0/json.rb": "",
        "usr/local/lib/libruby.so.3.3": b"",
        "usr/local/share/ri/3.3.0/system/x": "",
    }
    found = select(store, tmp_path, files, "usr/local/bin/ruby")
    assert found.kept["usr/local/lib/ruby/3.3.0/json.rb"].rule == "runtime"
    assert "usr/local/share/ri/3.3.0/system/x" in found.dropped


def test_node_packages_of_the_system_stay_with_those_that_they_require(store: Store, tmp_path: Path) -> None:
    shared = "usr/share/nodejs"
    told: Files = {
        f"{shared}/fetch/package.json": package_json("fetch", dependencies={"forms": "1"}),
        f"{shared}/fetch/index.js": "",
        f"{shared}/fetch/body.js": "require('forms')\n",
        f"{shared}/forms/package.json": package_json("forms"),
        f"{shared}/forms/index.js": "",
        f"{shared}/idle/package.json": package_json("idle"),
        f"{shared}/idle/index.js": "",
    }
    packages = {
        f"node-{name}": ("", [path for path in told if path.startswith(f"{shared}/{name}/")])
        for name in ("fetch", "forms", "idle")
    }
    found = select(store, tmp_path, {**told, **dpkg(packages)}, f"{shared}/fetch/index.js")
    assert {f"{shared}/fetch/body.js", f"{shared}/forms/index.js"} <= found.kept.keys()
    assert f"{shared}/idle/index.js" in found.dropped


RAKE: Files = {
    "usr/bin/ruby": b"",
    "usr/bin/rake": "#!/usr/bin/ruby\n",
    "usr/bin/rerun": "#!/usr/bin/ruby\n",
    "app/config.ru": "run App\n",
    **dpkg({"ruby": ("", ["usr/bin/ruby"]), "rake": ("Depends: ruby", ["usr/bin/rake", "usr/bin/rerun"])}),
}


def test_rake_stays_where_the_author_has_a_rakefile_and_goes_where_nothing_is_written_for_it(
    store: Store, tmp_path: Path
) -> None:
    env = ("PATH=/usr/bin",)
    without = select(store, tmp_path, RAKE, "usr/bin/ruby", "app/config.ru", env=env)
    assert {"usr/bin/rake", "usr/bin/rerun"} <= without.dropped.keys()
    files: Files = {**RAKE, "app/Rakefile": "task(:sweep) { }\n"}
    found = select(store, tmp_path, files, "usr/bin/ruby", "app/config.ru", env=env)
    assert found.kept["usr/bin/rake"].rule == "interpreter"
    assert found.kept["usr/bin/rake"].because == "/app/Rakefile is written for it"
    assert found.kept["app/Rakefile"].rule == "author"
    assert "usr/bin/rerun" in found.dropped


def test_at_level_files_a_rakefile_that_nothing_reads_keeps_nothing(store: Store, tmp_path: Path) -> None:
    files: Files = {**RAKE, "app/Rakefile": "task(:sweep) { }\n"}
    choice = Choice(level=Level.FILES)
    found = select(store, tmp_path, files, "usr/bin/ruby", choice=choice, env=("PATH=/usr/bin",))
    assert {"usr/bin/rake", "app/Rakefile"} <= found.dropped.keys()


def test_a_rakefile_requires_gems_as_source_does(store: Store, tmp_path: Path) -> None:
    home = "usr/local/bundle"
    gems: Files = {
        f"{home}/specifications/sweep-1.0.gemspec": "",
        f"{home}/gems/sweep-1.0/lib/sweep.rb": "",
        "app/config.ru": "run App\n",
    }
    assert f"{home}/gems/sweep-1.0/lib/sweep.rb" in select(store, tmp_path, gems, "app/config.ru").dropped
    asked = select(store, tmp_path, {**gems, "app/Rakefile": "require 'sweep'\n"}, "app/config.ru")
    assert asked.kept[f"{home}/gems/sweep-1.0/lib/sweep.rb"].rule == "gem"


def test_a_static_program_needs_nothing_but_what_it_names(store: Store, tmp_path: Path) -> None:
    files = {"app/serve": b"\x7fELF", "usr/share/doc/x/README": "x", "usr/bin/other": "#!/bin/sh\n"}
    found = select(store, tmp_path, files, "app/serve")
    assert "app/serve" in found.kept
    assert "usr/share/doc/x/README" in found.dropped
