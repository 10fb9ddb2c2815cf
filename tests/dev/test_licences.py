"""Every package in the images names its licence, and no licence forbids shipping the package as Assay does."""

import re

import pytest

from dev import licences

# Under a choice of licences of which one is not the GPL.
BY_CHOICE = {"text-unidecode"}
PATENT_OR_GPL = {"libx264", "libx265", "libfdk-aac"}


@pytest.mark.parametrize("lock", licences.IMAGES)
def test_every_package_of_an_image_names_a_licence(lock: str) -> None:
    rows = licences.build_inventory(lock, licences.IMAGES[lock])
    assert len(rows) > 100
    assert [name for name, _, licence, _ in rows if not licence] == []


@pytest.mark.parametrize("lock", licences.IMAGES)
def test_no_package_of_an_image_is_under_the_gpl_alone(lock: str) -> None:
    rows = licences.build_inventory(lock, licences.IMAGES[lock])
    gpl = {name for name, _, licence, _ in rows if re.search(r"(?<!L)A?GPL|General Public", licence)}
    lesser = {name for name, _, licence, _ in rows if re.search(r"LGPL|Lesser|Library", licence)}
    assert gpl - lesser == BY_CHOICE & gpl


@pytest.mark.parametrize("lock", licences.IMAGES)
def test_no_wheel_of_an_image_bundles_a_gpl_codec(lock: str) -> None:
    inventory = licences.build_inventory(lock, licences.IMAGES[lock])
    bundled = {library for *_, libraries in inventory for library in libraries}
    assert bundled
    assert bundled & PATENT_OR_GPL == set()


def test_a_wheel_that_bundles_a_gpl_codec_is_noticed() -> None:
    """The encoder's package, which only the tests have, does bundle x265: the test above would find it."""
    package = licences.list_packages(licences.IMAGES["data-cpu"])["pillow-heif"]
    assert "libx265" in licences.list_bundled_libraries(package)


@pytest.mark.parametrize("lock", licences.IMAGES)
def test_the_page_lists_the_locked_packages(lock: str) -> None:
    page = (licences.REPO / "docs" / "reference" / "licences.md").read_text()
    section = page.partition(f"\n## {lock}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\S+) \| (\S+) \|", section, re.MULTILINE)
    assert {name: version for name, version in rows if name not in ("package", "---")} == licences.read_lock(lock)


def test_the_repository_states_its_licence() -> None:
    assert "Apache License" in (licences.REPO / "LICENSE").read_text()
    assert "docs/reference/licences.md" in (licences.REPO / "NOTICE").read_text()
