"""What is not read: images of other formats, and what is no image."""

from support.kinds.kind import F, refused

NOT_READ = (
    [
        refused(name, data, F.UNSUPPORTED_FORMAT, f"{name.partition(' (')[0]} is not supported")
        for name, data in {
            "JPEG XL": b"\xff\x0a" + bytes(40),
            "JPEG 2000 (also Sentinel-2's own)": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
            "JPEG XR": b"II\xbc\x01" + bytes(40),
            "Photoshop": b"8BPS\0\1" + bytes(40),
            "PDF": b"%PDF-1.7\n",
            "EPS": b"%!PS-Adobe-3.0",
            "OpenEXR": b"\x76\x2f\x31\x01" + bytes(40),
            "Radiance HDR": b"#?RADIANCE\n",
            "DICOM": bytes(128) + b"DICM",
            "NIfTI": bytes(344) + b"n+1\0",
            "Zeiss CZI": b"ZISRAWFILE" + bytes(40),
            "Nikon ND2": b"\xda\xce\xbe\x0a" + bytes(40),
            "FITS": b"SIMPLE  =                    T",
            "PNM": b"P5\n4 4\n255\n" + bytes(16),
            "ICO": b"\0\0\1\0\1\0\x10\x10",
        }.items()
    ]
    + [
        refused(name, data, F.NOT_AN_IMAGE, f"not an image; it looks like {words}")
        for name, data, words in (
            ("MP4", b"\0\0\0\x20ftypisom" + bytes(40), "a video (MP4 or QuickTime)"),
            ("tar", b"a.jpg".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
            ("ZIP, .npz", b"PK\3\4" + bytes(40), "a ZIP archive (or NumPy .npz, Office)"),
            ("Parquet", b"PAR1" + bytes(40), "a Parquet file"),
            ("NumPy .npy", b"\x93NUMPY\1\0", "a NumPy array (.npy)"),
            ("HTML (404 Not Found)", b"<!DOCTYPE html><html>", "an HTML page"),
            ("SVG", b'<?xml version="1.0"?><svg/>', "XML or SVG"),
            ("JSON", b'{"error": "no such key"}', "JSON"),
            (
                "Git LFS pointer",
                b"version https://git-lfs.github.com/spec/v1\n",
                "a Git LFS pointer, not the file itself",
            ),
            ("zeros (a damaged disk)", bytes(4096), "zeros only"),
            ("text", b"name,label\na.jpg,1\n", "text"),
        )
    ]
    + [refused("0 bytes", b"", F.EMPTY_FILE, "the file has no bytes")]
)
