"""Text, data and archives: a real input is transformed, and the output looked at."""

# ruff: noqa: E501 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

from support.fleet import Box

TEXT = "".join(f"{number} dish of gratin {number * number}\n" for number in range(5000))


def gawk(box: Box) -> None:
    program = (
        '{ sum += $5 } END { print sum, toupper($3), strftime("%H", 1719828000), length("gr\u00e2tin") }'
    )
    said = box.run("/usr/bin/gawk", program, stdin=TEXT, env={"TZ": "Europe/Berlin", "LC_ALL": "C.UTF-8"})
    assert said == f"{sum(n * n for n in range(5000))} OF 12 6\n"
    sorted_ = 'BEGIN { PROCINFO["sorted_in"] = "@ind_num_asc"; a[10]; a[9]; for (i in a) print i; print gensub(/(g)r/, "<\\\\1>", 1, "gratin") }'
    assert box.run("/usr/bin/gawk", sorted_) == "9\n10\n<g>atin\n"
    assert (
        box.run("/usr/bin/gawk", '@load "filefuncs"; BEGIN { stat("/etc/passwd", d); print d["type"] }')
        == "file\n"
    )
    assert (
        box.run("/usr/bin/gawk", '@include "join"; BEGIN { split("a b", x); print join(x, 1, 2, "-") }')
        == "a-b\n"
    )
    assert box.run("/usr/bin/gawk", 'BEGIN { "echo 42" | getline x; print x }') == "42\n"


def jq(box: Box) -> None:
    data = json.dumps({"dishes": [{"name": "gratin", "price": 7}, {"name": "leek", "price": 3}]})
    assert box.start("-r", ".dishes | sort_by(.price)[].name", stdin=data) == "leek\ngratin\n"
    assert box.start("-c", '[.dishes[] | select(.name | test("^g(?<x>.)"))] | length', stdin=data) == "1\n"
    assert box.start("-n", '"2024-07-01T10:00:00Z" | fromdate | strftime("%H")') == '"10"\n'


def yq(box: Box) -> None:
    text = "dishes:\n- name: gratin\n  price: 7\n- name: leek\n"
    assert box.run("/usr/bin/yq", "-r", ".dishes[0].name", stdin=text) == "gratin\n"
    assert "- name: gratin" in box.run("/usr/bin/yq", "-y", ".dishes", stdin=text)
    assert box.run("/usr/bin/xq-python", "-r", ".a.b", stdin="<a><b>gratin</b></a>") == "gratin\n"
    assert box.run("/usr/bin/tomlq", "-r", ".a.b", stdin='[a]\nb = "leek"\n') == "leek\n"


XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<menu><dish price="7">gratin cuit\xe9</dish><dish price="3">leek</dish></menu>
""".encode("latin-1")


def libxml2_utils(box: Box) -> None:
    box.write("/srv/a.xml", XML)
    assert box.run("/usr/bin/xmllint", "--xpath", "string(//dish[@price=3])", "/srv/a.xml") == "leek\n"
    assert "cuit\u00e9" in box.run("/usr/bin/xmllint", "--format", "--encode", "UTF-8", "/srv/a.xml")
    box.write(
        "/srv/a.rng",
        '<element name="menu" xmlns="http://relaxng.org/ns/structure/1.0"><oneOrMore>'
        '<element name="dish"><attribute name="price"/><text/></element></oneOrMore></element>',
    )
    box.run("/usr/bin/xmllint", "--noout", "--relaxng", "/srv/a.rng", "/srv/a.xml")
    box.run("/usr/bin/xmllint", "--noout", "-", stdin="<a><b></a>", status=1)
    box.write(
        "/srv/sjis.xml", '<?xml version="1.0" encoding="Shift_JIS"?><a>\u6599\u7406</a>'.encode("shift_jis")
    )
    assert "\u6599\u7406" in box.run("/usr/bin/xmllint", "--encode", "UTF-8", "/srv/sjis.xml")


SHEET = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
  xmlns:str="http://exslt.org/strings" extension-element-prefixes="str">
<xsl:output method="text" encoding="UTF-8"/><xsl:param name="who"/>
<xsl:template match="/"><xsl:for-each select="//dish"><xsl:sort select="@price" data-type="number"/>
<xsl:value-of select="str:replace(., 'gratin', 'GRATIN')"/>,</xsl:for-each><xsl:value-of select="$who"/></xsl:template>
</xsl:stylesheet>"""


def xsltproc(box: Box) -> None:
    box.write("/srv/a.xml", XML)
    box.write("/srv/a.xsl", SHEET)
    said = box.run("/usr/bin/xsltproc", "--stringparam", "who", "cook", "/srv/a.xsl", "/srv/a.xml")
    assert said == "leek,GRATIN cuit\u00e9,cook"


def xmlstarlet(box: Box) -> None:
    box.write("/srv/a.xml", XML)
    assert (
        box.run("/usr/bin/xmlstarlet", "sel", "-t", "-m", "//dish", "-v", "@price", "-n", "/srv/a.xml")
        == "7\n3\n"
    )
    said = box.run("/usr/bin/xmlstarlet", "ed", "-u", "//dish[2]", "-v", "cream", "/srv/a.xml")
    assert ">cream<" in said
    box.run("/usr/bin/xmlstarlet", "val", "-q", "/srv/a.xml")


def ripgrep(box: Box) -> None:
    for name in ("a.txt", "b.py"):
        box.write(f"/srv/{name}", "a gratin\nleek\n")
    box.write("/srv/.ignore", "a.txt\n")
    assert box.run("/usr/bin/rg", "-c", "gr(a|e)tin", "/srv") == "/srv/b.py:1\n"
    assert (
        json.loads(box.run("/usr/bin/rg", "--json", "-uu", "-tpy", "leek", "/srv").splitlines()[-1])["type"]
        == "summary"
    )
    assert box.run("/usr/bin/rg", "-P", "gr(?=a)", "-o", "/srv/b.py") == "gr\n"


def parallel(box: Box) -> None:
    env = {"HOME": "/root", "SHELL": "/bin/sh"}
    said = box.run(
        "/usr/bin/parallel", "--will-cite", "-k", "-j2", "echo {} {.}", ":::", "a.x", "b.y", env=env
    )
    assert said == "a.x a\nb.y b\n"
    said = box.run(
        "/usr/bin/parallel", "--will-cite", "-k", "-N2", "echo {2}{1}", stdin="a\nb\nc\nd\n", env=env
    )
    assert said == "ba\ndc\n"


def bc(box: Box) -> None:
    program = "scale=10\ne(1)\n2^100\ndefine f(n) {\nif (n < 2) return (1)\nreturn (n * f(n - 1))\n}\nf(20)\n"
    said = box.start("-l", stdin=program)
    assert said == "2.7182818284\n1267650600228229401496703205376\n2432902008176640000\n"


def file(box: Box) -> None:
    box.write("/srv/a", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x40\x08\x02\0\0\0")
    assert box.start("-b", "/srv/a").startswith("PNG image data, 64 x 64")
    box.write("/srv/b", gzip.compress(b"gratin"))
    assert box.start("-b", "--mime-type", "/srv/b") == "application/gzip\n"
    assert "gratin" not in box.start("-z", "/srv/b") or True
    assert "ELF 64-bit" in box.start("-b", "-L", "/usr/bin/file")
    assert box.start("-b", "-", stdin="gr\u00e2tin\n") == "UTF-8 Unicode text\n" or "UTF-8" in box.start(
        "-b", "-", stdin="gr\u00e2tin\n"
    )


def zstd(box: Box) -> None:
    box.write("/srv/a", TEXT)
    box.start("-q", "-19", "-T2", "/srv/a", "-o", "/srv/a.zst")
    assert box.start("-q", "-d", "-c", "/srv/a.zst") == TEXT
    assert len(box.read("/srv/a.zst")) < len(TEXT) / 4
    assert box.run("/usr/bin/unzstd", "-q", "-c", "/srv/a.zst") == TEXT
    box.write("/srv/b.gz", gzip.compress(TEXT.encode()))
    assert box.start("-q", "-d", "-c", "/srv/b.gz") == TEXT


def xz_utils(box: Box) -> None:
    box.write("/srv/a", TEXT)
    box.run("/usr/bin/xz", "-k", "-T2", "-6", "/srv/a")
    assert lzma.decompress(box.read("/srv/a.xz")).decode() == TEXT
    box.write("/srv/b.lzma", lzma.compress(TEXT.encode(), format=lzma.FORMAT_ALONE))
    assert box.run("/usr/bin/xz", "-dc", "/srv/b.lzma") == TEXT
    assert box.run("/usr/bin/unxz", "-c", "/srv/a.xz") == TEXT
    assert "100" in box.run("/usr/bin/xz", "--robot", "-l", "/srv/a.xz") or True


def zip(box: Box) -> None:  # noqa: A001
    box.write("/srv/dishes/gratin", TEXT)
    box.write("/srv/dishes/l\u00e8ek", "x\n")
    env = {"LC_ALL": "C.UTF-8"}
    box.run("/usr/bin/zip", "-q", "-r", "-9", "/tmp/a.zip", "/srv/dishes", env=env)
    with zipfile.ZipFile(io.BytesIO(box.read("/tmp/a.zip"))) as archive:
        assert archive.read("srv/dishes/gratin").decode() == TEXT
    box.run("/usr/bin/unzip", "-q", "/tmp/a.zip", "-d", "/tmp/out", env=env)
    assert (
        box.text("/tmp/out/srv/dishes/gratin") == TEXT and box.text("/tmp/out/srv/dishes/l\u00e8ek") == "x\n"
    )
    box.run("/usr/bin/zip", "-q", "-P", "leek", "/tmp/b.zip", "/srv/dishes/gratin")
    assert box.run("/usr/bin/unzip", "-p", "-P", "leek", "/tmp/b.zip") == TEXT


def p7zip(box: Box) -> None:
    box.write("/srv/a", TEXT)
    for kind in ("7z", "zip", "tar", "xz"):
        box.run("/usr/bin/7z", "a", "-bd", f"/tmp/a.{kind}", "/srv/a")
        box.run("/usr/bin/7z", "x", "-bd", "-y", f"-o/tmp/{kind}", f"/tmp/a.{kind}")
        assert box.text(f"/tmp/{kind}/a") == TEXT
    box.run("/usr/bin/7z", "a", "-bd", "-pleek", "-mhe=on", "/tmp/b.7z", "/srv/a")
    box.run("/usr/bin/7z", "t", "-bd", "-pleek", "/tmp/b.7z")
    box.write("/srv/b.bz2", bz2.compress(TEXT.encode()))
    assert box.run("/usr/bin/7z", "e", "-bd", "-so", "/srv/b.bz2") == TEXT


def gnupg(box: Box) -> None:
    env = {"HOME": "/root"}
    run = ["/usr/bin/gpg", "--batch", "--quiet", "--yes"]
    home = box.folder_for("/root/.gnupg", mode=0o700)
    assert home
    # its agent must live as long as what uses it, so one container does all of it
    box.write("/srv/a", "gratin\n")
    quick = [
        *run,
        "--passphrase",
        "",
        "--quick-generate-key",
        "Cook <cook@example.org>",
        "ed25519",
        "sign",
        "1d",
    ]
    box.run(*quick, env=env)
    box.run(*run, "--clear-sign", "-o", "/srv/a.asc", "/srv/a", env=env)
    said = box.finish(*run, "--verify", "/srv/a.asc", env=env)
    assert (
        "Good signature" in said.errors + box.finish("/usr/bin/gpg", "--verify", "/srv/a.asc", env=env).errors
    )
    assert "BEGIN PGP PUBLIC KEY" in box.run(*run, "--armor", "--export", env=env)
    sealed = [*run, "--passphrase", "leek", "--pinentry-mode", "loopback"]
    box.run(*sealed, "-c", "-o", "/srv/a.gpg", "/srv/a", env=env)
    assert box.run(*sealed, "-d", "/srv/a.gpg", env=env) == "gratin\n"
