"""A closure by evidence, explained: chains in words, and the graph as DOT and SVG."""

from __future__ import annotations

from collections.abc import Mapping

from ramekin.closure.follow import Followed, KeptPackage, Step

_WORDS = {
    "needed": "needs",
    "loaded": "loads",
    "interpreter": "is run by",
    "path": "names",
    "setting": "names",
    "command": "calls",
    "shell": "starts commands with",
    "python": "imports",
    "perl": "uses",
    "ruby": "requires",
    "php": "includes",
    "node": "requires",
    "erlang": "starts the application",
    "java": "has on its class path",
    "link": "leads to",
    "module": "names the module",
    "service": "starts",
    "runtime": "is run by",
    "recipe": "starts",
    "data": "has its data in",
    "meta": "stands for",
    "correction": "needs (by a correction)",
}


def chain(followed: Followed, target: str) -> tuple[str, ...]:
    """Why a package (a name) or file (an absolute path) is in the image, a step a line, or why it is not.

    Empty when neither the image nor what was left out of it has that name.
    """
    if target.startswith("/"):
        return _of_path(followed, target.lstrip("/"))
    return _of_package(followed, target)


def _of_package(followed: Followed, name: str) -> tuple[str, ...]:
    for gone in followed.dropped:
        if gone.name == name:
            return (f"{name} is not in the image: {gone.reason}",)
    kept = {package.name: package for package in followed.kept}
    if name not in kept:
        return ()
    steps: list[str] = []
    seen: set[str] = set()
    here: KeptPackage | None = kept[name]
    while here is not None and here.name not in seen:
        seen.add(here.name)
        if here.because is None or not here.because.package:
            steps.append(f"{here.name}: {here.reason or 'the image starts it'}")
            break
        steps.append(said(here.because))
        here = kept.get(here.because.package)
    return tuple(reversed(steps))


def _of_path(followed: Followed, path: str) -> tuple[str, ...]:
    for gone in followed.files:
        if gone.path == path:
            return (f"/{path} of {gone.package} is not in the image: {gone.reason}",)
    reached = dict(followed.reached)
    steps: list[str] = []
    seen: set[str] = set()
    here = path
    while here in reached and here not in seen:
        seen.add(here)
        step = reached[here]
        steps.append(said(step))
        if not step.file or step.file not in reached:
            return (
                (*_of_package(followed, step.package), *reversed(steps))
                if step.package
                else tuple(reversed(steps))
            )
        here = step.file
    return tuple(reversed(steps))


def said(step: Step) -> str:
    """One step in words: `redis-tools → /usr/bin/redis-check-rdb needs libjemalloc.so.2 → libjemalloc2`."""
    word = _WORDS[str(step.kind)]
    subject = (
        f"{step.package} → /{step.file} {word}" if step.file else f"{step.package or 'the image'} {word}"
    )
    end = f" → {step.provider}" if step.target != step.provider else ""
    return f"{subject} {step.target}{end}"


def dropped(followed: Followed) -> tuple[tuple[str, int, str], ...]:
    """Every package and file that was left out: its name or absolute path, bytes, and reason; largest
    first.
    """
    found = [
        *((package.name, package.size, package.reason) for package in followed.dropped),
        *((f"/{file.path}", file.size, f"{file.package}: {file.reason}") for file in followed.files),
    ]
    return tuple(sorted(found, key=lambda item: (-item[1], item[0])))


def dot(followed: Followed) -> str:
    """The kept packages and the needs between them in the DOT language."""
    lines = ["digraph closure {", '  rankdir="LR";', '  node [shape="box", fontname="sans-serif"];']
    for package in followed.kept:
        style = ', style="bold"' if package.because is None else ""
        label = _quoted(f"{package.name}\n{_size(package.size)}")
        lines.append(f"  {_quoted(package.name)} [label={label}{style}];")
    for step in followed.edges:
        label = f"{step.kind} {step.target}"
        lines.append(f"  {_quoted(step.package)} -> {_quoted(step.provider)} [tooltip={_quoted(label)}];")
    return "\n".join([*lines, "}", ""])


def svg(followed: Followed) -> str:
    """The same graph as a picture: what was asked for stands left, what it needs further right.

    Columns are distances from what was asked for; within a column packages stand by the mean height of those
    that need them. An edge tells its need when pointed at.
    """
    columns = _columns(followed)
    place: dict[str, tuple[int, int]] = {}
    for column, names in enumerate(columns):
        for row, name in enumerate(names):
            place[name] = (20 + column * 260, 20 + row * 46)
    width = 40 + len(columns) * 260
    height = 40 + max((len(names) for names in columns), default=0) * 46
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for step in followed.edges:
        if step.package not in place or step.provider not in place:
            continue
        (x1, y1), (x2, y2) = place[step.package], place[step.provider]
        start, end = (x1 + 190, y1 + 17), (x2, y2 + 17)
        bend = max(abs(end[0] - start[0]) // 2, 40)
        path = (
            f"M{start[0]} {start[1]}C{start[0] + bend} {start[1]} {end[0] - bend} {end[1]} {end[0]} {end[1]}"
        )
        lines.append(
            f'<path d="{path}" fill="none" stroke="#9aa5b1" stroke-width="1">'
            f"<title>{_escaped(said(step))}</title></path>"
        )
    sizes = {package.name: package for package in followed.kept}
    for name, (x, y) in place.items():
        asked = sizes[name].because is None
        fill, stroke = ("#dbeafe", "#1d4ed8") if asked else ("#f8fafc", "#64748b")
        lines += [
            f"<g><title>{_escaped(' '.join(chain(followed, name)[-1:]))}</title>",
            f'<rect x="{x}" y="{y}" width="190" height="34" rx="5" fill="{fill}" stroke="{stroke}"/>',
            f'<text x="{x + 8}" y="{y + 15}" font-weight="600">{_escaped(_short(name))}</text>',
            f'<text x="{x + 8}" y="{y + 29}" fill="#475569" font-size="10">'
            f"{_size(sizes[name].size)}</text></g>",
        ]
    return "\n".join([*lines, "</svg>", ""])


def _columns(followed: Followed) -> list[list[str]]:
    after: dict[str, list[str]] = {}
    for step in followed.edges:
        after.setdefault(step.package, []).append(step.provider)
    depth = {package.name: 0 for package in followed.kept if package.because is None}
    layer = list(depth)
    while layer:
        following = []
        for name in layer:
            for other in after.get(name, ()):
                if other not in depth:
                    depth[other] = depth[name] + 1
                    following.append(other)
        layer = following
    for package in followed.kept:
        depth.setdefault(package.name, 0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in depth:
        columns[depth[name]].append(name)
    return _untangled(columns, followed)


def _untangled(columns: list[list[str]], followed: Followed) -> list[list[str]]:
    height: dict[str, float] = {}
    before: dict[str, list[str]] = {}
    for step in followed.edges:
        before.setdefault(step.provider, []).append(step.package)
    ordered = []
    for names in columns:
        ranked = sorted(names, key=lambda name: (_mean(before.get(name, ()), height), name))
        height.update({name: float(row) for row, name in enumerate(ranked)})
        ordered.append(ranked)
    return ordered


def _mean(names: tuple[str, ...] | list[str], height: Mapping[str, float]) -> float:
    known = [height[name] for name in names if name in height]
    return sum(known) / len(known) if known else 0.0


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"


def _short(name: str) -> str:
    return name if len(name) <= 27 else name[:26] + "…"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
