"""The last part of each command's help: examples first, then what is not obvious."""

from __future__ import annotations

RAMEKIN = """\
Examples:

  ramekin build redis-server        an OCI layout in ./redis-server
  ramekin run oci:./redis-server    try it
  ramekin build                     all images of ./ramekin.yaml

`ramekin COMMAND --help` says more.
Exit codes: 0 done, 1 a finding or failure, 2 wrong use.
"""

BUILD = """\
Words are packages (NAME, NAME=VERSION or NAME/SUITE) of one image.
Without a word, or with a first one that ends in .yaml, images of
a spec are made; words that all name images of ./ramekin.yaml mean
those. Standard output has one line an image: its place and digest.

Examples:

  ramekin build redis-server
  ramekin build nginx --tag web:1 -o docker-archive:web.tar
  ramekin build curl --source debian:trixie --arch amd64,arm64
  ramekin build --source nix:https://cache.example redis bash
  ramekin build curl nix:redis         of two sources, see docs/nix.md
  ramekin build python3 --entrypoint 'python3 -m http.server'
  ramekin build redis-server --lock redis.lock.json
  ramekin build                        all images of ./ramekin.yaml
  ramekin build fleet.yaml web redis   two images of fleet.yaml
"""

LOCK = """\
Pins that answer the spec already stay as they are; `ramekin update`
takes the newest.

Examples:

  ramekin lock
  ramekin lock fleet.yaml web
"""

UPDATE = """\
Examples:

  ramekin update
  ramekin update --check    exit with 1 when there is news
"""

WHY = """\
Examples:

  ramekin why redis-server libjemalloc2
  ramekin why oci:./redis-server /usr/lib/x86_64-linux-gnu/libssl.so.3
  ramekin why redis-server --dropped
  ramekin why fleet.yaml:web --graph web.svg
"""

COPY = """\
Examples:

  ramekin copy oci:./web docker://localhost:5000/web:1
  ramekin copy docker://localhost:5000/web:1 docker-archive:web.tar
  ramekin copy oci:./web rootfs:./files --arch arm64
"""

RUN = """\
The image runs on a copy of its files that is thrown away afterwards.
Its exit code becomes that of this command.

Examples:

  ramekin run oci:./redis-server
  ramekin run oci:./redis-server -- --port 7000
  ramekin run oci:./shell --entrypoint sh --volume .:/work
"""

SEARCH = """\
Examples:

  ramekin search key value store
  ramekin search redis --source debian:trixie
"""

SHOW = """\
Examples:

  ramekin show redis-server
  ramekin show redis-server --source debian:trixie --arch arm64
"""

STORE = """\
Examples:

  ramekin store du
  ramekin store verify
  ramekin store gc --older-than 30 --keep-size 5GB
"""

VALIDATE = """\
Examples:

  ramekin validate oci:./redis-server
  ramekin validate docker://localhost:5000/web:1
"""

CHECK = """\
Findings that have a reason stand under `check: ignore:` of ramekin.yaml.
docs/checks.md has all rules. With several images, what they could share
is judged too.

Examples:

  ramekin check oci:./web
  ramekin check docker://localhost:5000/web:1 --fail-on warning
  ramekin check oci:./web oci:./api --format sarif > check.sarif
"""

FLEET = """\
Examples:

  ramekin fleet oci:./images
  ramekin fleet docker://localhost:5000/team --tags 'v*' --shallow
  ramekin fleet images.txt --html fleet.html
"""

SCHEMA = """\
Examples:

  ramekin schema > ramekin.schema.json
  ramekin schema probes > probes.schema.json
"""

SLIM = """\
The image is run, watched, and asked: what it used decides what stays,
and what belongs to that. Then the slim image is asked the same; any
difference in the answers fails the command, and nothing is written.
docs/slim.md has the form of probes and all rules.

Examples:

  ramekin slim docker-daemon:web -o oci:./web-slim --probe /
  ramekin slim oci:./web -o oci:./web-slim --probe probes.yaml --crawl
  ramekin slim oci:./web -o oci:./web-slim --probe-cmd 'pytest tests/e2e'
  ramekin slim oci:./job -o oci:./job-slim --run 'python -m job --check'
  ramekin slim oci:./web -o oci:./web-slim --observation web.json
  ramekin slim fleet.yaml                 all images under its `slim:`
"""

WARM = """\
Names are those that clients pull; a file has one a line. With a
spec file, its images are made.

Examples:

  ramekin warm redis-server shell/curl:trixie
  ramekin warm --config registry.yaml names.txt
  ramekin warm fleet.yaml --store s3://bucket/ramekin
"""

COMPLETION = """\
Examples:

  ramekin completion bash > ~/.local/share/bash-completion/completions/ramekin
  ramekin completion zsh > ~/.zfunc/_ramekin
  ramekin completion fish > ~/.config/fish/completions/ramekin.fish
"""

SERVE = """\
On loopback everybody may pull and push. For any other address, and
for users, TLS and limits, write a configuration: docs/registry.md.

Examples:

  ramekin serve
  ramekin serve --host 0.0.0.0 --config registry.yaml
  ramekin serve --replica --store s3://BUCKET/PREFIX
"""

INSPECT = """\
Examples:

  ramekin inspect docker://localhost:5000/web:1
  ramekin inspect docker-daemon:web --html web.html
  ramekin inspect oci:./web --json | jq .savings
"""

DIFF = """\
Examples:

  ramekin diff oci:./web:1 oci:./web:2
  ramekin diff docker://localhost:5000/web:1 oci:./web --html diff.html
"""
