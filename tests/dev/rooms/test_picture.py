"""The picture of a plan has a box for each room and an arrow for each import; upward imports are red."""

from xml.etree import ElementTree

from dev.rooms.imports import SourceFile
from dev.rooms.picture import draw_svg
from dev.rooms.plan import draw_plan

SVG = "{http://www.w3.org/2000/svg}"


def find_file(path: str, *imports: str) -> SourceFile:
    return SourceFile(path, 10, 8, False, imports)


def test_the_picture_shows_rooms_arrows_and_what_goes_up() -> None:
    low, middle, high = "ray_jobs/low/a.py", "ray_jobs/middle/b.py", "ray_jobs/high/c.py"
    files = [find_file(low, high), find_file(middle, low), find_file(high, middle, low)]
    plan = draw_plan({file.path: file for file in files}, ["low", "middle", "high"])
    picture = ElementTree.fromstring(draw_svg(plan, "a < b"))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"low", "middle", "high", "a < b"} <= set(texts)
    titles = {
        title.split("\n")[0]: path.get("class")
        for path in picture.iter(f"{SVG}path")
        if (title := path.findtext(f"{SVG}title"))
    }
    assert titles.items() >= {
        "low -> high": "upward", "middle -> low": "plain", "high -> middle": "plain", "high -> low": "faint",
    }.items()  # fmt: skip
    tops = {
        group.findtext(f"{SVG}text"): float(group.findall(f"{SVG}rect")[0].attrib["y"])
        for group in picture.iter(f"{SVG}g")
    }
    assert tops["high"] < tops["middle"] < tops["low"]
