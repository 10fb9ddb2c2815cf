"""Write docs/reference/licences.md: the packages in the images, their licences, and the libraries that wheels bundle.

    make licences

Reads the runtime locks and the metadata of the environments that `make setup` installs. The GPU lock is read for its
names only, because its packages cannot be installed here.
"""

import re
import sys
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

REPO = Path(__file__).parents[1]
IMAGES = {"control": ".assay/control", "data-cpu": ".assay/data"}  # lock -> the environment that has its packages
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s\\]+)", re.MULTILINE)
# The part of a shared object's file name before auditwheel's hash and before the version.
LIBRARY = re.compile(r"^(lib.+?)(?:-[0-9a-f]{8})?(?:[-.]\d[\d.]*)?\.so")
NAMED_BY_HAND = {"openai-harmony": "Apache-2.0", "protobuf": "BSD-3-Clause"}  # read in their LICENSE files


def read_lock(lock: str) -> dict[str, str]:
    """Versions by normalised name of the packages in `requirements/{lock}.txt`."""
    text = (REPO / "requirements" / f"{lock}.txt").read_text()
    return {_normalise(name): version for name, version in PINNED.findall(text)}


def list_packages(environment: str) -> dict[str, Distribution]:
    """The packages of an environment by normalised name."""
    (site,) = (REPO / environment / "lib").glob("python3*/site-packages")
    return {_normalise(package.name): package for package in distributions(path=[str(site)])}


def _first(metadata: PackageMetadata, key: str) -> str:
    """The first value of a key of a package's metadata; "" if there is none."""
    return str((metadata.get_all(key) or [""])[0])


def find_licence(package: Distribution) -> str:
    """The licence that a package's metadata names: the SPDX expression, else its classifiers, else a short free text.

    Empty if the metadata names none.
    """
    metadata = package.metadata
    if expression := _first(metadata, "License-Expression"):
        return expression
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    if names := [line.rpartition(" :: ")[2] for line in classifiers if line != "License :: OSI Approved"]:
        return " / ".join(sorted(names))
    text = " ".join(_first(metadata, "License").split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def list_bundled_libraries(package: Distribution) -> list[str]:
    """Names of the shared libraries that the wheel has in its folder `*.libs`."""
    files = [Path(str(file)) for file in package.files or ()]
    matches = [LIBRARY.match(file.name) for file in files if file.parent.name.endswith(".libs")]
    return sorted({match[1] for match in matches if match})


def build_inventory(lock: str, environment: str) -> list[tuple[str, str, str, list[str]]]:
    """Name, version, licence and bundled libraries of each package of a lock. Raises KeyError for one not installed."""
    packages = list_packages(environment)
    return [
        (name, version, find_licence(package) or NAMED_BY_HAND.get(name, ""), list_bundled_libraries(package))
        for name, version in sorted(read_lock(lock).items())
        for package in (packages[name],)
    ]


def build_page() -> str:
    """The text of docs/reference/licences.md."""
    lines = [
        "# Licences of what the images ship",
        "",
        "Assay is Apache-2.0. Each image also holds the packages below, each under its own licence. `make licences`",
        "writes this page from the locks and the packages' metadata. The last column names the shared libraries that",
        "a wheel bundles. This is an inventory, not legal advice.",
        "",
        "The GPU image has the packages of `requirements/data-gpu.txt`: those of the CPU image, vLLM's own build,",
        "and NVIDIA's libraries (`nvidia-*`). NVIDIA's licence agreements restrict who may distribute these: read them",
        "before you publish that image.",
    ]
    for lock, environment in IMAGES.items():
        lines += [
            "",
            f"## {lock}",
            "",
            "| package | version | licence | bundled libraries |",
            "| --- | --- | --- | --- |",
        ]
        for name, version, licence, libraries in build_inventory(lock, environment):
            lines.append(f"| {name} | {version} | {licence.replace('|', '/')} | {', '.join(libraries)} |")
    return "\n".join(lines) + "\n"


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    (REPO / "docs" / "reference" / "licences.md").write_text(build_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
