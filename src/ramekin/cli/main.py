"""The entrance of the command line: the commands, and what becomes of errors.

Command modules are imported when their command is run; this one imports nothing that `--version` does not
need. Exit codes are 0 for done, 1 for the finding or failure that a command looks for, 2 for wrong use, 130
for an interruption.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter

from ramekin import __version__
from ramekin.cli import examples, terminal
from ramekin.errors import RamekinError, UsageError

_BUILDING = Group("Building", sort_key=1)
_IMAGES = Group("Images", sort_key=2)
_ANALYSIS = Group("Anyone's images", sort_key=3)
_PACKAGES = Group("Packages", sort_key=3)
_HOUSEHOLD = Group("Household", sort_key=4)

app = App(
    name="ramekin",
    help="Small container images that share, composed from packages.",
    help_epilogue=examples.RAMEKIN,
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,
)


def _command(path: str, group: Group, text: str, epilogue: str) -> None:
    name = path.rpartition(":")[2]
    app.command(f"ramekin.cli.{path}", name=name, group=group, help=text, help_epilogue=epilogue)


_command("build:build", _BUILDING, "Make images from packages or a spec.", examples.BUILD)
_command("lock:lock", _BUILDING, "Pin the packages of a spec's images.", examples.LOCK)
_command("lock:update", _BUILDING, "Bring a lock up to date, and say what changes.", examples.UPDATE)
_command("schema:schema", _BUILDING, "Print the JSON Schema of spec files or of probes.", examples.SCHEMA)
_command("why:why", _IMAGES, "Explain why a package or file is in an image, or not.", examples.WHY)
_command("copy:copy", _IMAGES, "Copy an image between any two transports.", examples.COPY)
_command("run:run", _IMAGES, "Try an image in a sandbox.", examples.RUN)
_command("validate:validate", _IMAGES, "Check an image against the OCI specifications.", examples.VALIDATE)
_command("inspect:inspect", _ANALYSIS, "Say where the bytes of an image are.", examples.INSPECT)
_command("diff:diff", _ANALYSIS, "Say what two images have not in common.", examples.DIFF)
_command("check:check", _ANALYSIS, "Judge images: waste, risks, what defeats sharing.", examples.CHECK)
_command("fleet:fleet", _ANALYSIS, "Say what images cost together and what would save most.", examples.FLEET)
_command("slim:slim", _ANALYSIS, "Keep what a running image uses, and nothing breaks.", examples.SLIM)
_command("packages:search", _PACKAGES, "Find packages by words.", examples.SEARCH)
_command("packages:show", _PACKAGES, "Say what is known of a package.", examples.SHOW)
app.command("ramekin.cli.store:app", name="store", group=_HOUSEHOLD, help="Look after the store.")
_command("serve:serve", _HOUSEHOLD, "Serve a registry.", examples.SERVE)
_command("warm:warm", _HOUSEHOLD, "Make images for a registry ahead.", examples.WARM)
_command("completion:completion", _HOUSEHOLD, "Print a shell's completion script.", examples.COMPLETION)


_GARBAGE = 100_000
"""Objects between two collections, instead of 700."""


def main() -> None:
    """Run the command that the process was started with, and end the process with its exit code."""
    terminal.prepare()
    # a command ends before it has made much garbage that only a collection would find
    gc.set_threshold(_GARBAGE)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    sys.exit(run(sys.argv[1:]))


def _end(number: int, frame: object) -> None:
    """End as the signal would, but not without removing what is half done."""
    sys.exit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run a command and give its exit code; errors are shown, never raised."""
    json = "--json" in _options(arguments)
    try:
        result = _call(arguments)
        terminal.flush()
        return result if isinstance(result, int) else 0
    except RamekinError as error:
        return terminal.fail(error, json=json)
    except KeyboardInterrupt:
        terminal.say("interrupted")
        return 130
    except BrokenPipeError:
        # whoever read the output has gone; Python would complain once more while it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("RAMEKIN_DEBUG"):
            raise
        if isinstance(error, OSError) and error.strerror:
            return terminal.fail(_refused(error), json=json)
        bug = RamekinError(
            f"this is a bug in Ramekin: {type(error).__name__}: {error}",
            hint="set RAMEKIN_DEBUG=1 to see where, and report it",
        )
        return terminal.fail(bug, json=json)


def _refused(error: OSError) -> RamekinError:
    """What the system refused, where nothing nearer has said it better."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    reason = error.strerror or str(error)
    return RamekinError(f"{place}{reason[:1].lower()}{reason[1:]}")


def _call(arguments: Sequence[str]) -> object:
    try:
        return app(
            _imply(arguments),
            print_error=False,
            exit_on_error=False,
            verbose=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        raise _explain(error) from None


def _options(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments before `--`."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _imply(arguments: Sequence[str]) -> list[str]:
    """Give `--sbom` that stands alone its format: the one option whose value may be left out."""
    end = len(_options(arguments))
    implied = list(arguments)
    if "--sbom" not in arguments[:end]:
        return implied
    from ramekin.build.fields import SBOM_FORMATS

    for place, word in enumerate(arguments[:end]):
        following = arguments[place + 1] if place + 1 < end else ""
        if word == "--sbom" and following not in SBOM_FORMATS:
            implied[place] = f"--sbom={SBOM_FORMATS[0]}"
    return implied


def _near(message: str, suggestion: str) -> bool:
    """Whether a suggestion is like the word at the message's end; the dashes of options do not count."""
    if not suggestion.startswith("-"):
        return bool(suggestion)
    from difflib import get_close_matches

    word = message.rstrip(".").rpartition(" ")[2].partition("=")[0]
    return bool(get_close_matches(word.lstrip("-"), [suggestion.lstrip("-")], 1))


def _explain(error: CycloptsError) -> UsageError:
    """A parser's complaint in the form of all others: one line, and a hint."""
    text = " ".join(str(error).split())
    message, _, rest = text.partition(" Did you mean ")
    suggestion = rest.partition("?")[0].strip('"')
    message = message[:1].lower() + message[1:]
    if isinstance(error, MissingArgumentError) and error.argument and error.argument.name.isupper():
        message = f"{error.argument.name} is missing"
    if isinstance(error, MissingArgumentError) and error.argument and error.argument.name.startswith("--"):
        return UsageError(
            message.rstrip("."), hint=f"a value that begins with a dash is written {error.argument.name}='-…'"
        )
    chain = " ".join(["ramekin", *(error.command_chain or ())])
    hint = f"did you mean {suggestion}?" if _near(message, suggestion) else f"`{chain} --help` shows its use"
    return UsageError(message.rstrip("."), hint=hint)
