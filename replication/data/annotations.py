"""Annotations in COCO's format, by whatever tool: refused where pycocotools would guess, stumble or crash."""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

# As PIL, which refuses larger pictures: they could fill the memory from a small file.
_PIXELS = 89_478_485


def fault(content: Any) -> str:
    """What is wrong with an annotation file, naming the photograph or the annotation; nothing where all is well.

    A missing `iscrowd` counts as 0. An object without an outline is refused: its pixels would count as background.
    """
    for name in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            return f"it has no list of {name}"
    if not content["images"]:
        return "its list of images is empty"
    return next(_faults(content), "")


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    sizes = {}
    for image in content["images"]:
        wrong = _of_image(image)
        if wrong:
            yield f"photograph {_id(image)}: {wrong}"
        else:
            sizes[image["id"]] = (image["width"], image["height"])
    for one in content["annotations"]:
        wrong = _of_object(one, sizes)
        if wrong:
            yield f"annotation {_id(one)}: {wrong}"


def _id(entry: Any) -> object:
    return entry.get("id", "?") if isinstance(entry, dict) else repr(entry)


def _of_image(image: Any) -> str:
    if not isinstance(image, dict) or not {"id", "file_name", "width", "height"} <= set(image):
        return "it lacks one of id, file_name, width, height"
    if not isinstance(image["file_name"], str):
        return "its file_name is no text"
    paths = PurePosixPath(image["file_name"]), PureWindowsPath(image["file_name"])
    if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths):
        return f"its file {image['file_name']!r} lies outside of its folder"
    sides = image["width"], image["height"]
    if not all(type(side) is int and side > 0 for side in sides) or sides[0] * sides[1] > _PIXELS:
        return f"a size of {sides[0]} x {sides[1]} pixels"
    return ""


def _of_object(one: Any, sizes: Mapping[Any, tuple[int, int]]) -> str:
    if not isinstance(one, dict) or one.get("image_id") not in sizes:
        return "it belongs to no photograph of the list"
    outline, (width, height) = one.get("segmentation"), sizes[one["image_id"]]
    if not outline:
        return "it has no outline (segmentation), a box alone marks no pixels"
    if isinstance(outline, dict):
        return _of_runs(outline, width, height)
    if not isinstance(outline, list):
        return "its outline is neither a list of polygons nor run-length encoded"
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "a polygon has fewer than three points"
        if not all(isinstance(x, (int, float)) and isfinite(x) for x in polygon):
            return "a polygon has coordinates that are no numbers"
        axes = (width, polygon[::2]), (height, polygon[1::2])
        if not all(-side <= x <= 2 * side for side, along in axes for x in along):
            return f"a polygon lies far beyond its photograph of {width} x {height} pixels"
    return ""


def _of_runs(outline: Mapping[str, Any], width: int, height: int) -> str:
    if outline.get("size") != [height, width]:
        return f"its runs are of a picture of size {outline.get('size')}, its photograph is {[height, width]}"
    counts = outline.get("counts")
    if isinstance(counts, list):
        whole = all(type(n) is int and n >= 0 for n in counts) and sum(counts) == width * height
        return "" if whole else "its runs do not fill the photograph"
    return "" if isinstance(counts, str) else "its runs are neither a list nor a text"
