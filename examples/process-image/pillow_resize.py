"""Resizes with Pillow, which is in the bundle after `--build`."""

import io

from PIL import Image


def resize(data, width):
    """Any image `data` at `width` pixels, as `(jpeg, width, height)`."""
    with Image.open(io.BytesIO(data)) as image:
        height = max(1, round(image.height * width / image.width))
        # Only as many pixels as needed are decoded: whole halvings cost nothing.
        image.draft("RGB", (width, height))
        resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    resized.save(target, "JPEG", quality=85, optimize=True)
    return target.getvalue(), width, height
