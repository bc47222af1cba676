"""JPEG, PNG, WebP, GIF, BMP and AVIF files."""

import io
import struct
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
from PIL import Image

from sam_batch.records import FailureKind as F
from sam_batch.records import PixelNote as N
from support.corpus import encode, png, png_chunk, with_orientation
from support.kinds.kind import (
    ALPHA,
    BANDS,
    DEEP,
    GREY,
    HALF,
    HIGH,
    IMAGE,
    MANY,
    PAGES,
    TWELVE,
    P,
    Pixels,
    avif,
    by_imagecodecs,
    by_opencv,
    deep,
    drawn,
    first,
    on_white,
    read,
    refused,
    stored,
    upright,
)

BEHIND = png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(3 << 20)))


def heic(samples: Pixels, mode: str, orientation: int = 1) -> bytes:
    import pillow_heif

    file = pillow_heif.from_bytes(mode, samples.shape[1::-1], samples.tobytes())
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, matrix_coefficients=0, exif=exif.tobytes())
    return buffer.getvalue()


def png16(samples: Pixels) -> bytes:
    """16-bit grey, grey with alpha, RGB or RGBA."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[samples.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(samples.shape[1], samples.shape[0], 16, colour_type, rows)


def png_packed(bits: int) -> bytes:
    """Grey of 2 or 4 bits."""
    values = (GREY >> (8 - bits)).reshape(len(GREY), -1, 8 // bits)
    packed = (values << np.arange(8 - bits, -1, -bits, dtype=np.uint8)).sum(axis=2).astype(np.uint8)
    return png(P.shape[1], len(GREY), bits, 0, b"".join(b"\0" + row.tobytes() for row in packed))


def png_interlaced() -> bytes:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in P[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", P.shape[1], P.shape[0], 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_with(chunk: bytes) -> bytes:
    whole = encode(P, "PNG")
    return whole[:33] + chunk + whole[33:]


JPEGS = [
    read("JPEG, baseline", stored(IMAGE, "JPEG"), "as it is", upright, tolerance=3),
    read("JPEG, progressive", stored(IMAGE, "JPEG", progressive=True), "as it is", upright, tolerance=3),
    read("JPEG, grey", stored(GREY, "JPEG"), "grey", by_opencv),
    read("JPEG called .png", stored(IMAGE, "JPEG"), "as it is: names count for nothing", upright, tolerance=3),
    *(
        read(
            f"JPEG, EXIF orientation {number}",
            lambda number=number: with_orientation(number),
            "upright",
            upright,
            tolerance=3,
        )
        for number in range(2, 9)
    ),
    read(
        "JPEG, CMYK (Adobe's, inverted)",
        stored(IMAGE.convert("CMYK"), "JPEG"),
        "RGB by a plain formula",
        drawn(P),
        notes=(N.COLOURS_CONVERTED,),
        tolerance=60,
    ),
    read(
        "JPEG, Display P3 profile",
        stored(IMAGE, "JPEG", icc_profile=b"Display P3"),
        "the profile is not applied",
        upright,
        notes=(N.PROFILE_IGNORED,),
        tolerance=3,
    ),
    read(
        "JPEG with a damaged profile",
        stored(IMAGE, "JPEG", icc_profile=b"sRGB, perhaps"),
        "as it is",
        upright,
        tolerance=3,
    ),
    read(
        "MPO (stereo, or with a gain map)",
        stored(IMAGE, "MPO", save_all=True, append_images=[IMAGE]),
        "the first picture",
        upright,
        notes=(PAGES,),
        tolerance=3,
    ),
    refused(
        "JPEG of 12 bits",
        lambda: imagecodecs.jpeg8_encode(TWELVE[0], bitspersample=12),
        F.UNSUPPORTED_SAMPLES,
        "12-bit",
    ),
    refused("JPEG-LS", lambda: imagecodecs.jpegls_encode(P), F.UNSUPPORTED_COMPRESSION, "compressed by JPEG-LS"),
    refused("JPEG, cut in half", lambda: encode(IMAGE, "JPEG")[:700], F.TRUNCATED, "truncated"),
]
PNGS = [
    read("PNG, 1 bit", stored(IMAGE.convert("1"), "PNG"), "black and white", by_opencv),
    read(
        "PNG, grey of 2 bits", lambda: png_packed(2), "0, 85, 170, 255", drawn((GREY >> 6)[..., None]), lambda a: a * 85
    ),
    read("PNG, grey of 4 bits", lambda: png_packed(4), "steps of 17", drawn((GREY >> 4)[..., None]), lambda a: a * 17),
    read("PNG, grey of 8 bits", stored(GREY, "PNG"), "as it is", by_opencv),
    read(
        "PNG, grey of 16 bits",
        lambda: png16(MANY[0, ..., None]),
        "0 to 65535 become 0 to 255",
        by_opencv,
        deep(65535),
        (DEEP,),
    ),
    read(
        "PNG, 12 bits in 16 (microscope)",
        lambda: png16(TWELVE[0, ..., None]),
        "0 to 4095 become 0 to 255",
        by_opencv,
        deep(4095),
        HIGH,
    ),
    read(
        "PNG, 10 bits in 16",
        lambda: png16(TWELVE[0, ..., None] >> 2),
        "0 to 1023 become 0 to 255",
        by_opencv,
        deep(1023),
        HIGH,
    ),
    read("PNG, grey with alpha", stored(IMAGE.convert("LA"), "PNG"), "opaque: as it is", drawn(GREY[..., None])),
    read("PNG, RGB", stored(P, "PNG"), "as it is", by_opencv),
    read("PNG, RGBA", stored(HALF, "PNG"), "laid on white", by_opencv, on_white, (ALPHA,), 1),
    read("PNG, RGBA", stored(HALF, "PNG"), "the colours as stored", by_opencv, first(3), (BANDS,), alpha="ignore"),
    read("PNG, palette", stored(IMAGE.quantize(16), "PNG"), "its colours", upright),
    read(
        "PNG, palette with a transparent entry",
        stored(IMAGE.quantize(16), "PNG", transparency=0),
        "laid on white",
        by_opencv,
        on_white,
        (ALPHA,),
    ),
    read(
        "PNG, RGB with a transparent colour",
        stored(IMAGE, "PNG", transparency=(250, 30, 30)),
        "laid on white",
        drawn(np.where((P == (250, 30, 30)).all(2, keepdims=True), 255, P)),
        notes=(ALPHA,),
    ),
    read(
        "PNG, RGB of 16 bits",
        lambda: png16(np.moveaxis(MANY[:3], 0, 2)),
        "0 to 65535 become 0 to 255",
        by_opencv,
        deep(65535),
        (DEEP,),
    ),
    read(
        "PNG, RGB of 12 bits in 16",
        lambda: png16(np.moveaxis(TWELVE[:3], 0, 2)),
        "0 to 4095 become 0 to 255",
        by_opencv,
        deep(4095),
        HIGH,
    ),
    read(
        "PNG, RGBA of 16 bits",
        lambda: png16(np.moveaxis(MANY[:4], 0, 2)),
        "laid on white",
        by_opencv,
        lambda a: on_white(a, 65535),
        (ALPHA, DEEP),
        1,
    ),
    read("PNG, interlaced", png_interlaced, "as it is", by_opencv),
    read(
        "APNG, animated",
        stored(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(9)]),
        "the first frame",
        by_opencv,
        first(3),
        (PAGES,),
    ),
    read("PNG with 3 MB of text (ComfyUI)", lambda: png_with(BEHIND), "as it is", by_opencv),
    read(
        "PNG with 3 MB of profile (Photoshop)",
        lambda: png_with(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3 << 20)))),
        "the profile is not applied",
        drawn(P),
        notes=(N.PROFILE_IGNORED,),
    ),
    refused("PNG, cut in half", lambda: encode(HALF, "PNG")[:90], F.TRUNCATED, "truncated"),
    refused(
        "PNG, wrong checksum of pixels",
        lambda: encode(P, "PNG").replace(b"IDATx", b"IDATy", 1),
        F.CORRUPT,
        "broken data stream",
    ),
]
OTHERS = [
    read("WebP, lossless", stored(P, "WEBP", lossless=True), "as it is", by_opencv, first(3)),
    read("WebP, lossy", stored(P, "WEBP"), "as it is", by_opencv, first(3), tolerance=2),
    read(
        "WebP, RGBA", stored(HALF, "WEBP", lossless=True, exact=True), "laid on white", by_opencv, on_white, (ALPHA,), 1
    ),
    read(
        "WebP, animated",
        stored(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(9)], lossless=True),
        "the first frame",
        drawn(P),
        notes=(PAGES,),
    ),
    read("GIF", stored(IMAGE.quantize(64), "GIF"), "its colours", drawn(np.asarray(IMAGE.quantize(64).convert("RGB")))),
    read(
        "GIF, animated",
        stored(IMAGE.quantize(64), "GIF", save_all=True, append_images=[IMAGE.rotate(9)]),
        "the first frame",
        drawn(np.asarray(IMAGE.quantize(64).convert("RGB"))),
        notes=(PAGES,),
    ),
    read("BMP, 24 bits", stored(P, "BMP"), "as it is", by_opencv),
    read("BMP, palette", stored(IMAGE.quantize(16), "BMP"), "its colours", upright),
    read("BMP, 1 bit", stored(IMAGE.convert("1"), "BMP"), "black and white", upright, first(1)),
    read(
        "AVIF",
        stored(IMAGE, "AVIF", quality=100, subsampling="4:4:4"),
        "as it is",
        by_imagecodecs,
        tolerance=2,
    ),
    read(
        "AVIF of 10 bits",
        avif(np.moveaxis(TWELVE[:3] >> 2, 0, 2), level=100, bitspersample=10, pixelformat="444"),
        "8 bits",
        drawn(np.moveaxis(TWELVE[:3] >> 2, 0, 2)),
        deep(1023),
        (DEEP,),
        4,
    ),
    *(
        replace(kind, needs="pillow_heif")
        for kind in (
            read("HEIC", lambda: heic(P, "RGB"), "as it is", drawn(P), tolerance=3),
            read("HEIC, turned", lambda: heic(P, "RGB", 6), "upright", drawn(np.rot90(P, -1)), tolerance=3),
            read("HEIC, RGBA", lambda: heic(HALF, "RGBA"), "laid on white", drawn(HALF), on_white, (ALPHA,), 4),
            read(
                "HEIC of 10 bits",
                lambda: heic(P.astype(np.uint16) * 257, "RGB;16"),
                "8 bits",
                drawn(P),
                notes=(DEEP,),
                tolerance=3,
            ),
        )
    ),
]
