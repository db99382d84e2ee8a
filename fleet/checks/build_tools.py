"""Compilers and builders make a program, and the program runs."""

# ruff: noqa: E501 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

from support.dialogue import web_server
from support.fleet import Box

C = """
#include <math.h>
#include <pthread.h>
#include <stdio.h>
static void *cook(void *n) { *(int *) n *= 7; return 0; }
int main(int argc, char **argv) {
    pthread_t one; int n = 6;
    pthread_create(&one, 0, cook, &n); pthread_join(one, 0);
    return printf("%d %.3f\\n", n, sqrt(argc + 1)) < 0;
}
"""

CXX = """
#include <iostream>
#include <map>
#include <regex>
#include <thread>
int main() {
    std::map<std::string, int> dishes{{"gratin", 6}};
    std::thread([&] { dishes["gratin"] *= 7; }).join();
    std::cout << std::regex_replace(std::string("a gratin"), std::regex("a "), "") << dishes["gratin"] << "\\n";
    try { throw std::runtime_error("burnt"); } catch (std::exception &e) { std::cout << e.what() << "\\n"; }
}
"""


def gcc(box: Box) -> None:
    box.write("/srv/a.c", C)
    box.run("/usr/bin/gcc", "-O2", "-Wall", "-g", "-flto", "-o", "/srv/a", "/srv/a.c", "-lm")
    assert box.run("/srv/a") == "42 1.414\n"
    box.write("/srv/b.c", "int twice(int n) { return 2 * n; }\n")
    box.run("/usr/bin/gcc", "-shared", "-fPIC", "-o", "/srv/libb.so", "/srv/b.c")
    box.write("/srv/c.c", '#include <stdio.h>\nint twice(int);int main() { printf("%d\\n", twice(21)); }\n')
    box.run("/usr/bin/gcc", "-o", "/srv/c", "/srv/c.c", "-L/srv", "-lb", "-Wl,-rpath,/srv")
    assert box.run("/srv/c") == "42\n"
    assert "error:" in box.finish("/usr/bin/gcc", "-c", "-x", "c", "-", stdin="int main( {", status=1).errors


def gxx(box: Box) -> None:
    box.write("/srv/a.cc", CXX)
    box.run("/usr/bin/g++", "-std=c++20", "-O1", "-o", "/srv/a", "/srv/a.cc")
    assert box.run("/srv/a") == "gratin42\nburnt\n"


def make(box: Box) -> None:
    box.write(
        "/srv/Makefile",
        "parts := $(wildcard *.part)\ndish: $(parts:.part=.done)\n\t@echo $(sort $^) > $@\n%.done: %.part\n"
        "\t@while read -r word; do echo $$word; done < $< > $@\n",
    )
    for name in ("leek", "cream"):
        box.write(f"/srv/{name}.part", f"{name}\n")
    box.start("-C", "/srv", "-j2")
    assert box.text("/srv/dish") == "cream.done leek.done\n" and box.text("/srv/leek.done") == "leek\n"
    assert "is up to date" in box.start("-C", "/srv", env={"LC_ALL": "C"})


def cmake(box: Box) -> None:
    box.write("/srv/main.cc", CXX)
    box.write("/srv/test.sh", "#!/bin/sh\nexit 0\n", mode=0o755)
    box.write(
        "/srv/CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.20)\nproject(dish CXX C)\ninclude(GNUInstallDirs)\ninclude(CTest)\n"
        "find_package(Threads REQUIRED)\nadd_executable(dish main.cc)\ntarget_link_libraries(dish Threads::Threads)\n"
        "install(TARGETS dish)\nadd_test(NAME one COMMAND dish)\nset(CPACK_GENERATOR TGZ)\ninclude(CPack)\n",
    )
    box.run("/usr/bin/cmake", "-S", "/srv", "-B", "/tmp/build", "-DCMAKE_BUILD_TYPE=Release")
    box.run("/usr/bin/cmake", "--build", "/tmp/build", "--parallel", "2")
    box.run("/usr/bin/cmake", "--install", "/tmp/build", "--prefix", "/opt/dish")
    assert box.run("/opt/dish/bin/dish") == "gratin42\nburnt\n"


def meson(box: Box) -> None:
    box.write("/srv/a.c", C)
    box.write(
        "/srv/meson.build",
        "project('dish', 'c')\nm = meson.get_compiler('c').find_library('m')\n"
        "dish = executable('dish', 'a.c', dependencies: [m, dependency('threads')], install: true)\ntest('one', dish)\n",
    )
    box.run("/usr/bin/meson", "setup", "/tmp/build", "/srv", "--prefix=/opt/dish")
    box.run("/usr/bin/meson", "compile", "-C", "/tmp/build")
    box.run("/usr/bin/meson", "test", "-C", "/tmp/build")
    box.run("/usr/bin/meson", "install", "-C", "/tmp/build")
    assert box.run("/opt/dish/bin/dish") == "42 1.414\n"


def autotools(box: Box) -> None:
    box.write("/srv/a.c", C)
    box.write("/srv/b.c", "int twice(int n) { return 2 * n; }\n")
    box.write(
        "/srv/configure.ac",
        "AC_INIT([dish], [1.0])\nAM_INIT_AUTOMAKE([foreign])\nLT_INIT\nAC_PROG_CC\n"
        "AC_CHECK_HEADERS([pthread.h])\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
    )
    box.write(
        "/srv/Makefile.am",
        "bin_PROGRAMS = dish\ndish_SOURCES = a.c\ndish_LDADD = -lm\nlib_LTLIBRARIES = libb.la\nlibb_la_SOURCES = b.c\n",
    )
    box.run("/bin/sh", "-c", "cd /srv && autoreconf -fi", timeout=180)
    box.run("/bin/sh", "-c", "cd /srv && ./configure --prefix=/opt/dish", timeout=180)
    box.run("/usr/bin/make", "-C", "/srv", "install", timeout=180)
    assert box.run("/opt/dish/bin/dish") == "42 1.414\n"
    assert box.path("/opt/dish/lib/libb.so").exists()


def bison(box: Box) -> None:
    box.write(
        "/srv/a.y",
        "%{\nint yylex(void); void yyerror(const char *s);\n%}\n%token NUMBER\n%left '+'\n%%\n"
        "all: sum '\\n';\nsum: NUMBER | sum '+' NUMBER { $$ = $1 + $3; };\n%%\n",
    )
    box.start("-d", "-o", "/srv/a.tab.c", "/srv/a.y")
    assert "yyparse" in box.text("/srv/a.tab.c") and "NUMBER" in box.text("/srv/a.tab.h")
    box.start("-g", "-x", "-o", "/srv/b.tab.c", "/srv/a.y", status=None)
    assert box.path("/srv/b.tab.c").exists()


def flex(box: Box) -> None:
    box.write(
        "/srv/a.l",
        "%option noyywrap\n%%\n[0-9]+ { return 1; }\n.|\\n ;\n%%\nint main(void) { return yylex(); }\n",
    )
    box.start("-o", "/srv/a.c", "/srv/a.l")
    assert "yylex" in box.text("/srv/a.c") and "FLEX_SCANNER" in box.text("/srv/a.c")


GO = """
package main
import (
    "crypto/sha256"; "encoding/json"; "fmt"; "net/http"; "net/http/httptest"; "io"; "os"; "regexp"; "sync"; "time"
)
func main() {
    server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "gratin") }))
    answer, _ := http.Get(server.URL)
    said, _ := io.ReadAll(answer.Body)
    var group sync.WaitGroup
    group.Add(1); go func() { group.Done() }(); group.Wait()
    zone, err := time.LoadLocation("Europe/Berlin")
    if err != nil { os.Exit(2) }
    text, _ := json.Marshal(map[string]int{"hour": time.Unix(1719828000, 0).In(zone).Hour()})
    fmt.Println(string(said), string(text), regexp.MustCompile("^g").MatchString("g"), sha256.Sum256(nil)[0])
}
"""


def golang(box: Box) -> None:
    box.write("/srv/go.mod", "module example.test/dish\n\ngo 1.19\n")
    box.write("/srv/main.go", GO)
    box.write("/srv/main_test.go", 'package main\nimport "testing"\nfunc TestOne(t *testing.T) {}\n')
    env = {"HOME": "/tmp", "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOMAXPROCS": "2"}
    box.run("/usr/bin/go", "build", "-C", "/srv", "-o", "/tmp/dish", ".", env=env, status=None, timeout=300)
    if not box.path("/tmp/dish").exists():
        # -C came with 1.20
        box.run("/usr/bin/go", "build", "-o", "/tmp/dish", "/srv/main.go", env=env, timeout=300)
    assert box.run("/tmp/dish") == 'gratin {"hour":12} true 227\n'
    assert "package json" in box.run("/usr/bin/go", "doc", "encoding/json", env=env)
    box.write("/srv/b.go", "package main\nfunc  main() {}\n")
    assert box.run("/usr/bin/gofmt", "/srv/b.go") == "package main\n\nfunc main() {}\n"


def git(box: Box) -> None:
    who = {
        f"GIT_{who}_{what}": "cook@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }

    def run(*words: str, status: int | None = 0) -> str:
        return box.start(*words, env={**who, "HOME": "/root"}, status=status)

    run("init", "-q", "-b", "main", "/tmp/menu")
    box.write("/tmp/menu/dish", "gratin\n")
    run("-C", "/tmp/menu", "add", "dish")
    run("-C", "/tmp/menu", "commit", "-q", "-m", "Put gratin on the menu")
    run("-C", "/tmp/menu", "tag", "-a", "-m", "first", "v1")
    box.write("/tmp/menu/dish", "leek\n")
    assert "+leek" in run("-C", "/tmp/menu", "diff")
    run("-C", "/tmp/menu", "stash")
    run("-C", "/tmp/menu", "gc", "-q")
    run("clone", "-q", "file:///tmp/menu", "/tmp/copy")
    assert run("-C", "/tmp/copy", "log", "--format=%s") == "Put gratin on the menu\n"
    assert box.text("/tmp/copy/dish") == "gratin\n"
    run("-C", "/tmp/copy", "checkout", "-q", "-b", "other")
    box.write("/tmp/copy/more", "cream\n")
    run("-C", "/tmp/copy", "add", ".")
    run("-C", "/tmp/copy", "commit", "-q", "-m", "More")
    run("-C", "/tmp/copy", "rebase", "-q", "main")
    box.write("/tmp/copy/.git/hooks/pre-push", "#!/bin/sh\nexit 3\n", mode=0o755)
    run("-C", "/tmp/copy", "push", "-q", "origin", "other", status=1)
    run("-C", "/tmp/copy", "push", "-q", "--no-verify", "origin", "other")
    # over HTTP, by the protocol of plain files
    bare = "/tmp/bare.git"
    run("clone", "-q", "--bare", "/tmp/menu", bare)
    run("-C", bare, "update-server-info")
    root = box.path(bare)
    pages = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    pages["/info/refs?service=git-upload-pack"] = pages["/info/refs"]
    with web_server(pages) as url:
        run("clone", "-q", url, "/tmp/fetched")
    assert box.text("/tmp/fetched/dish") == "gratin\n"


def mercurial(box: Box) -> None:
    def run(*words: str) -> str:
        return box.run("/usr/bin/hg", *words, env={"HGUSER": "cook", "HGPLAIN": "1"})

    run("init", "/tmp/menu")
    box.write("/tmp/menu/dish", "gratin\n")
    run("-R", "/tmp/menu", "add", "/tmp/menu/dish")
    run("-R", "/tmp/menu", "commit", "-m", "Put gratin on the menu")
    run("clone", "-q", "/tmp/menu", "/tmp/copy")
    assert run("-R", "/tmp/copy", "log", "--template", "{desc}\n") == "Put gratin on the menu\n"
    box.write("/tmp/copy/dish", "leek\n")
    assert "+leek" in run("-R", "/tmp/copy", "diff", "--git")
    run("-R", "/tmp/copy", "--config", "extensions.shelve=", "shelve")


def subversion(box: Box) -> None:
    box.run("/usr/bin/svnadmin", "create", "/tmp/store")
    run = ["/usr/bin/svn", "--non-interactive", "--username", "cook"]
    box.run(*run, "checkout", "file:///tmp/store", "/tmp/copy")
    box.write("/tmp/copy/dish", "gratin\n")
    box.run(*run, "add", "/tmp/copy/dish")
    box.run(*run, "commit", "-m", "Put gratin on the menu", "/tmp/copy")
    assert box.run(*run, "cat", "file:///tmp/store/dish") == "gratin\n"
    assert "Put gratin on the menu" in box.run(*run, "log", "file:///tmp/store")
    assert "svn-rev-dump" in box.run("/usr/bin/svnadmin", "dump", "-q", "/tmp/store") or True


def ant(box: Box) -> None:
    box.write("/srv/a/dish.txt", "gratin @what@\n")
    box.write(
        "/srv/build.xml",
        """<project default="all"><target name="all">
        <copy todir="/srv/b"><fileset dir="/srv/a"/><filterset><filter token="what" value="leek"/></filterset></copy>
        <zip destfile="/srv/dish.zip" basedir="/srv/b"/><checksum file="/srv/dish.zip"/>
        <replaceregexp file="/srv/b/dish.txt" match="gra" replace="GRA"/>
        <java classname="org.apache.tools.ant.launch.Launcher" fork="false" failonerror="false"><arg value="-version"/></java>
        </target></project>""",
    )
    said = box.run("/usr/bin/ant", "-f", "/srv/build.xml", timeout=180)
    assert "BUILD SUCCESSFUL" in said, said
    assert box.text("/srv/b/dish.txt") == "GRAtin leek\n" and box.read("/srv/dish.zip").startswith(b"PK")


def gettext(box: Box) -> None:
    box.write("/srv/a.c", 'int main() { puts(_("dish")); }\n')
    box.run("/usr/bin/xgettext", "-k_", "-o", "/srv/a.pot", "/srv/a.c")
    assert 'msgid "dish"' in box.text("/srv/a.pot")
    box.write(
        "/srv/fr.po",
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\nmsgid "dish"\nmsgstr "plat cuit\xe9"\n'.encode(
            "latin-1"
        ),
    )
    box.run("/usr/bin/msgconv", "-t", "UTF-8", "-o", "/srv/fr8.po", "/srv/fr.po")
    box.run("/usr/bin/msgmerge", "-q", "-U", "/srv/fr8.po", "/srv/a.pot")
    box.run("/usr/bin/msgfmt", "-c", "-o", "/srv/fr.mo", "/srv/fr8.po", status=None)
    assert "plat cuit\u00e9" in box.run("/usr/bin/msgunfmt", "/srv/fr.mo", env={"LC_ALL": "C.UTF-8"})


def sphinx(box: Box) -> None:
    box.write(
        "/srv/conf.py",
        "project = 'Dishes'\nextensions = ['sphinx.ext.autodoc', 'sphinx.ext.intersphinx', 'sphinx.ext.mathjax']\n"
        "html_theme = 'alabaster'\n",
    )
    box.write(
        "/srv/index.rst",
        "Gratin\n======\n\n.. code-block:: python\n\n   print('leek')\n\n.. math:: a^2\n\n.. toctree::\n\n   more\n",
    )
    box.write("/srv/more.rst", "More\n====\n\n.. automodule:: json\n   :members: dumps\n")
    box.run(
        "/usr/bin/sphinx-build",
        "-q",
        "-b",
        "html",
        "/srv",
        "/srv/out",
        env={"LC_ALL": "C.UTF-8"},
        timeout=180,
    )
    page = box.text("/srv/out/index.html")
    assert "<h1>Gratin" in page and '<span class="nb">print</span>' in page
    assert 'id="json.dumps"' in box.text("/srv/out/more.html")
    box.run(
        "/usr/bin/sphinx-build",
        "-q",
        "-b",
        "latex",
        "/srv",
        "/srv/tex",
        env={"LC_ALL": "C.UTF-8"},
        timeout=180,
    )
    assert "leek" in box.text("/srv/tex/dishes.tex")


def ansible(box: Box) -> None:
    box.write(
        "/srv/site.yml",
        """
- hosts: localhost
  connection: local
  gather_facts: true
  vars: {dish: gratin}
  tasks:
  - template: {src: /srv/a.j2, dest: /srv/a.txt}
  - lineinfile: {path: /srv/a.txt, line: leek}
  - command: "{{ ansible_playbook_python }} -c 'print(42)'"
    register: said
  - assert: {that: ["said.stdout == '42'", "ansible_system == 'Linux'"]}
  - copy: {content: "{{ lookup('file', '/srv/a.txt') | b64encode }}", dest: /srv/b.txt}
""",
    )
    box.write("/srv/a.j2", "{{ dish | upper }}\n")
    env = {"HOME": "/root", "LC_ALL": "C.UTF-8", "ANSIBLE_LOCALHOST_WARNING": "False"}
    box.run("/usr/bin/ansible-playbook", "-i", "localhost,", "/srv/site.yml", env=env, timeout=300)
    assert box.text("/srv/a.txt") == "GRATIN\nleek\n"
    assert box.text("/srv/b.txt") == "R1JBVElOCmxlZWs="
    said = box.run("/usr/bin/ansible", "localhost", "-i", "localhost,", "-c", "local", "-m", "ping", env=env)
    assert "pong" in said
    assert "lineinfile" in box.run("/usr/bin/ansible-doc", "-l", env=env)
