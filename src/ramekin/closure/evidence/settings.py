"""What configuration names: paths, programs of service files, modules of NSS, PAM, SASL and PHP."""

from __future__ import annotations

import re

_EXEC = re.compile(
    rb"^(?:Exec|TryExec|ExecStart|ExecStartPre|ExecStartPost|ExecReload)=[-@:+!]*([^\s'\"]+)", re.MULTILINE
)
_PAM = re.compile(rb"\b(pam_[A-Za-z0-9_]+\.so)\b")
_INCLUDED = re.compile(rb"^[ \t]*@include[ \t]+([A-Za-z0-9_.-]+)", re.MULTILINE)
_NSS = re.compile(rb"^[a-z]+:[ \t]*([a-z0-9_ \t\[\]!=]+)", re.MULTILINE)
_PHP = re.compile(rb"^\s*(?:zend_)?extension\s*=\s*\"?([\w./-]+)\"?", re.MULTILINE)
_SASL = re.compile(rb"^\s*(?:mech_list|auxprop_plugin|pwcheck_method)\s*:\s*([\w -]+)", re.MULTILINE)
_COMMENT = re.compile(rb"^[ \t]*[#;][^\n]*", re.MULTILINE)


def services(data: bytes) -> set[str]:
    """Programs that a systemd unit, D-Bus service or desktop file starts."""
    return {name.decode("utf-8", "replace") for name in _EXEC.findall(data)}


def modules(path: str, data: bytes) -> set[str]:
    """File names of modules that the configuration file at a tree path names."""
    data = uncommented(data)
    found: set[str] = set()
    if path.startswith(("etc/pam.d/", "usr/share/pam-configs/")) or path == "etc/pam.conf":
        found |= {name.decode() for name in _PAM.findall(data)}
    elif path.endswith("nsswitch.conf"):
        for line in _NSS.findall(data):
            found |= {f"libnss_{word.decode()}.so.2" for word in line.split() if word.isalnum()}
    elif "/php/" in path or path.startswith("etc/php"):
        for name in _PHP.findall(data):
            text = name.decode()
            found.add(text if text.endswith(".so") else text + ".so")
    return found


def uncommented(data: bytes) -> bytes:
    """`data` without lines that are comments."""
    return _COMMENT.sub(b"", data)


def included(path: str, data: bytes) -> set[str]:
    """Absolute paths of files that the configuration file at a tree path includes by name."""
    if not path.startswith("etc/pam.d/"):
        return set()
    return {f"/etc/pam.d/{name.decode()}" for name in _INCLUDED.findall(uncommented(data))}
