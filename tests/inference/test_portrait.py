"""A portrait is seen as a person sees the file, its face is found, and it is cut as training cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from catalogs.errors import UserError
from inference.picture_file import read_picture
from inference.portrait import DETECTOR, crop_around, read_portrait
from tests.support.photo_clips import astronaut, beside, cat, coffee, padded
from tests.support.written_media import write_video
from training.crops import crop_of
from training.encode_config import EncodeConfig
from weights import registry

FACE = (170, 75, 275, 215)  # of the astronaut in 512 x 512 pixels, roughly


def corners(height: int = 40, width: int = 60) -> np.ndarray:
    """A picture of which every quarter has another colour: uint8 [height, width, 3]."""
    rgb = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = height // 2, width // 2
    rgb[:half_h, :half_w], rgb[:half_h, half_w:] = (200, 40, 60), (40, 180, 90)
    rgb[half_h:, :half_w], rgb[half_h:, half_w:] = (60, 80, 220), (230, 220, 80)
    return rgb


@pytest.mark.parametrize("form", ["png", "bmp", "tiff", "webp", "gif"])
def test_usual_files_are_read_as_they_are(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{form}"
    Image.fromarray(corners()).save(path, **({"lossless": True} if form == "webp" else {}))
    np.testing.assert_array_equal(read_picture(path), corners())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_by_exif_is_made(orientation: int, tmp_path: Path) -> None:
    """What a camera stores under each orientation: the upright picture, turned or mirrored the other way."""
    upright = corners()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "p.jpg", quality=98, subsampling=0, exif=exif)
    read = read_picture(tmp_path / "p.jpg")
    assert read.shape == upright.shape
    assert np.abs(read[5:-5:10, 5:-5:10].astype(int) - upright[5:-5:10, 5:-5:10]).max() < 12


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    rgba = np.dstack([corners(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3], rgba[20:, :30, 3] = 0, 128
    Image.fromarray(rgba).save(tmp_path / "p.png")
    read = read_picture(tmp_path / "p.png")
    assert (read[:20] == 255).all()
    np.testing.assert_allclose(read[30, 10], (np.array((60, 80, 220)) + 255) / 2, atol=2)
    assert read[30, 50].tolist() == [230, 220, 80]
    palette = Image.fromarray(corners()).quantize(4)
    palette.save(tmp_path / "p.gif", transparency=palette.getpixel((5, 5)))
    assert read_picture(tmp_path / "p.gif")[5, 5].tolist() == [255, 255, 255]


def test_sixteen_bits_grey_palettes_and_print_colours_are_understood(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 60).astype(np.uint16), (40, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_picture(tmp_path / "deep.png")[..., 1], ramp / 257, atol=1)
    Image.fromarray((ramp / 65_535).astype(np.float32)).save(tmp_path / "float.tiff")
    np.testing.assert_allclose(read_picture(tmp_path / "float.tiff")[..., 2], ramp / 257, atol=1)
    Image.fromarray((ramp / 257).astype(np.uint8)).save(tmp_path / "grey.jpg", quality=98)
    np.testing.assert_allclose(read_picture(tmp_path / "grey.jpg")[..., 0], ramp / 257, atol=4)
    Image.fromarray(corners()).quantize(4).save(tmp_path / "palette.png")
    np.testing.assert_allclose(read_picture(tmp_path / "palette.png"), corners(), atol=3)
    Image.fromarray(corners()).convert("CMYK").save(tmp_path / "print.jpg", quality=98)
    np.testing.assert_allclose(read_picture(tmp_path / "print.jpg")[5, 5], (200, 40, 60), atol=12)
    Image.fromarray(corners()).convert("1").save(tmp_path / "fax.png")
    assert set(np.unique(read_picture(tmp_path / "fax.png"))) <= {0, 255}


def test_a_colour_profile_is_followed_and_a_broken_one_is_as_none(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(corners()).save(tmp_path / "srgb.png", icc_profile=lab)
    np.testing.assert_allclose(read_picture(tmp_path / "srgb.png"), corners(), atol=2)
    Image.fromarray(corners()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "broken.png"), corners())


def test_the_first_picture_of_a_video_stands_for_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [corners(48, 64), np.zeros((48, 64, 3), np.uint8)])
    np.testing.assert_allclose(read_picture(path)[10::20, 10::20], corners(48, 64)[10::20, 10::20], atol=8)


def test_what_is_no_picture_is_told_in_one_line(tmp_path: Path) -> None:
    text, cut, empty, huge = (tmp_path / name for name in ("notes.jpg", "cut.png", "empty.png", "huge.png"))
    text.write_text("not a picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:4_000])
    empty.write_bytes(b"")
    Image.new("1", (40_000, 30_000)).save(huge)
    for path, words in (
        (text, "no picture or video that can be opened"),
        (cut, "it is damaged"),
        (empty, "it is empty"),
        (huge, "more than 120 million|40000x30000 pixels"),
        (tmp_path / "nowhere.png", "there is no such file"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(UserError, match=words) as told:
            read_picture(path)
        assert str(path) in str(told.value)
        assert "\n" not in str(told.value)


def test_a_text_chunk_that_swells_is_no_crash(tmp_path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 50_000_000, zip=True)
    Image.fromarray(corners()).save(tmp_path / "p.png", pnginfo=notes)
    with pytest.raises(UserError, match=r"p\.png"):
        read_picture(tmp_path / "p.png")


# --- the face ---------------------------------------------------------------------------------------------------------


def saved(folder: Path, rgb: np.ndarray) -> Path:
    Image.fromarray(rgb).save(folder / "portrait.png")
    return folder / "portrait.png"


@pytest.mark.parametrize(("height", "width"), [(96, 96), (480, 832), (832, 480)])
def test_the_face_is_in_the_picture_and_its_box_is_on_it(height: int, width: int, tmp_path: Path) -> None:
    portrait = read_portrait(saved(tmp_path, astronaut()), height, width)
    assert portrait.picture.shape == (height, width, 3)
    assert portrait.faces_found == 1
    assert portrait.box is not None
    x0, y0, x1, y1 = portrait.box
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= width
    assert y1 <= height
    frame = crop_around(512, 512, height, width, np.array(FACE, np.float32))
    expected = frame.points(np.array(FACE, float).reshape(2, 2)).reshape(4)
    size = expected[3] - expected[1]
    assert np.abs((portrait.box[:2] + portrait.box[2:]) / 2 - (expected[:2] + expected[2:]) / 2).max() < 0.35 * size


@pytest.mark.parametrize("source", [(512, 512), (360, 640), (1000, 200), (33, 77)])
@pytest.mark.parametrize("size", [(96, 96), (480, 832)])
def test_without_a_reason_to_move_the_cut_is_training_s(source: tuple[int, int], size: tuple[int, int]) -> None:
    config = EncodeConfig(height=size[0], width=size[1], crop="centre")
    theirs = crop_of(*source, config)
    ours = crop_around(*source, *size)
    names = ("x", "y", "cut_width", "cut_height", "height", "width")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    middle = np.array([source[1] / 2 - 1, source[0] / 2 - 1, source[1] / 2 + 1, source[0] / 2 + 1])
    assert crop_around(*source, *size, middle) == ours
    rgb = np.random.default_rng(0).integers(0, 255, (*source, 3), np.uint8)
    np.testing.assert_array_equal(ours.picture(rgb), theirs.pictures(rgb[None])[0])
    points = np.random.default_rng(1).uniform(0, 100, (5, 2))
    np.testing.assert_allclose(ours.points(points), theirs.points(points))


def test_the_cut_moves_to_a_face_at_the_edge_and_stays_in_the_picture() -> None:
    left = crop_around(400, 1200, 96, 96, np.array([20, 150, 120, 270]))
    assert (left.x, left.cut_width) == (0, 400)
    right = crop_around(400, 1200, 96, 96, np.array([900, 150, 1000, 270]))
    assert right.x == 1000 + 25 - 400
    below = crop_around(1200, 400, 96, 96, np.array([100, 1150, 250, 1250]))
    assert below.y == 800
    large = crop_around(400, 1200, 96, 96, np.array([100, -100, 700, 500]))
    assert large.x + large.cut_width / 2 == 400


def test_of_two_faces_the_largest_is_taken_and_said_and_another_may_be_asked_for(tmp_path: Path) -> None:
    both = beside(padded(astronaut(256), 2)[:512], astronaut(512, mirrored=True))
    path = saved(tmp_path, both)
    taken = read_portrait(path, 480, 832)
    assert taken.faces_found == 2
    assert "number 2 from the left" in taken.warnings[0]
    first = read_portrait(path, 480, 832, face=1)
    assert first.box is not None
    assert taken.box is not None
    assert first.box[3] - first.box[1] < 0.7 * (taken.box[3] - taken.box[1])
    with pytest.raises(UserError, match="there is no face 3; it has 2 faces, 1 to 2 from the left"):
        read_portrait(path, 480, 832, face=3)


def test_a_picture_without_a_face_is_refused_with_advice_and_taken_when_forced(tmp_path: Path) -> None:
    for rgb in (coffee(), cat()):
        path = saved(tmp_path, rgb)
        with pytest.raises(UserError, match=r"no face is found in it; take a picture .* \(--force\)"):
            read_portrait(path, 96, 96)
        forced = read_portrait(path, 96, 96, force=True)
        assert (forced.box, forced.faces_found) == (None, 0)
        assert forced.picture.shape == (96, 96, 3)


def test_without_the_detector_nobody_looks_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda name: None)
    portrait = read_portrait(saved(tmp_path, coffee()), 96, 96)
    assert (portrait.box, portrait.faces_found) == (None, None)
    assert portrait.warnings[0].startswith("no face was looked for, as the weights are missing")
    assert registry.way_to_get(DETECTOR) in portrait.warnings[0]


def test_a_small_face_and_a_small_picture_are_warned_of(tmp_path: Path) -> None:
    far = read_portrait(saved(tmp_path, padded(astronaut(256), 4)), 480, 480)
    assert any("cut the picture closer" in line for line in far.warnings)
    small = read_portrait(saved(tmp_path, astronaut(256)), 480, 480)
    assert any("enlarged 1.9 times" in line for line in small.warnings)


@pytest.mark.parametrize(
    ("name", "faces"), [("obama_half.jpg", 1), ("two_people.jpg", 2), ("if_t1_six_faces.jpg", 6), ("lp_dog.jpg", 0)]
)
def test_faces_of_real_pictures_are_counted(name: str, faces: int, media: Path) -> None:
    assert read_portrait(media / "image" / name, 480, 832, force=True).faces_found == faces
