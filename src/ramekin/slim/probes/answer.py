"""What came back when a container was asked."""

from __future__ import annotations

import msgspec

START = "start"
"""The name of what every container is asked first: to start, and to get ready or come to its end."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to one question.

    `kind` is `start`, `http`, `run`, `host`, `crawl`, `replay` or `health`. `fields` are the parts that two
    images must have in common, as text: `status`, `type`, `body`, `exit`, `output`, …. `complaints` are what
    the probe itself expected and did not get; `note` is a word for people, which is not compared.
    """

    probe: str
    kind: str
    fields: dict[str, str]
    complaints: tuple[str, ...] = ()
    note: str = ""

    @property
    def brief(self) -> str:
        """The answer in a word, as in `200` or `exit 1`."""
        if "error" in self.fields:
            return self.fields["error"]
        status = self.fields.get("status")
        return status if status is not None else f"exit {self.fields.get('exit', '?')}"
