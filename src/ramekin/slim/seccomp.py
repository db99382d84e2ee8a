"""A seccomp profile and the capabilities of an image, from what was seen while it ran.

How it is known which system calls a program makes: those that C libraries and interpreters make for
anything at all (some 200 of 380, `syscalls.EVERYDAY`) are allowed always, for they give a program nothing
that it has not, and one that was not seen may stand on a path that is taken only when something goes wrong.
All the others are handed to the sandbox's keeper by the kernel, each time, before they are carried out.
They are seldom: a web server makes some ten of them when it starts. So noting them costs nothing that can
be measured, needs no root, and misses none. What was tried and dropped: tracing all calls costs half of the
time again and more; sampling misses what is done once; logging by the kernel is limited in rate.

A call that was not seen fails with EPERM, as under Docker's own profile. As there, new namespaces and
sockets of unusual families are denied unless they were seen, and `clone3`, whose flags a filter cannot see,
fails with ENOSYS, after which C libraries take `clone`."""

from __future__ import annotations

import json
from typing import Any

from ramekin.errors import UsageError
from ramekin.slim.observation import Observation
from ramekin.slim.sandbox import filters, syscalls

_ALLOW, _FAIL = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_EPERM, _ENOSYS = 1, 38

_ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}

_STARTING = frozenset({"capset", "setgid", "setgroups", "setresgid", "setresuid", "setuid"})
"""What runtimes do between taking up a profile and starting the program. Without capabilities they are of no
use to a program."""

_SPECIAL = frozenset({"clone", "clone3", "socket"})
"""Calls that are allowed for some arguments only."""


def profile(observation: Observation) -> dict[str, Any]:
    """The profile as Docker, Podman and the OCI runtime-spec (config-linux.md, Seccomp) take it.

    `UsageError` when the observation was made without noting system calls, or for another machine than those
    whose calls are known.
    """
    architectures = _ARCHITECTURES.get(
        observation.platform.split("/")[1] if observation.platform else "amd64"
    )
    if not observation.calls_noted or architectures is None:
        raise UsageError(
            "the observation does not say which system calls the program makes",
            hint="observe the image again, on an amd64 or arm64 machine",
        )
    seen = set(observation.syscalls)
    allowed = (syscalls.EVERYDAY | _STARTING | {name for name in seen if ":" not in name}) - _SPECIAL
    for opener, followers in syscalls.FAMILIES.items():
        if opener in allowed:
            allowed |= set(followers)
    rules: list[dict[str, Any]] = [{"names": sorted(allowed), "action": _ALLOW}]
    families = {*filters.COMMON_SOCKETS, *(int(name[7:]) for name in seen if name.startswith("socket:"))}
    rules += [
        {"names": ["socket"], "action": _ALLOW, "args": [_argument(family, "SCMP_CMP_EQ")]}
        for family in sorted(families)
    ]
    if "clone" in seen:
        rules.append({"names": ["clone"], "action": _ALLOW})
    else:
        masked = {**_argument(filters.NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ"), "valueTwo": 0}
        rules.append({"names": ["clone"], "action": _ALLOW, "args": [masked]})
    rules.append({"names": ["clone3"], "action": _FAIL, "errnoRet": _ENOSYS})
    return {
        "defaultAction": _FAIL,
        "defaultErrnoRet": _EPERM,
        "architectures": architectures,
        "syscalls": rules,
    }


def _argument(value: int, comparison: str) -> dict[str, Any]:
    return {"index": 0, "value": value, "op": comparison}


def encode(observation: Observation) -> bytes:
    """The profile's file: JSON, the same bytes for the same observation."""
    return json.dumps(profile(observation), indent=1).encode() + b"\n"


def options(observation: Observation, file: str) -> tuple[str, ...]:
    """Options of `docker run` and `podman run` for a program that may do no more than was seen."""
    added = (word for name in observation.capabilities for word in ("--cap-add", name.removeprefix("CAP_")))
    return (
        *("--security-opt", f"seccomp={file}"),
        *("--security-opt", "no-new-privileges"),
        *("--cap-drop", "ALL"),
        *added,
    )
