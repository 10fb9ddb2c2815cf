"""What the router has learned of the checkpoints below one folder, so that a pass opens only what is new.

One JSON a folder at `{root}/router/{digest of its URI}.json`, read once and written once a pass. It is a cache: lost or
unreadable, the next pass opens every checkpoint once more. Two passes that write at once lose some of it, never more.
"""

from pydantic import BaseModel, ConfigDict

from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.stored_model import NewerSchema, StoredModel
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import json_files, objects
from ray_jobs.storage.odd_items import describe

LARGEST = 64 << 20  # bytes: some 200,000 checkpoints


class Known(BaseModel):
    """What a checkpoint with this listing is: the checkpoint, or why it is none.

    `of_loaded_files`: its fingerprint is over the files that are loaded, or that of the runs which the root has. In
    answers of earlier versions it may cover notes too, and then `plan` knows the checkpoint by another.
    """

    model_config = ConfigDict(frozen=True)

    listing: str
    checkpoint: Checkpoint | None = None
    base_listing: str | None = None
    base_model: str | None = None
    refusal: str | None = None
    of_loaded_files: bool = False


class _File(StoredModel):
    folder: str
    known: dict[str, Known] = {}


class KnownCheckpoints:
    """The answers kept for one folder; `save` writes them when any is new."""

    def __init__(self, root: str, folder: str) -> None:
        self.uri = f"{objects.absolute(root)}/router/{digest(folder)}.json"
        self._folder = folder
        self._changed, self._writable = False, True
        self._known = self._load()

    def get(self, name: str, listing: str) -> Known | None:
        """The answer for this name, unless its listing has changed since."""
        answer = self._known.get(name)
        return answer if answer and answer.listing == listing else None

    def put(self, name: str, answer: Known) -> None:
        self._changed |= self._known.get(name) != answer
        self._known[name] = answer

    def keep_only(self, names: set[str]) -> None:
        """Forget the folders that are gone."""
        gone = self._known.keys() - names
        self._changed |= bool(gone)
        for name in gone:
            del self._known[name]

    def save(self) -> None:
        if self._changed and self._writable:
            content = _File(folder=self._folder, known=self._known)
            objects.write(self.uri, content.model_dump_json(by_alias=True, exclude_none=True).encode())
            self._changed = False

    def _load(self) -> dict[str, Known]:
        try:
            return dict(json_files.load(_File, self.uri, LARGEST).known)
        except FileNotFoundError:
            return {}
        except NewerSchema as newer:
            self._writable = False
            print(f"left alone: {newer}")
            return {}
        except RetryableError:
            raise
        except (InputError, ValueError) as error:
            print(f"{self.uri}: not readable, so every checkpoint is opened once more: {describe(error)}")
            return {}
