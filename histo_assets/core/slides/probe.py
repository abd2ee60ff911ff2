"""Opens one slide and says what it is, as a line of JSON: a child process, in case the file ends it.

Run as `python -m histo_assets.core.slides.probe PATH`.
"""

from __future__ import annotations

import json
import math
import sys

from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.slide import open_slide


def probe(path: str) -> dict[str, str | int | float | None]:
    """Return size, levels, resolution and vendor of the slide at `path`, after reading a little of it.

    Returns
    -------
    dict
        `width`, `height` (level-0 pixels), `levels`, `mpp` (um/px or None) and `vendor`; or `error`
        alone, with the reason.
    """
    try:
        with open_slide(path) as slide:
            width, height = slide.dimensions
            slide.thumbnail(64)
            # A resolution of its own: the file may name none, and reading needs none.
            mpp = None if math.isnan(slide.mpp) else slide.mpp
            return {"width": width, "height": height, "levels": len(slide.levels), "mpp": mpp, "vendor": slide.vendor}
    except (SlideError, OSError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
