"""Tools transform a real picture, sound or document, and the result is looked at."""

# ruff: noqa: E501 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import io
import json
import math
import struct
import wave
import zipfile
import zlib

from support.fleet import Box


def picture(size: int = 64) -> bytes:
    """A PNG (RGB, 8 bits): red, with a blue square in the middle."""
    rows = b""
    for y in range(size):
        middle = size // 4 <= y < 3 * size // 4
        rows += b"\0" + b"".join(
            b"\x00\x00\xff" if middle and size // 4 <= x < 3 * size // 4 else b"\xff\x00\x00"
            for x in range(size)
        )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tone(seconds: float = 1, rate: int = 8000) -> bytes:
    """A WAV file with the concert pitch."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        count = int(seconds * rate)
        sound.writeframes(
            b"".join(
                struct.pack("<h", int(9000 * math.sin(2 * math.pi * 440 * n / rate))) for n in range(count)
            )
        )
    return out.getvalue()


def document(text: str = "gratin") -> bytes:
    """A PDF of one page with a word on it, in a font that every reader has."""
    stream = f"BT /F1 24 Tf 20 40 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def ffmpeg(box: Box) -> None:
    box.write("/srv/a.png", picture())
    box.write("/srv/a.wav", tone())
    base = ["/usr/bin/ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
    video = ["-f", "lavfi", "-i", "testsrc=duration=1:size=128x96:rate=10", "-i", "/srv/a.wav"]
    for name, codecs in {
        "a.mp4": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"],
        "a.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"],
        "a.mkv": ["-c:v", "mpeg4", "-c:a", "libmp3lame", "-ar", "22050"],
    }.items():
        box.run(*base, *video, *codecs, f"/srv/{name}")
        told = json.loads(
            box.run("/usr/bin/ffprobe", "-loglevel", "error", "-of", "json", "-show_streams", f"/srv/{name}")
        )
        assert {stream["codec_type"] for stream in told["streams"]} == {"video", "audio"}
        assert told["streams"][0]["width"] == 128
    box.run(*base, "-i", "/srv/a.mp4", "-vf", "scale=32:-2", "-frames:v", "1", "/srv/b.jpg")
    assert box.read("/srv/b.jpg").startswith(b"\xff\xd8")


def imagemagick(box: Box) -> None:
    box.write("/srv/a.png", picture())
    for kind, magic in {
        "jpg": b"\xff\xd8",
        "gif": b"GIF8",
        "tiff": b"II*",
        "webp": b"RIFF",
        "bmp": b"BM",
    }.items():
        box.run("/usr/bin/convert", "/srv/a.png", "-resize", "32x32", "-rotate", "90", f"/srv/b.{kind}")
        assert box.read(f"/srv/b.{kind}").startswith(magic)
        assert "32x32" in box.run("/usr/bin/identify", f"/srv/b.{kind}")
    pixel = box.run("/usr/bin/convert", "/srv/b.webp", "-format", "%[pixel:p{16,16}]", "info:")
    assert pixel.startswith("srgb(") and pixel.split(",")[2].startswith("25")
    box.run("/usr/bin/compare", "-metric", "AE", "/srv/a.png", "/srv/a.png", "null:")
    box.run("/usr/bin/montage", "/srv/a.png", "/srv/a.png", "-geometry", "+1+1", "/srv/m.png")


def graphviz(box: Box) -> None:
    graph = 'digraph { cook -> gratin [label="bakes"]; gratin -> eater }'
    picture = box.run("/usr/bin/dot", "-Tsvg", stdin=graph)
    assert picture.count("<ellipse") == 3 and "bakes" in picture
    box.write("/srv/a.dot", graph)
    for kind, magic in {"png": b"\x89PNG", "pdf": b"%PDF"}.items():
        box.run("/usr/bin/dot", f"-T{kind}", "-o", f"/srv/a.{kind}", "/srv/a.dot")
        assert box.read(f"/srv/a.{kind}").startswith(magic)
    assert "<ellipse" in box.run("/usr/bin/neato", "-Tsvg", "/srv/a.dot")


def ghostscript(box: Box) -> None:
    box.write(
        "/srv/a.ps", "%!\n/Helvetica findfont 24 scalefont setfont 72 72 moveto (gratin) show showpage\n"
    )
    base = ["/usr/bin/gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER"]
    box.run(*base, "-sDEVICE=pdfwrite", "-sOutputFile=/srv/a.pdf", "/srv/a.ps")
    assert box.read("/srv/a.pdf").startswith(b"%PDF")
    box.run(*base, "-sDEVICE=png16m", "-r72", "-dTextAlphaBits=4", "-sOutputFile=/srv/a.png", "/srv/a.pdf")
    png = box.read("/srv/a.png")
    assert png.startswith(b"\x89PNG")
    assert len(set(zlib.decompress(_data(png)))) > 8, "the page is not blank"
    assert "gratin" in box.run(*base, "-sDEVICE=txtwrite", "-sOutputFile=-", "/srv/a.pdf")
    box.run("/usr/bin/ps2pdf", "/srv/a.ps", "/srv/b.pdf")
    assert box.read("/srv/b.pdf").startswith(b"%PDF")


def _data(png: bytes) -> bytes:
    place, out = 8, b""
    while place < len(png):
        size, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IDAT":
            out += png[place + 8 : place + 8 + size]
        place += size + 12
    return out


def poppler_utils(box: Box) -> None:
    box.write("/srv/a.pdf", document())
    assert box.run("/usr/bin/pdftotext", "/srv/a.pdf", "-").strip() == "gratin"
    assert "Pages:           1" in box.run("/usr/bin/pdfinfo", "/srv/a.pdf")
    box.run("/usr/bin/pdftoppm", "-png", "-r", "50", "/srv/a.pdf", "/srv/page")
    assert box.read("/srv/page-1.png").startswith(b"\x89PNG")
    box.run("/usr/bin/pdftocairo", "-svg", "/srv/a.pdf", "/srv/a.svg")
    assert "<svg" in box.text("/srv/a.svg")
    box.run("/usr/bin/pdfunite", "/srv/a.pdf", "/srv/a.pdf", "/srv/b.pdf")
    assert "Pages:           2" in box.run("/usr/bin/pdfinfo", "/srv/b.pdf")


def pandoc(box: Box) -> None:
    text = "# Gratin\n\n- leek\n- cream\n\n```python\nprint('x')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    page = box.run("/usr/bin/pandoc", "-s", "--metadata", "title=Dishes", "-t", "html", stdin=text)
    assert "<li>leek</li>" in page and '<span class="bu">print</span>' in page and "<td" in page
    for kind in ("docx", "odt", "epub"):
        box.run("/usr/bin/pandoc", "-o", f"/srv/a.{kind}", stdin=text)
        with zipfile.ZipFile(io.BytesIO(box.read(f"/srv/a.{kind}"))) as archive:
            assert archive.testzip() is None
    assert "leek" in box.run("/usr/bin/pandoc", "-t", "plain", "/srv/a.docx")
    assert "\\section{Gratin}" in box.run("/usr/bin/pandoc", "-t", "latex", stdin=text)


def sox(box: Box) -> None:
    box.write("/srv/a.wav", tone())
    for kind, magic in {"flac": b"fLaC", "ogg": b"OggS", "aiff": b"FORM"}.items():
        box.run("/usr/bin/sox", "/srv/a.wav", "-r", "16000", f"/srv/b.{kind}", "reverse", "gain", "-3")
        assert box.read(f"/srv/b.{kind}").startswith(magic)
    said = box.finish("/usr/bin/sox", "/srv/b.flac", "-n", "stat").errors
    frequency = next(line for line in said.splitlines() if line.startswith("Rough   frequency"))
    assert abs(int(frequency.split()[-1]) - 440) < 30
    assert "16000" in box.run("/usr/bin/soxi", "/srv/b.flac")


SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64">
<rect width="64" height="64" fill="red"/><text x="4" y="40" font-family="DejaVu Sans" font-size="20" fill="white">gratin</text>
<image x="40" y="2" width="16" height="16" xlink:href="%s"/></svg>"""


def librsvg2_bin(box: Box) -> None:
    import base64

    inside = "data:image/png;base64," + base64.b64encode(picture(16)).decode()
    box.write("/srv/a.svg", SVG % inside)
    box.run("/usr/bin/rsvg-convert", "-o", "/srv/a.png", "/srv/a.svg")
    pixels = zlib.decompress(_data(box.read("/srv/a.png")))
    assert pixels.count(b"\xff\xff\xff\xff") > 10, "the word is drawn"
    box.run("/usr/bin/rsvg-convert", "-f", "pdf", "-o", "/srv/a.pdf", "/srv/a.svg")
    assert box.read("/srv/a.pdf").startswith(b"%PDF")


def webp(box: Box) -> None:
    box.write("/srv/a.png", picture())
    box.run("/usr/bin/cwebp", "-quiet", "-lossless", "/srv/a.png", "-o", "/srv/a.webp")
    assert box.read("/srv/a.webp")[8:12] == b"WEBP"
    box.run("/usr/bin/dwebp", "-quiet", "/srv/a.webp", "-o", "/srv/b.png")
    assert box.read("/srv/b.png").startswith(b"\x89PNG")
    box.run("/usr/bin/dwebp", "-quiet", "-ppm", "/srv/a.webp", "-o", "/srv/b.ppm")
    assert box.read("/srv/b.ppm").count(b"\0\0\xff") >= 32 * 32 - 1
    box.run("/usr/bin/img2webp", "-d", "100", "/srv/a.png", "/srv/a.png", "-o", "/srv/c.webp")


def exiftool(box: Box) -> None:
    box.write("/srv/a.png", picture())
    box.run("/usr/bin/exiftool", "-q", "-Title=gratin", "-XMP-dc:Creator=cook", "/srv/a.png")
    (told,) = json.loads(box.run("/usr/bin/exiftool", "-json", "/srv/a.png"))
    assert (told["Title"], told["Creator"], told["ImageWidth"]) == ("gratin", "cook", 64)
    box.write("/srv/a.pdf", document())
    assert "Page Count" in box.run("/usr/bin/exiftool", "/srv/a.pdf")


def optipng(box: Box) -> None:
    box.write("/srv/a.png", picture())
    box.run("/usr/bin/optipng", "-quiet", "-o2", "/srv/a.png")
    assert len(box.read("/srv/a.png")) < len(picture())


def tesseract_ocr(box: Box) -> None:
    glyphs = {  # 5 by 7 dots
        "G": ["01110", "10001", "10000", "10111", "10001", "10001", "01110"],
        "R": ["11110", "10001", "10001", "11110", "10100", "10010", "10001"],
        "A": ["01110", "10001", "10001", "11111", "10001", "10001", "10001"],
        "T": ["11111", "00100", "00100", "00100", "00100", "00100", "00100"],
        "I": ["01110", "00100", "00100", "00100", "00100", "00100", "01110"],
        "N": ["10001", "11001", "11001", "10101", "10011", "10011", "10001"],
    }
    scale, margin = 6, 20
    rows = []
    for y in range(7):
        line = "000".join(glyphs[letter][y] for letter in "GRATIN")
        dots = b"".join((b"\0" if dot == "1" else b"\xff") * scale for dot in line)
        rows += [b"\xff" * margin + dots + b"\xff" * margin] * scale
    width = len(rows[0])
    rows = [b"\xff" * width] * margin + rows + [b"\xff" * width] * margin
    box.write("/srv/a.pgm", b"P5 %d %d 255\n" % (width, len(rows)) + b"".join(rows))
    read = box.run(
        "/usr/bin/tesseract", "/srv/a.pgm", "-", "--psm", "7", "--dpi", "100", env={"OMP_THREAD_LIMIT": "1"}
    )
    assert "GRAT" in read.upper().replace(" ", ""), read
    box.run("/usr/bin/tesseract", "/srv/a.pgm", "/srv/a", "--psm", "7", "--dpi", "100", "pdf")
    assert box.read("/srv/a.pdf").startswith(b"%PDF")


def qpdf(box: Box) -> None:
    box.write("/srv/a.pdf", document())
    box.run("/usr/bin/qpdf", "--encrypt", "leek", "leek", "256", "--", "/srv/a.pdf", "/srv/b.pdf")
    box.run("/usr/bin/qpdf", "--password=leek", "--decrypt", "/srv/b.pdf", "/srv/c.pdf")
    box.run("/usr/bin/qpdf", "--check", "/srv/c.pdf")
    box.run("/usr/bin/qpdf", "--empty", "--pages", "/srv/a.pdf", "/srv/a.pdf", "--", "/srv/d.pdf")
    assert box.run("/usr/bin/qpdf", "--show-npages", "/srv/d.pdf") == "2\n"
    assert json.loads(box.run("/usr/bin/qpdf", "--json", "/srv/a.pdf"))["version"] in (1, 2)


def weasyprint(box: Box) -> None:
    import base64

    inside = "data:image/png;base64," + base64.b64encode(picture(16)).decode()
    box.write(
        "/srv/a.html",
        "<html><head><style>@page { size: A6 } h1 { font-family: 'DejaVu Sans'; color: #06c }</style></head>"
        f"<body><h1>Gratin</h1><p>of leek</p><img src='{inside}'/></body></html>",
    )
    box.run("/usr/bin/weasyprint", "/srv/a.html", "/srv/a.pdf", env={"HOME": "/tmp"}, timeout=180)
    page = box.read("/srv/a.pdf")
    assert page.startswith(b"%PDF") and b"DejaVu" in page


def gnuplot(box: Box) -> None:
    script = "set terminal {} ; set output '/srv/a.{}'; set title 'gratin'; plot sin(x), '-' with lines\n1 1\n2 2\ne\n"
    for kind, magic in {"svg": b"<?xml", "pngcairo": b"\x89PNG", "pdfcairo": b"%PDF"}.items():
        box.run("/usr/bin/gnuplot", stdin=script.format(kind, kind))
        assert box.read(f"/srv/a.{kind}").startswith(magic)
    drawn = box.run("/usr/bin/gnuplot", stdin="set terminal dumb 60 20; plot x**2\n")
    assert "*" in drawn


def libvips_tools(box: Box) -> None:
    box.write("/srv/a.png", picture(128))
    box.run("/usr/bin/vips", "resize", "/srv/a.png", "/srv/b.jpg", "0.5")
    assert box.read("/srv/b.jpg").startswith(b"\xff\xd8")
    assert box.run("/usr/bin/vipsheader", "-f", "width", "/srv/b.jpg") == "64\n"
    box.run("/usr/bin/vipsthumbnail", "/srv/a.png", "-s", "32", "-o", "/srv/t.webp")
    assert box.read("/srv/t.webp")[8:12] == b"WEBP"
    box.run("/usr/bin/vips", "copy", "/srv/a.png", "/srv/c.tif")


def mediainfo(box: Box) -> None:
    box.write("/srv/a.wav", tone())
    told = json.loads(box.run("/usr/bin/mediainfo", "--Output=JSON", "/srv/a.wav"))
    (sound,) = [track for track in told["media"]["track"] if track["@type"] == "Audio"]
    assert sound["SamplingRate"] == "8000" and float(sound["Duration"]) == 1.0
