"""A tiny nixpkgs: real derivations, built offline by Debian's Nix, signed, copied into real binary caches.

    world = World.build(folder)
    world.cache("xz")            # a folder that `nix copy` filled
    world.channel                # a folder with store-paths.xz and packages.json.br
    world.key                    # the public key of what is signed

Its programs are Debian's busybox and C programs that are linked to a C library in the store, as nixpkgs' are.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import brotli  # type: ignore[import-untyped]

LOADER = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}[platform.machine()]
TRIPLE = f"{platform.machine()}-linux-gnu"
SYSTEM = f"{platform.machine()}-linux"
OTHER = "aarch64-linux" if SYSTEM == "x86_64-linux" else "x86_64-linux"

_TOOLS = "sh cat echo ls env cp mkdir ln chmod printf head"

_GREET = """
const char *greeting(void) { return "hello from the store"; }
"""
_HELLO = """
#include <stdio.h>
const char *greeting(void);
int main(void) { FILE *f = fopen(MESSAGE, "r"); int c;
  if (f) while ((c = getc(f)) != EOF) putchar(c);
  puts(greeting()); return 0; }
"""


@dataclass(frozen=True)
class Built:
    """A package of the world: its outputs by name, as full store paths."""

    name: str
    outputs: Mapping[str, str]
    attribute: str = ""
    system: str = SYSTEM
    meta: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.outputs["out"]

    @property
    def base(self) -> str:
        return self.outputs["out"].removeprefix("/nix/store/")


@dataclass
class World:
    """A Nix store below `root`, and what was built in it."""

    folder: Path
    packages: dict[str, Built] = field(default_factory=dict)
    key: str = ""

    @classmethod
    def build(cls, folder: Path) -> World:
        """Build all packages and sign them; about two seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        world = cls(folder)
        world._make()
        return world

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def channel(self) -> Path:
        return self.folder / "channel"

    def nix(self, *words: str | Path) -> str:
        """Run a program of Nix on the world's store."""
        env = {**os.environ, "HOME": str(self.folder), "NIX_CONF_DIR": str(self.folder), "NIX_PATH": ""}
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, words))}: {done.stderr}")
        return done.stdout

    def __getitem__(self, name: str) -> Built:
        return self.packages[name]

    def path(self, store_path: str) -> Path:
        """Where a store path lies on this machine."""
        return self.root / store_path.lstrip("/")

    def derive(
        self,
        name: str,
        script: str,
        *,
        attribute: str | None = None,
        outputs: Sequence[str] = ("out",),
        files: Mapping[str, Path] | None = None,
        system: str = SYSTEM,
        meta: Mapping[str, object] | None = None,
        **inputs: Built | str,
    ) -> Built:
        """Build a derivation whose builder runs `script` in busybox's shell; `files` are copied into it."""
        words = [f'system = "{system}";', f'name = "{name}";', 'builder = "/busybox";']
        words.append(f"outputs = [ {' '.join(json.dumps(output) for output in outputs)} ];")
        words += [f"{key} = {path};" for key, path in (files or {}).items()]
        words += [f"{key} = builtins.storePath {value};" for key, value in inputs.items()]
        body = "set -e\nexport PATH=/tools\n" + script
        quoted = body.replace("''", "'''").replace("${", "''${")
        words.append(f"args = [ \"sh\" \"-c\" ''{quoted}'' ];")
        expression = self.folder / f"{name}-{system}.nix"
        expression.write_text("derivation { " + "\n".join(words) + " }\n")
        drv = self.nix("nix-instantiate", expression, *self._options()).strip().splitlines()[-1]
        self.nix("nix-store", "--realise", drv, *self._options())
        made = self.nix("nix-store", "--query", "--outputs", drv, *self._options()).split()
        by_output = {}
        for output in outputs:
            suffix = "" if output == "out" else f"-{output}"
            by_output[output] = next(p for p in made if p.endswith(f"-{name}{suffix}"))
        built = Built(
            name, by_output, name.rpartition("-")[0] if attribute is None else attribute, system, meta or {}
        )
        self.packages[f"{name.rpartition('-')[0]}" + ("" if system == SYSTEM else f".{system}")] = built
        return built

    def _options(self) -> list[str]:
        paths = f"/busybox={self.folder}/busybox /tools={self.folder}/tools"
        return [
            "--store",
            str(self.root),
            *("--option", "sandbox-paths", paths),
            *("--option", "build-users-group", ""),
            *("--option", "substitute", "false"),
            *("--option", "extra-platforms", OTHER),
            *("--option", "filter-syscalls", "false"),
        ]

    def cache(self, compression: str = "xz", *, extra: str = "", name: str | None = None) -> Path:
        """A binary cache with everything, written by `nix copy`; made once for each name."""
        place = self.folder / (name or f"cache-{compression}")
        if not place.exists():
            url = f"file://{place}?compression={compression}{extra}"
            outputs = [path for built in self.packages.values() for path in built.outputs.values()]
            self.nix(
                *("nix", "--extra-experimental-features", "nix-command", "copy", "--store", self.root),
                *("--to", url, *outputs),
            )
        return place

    def compile(self, source: str, name: str, *options: str) -> Path:
        """A C program or library, linked by the machine's compiler."""
        file = self.folder / name
        code = self.folder / f"{name}.c"
        code.write_text(source)
        subprocess.run(["gcc", "-O1", str(code), "-o", str(file), *options], check=True, capture_output=True)
        subprocess.run(["strip", str(file)], check=True)
        return file

    def _make(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.folder / "busybox")
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        for tool in _TOOLS.split():
            link = tools / tool
            link.unlink(missing_ok=True)
            link.symlink_to("/busybox")
        (self.folder / "nix.conf").write_text("")
        host = Path("/lib") / TRIPLE
        glibc = self.derive(
            "glibc-2.36",
            f"""
            mkdir -p $out/lib/gconv $out/share/i18n $out/share/doc/glibc $out/bin
            cp $libc $out/lib/libc.so.6; cp $loader $out/lib/{LOADER}; chmod 555 $out/lib/*.*
            echo "$out/lib/gconv" > $out/share/i18n/prefix
            echo manual > $out/share/doc/glibc/README
            echo "a program that nobody calls" > $out/bin/getconf; chmod 555 $out/bin/getconf
            """,
            files={"libc": host / "libc.so.6", "loader": host / LOADER},
        )
        self.derive("unused-1.0", "mkdir -p $out/share; echo 'nobody needs this' > $out/share/unused")
        bash = self.derive(
            "bash-5.2",
            'mkdir -p $out/bin; cp /busybox $out/bin/sh; echo "#! $out/bin/sh" > $out/bin/bash; '
            "echo 'exec sh \"$@\"' >> $out/bin/bash; chmod 555 $out/bin/bash",
            meta={"mainProgram": "bash"},
        )
        coreutils = self.derive(
            "coreutils-9.4",
            "mkdir -p $out/bin; cp /busybox $out/bin/coreutils; "
            "for x in cat echo ls env; do ln -s coreutils $out/bin/$x; done",
        )
        greet = self.derive(
            "greet-1.2",
            """
            mkdir -p $out/lib $dev/include $dev/lib/pkgconfig $dev/nix-support $doc/share/doc/greet
            cp $library $out/lib/libgreet.so.1.2; ln -s libgreet.so.1.2 $out/lib/libgreet.so.1
            ln -s libgreet.so.1 $out/lib/libgreet.so
            echo 'const char *greeting(void);' > $dev/include/greet.h
            echo "libdir=$out/lib" > $dev/lib/pkgconfig/greet.pc
            echo 'all about greet' > $doc/share/doc/greet/README
            """,
            outputs=("out", "dev", "doc"),
            glibc=glibc,
            files={
                "library": self.compile(
                    _GREET,
                    "libgreet.so",
                    *("-shared", "-fPIC", "-Wl,-soname,libgreet.so.1", f"-Wl,-rpath,{glibc}/lib"),
                )
            },
        )
        message = self.derive("message-1", "echo 'good day' > $out")
        program = self.compile(
            _HELLO,
            "hello",
            f'-DMESSAGE="{message}"',
            f"-Wl,--dynamic-linker={glibc}/lib/{LOADER}",
            f"-Wl,-rpath,{greet}/lib:{glibc}/lib",
            "-Wl,--no-as-needed",
            str(self.folder / "libgreet.so"),
        )
        self.derive(
            "hello-2.12",
            """
            mkdir -p $out/bin $out/share/hello $out/share/doc/hello $out/etc $man/share/man/man1
            cp $program $out/bin/hello; chmod 555 $out/bin/hello
            echo "#! $bash/bin/sh" > $out/bin/greet-all
            echo "exec $coreutils/bin/cat $out/share/hello/all" >> $out/bin/greet-all
            chmod 555 $out/bin/greet-all
            echo "$out is where I live" > $out/share/hello/all
            ln -s all $out/share/hello/every; ln -s $message $out/share/hello/message
            echo "see $unused/share/unused" > $out/share/doc/hello/README
            echo 'greeting = hello' > $out/etc/hello.conf
            echo '.TH HELLO 1' > $man/share/man/man1/hello.1; ln -s $man/share/man $out/share/man
            """,
            outputs=("out", "man"),
            files={"program": program},
            bash=bash,
            coreutils=coreutils,
            greet=greet,
            glibc=glibc,
            message=message,
            unused=self["unused"],
            meta={"mainProgram": "hello", "description": "A program that greets"},
        )
        self.derive(
            "toolbox-1.0",
            "mkdir $out; ln -s $hello/bin $out/bin",
            hello=self["hello"],
            meta={"mainProgram": "hello"},
        )
        self.derive(
            "hi-1.0",
            "mkdir -p $out/bin $out/share/hi; "
            "(echo '#!/bin/sh'; echo 'echo hi') > $out/bin/hello; chmod 555 $out/bin/hello; "
            "cp $out/bin/hello $out/bin/hi; echo hi > $out/share/hi/hi",
            meta={"description": "A shorter greeting"},
        )
        self.derive(
            "shellbox-1.0",
            "mkdir -p $out/bin; echo 'no shell that runs' > $out/bin/shellbox; ln -s shellbox $out/bin/sh; "
            "ln -s shellbox $out/bin/env",
            attribute="shellBox_2",
            meta={"priority": 9},
        )
        self.derive(
            "cacert-3.98",
            "mkdir -p $out/etc/ssl/certs; echo CERTIFICATE > $out/etc/ssl/certs/ca-bundle.crt",
        )
        self.derive(
            "tzdata-2024a",
            "mkdir -p $out/share/zoneinfo/Europe; echo TZif2 > $out/share/zoneinfo/Europe/Berlin",
        )
        for name in ("hello-2.12", "bash-5.2", "coreutils-9.4"):
            title = name.rpartition("-")[0]
            self.derive(
                name,
                f"mkdir -p $out/bin; echo '{OTHER}' > $out/bin/{title}; chmod 555 $out/bin/{title}",
                system=OTHER,
                meta=self[title].meta,
            )
        self._sign()
        self._publish()

    def _sign(self) -> None:
        secret, public = self.folder / "key.secret", self.folder / "key.public"
        if not secret.exists():
            self.nix("nix-store", "--generate-binary-cache-key", "world-1", secret, public)
        self.key = public.read_text().strip()
        outputs = [path for built in self.packages.values() for path in built.outputs.values()]
        sign = ["nix", "--extra-experimental-features", "nix-command", "store", "sign"]
        self.nix(*sign, "--store", self.root, "--recursive", "--key-file", secret, *outputs)

    def _publish(self) -> None:
        """The channel's files."""
        self.channel.mkdir(exist_ok=True)
        outputs = sorted(path for built in self.packages.values() for path in built.outputs.values())
        (self.channel / "store-paths.xz").write_bytes(lzma.compress("\n".join(outputs).encode() + b"\n"))
        packages = {}
        for built in self.packages.values():
            if built.system != SYSTEM:
                continue
            pname, _, version = built.name.rpartition("-")
            packages[built.attribute] = {
                "name": built.name,
                "pname": pname,
                "version": version,
                "outputName": "out",
                "system": built.system,
                "outputs": dict.fromkeys(built.outputs),
                "meta": {"outputsToInstall": ["out"], **built.meta},
            }
        document = {"version": 2, "packages": packages}
        data = json.dumps(document, sort_keys=True).encode()
        (self.channel / "packages.json.br").write_bytes(brotli.compress(data))
