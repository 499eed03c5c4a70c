"""Pictures of own photographs and of `prepare.html` for the documentation, with synthetic people.

    python benchmarks/own_files_pictures.py                   writes docs/pictures/{own_files,prepare}.png
    python benchmarks/own_files_pictures.py --out FOLDER      writes them there

Needs the networks of `voiceface models get real`, `pip install playwright` and Chromium
(`apt-get install chromium`). Sixteen videos are rendered and prepared, which takes some minutes; with
`--work` they are kept for the next run.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from studio_pictures import PICTURES, open_browser
from voiceface.faces.crops import CROP_CONVENTIONS, crop_face
from voiceface.faces.finding import FoundFace, load_face_finder
from voiceface.images.photographs import load_photograph
from voiceface.synthetic.talking_heads import Scene, Turn, render_talking_video

NUM_PEOPLE, NUM_VIDEOS = 4, 4
PAIR = (311, 306)  # two people of the population `quick`
PHOTO, FRAME = (960, 720), 2  # pixels; of the video that the photograph is taken from
SHEET, TITLE = (1024, 540), 22  # pixels
GREEN, INK = (34, 160, 60), (33, 33, 33)
TURNED = 6  # EXIF orientation: the camera was held upright
PAGE, SHOWN_HEIGHT, COLOURS = (1180, 900), 890, 256


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=PICTURES, help="default: docs/pictures")
    parser.add_argument("--work", type=Path, help="folder kept for later runs; default: a temporary one")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        sheet = draw_photograph(take_photograph(work))
        save(options.out / "own_files.png", sheet)
        save(options.out / "prepare.png", show_prepared(prepare(work)))
    return 0


def take_photograph(work: Path) -> Path:
    """A photograph of two people, stored on its side with the orientation as a note, as telephones do."""
    video, photo = work / "two people.mp4", work / "photo.jpg"
    scene = Scene(1.0, PAIR, (Turn(0.2, 0.9, PAIR[0]),), head_height=0.46)
    render_talking_video(video, [scene], number=3, population="quick", width=PHOTO[0], height=PHOTO[1])
    with av.open(str(video)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    stored = frames[FRAME].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = TURNED
    stored.save(photo, quality=95, exif=exif)
    return photo


def draw_photograph(photo: Path) -> Image.Image:
    """The photograph as stored and upright, its faces, a blurred one, and a face by every crop convention."""
    pixels = load_photograph(photo)
    faces = sorted(load_face_finder().find([pixels])[0], key=lambda face: float(face.box[0]))
    with Image.open(photo) as opened:
        stored = opened.convert("RGB")
    sheet = Image.new("RGB", SHEET, (255, 255, 255))
    place(sheet, "stored by a telephone", stored.resize((225, 300), Image.Resampling.LANCZOS), (16, 30))
    place(sheet, "turned upright, faces found", draw_found(pixels, faces, 400), (262, 30))
    candidates = [Image.fromarray(crop_face(pixels, face.points, "population", 138)) for face in faces]
    for number, (candidate, left) in enumerate(zip(candidates, (690, 846)), 1):
        place(sheet, f"photo.jpg#{number}", candidate, (left, 30))
    place(sheet, "blurred", candidates[-1].filter(ImageFilter.GaussianBlur(5)), (690, 204))
    for number, name in enumerate(CROP_CONVENTIONS):
        crop = Image.fromarray(crop_face(pixels, faces[0].points, name, 160))
        place(sheet, name, crop, (16 + 178 * number, 366))
    return sheet


def draw_found(pixels: NDArray[np.uint8], faces: Sequence[FoundFace], width: int) -> Image.Image:
    """The picture, `width` pixels wide, with boxes and points of its faces."""
    scale = width / pixels.shape[1]
    shown = Image.fromarray(pixels).resize((width, round(pixels.shape[0] * scale)), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(shown)
    for face in faces:
        pen.rectangle([float(each) * scale for each in face.box], outline=GREEN, width=2)
        for x, y in face.points * scale:
            pen.ellipse([x - 2.5, y - 2.5, x + 2.5, y + 2.5], fill=GREEN, outline=(255, 255, 255))
    return shown


def place(sheet: Image.Image, title: str, picture: Image.Image, corner: tuple[int, int]) -> None:
    """Paste a picture with its title above it."""
    sheet.paste(picture, corner)
    font = ImageFont.load_default(14)
    ImageDraw.Draw(sheet).text((corner[0], corner[1] - TITLE), title, fill=INK, font=font)


def prepare(work: Path) -> Path:
    """Render videos and prepare a data folder from them; return its page."""
    population, out = work / "population", work / "prepared"
    command = [sys.executable, "-m", "voiceface"]
    if not (out / "prepare.html").exists():
        sizes = ["--identities", str(NUM_PEOPLE), "--videos", str(NUM_VIDEOS)]
        subprocess.run([*command, "population", str(population), "--preset", "quick", *sizes], check=True)
        subprocess.run([*command, "prepare", str(population / "videos"), "--out", str(out)], check=True)
    return out / "prepare.html"


def show_prepared(page: Path) -> Image.Image:
    """The part of the page on what was kept and what was left out."""
    with open_browser() as browser, tempfile.TemporaryDirectory() as folder:
        view = browser.new_page(viewport={"width": PAGE[0], "height": PAGE[1]})
        view.goto(page.resolve().as_uri())
        top = view.evaluate(
            "[...document.querySelectorAll('h2')].find(each => each.textContent.startsWith('Kept'))"
            ".getBoundingClientRect().top + window.scrollY"
        )
        clip = {"x": 0, "y": max(top - 10, 0), "width": PAGE[0], "height": SHOWN_HEIGHT}
        target = Path(folder) / "page.png"
        view.screenshot(path=target, full_page=True, clip=clip)
        with Image.open(target) as picture:
            return picture.convert("RGB")


def save(path: Path, picture: Image.Image) -> None:
    """Write a PNG with a palette, which is a third of the size."""
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
