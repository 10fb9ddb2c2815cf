"""Makes the inputs of a night: images with captions, and checkpoints of one training run. `benchmarks.night` calls it.

    .assay/data/bin/python -m benchmarks.night_inputs FOLDER --images 1000 --checkpoints 8

The images are scenes of the demo's world with new layouts. The checkpoints lie on the line between two of the demo's,
step-0200 and step-0800, so each has other weights and writes other captions. Existing folders are reused.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

from demo import scenes

DEMO = Path(__file__).parent.parent / "demo"
FIRST, LAST = DEMO / "checkpoints" / "step-0200", DEMO / "checkpoints" / "step-0800"
SEED = 30_000_000  # training counts its seeds up from 0, and the demo's held-out images have 20,000,000 and more


def write_images(folder: Path, count: int) -> None:
    """Write PNGs and `metadata.jsonl` with their right captions. Every scene comes before one comes twice."""
    folder.mkdir(parents=True)
    order = scenes.list_scenes()
    random.Random(SEED).shuffle(order)
    with (folder / "metadata.jsonl").open("w") as metadata:
        for number in range(count):
            scene = order[number % len(order)]
            name = f"scene-{number:05d}.png"
            scenes.draw(scene, random.Random(SEED + number)).save(folder / name)
            metadata.write(json.dumps({"file_name": name, "caption": scenes.write_caption(scene)}) + "\n")


def write_checkpoints(folder: Path, count: int) -> list[Path]:
    """Write `count` checkpoints, the last of which is the demo's step-0800."""
    from safetensors.torch import load_file, save_file

    targets = []
    for number in range(count):
        share = (number + 1) / count
        target = folder / f"step-{100 * (number + 1):04d}"
        targets.append(target)
        shutil.copytree(LAST, target)
        for file in target.glob("*.safetensors"):
            first, last = load_file(FIRST / file.name), load_file(LAST / file.name)
            mixed = {
                name: ((1 - share) * first[name].float() + share * tensor.float()).to(tensor.dtype)
                for name, tensor in last.items()
            }
            save_file(mixed, file, metadata={"format": "pt"})
    return targets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night_inputs")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=8)
    arguments = parser.parse_args()
    images = arguments.folder / f"images-{arguments.images}"
    if not images.exists():
        write_images(images, arguments.images)
    checkpoints = arguments.folder / f"checkpoints-{arguments.checkpoints}"
    if not checkpoints.exists():
        write_checkpoints(checkpoints, arguments.checkpoints)
    print(json.dumps({"images": str(images), "checkpoints": str(checkpoints)}))


if __name__ == "__main__":
    main()
