"""Does the same work as `preprocess` in the usual ways: decode, resize, encode and write to Parquet, with Pillow.

python -m benchmarks.image_rivals ray|block|dataloader|datasets|pool FOLDER OUTPUT
"""

import io
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ray_jobs.contract.sections.preprocess import Preprocess

SETTINGS = Preprocess()
WORKERS = os.cpu_count() or 1


def pillow(data: bytes) -> bytes:
    """Decode fully, resize with Lanczos, encode as Assay does."""
    from ray_jobs.images.resize import compute_target_size

    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.resize(compute_target_size(*image.size, SETTINGS), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=SETTINGS.quality, subsampling=0)
    return sink.getvalue()


def _ray_data() -> Any:
    """Ray Data, on a new cluster of this machine."""
    import ray

    ray.init("local", num_cpus=WORKERS, include_dashboard=False, logging_level="warning", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data


def with_ray(folder: Path, output: Path) -> None:
    """A plain Ray Data map."""
    images = _ray_data().read_binary_files(str(folder))
    images.map(lambda row: {"image": pillow(row["bytes"])}).write_parquet(str(output))


def with_block(folder: Path, output: Path) -> None:
    """A plain Ray Data map over a Hugging Face dataset, which arrives as one block."""
    import datasets

    images = _ray_data().from_huggingface(datasets.load_from_disk(str(folder)))
    images.map(lambda row: {"image": pillow(row["image"]["bytes"])}).write_parquet(str(output))


class Files:
    """A map-style dataset of PyTorch."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> bytes:
        return pillow(self.files[index].read_bytes())


def with_dataloader(folder: Path, output: Path) -> None:
    """A PyTorch DataLoader. This process writes the batches."""
    import torch.utils.data as torch_data

    loader: Any = torch_data.DataLoader(Files(folder), batch_size=64, num_workers=WORKERS, collate_fn=list)  # type: ignore[arg-type]
    _write(loader, output)


def with_datasets(folder: Path, output: Path) -> None:
    """`datasets.map` over the cores."""
    import datasets

    datasets.disable_progress_bars()
    listed = datasets.Dataset.from_dict({"file": [str(file) for file in sorted(folder.iterdir())]})
    mapped = listed.map(
        lambda row: {"image": pillow(Path(row["file"]).read_bytes())},
        num_proc=WORKERS, remove_columns=["file"], load_from_cache_file=False,
    )  # fmt: skip
    mapped.to_parquet(str(output / "images.parquet"))


def with_pool(folder: Path, output: Path) -> None:
    """The limit: one bare loop per core reads, decodes, resizes, encodes and appends with our code."""
    files = sorted(folder.iterdir())
    shares = [files[number::WORKERS] for number in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(_bare, shares, [output / f"{number}.bin" for number in range(WORKERS)]))


def _bare(files: list[Path], output: Path) -> None:
    from ray_jobs.images.decode import decode
    from ray_jobs.images.resize import compute_target_size, encode, resize

    with output.open("wb") as sink:
        for file in files:
            decoded = decode(file.read_bytes(), SETTINGS)
            pixels = resize(decoded.pixels, compute_target_size(decoded.width, decoded.height, SETTINGS), SETTINGS)
            sink.write(encode(pixels, SETTINGS))


def _write(batches: Any, output: Path) -> None:
    schema = pa.schema({"image": pa.binary()})
    with pq.ParquetWriter(output / "images.parquet", schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.table({"image": batch}, schema=schema))


RIVALS = {
    "ray": with_ray,
    "block": with_block,
    "dataloader": with_dataloader,
    "datasets": with_datasets,
    "pool": with_pool,
}

if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    RIVALS[sys.argv[1]](Path(sys.argv[2]), target)
