"""The section `dataset` of a suite: the source of the images and the sample that is drawn from it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.suite_section import SuiteSection


class Dataset(SuiteSection):
    """Where the images come from, and which of them are used."""

    IDENTIFYING: ClassVar = frozenset((
        "source", "format", "config", "split", "image", "label", "label_names", "references", "limit", "seed",
        "stratify",
    ))  # fmt: skip
    ELSEWHERE: ClassVar = {"revision": "the source revision holds it", "reads": "how fast images are read, not which"}

    source: str
    """A local path, an `s3://` URI, or the name of a data set on the Hugging Face hub. A relative path is relative to
    the suite's file."""
    format: Literal["auto", "folder", "parquet", "arrow", "huggingface", "webdataset", "manifest"] = "auto"
    """How the files are read. `auto` decides by the files that are there."""
    config: str | None = None
    """The configuration of a Hugging Face data set, where it has several."""
    split: str | None = None
    """Which split is used; `all` takes every split. Needed where the source has several splits."""
    revision: str | None = None
    """On the hub, the 40 digits of a commit. Elsewhere any text: another text makes another golden set."""
    image: str | None = None
    """The column with the image. Assay finds it itself where only one column can be meant."""
    images: str | None = None
    """The folder of the images that a manifest names, relative to the manifest's own folder."""
    label: str | None = None
    """The column with the label. In a folder of images, any text: the names of the subfolders are the labels."""
    label_names: str | None = None
    """A file with a name for each label id: JSON, CSV, TSV, or one name per line."""
    references: str | None = None
    """The column with the reference captions, which `exact_match`, `chrf` and others need."""
    limit: int | None = Field(None, gt=0)
    """How many images to draw from the source. Without it all images are used."""
    seed: int = 0
    """The seed of the sample. The same seed draws the same images."""
    stratify: bool = False
    """The sample keeps the share of each label. Needs `label` and `limit`."""
    reads: int | None = Field(None, gt=0, le=256)
    """How many images one task reads at once. The default depends on how far away the images are."""
    truth: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """For each field of `caption.fields`, the column that holds its right value."""

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.stratify and not (self.label and self.limit):
            raise ValueError("`stratify` needs `label` and `limit`")
        if self.label_names and not self.label:
            raise ValueError("`label_names` needs `label`")
        return self
