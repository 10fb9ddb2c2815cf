"""Cache what the router found in each checkpoint of one folder, so that a pass opens only new checkpoints.

Each folder has one JSON at `{root}/router/{digest of its URI}.json`, read once and written once per pass. If the file
is lost or unreadable, the next pass opens every checkpoint again. If two passes write at once, some entries are lost.
"""

from pydantic import BaseModel, ConfigDict

from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.stored_model import NewerSchema, StoredModel
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import json_files, objects, uris
from ray_jobs.storage.odd_items import describe

MAX_BYTES = 64 << 20  # bytes: some 200,000 checkpoints


class KnownCheckpoint(BaseModel):
    """The result of opening a folder with this listing: a checkpoint, or the reason why it is none.

    `of_loaded_files`: the fingerprint covers loaded files only, or existing runs have it. Fingerprints of earlier
    versions may cover notes too, and then `plan` computes another one.
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
    known: dict[str, KnownCheckpoint] = {}


class KnownCheckpoints:
    """The cached results of one folder. `save` writes them if any changed."""

    def __init__(self, root: str, folder: str) -> None:
        self.uri = f"{uris.make_absolute(root)}/router/{digest(folder)}.json"
        self._folder = folder
        self._is_changed, self._is_writable = False, True
        self._known = self._load()

    def get(self, name: str, listing: str) -> KnownCheckpoint | None:
        """The cached result for this name, or None if its listing has changed."""
        answer = self._known.get(name)
        return answer if answer and answer.listing == listing else None

    def put(self, name: str, answer: KnownCheckpoint) -> None:
        self._is_changed |= self._known.get(name) != answer
        self._known[name] = answer

    def keep_only(self, names: set[str]) -> None:
        """Forget all folders but `names`."""
        missing = self._known.keys() - names
        self._is_changed |= bool(missing)
        for name in missing:
            del self._known[name]

    def save(self) -> None:
        if self._is_changed and self._is_writable:
            content = _File(folder=self._folder, known=self._known)
            objects.write(self.uri, content.model_dump_json(by_alias=True, exclude_none=True).encode())
            self._is_changed = False

    def _load(self) -> dict[str, KnownCheckpoint]:
        try:
            return dict(json_files.load(_File, self.uri, MAX_BYTES).known)
        except FileNotFoundError:
            return {}
        except NewerSchema as newer:
            self._is_writable = False
            print(f"left alone: {newer}")
            return {}
        except RetryableError:
            raise
        except (InputError, ValueError) as error:
            print(f"{self.uri}: not readable, so every checkpoint is opened once more: {describe(error)}")
            return {}
