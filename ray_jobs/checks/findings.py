"""Collect the findings of all checks, so that one fault does not hide the next. `checks.run` fills them in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable

T = TypeVar("T")
Kind = Literal["bad input", "trouble", "doubt"]
CHARACTERS = 600


@dataclass(frozen=True)
class Finding:
    """`bad input` stops a job for good. `trouble` stops a job now, and a retry may pass. A `doubt` stops nothing."""

    kind: Kind
    about: str
    text: str


@dataclass
class Findings:
    """All findings, in the order of the checks."""

    items: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, about: str, text: str) -> None:
        finding = Finding(kind, about, printable(text.strip().partition("\n")[0], CHARACTERS))
        if finding not in self.items:
            self.items.append(finding)

    def add_doubts(self, about: str, texts: Iterable[str]) -> None:
        for text in texts:
            self.add("doubt", about, text)

    def attempt(self, about: str, work: Callable[..., T], *arguments: object) -> T | None:
        """Returns the result of `work`. If `work` fails, returns None and adds the failure to the findings."""
        try:
            return work(*arguments)
        except (InputError, Incomplete) as error:
            self.add("bad input", about, str(error))
        except RetryableError as error:
            self.add("trouble", about, str(error))
        except Exception as error:  # the next checks must run all the same
            self.add("trouble", about, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return None

    @property
    def exit_code(self) -> int:
        """2 if there is bad input, else 1 if there is trouble, else 0, as the exit codes of a job."""
        kinds = {finding.kind for finding in self.items}
        return 2 if "bad input" in kinds else 1 if "trouble" in kinds else 0
