"""Writes twelve real photographs, from the data inside the packages scikit-image and scikit-learn.

    python -m demo.photos        # needs the "assets" dependency group; writes demo/images/photos and its SOURCES.md

The script downloads nothing. scikit-image states each picture's licence in the docstring of the function of that name
in skimage.data; scikit-learn in sklearn/datasets/images/README.txt. Pictures without a stated free licence were left
out.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

PHOTOS = Path(__file__).parent / "images" / "photos"
LONGEST_SIDE = 448
QUALITY = 82

# name here: (package, file in the package, subject, licence, author)
SOURCES = {
    "astronaut": ("scikit-image", "astronaut.png", "Eileen Collins", "public domain", "NASA Great Images database"),
    "brick": ("scikit-image", "brick.png", "a brick wall", "CC0 1.0", "CC0Textures, Bricks25"),
    "camera": ("scikit-image", "camera.png", "a man with a camera", "CC0 1.0", "Lav Varshney"),
    "cat": ("scikit-image", "chelsea.png", "the cat Chelsea", "CC0 1.0", "Stefan van der Walt"),
    "china": ("scikit-learn", "china.jpg", "a temple in China", "CC BY 2.0", "danielbuechele, flickr 6061409035"),
    "clock": ("scikit-image", "clock_motion.png", "a clock, blurred", "public domain", "Stefan van der Walt"),
    "coffee": ("scikit-image", "coffee.png", "a cup of coffee", "CC0 1.0", "Rachel Michetti, Pikolo Espresso Bar"),
    "coins": ("scikit-image", "coins.png", "coins", "no known copyright restrictions", "Brooklyn Museum, 51611"),
    "flower": ("scikit-learn", "flower.jpg", "a flower", "CC BY 2.0", "vultilion, flickr 6056698931"),
    "grass": ("scikit-image", "grass.png", "grass", "CC0 1.0", "linolafett, DeviantArt Grass-01"),
    "hubble": ("scikit-image", "hubble_deep_field.jpg", "galaxies", "public domain", "NASA, HubbleSite 2012/37"),
    "rocket": ("scikit-image", "rocket.jpg", "a launch of Falcon 9", "public domain", "SpaceX, flickr 16511594820"),
}

NOTES = """
All were scaled to at most {side} pixels a side and saved again as JPEG without metadata; nothing else was changed.

- Licences are quoted from the packages: scikit-image {skimage}, in the docstrings of `skimage.data`; scikit-learn
  {sklearn}, in `sklearn/datasets/images/README.txt`.
- CC BY 2.0: <https://creativecommons.org/licenses/by/2.0/>. CC0 1.0: <https://creativecommons.org/publicdomain/zero/1.0/>.
- scikit-learn's README names danielbuechele for both of its pictures, but links the flower to the photostream of
  vultilion: we credit the photostream.
"""


def find_packaged_file(package: str, file: str) -> Path:
    """The path of a picture in an installed package. The package is not imported, because that takes seconds."""
    module, folder = ("sklearn", "datasets/images") if package == "scikit-learn" else ("skimage", "data")
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]) / folder / file


def write_sources() -> str:
    """SOURCES.md."""
    rows = [
        "# Photographs: sources and licences",
        "",
        "| file | shows | from | by | licence |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (package, file, shows, licence, author) in SOURCES.items():
        rows.append(f"| {name}.jpg | {shows} | {package}, `{file}` | {author} | {licence} |")
    skimage, sklearn = version("scikit-image"), version("scikit-learn")
    notes = NOTES.format(side=LONGEST_SIDE, skimage=skimage, sklearn=sklearn)
    return "\n".join(rows) + "\n" + notes


def main(photos: Path = PHOTOS) -> None:
    photos.mkdir(parents=True, exist_ok=True)
    for name, (package, file, *_) in SOURCES.items():
        with Image.open(find_packaged_file(package, file)) as picture:
            small = picture.convert("RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        small.save(photos / f"{name}.jpg", quality=QUALITY, optimize=True)
    (photos / "SOURCES.md").write_text(write_sources())
    print(f"{len(SOURCES)} photographs in {photos}")


if __name__ == "__main__":
    main()
