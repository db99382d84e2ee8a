"""All rules. docs/checks.md is generated from this table."""

from __future__ import annotations

from collections.abc import Sequence

from ramekin.analyze.checks import access, needs, sharing, waste
from ramekin.analyze.checks.model import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

AREAS = {
    "1": "Waste",
    "2": "What programs need",
    "3": "Risks",
    "4": "Sharing",
}
"""The first digit of a code."""

RULES: Sequence[Rule] = (
    # waste
    Rule(
        "R101",
        "shipped-then-deleted",
        _W,
        "Files that a later layer deletes",
        "A layer is stored and pulled whole, whatever later ones hide of it.",
        "Delete in the step that creates, or copy only what is wanted from a stage of its own.",
        find=waste.deleted,
    ),
    Rule(
        "R102",
        "shipped-then-overwritten",
        _W,
        "Files that a later layer has again",
        "Both copies are stored and pulled; a change of mode or owner alone copies a file whole.",
        "Set modes and owners where files are added (COPY --chmod, --chown), and add each file once.",
        find=waste.overwritten,
    ),
    Rule(
        "R103",
        "package-caches",
        _W,
        "Caches and lists of package managers",
        "Only the package manager reads them, and it would fetch them again.",
        "Remove them in the step that installs, or mount a cache there (RUN --mount=type=cache).",
        find=waste.caches,
    ),
    Rule(
        "R104",
        "debug-files",
        _W,
        "Debugging information in files of its own",
        "Debuggers alone read it, and it is often larger than the program.",
        "Keep it in an image or server for debugging.",
        find=waste.debug_files,
    ),
    Rule(
        "R105",
        "unstripped",
        _N,
        "Programs and libraries with debug data or symbols",
        "Running them needs neither; the bytes are those of the sections that stripping removes.",
        "strip --strip-unneeded, or -s and -w when linking.",
        find=waste.unstripped,
    ),
    Rule(
        "R106",
        "packed-program",
        _W,
        "Programs packed by UPX",
        "A packed program unpacks into pages that belong to one process: ten containers hold it ten times, "
        "nothing is loaded on demand, and layers are compressed anyway.",
        "Ship the program as it is.",
        find=waste.packed,
    ),
    Rule(
        "R107",
        "unpacked-at-start",
        _W,
        "Archives that the image's start unpacks",
        "Every container pays time and disk for what the layer's own compression does once.",
        "Unpack when the image is built.",
        find=waste.unpacked_at_start,
    ),
    Rule(
        "R108",
        "compresses-no-further",
        _N,
        "Files that are compressed already",
        "A layer's compression gains nothing, and what two such files have in common is not found.",
        "Ship them uncompressed where programs can read that, so that one good compression acts on all.",
        find=waste.squeezed,
    ),
    Rule(
        "R109",
        "media-codec",
        _N,
        "Pictures that a better encoder makes smaller",
        "The estimate is from encoding a sample again, without any loss of picture.",
        "Encode them when the image is built (oxipng, jpegtran), or use WebP or AVIF.",
        find=waste.media,
    ),
    Rule(
        "R110",
        "static-programs",
        _N,
        "Static programs that together cost more than shared libraries",
        "Each holds its own copy of the same code, on disk and in memory. What they have in common is "
        "estimated by the texts in them.",
        "Link them to shared libraries that lie in a common lower layer.",
        compare=waste.static,
    ),
    # needs
    Rule(
        "R201",
        "no-certificates",
        _W,
        "A program speaks TLS, and its bundle of CA certificates is not there",
        "Every connection that is verified fails.",
        "Add ca-certificates, or set SSL_CERT_FILE.",
        find=needs.certificates,
    ),
    Rule(
        "R202",
        "no-time-zones",
        _N,
        "A program reads time zones that are not there",
        "Local times are silently UTC, or an error.",
        "Add tzdata.",
        find=needs.time_zones,
    ),
    Rule(
        "R203",
        "no-account",
        _E,
        "The configured user is not in passwd",
        "A name that is not there keeps containers from starting; programs that look up their number fail.",
        "Add the user to /etc/passwd and its group to /etc/group.",
        find=needs.accounts,
    ),
    Rule(
        "R204",
        "no-tmp",
        _W,
        "A program names /tmp, which is not there or not writable",
        "Temporary files cannot be made.",
        "Add /tmp with mode 1777, or a volume.",
        find=needs.temporary,
    ),
    Rule(
        "R205",
        "no-nsswitch",
        _N,
        "A program reads nsswitch.conf, which is not there",
        "Names are then looked up in an order of the library's own: /etc/hosts may not count.",
        "Add /etc/nsswitch.conf with `hosts: files dns`.",
        find=needs.name_service,
    ),
    Rule(
        "R206",
        "no-interpreter",
        _E,
        "A program's interpreter is not there",
        "The program cannot be started; the error names the program and not what is missing.",
        "Add the loader, shell or language that it names, or build it static.",
        find=needs.interpreters,
    ),
    Rule(
        "R207",
        "no-library",
        _E,
        "A library that the loader needs is not there",
        "The program cannot be started.",
        "Add the library, or remove the program.",
        find=needs.libraries,
    ),
    # risks
    Rule(
        "R301",
        "set-user-id",
        _W,
        "Programs that set their user or group id",
        "Whoever can run them acts with the owner's rights.",
        "Remove them or their bits (chmod u-s,g-s), and run with no-new-privileges.",
        find=access.set_user_id,
    ),
    Rule(
        "R302",
        "world-writable",
        _W,
        "Files and folders that everyone may write",
        "Any process of the container can change what others run or read.",
        "Take the right away (chmod o-w); shared folders for temporary files get mode 1777.",
        find=access.world_writable,
    ),
    Rule(
        "R303",
        "private-key",
        _E,
        "Private keys",
        "Whoever can pull the image has them, also from layers in which they are hidden later.",
        "Take the key as compromised: replace it, and mount keys when containers start.",
        find=access.keys,
    ),
    Rule(
        "R304",
        "credential",
        _E,
        "Tokens and passwords of known forms",
        "Whoever can pull the image has them, also from layers in which they are hidden later.",
        "Revoke it, and hand secrets to builds (RUN --mount=type=secret) and containers only while they run.",
        find=access.tokens,
    ),
    Rule(
        "R305",
        "likely-secret",
        _W,
        "Values that look like secrets, by name and entropy",
        "If it is one, whoever can pull the image has it.",
        "Look at the line. Revoke it if it is one, else ignore the finding with a reason.",
        find=access.guesses,
    ),
    Rule(
        "R306",
        "root-user",
        _W,
        "The program runs as root",
        "What breaks out of the program has all rights in the container, and more ways out of it.",
        "Set User to an account of its own.",
        find=access.root_user,
    ),
    Rule(
        "R307",
        "secret-in-env",
        _E,
        "Secrets in Env",
        "Env is part of the image's configuration, which everyone who can pull can read.",
        "Set the variable when containers start.",
        find=access.environment,
    ),
    Rule(
        "R308",
        "secret-in-history",
        _E,
        "Secrets in the history",
        "Commands and build arguments are written into the image's configuration.",
        "Revoke it, and hand it to the build as a secret (RUN --mount=type=secret).",
        find=access.history,
    ),
    Rule(
        "R309",
        "no-sbom",
        _N,
        "No bill of materials",
        "Who asks which images have a vulnerable package has to unpack this one.",
        "Attach one: `ramekin build --sbom`, or a generator's as a referrer.",
        find=access.bill_of_materials,
    ),
    # sharing
    Rule(
        "R401",
        "moving-base-tag",
        _N,
        "The base is a tag that moves",
        "Two builds on different days stand on different bases and share nothing of them.",
        "Name the base by digest, and move all images to a new one together.",
        find=sharing.moving_tags,
        compare=sharing.builds_of_one_base,
    ),
    Rule(
        "R402",
        "depends-on-clock",
        _N,
        "Layers that depend on when they were built",
        "The same content gets another digest with each build, so it is stored and pulled anew.",
        "Fix times (SOURCE_DATE_EPOCH with rewrite-timestamp), remove logs and caches, and compile Python "
        "with --invalidation-mode unchecked-hash.",
        find=sharing.clock,
        compare=sharing.same_but_for_time,
    ),
    Rule(
        "R403",
        "layer-count",
        _N,
        "Too many layers, or all in one",
        "Engines have a limit of layers; one layer of everything is stored and pulled anew for any change.",
        "A layer for each thing that changes by itself: packages by `ramekin build`, the program above them.",
        find=sharing.count,
    ),
    Rule(
        "R404",
        "layer-order",
        _N,
        "What changes often lies below what seldom does",
        "A change makes all layers above it anew, and engines share a layer only above the same ones.",
        "Order layers by how many images have them and how seldom they change, the most shared lowest.",
        find=sharing.order,
        compare=sharing.same_above_others,
    ),
)

BY_CODE = {rule.code: rule for rule in RULES}
BY_NAME = {rule.name: rule for rule in RULES}


def markdown() -> str:
    """The table as docs/checks.md has it."""
    lines = []
    for digit, area in AREAS.items():
        lines += [f"### {area}", "", "| code | what | severity | why | what to do |", "|---|---|---|---|---|"]
        lines += [
            f"| `{rule.code}` `{rule.name}` | {rule.title} | {rule.severity} | {rule.why} | {rule.do} |"
            for rule in RULES
            if rule.code[1] == digit
        ]
        lines.append("")
    return "\n".join(lines)
