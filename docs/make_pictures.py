"""Make the pictures of the README and the documentation, and run the tutorial.

``python docs/make_pictures.py --photos DIR`` makes all of them, ``python docs/make_pictures.py report gradients`` only
these two. Report, overlay and tutorial are computed with the bundled network on generated images, the maps of all
methods with EfficientNet-Lite0 on a photograph of scikit-image. Those of ``attention`` need a small transformer, which
is first trained on the photographs below ``--photos``: a few hundred JPEG files of anything, without labels. It takes
an hour on two CPU cores. Needs ``pip install -e '.[slow-test]'``, Chromium, and the packages that
``benchmarks/efficientnet_lite0.py`` names.
"""

import argparse
import base64
import io
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nbclient
import nbformat
from _method_pictures import CREDIT, draw_family, families
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import sync_playwright

import wsol

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
EXIF_DESCRIPTION, EXIF_COPYRIGHT = 0x010E, 0x8298


def main() -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="picture, or page of docs/methods (default: all)")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for attention")
    options = parser.parse_args()
    makers: dict[str, Callable[[], None]] = {"report": report, "overlay": overlay, "tutorial": tutorial}
    makers |= {family: partial(method_maps, family, options.photos) for family in families()}
    if unknown := {*options.names} - {*makers}:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; give {', '.join(makers)}")
    PICTURES.mkdir(exist_ok=True)
    for name in options.names or makers:
        makers[name]()


def report() -> None:
    """Photograph the page of the run in the README."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "synthetic-test-vgg16-gap-cam"
        wsol.evaluate("vgg16-gap", out=run)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1900}, color_scheme="light")
        page.goto((run / "report.html").as_uri())
        page.wait_for_load_state("networkidle")
        save(Image.open(io.BytesIO(page.screenshot())), "report", width=1000)
        browser.close()


def overlay() -> None:
    """Draw what ``wsol.explain`` draws of one image."""
    figure = wsol.show("test-000124", "vgg16-gap", dataset="synthetic", top=4)
    save(rasterize(figure, 150), "overlay", width=1200)


def method_maps(family: str, photos: Path | None) -> None:
    """Draw the maps of all methods of a family on one photograph; the file names them, and the photographer."""
    exif = Image.Exif()
    exif[EXIF_DESCRIPTION], exif[EXIF_COPYRIGHT] = ", ".join(families()[family]), CREDIT
    save(rasterize(draw_family(family, photos), 100), f"methods-{family}", exif=exif)


def rasterize(figure: Figure, dpi: int) -> Image.Image:
    """Return the pixels of a figure."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi)
    return Image.open(file)


def save(picture: Image.Image, name: str, width: int | None = None, exif: Image.Exif | None = None) -> None:
    """Write a picture as WebP, reduced to ``width``."""
    picture = picture.convert("RGB")
    if width and width < picture.width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    path = PICTURES / f"{name}.webp"
    picture.save(path, quality=75, method=6, exif=exif or Image.Exif())
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def tutorial() -> None:
    """Run the tutorial and store its outputs in it, pictures reduced."""
    path = DOCS / "tutorial.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output["data"]:
                output["data"]["image/jpeg"] = to_jpeg(output["data"].pop("image/png"))
                output["metadata"] = {}
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def to_jpeg(png: str, width: int = 760) -> str:
    """Return a picture in Base64 as JPEG of at most ``width`` pixels."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((width, picture.height))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
