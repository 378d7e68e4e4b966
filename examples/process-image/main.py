"""Resizes a JPEG of the bundle and returns it as base64."""

import base64
import os

try:
    from pillow_resize import resize
except ImportError:
    # Deployed without --build: slower, and for baseline JPEG only.
    from plain_jpeg import resize

FOLDER = os.path.dirname(os.path.abspath(__file__))
WIDTH_MAX = 4000


def handler(event, context):
    name = os.path.basename(event.get("image", "photo.jpg"))
    width = event.get("width", 800)
    if not isinstance(width, int) or not 1 <= width <= WIDTH_MAX:
        raise ValueError(f"width must be 1 to {WIDTH_MAX}, not {width!r}")
    with open(os.path.join(FOLDER, name), "rb") as file:
        data, width, height = resize(file.read(), width)
    print(f"{name}: resized to {width} x {height} by {resize.__module__}")
    return {
        "width": width,
        "height": height,
        "bytes": len(data),
        "format": "jpeg",
        "data": base64.b64encode(data).decode(),
    }
