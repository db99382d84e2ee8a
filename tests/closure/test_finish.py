"""The last layers of an image."""

from __future__ import annotations

from closure.shelf import SUITE, configured, package, ready

from ramekin.closure.finish import best, finish, hints
from ramekin.closure.model import Alternative, Hints, PackageFacts, decode, encode
from ramekin.image.tree import Tree


def finished(*facts: PackageFacts) -> dict[str, Tree]:
    return dict(finish(facts, suite=SUITE, architecture="amd64"))


def test_an_image_without_accounts_links_or_libraries_needs_no_layer() -> None:
    assert finished(ready(package(files={"usr/share/x": "1"})).facts) == {}


def test_accounts_of_packages_join_the_base_ones() -> None:
    tree = finished(ready(package("memcached", {"usr/bin/memcached": ""})).facts)["finish"]
    assert b"memcache:x:102:102:Memcached:/nonexistent:/bin/false\n" in tree["etc/passwd"].read()
    assert b"memcache:x:102:\n" in tree["etc/group"].read()


def test_the_best_alternative_is_linked() -> None:
    install = "update-alternatives --install /bin/pager pager"
    script = f"{install} /usr/bin/less 77\n{install} /bin/more 50\n"
    tree = finished(configured(script).facts)["finish"]
    assert tree["usr/bin/pager"].target == "/etc/alternatives/pager"
    assert tree["etc/alternatives/pager"].target == "/usr/bin/less"


def test_equal_alternatives_are_decided_by_path() -> None:
    one, two = (Alternative("x", "/usr/bin/x", path, 50) for path in ("/usr/bin/b", "/usr/bin/a"))
    assert best([one, two]) == best([two, one]) == two


def test_links_wait_for_the_package_they_are_for() -> None:
    ini = {"usr/share/php8.2-common/common/zz.ini": "; priority=10\nextension=zz.so\n"}
    module = ready(
        package(
            "php8.2-zz",
            ini,
            scripts={
                "postinst": "#!/bin/sh\nif [ -e /usr/lib/php/php-maintscript-helper ]; then\n"
                ". /usr/lib/php/php-maintscript-helper\n"
                "ucf /usr/share/php8.2-common/common/zz.ini /etc/php/8.2/mods-available/zz.ini\n"
                "php_invoke enmod 8.2 ALL zz\nfi\n"
            },
        )
    ).facts
    assert module.unknown == ()
    assert finished(module) == {}
    cli = ready(package("php8.2-cli", {"usr/bin/php8.2": ""})).facts
    links = [path for path in finished(module, cli)["finish"] if path.endswith(".ini")]
    assert links == ["etc/php/8.2/cli/conf.d/10-zz.ini"]


def test_the_tools_of_busybox_give_way_to_real_ones() -> None:
    names = ["[", "[[", *(f"tool{number}" for number in range(50)), "ls", "sh"]
    program = "ELF\0" + "".join(name + "\0" for name in names) + "\0"
    busybox = ready(package("busybox", {"bin/busybox": program})).facts
    coreutils = ready(package("coreutils", {"bin/ls": "real"})).facts
    tree = finished(busybox, coreutils)["finish"]
    assert tree["usr/bin/sh"].target == "busybox"
    assert "usr/bin/ls" not in tree


def test_folders_keep_the_owner_that_a_script_gave_them() -> None:
    owner = configured("mkdir -p /etc/demo; chown redis:adm /etc/demo; chmod 2770 /etc/demo")
    tree = finished(owner.facts)["finish"]
    assert (tree["etc/demo"].uid, tree["etc/demo"].gid, tree["etc/demo"].mode) == (101, 4, 0o2770)


def test_facts_go_through_json_unchanged() -> None:
    facts = configured(
        "update-alternatives --install /a a /b 1; frobnicate; adduser --system --group redis"
    ).facts
    assert decode(encode(facts)) == facts
    assert encode(facts) == encode(decode(encode(facts)))


def test_hints_are_those_of_the_first_requested_package() -> None:
    both = [ready(package(name)).facts for name in ("redis-server", "nginx")]
    assert hints(both, ["nginx=1.22", "redis-server"]).entrypoint == ("/usr/sbin/nginx",)
    assert hints(both, ["redis-server"]).user == "101:101"
    assert hints(both, ["curl"]) == Hints()
