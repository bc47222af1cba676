"""Files that images should be, might be, and must not be: name -> (bytes, expected failure or None).

Everything is made here, from seeds; nothing is downloaded. `MAX_PIXELS` is the limit the expectations are for.
"""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from sam_batch.records import FailureKind

Case = tuple[bytes, FailureKind | None]
MAX_PIXELS = 1_000_000
WIDTH, HEIGHT = 48, 32


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8: smooth ramps, with a red box left of and above the centre."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) % 256], -1)
    ramps[height // 4 : height // 2, width // 8 : width // 2] = (250, 30, 30)
    return ramps.astype(np.uint8)


def encode(image: np.ndarray | Image.Image, format_: str, **options) -> bytes:
    """Bytes of the image in one of Pillow's formats."""
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def with_orientation(orientation: int, format_: str = "JPEG") -> bytes:
    """The picture as stored, with an EXIF orientation beside it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(picture(), format_, exif=exif)


def png_chunk(tag: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from its raw (filter byte first) rows; the header may lie."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def _patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def _jpegs() -> dict[str, Case]:
    image = Image.fromarray(picture())
    good = encode(image, "JPEG")
    big = encode(picture(300, 200), "JPEG")
    start = good.index(b"\xff\xc0") + 5
    scan = big.index(b"\xff\xda") + 40
    stray_markers = _patched(big, scan, b"\xff\xc4" * 20)
    cut = {
        f"jpeg_cut_{percent:02d}.jpg": (big[: max(3, len(big) * percent // 100)], FailureKind.TRUNCATED)
        for percent in (1, 10, 50, 90, 99)
    }
    return cut | {
        "jpeg.jpg": (good, None),
        "jpeg_progressive.jpg": (encode(image, "JPEG", progressive=True), None),
        "jpeg_grey.jpg": (encode(image.convert("L"), "JPEG"), None),
        "jpeg_cmyk.jpg": (encode(image.convert("CMYK"), "JPEG"), None),
        "jpeg_named.png": (good, None),
        "jpeg_mpo.jpg": (encode(image, "MPO", save_all=True, append_images=[image.resize((8, 8))]), None),
        "jpeg_more_bytes_behind.jpg": (good + b"more" * 100, None),
        "jpeg_exif_garbage.jpg": (good[:2] + b"\xff\xe1\x00\x20Exif\0\0" + b"\xff" * 24 + good[2:], None),
        "jpeg_icc_garbage.jpg": (encode(image, "JPEG", icc_profile=b"no profile" * 50), None),
        "jpeg_no_end.jpg": (good[:-2], FailureKind.TRUNCATED),
        "jpeg_start_only.jpg": (b"\xff\xd8", FailureKind.TRUNCATED),
        "jpeg_start_and_end.jpg": (b"\xff\xd8\xff\xd9", FailureKind.CORRUPT),
        "jpeg_scan_damaged.jpg": (stray_markers, FailureKind.CORRUPT),
        "jpeg_no_size.jpg": (_patched(good, start, struct.pack(">HH", 0, 0)), FailureKind.CORRUPT),
        "jpeg_huge.jpg": (
            _patched(good, start, struct.pack(">HH", 65500, 65500)),
            FailureKind.TOO_MANY_PIXELS,
        ),
    }


def _pngs() -> dict[str, Case]:
    image = Image.fromarray(picture())
    good = encode(image, "PNG")
    grey16 = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 42).astype(np.uint16)
    rgb16 = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH * 3)).astype(">u2")
    text_bomb = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20), 9))
    palette = image.quantize(16)
    frames = [image.rotate(10 * turn) for turn in range(1, 5)]
    return {
        "png.png": (good, None),
        "png_named.jpg": (good, None),
        "png_rgba.png": (encode(image.convert("RGBA"), "PNG"), None),
        "png_la.png": (encode(image.convert("LA"), "PNG"), None),
        "png_palette.png": (encode(palette, "PNG"), None),
        "png_palette_transparent.png": (encode(palette, "PNG", transparency=0), None),
        "png_palette_alphas.png": (encode(palette, "PNG", transparency=bytes(range(0, 256, 16))), None),
        "png_grey_key.png": (encode(image.convert("L"), "PNG", transparency=7), None),
        "png_rgb_key.png": (encode(image, "PNG", transparency=(250, 30, 30)), None),
        "png_1bit.png": (encode(image.convert("1"), "PNG"), None),
        "png_1bit_key.png": (encode(image.convert("1"), "PNG", transparency=0), None),
        "png_grey16.png": (encode(Image.fromarray(grey16), "PNG"), None),
        "png_rgb48.png": (png(WIDTH, HEIGHT, 16, 2, _rows(rgb16)), None),
        "png_rgb48_key.png": (png(WIDTH, HEIGHT, 16, 2, _rows(rgb16), png_chunk(b"tRNS", b"\xff\xfe" * 3)), None),
        "png_apng.png": (encode(image, "PNG", save_all=True, append_images=frames), None),
        "png_1x1.png": (encode(picture(1, 1), "PNG"), None),
        "png_thin.png": (encode(picture(3000, 1), "PNG"), None),
        "png_at_the_limit.png": (encode(Image.new("L", (1000, 1000)), "PNG"), None),
        "png_no_end.png": (good[:-12], None),  # the pixels are complete
        "png_zip_behind.png": (good + b"PK\x03\x04" * 50, None),
        "png_cut_50.png": (good[: len(good) // 2], FailureKind.TRUNCATED),
        "png_signature_only.png": (good[:8], FailureKind.TRUNCATED),
        "png_bad_crc.png": (
            _patched(good, good.index(b"IDAT") + 12, b"\xa5\xa5"),
            FailureKind.CORRUPT,
        ),
        "png_no_pixels.png": (png(8, 8, 8, 2, b""), FailureKind.TRUNCATED),
        "png_no_size.png": (png(0, 0, 8, 2, b""), FailureKind.CORRUPT),
        "png_text_bomb.png": (good[:33] + text_bomb + good[33:], None),
        "png_over_the_limit.png": (encode(Image.new("L", (1000, 1001)), "PNG"), FailureKind.TOO_MANY_PIXELS),
        "png_60000.png": (png(60_000, 60_000, 8, 2, bytes(100)), FailureKind.TOO_MANY_PIXELS),
        "png_largest.png": (png(2**31 - 1, 2**31 - 1, 1, 0, bytes(100)), FailureKind.TOO_MANY_PIXELS),
        "png_1bit_bomb.png": (png(13_000, 13_000, 1, 0, bytes(1626 * 13_000)), FailureKind.TOO_MANY_PIXELS),
    }


def _rows(samples: np.ndarray) -> bytes:
    """Rows of big-endian samples, each with PNG's filter byte 0."""
    return b"".join(b"\0" + row.tobytes() for row in samples)


def _others() -> dict[str, Case]:
    image = Image.fromarray(picture())
    frames = [image.rotate(10 * turn) for turn in range(1, 4)]
    more = {"save_all": True, "append_images": frames}
    gif, webp, bmp = encode(image, "GIF"), encode(image, "WEBP"), encode(image, "BMP")
    tiff, packed = encode(image, "TIFF"), encode(image, "TIFF", compression="tiff_lzw")
    values = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    not_finite = values.copy()
    not_finite[3, 4] = np.nan
    huge = struct.pack("<HH", 65535, 65535)
    return {
        "gif.gif": (gif, None),
        "gif_frames.gif": (encode(image, "GIF", **more), None),
        "gif_cut.gif": (gif[: len(gif) // 2], FailureKind.TRUNCATED),
        "gif_huge.gif": (_patched(gif, 6, huge), FailureKind.TOO_MANY_PIXELS),
        "webp.webp": (webp, None),
        "webp_lossless_rgba.webp": (encode(image.convert("RGBA"), "WEBP", lossless=True), None),
        "webp_frames.webp": (encode(image, "WEBP", **more), None),
        "webp_cut.webp": (webp[: len(webp) // 2], FailureKind.TRUNCATED),
        "bmp.bmp": (bmp, None),
        "bmp_cut.bmp": (bmp[: len(bmp) // 2], FailureKind.TRUNCATED),
        "bmp_huge.bmp": (_patched(bmp, 18, struct.pack("<ii", 60_000, 60_000)), FailureKind.TOO_MANY_PIXELS),
        "tiff.tif": (tiff, None),
        "tiff_lzw.tif": (packed, None),
        "tiff_jpeg.tif": (encode(image, "TIFF", compression="jpeg"), None),
        "tiff_cmyk.tif": (encode(image.convert("CMYK"), "TIFF"), None),
        "tiff_lab.tif": (encode(image.convert("LAB"), "TIFF"), None),
        "tiff_pages.tif": (encode(image, "TIFF", **more), None),
        "tiff_grey16.tif": (encode(Image.fromarray((values * 65535).astype(np.uint16)), "TIFF"), None),
        "tiff_int32.tif": (encode(Image.fromarray((values * 9e6).astype(np.int32)), "TIFF"), None),
        "tiff_float.tif": (encode(Image.fromarray(values), "TIFF"), None),
        "tiff_float_constant.tif": (encode(Image.fromarray(np.zeros_like(values)), "TIFF"), None),
        "tiff_float_nan.tif": (encode(Image.fromarray(not_finite), "TIFF"), None),
        "tiff_cut.tif": (tiff[: len(tiff) // 2], FailureKind.TRUNCATED),
        "tiff_header_only.tif": (tiff[:8], FailureKind.TRUNCATED),
    }


def _no_images() -> dict[str, Case]:
    refused = {
        "photoshop.jpg": b"8BPS\0\1" + bytes(40),
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch hacked) (r) file\n",
        "pdf.jpg": b"%PDF-1.7\n",
        "jpeg2000.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "jpeg_xl.jpg": b"\xff\x0a" + bytes(40),
        "pgm.jpg": b"P5\n4 4\n255\n" + bytes(16),
    }
    nothing = {
        "html.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "json.jpg": b'{"error": "no such key"}',
        "svg.jpg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "lfs_pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "zip.jpg": b"PK\x03\x04" + bytes(40),
        "one_byte.jpg": b"\xff",
        "zeros.jpg": bytes(100_000),
        "noise.jpg": np.random.default_rng(3).bytes(10_000),
    }
    return (
        {"empty.jpg": (b"", FailureKind.EMPTY_FILE)}
        | {name: (data, FailureKind.UNSUPPORTED_FORMAT) for name, data in refused.items()}
        | {name: (data, FailureKind.NOT_AN_IMAGE) for name, data in nothing.items()}
    )


@cache
def corpus() -> dict[str, Case]:
    """Every case, built once; the names are file names, with the extensions they would have in the wild."""
    turned: dict[str, Case] = {f"jpeg_orientation_{o}.jpg": (with_orientation(o), None) for o in range(10)}
    return _jpegs() | turned | _pngs() | _others() | _no_images()
