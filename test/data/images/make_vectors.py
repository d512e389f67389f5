"""Writes the vectors beside this file with Pillow 12 and torchvision 0.28 (torch 2.13): small PNG and JPEG files with
the pixels that Pillow reads from them, and resized random pictures.   usage: python make_vectors.py"""
import io, json, os, struct, zlib
import numpy as np
from PIL import Image, ImageOps
import reference_env  # noqa: F401  declares the operators that the CPU build of torchvision lacks
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvF

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20)


def photo(h, w):
    low = Image.fromarray(rng.integers(0, 256, (h // 9 + 2, w // 9 + 2, 3), dtype=np.uint8)).resize((w, h), Image.BICUBIC)
    return Image.fromarray(np.clip(np.asarray(low).astype(int) + rng.integers(-20, 21, (h, w, 3)), 0, 255).astype(np.uint8))


# --- files ---------------------------------------------------------------------------------------------------------
files, pixels = [], []


def keep(name, data, convert=lambda image: image.convert("RGB")):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    rgb = np.asarray(convert(image))
    open(os.path.join(here, name), "wb").write(data)
    files.append(dict(file=name, height=rgb.shape[0], width=rgb.shape[1]))
    pixels.append(rgb.tobytes())


def jpeg(name, image, patch=None, **options):
    buffer = io.BytesIO(); image.save(buffer, "JPEG", **options); data = bytearray(buffer.getvalue())
    if patch:
        at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2)) + 4
        patch(data, at)
    keep(name, bytes(data))


for sub in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
    for progressive in (False, True):
        short = sub.replace(":", "") + ("-progressive" if progressive else "")
        jpeg(f"ycc-{short}.jpg", photo(37, 45), subsampling=sub, progressive=progressive, quality=80)
jpeg("restart.jpg", photo(40, 61), restart_marker_blocks=2, quality=60)
jpeg("restart-progressive.jpg", photo(40, 61), restart_marker_blocks=2, progressive=True, quality=60)
jpeg("one-pixel.jpg", photo(1, 1))
jpeg("two-columns-420.jpg", photo(5, 2), subsampling="4:2:0")
jpeg("grey.jpg", photo(19, 30).convert("L"))
jpeg("cmyk.jpg", photo(19, 30).convert("CMYK"))
jpeg("rgb.jpg", photo(19, 30), keep_rgb=True)
jpeg("coarse.jpg", photo(30, 33), quality=3)
jpeg("extremes.jpg", Image.fromarray(rng.integers(0, 2, (24, 31, 3), dtype=np.uint8) * 255), quality=100, subsampling="4:2:0")


def vertical_halves(data, at):  # the same blocks read as 1 x 2 instead of 2 x 1 luma blocks per unit
    data[at + 1 : at + 5] = struct.pack(">HH", 47, 48)
    data[at + 7] = 0x12


jpeg("ycc-440.jpg", photo(48, 48), vertical_halves, subsampling="4:2:2", quality=80)
for orientation in range(1, 9):
    exif = Image.Exif(); exif.endian = "<" if orientation % 2 else ">"; exif[0x010E] = "before"; exif[0x0112] = orientation
    jpeg(f"orientation-{orientation}.jpg", photo(9, 14), exif=exif.tobytes())
buffer = io.BytesIO(); exif[0x0112] = 6; photo(9, 14).save(buffer, "PNG", exif=exif.tobytes()); keep("orientation-6.png", buffer.getvalue())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def paeth(a, b, c):
    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def filtered(rows, distance):
    out, previous = b"", bytes(len(rows[0]))
    for row in rows:
        kind, coded = int(rng.integers(0, 5)), bytearray()
        for i, x in enumerate(row):
            a, b, c = (row[i - distance] if i >= distance else 0), previous[i], (previous[i - distance] if i >= distance else 0)
            coded.append((x - [0, a, b, (a + b) // 2, paeth(a, b, c)][kind]) & 255)
        out += bytes([kind]) + bytes(coded); previous = row
    return out


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(w, h, depth, colour, interlaced, transparent=False):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    a = rng.integers(0, 1 << depth, (h, w, samples))

    def packed(rows):
        if depth >= 8: return [row.ravel().astype(">u2" if depth == 16 else "u1").tobytes() for row in rows]
        bits = ["".join(format(int(x), f"0{depth}b") for x in row.ravel()) for row in rows]
        return [bytes(int((b + "0" * (-len(b) % 8))[i : i + 8], 2) for i in range(0, len(b), 8)) for b in bits]

    distance = max(1, samples * depth // 8)
    passes = [a[y::sy, x::sx] for x, y, sx, sy in ADAM7] if interlaced else [a]
    raw = b"".join(filtered(packed(p), distance) for p in passes if p.size)
    before = b""
    if colour == 3: before = chunk(b"PLTE", rng.integers(0, 256, 3 * (1 << depth) * 3 // 4, dtype=np.uint8).tobytes())  # too short
    if transparent: before += chunk(b"tRNS", b"\0\x80" if colour == 3 else b"".join(int(x).to_bytes(2, "big") for x in a[0, 0]))
    z = zlib.compress(raw); third = max(1, len(z) // 3)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlaced)) + before
        + b"".join(chunk(b"IDAT", z[i : i + third]) for i in range(0, len(z), third)) + chunk(b"IEND", b""))


def high_byte(image):  # where we differ from Pillow on purpose: 16-bit grey keeps its high byte instead of being cut off
    grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
    return np.stack([grey] * 3, -1)


for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
    for depth in depths:
        for interlaced in (0, 1):
            name = f"{ {0: 'grey', 2: 'rgb', 3: 'palette', 4: 'grey-alpha', 6: 'rgba'}[colour] }{depth}{'-adam7' if interlaced else ''}.png"
            data = png(11, 9, depth, colour, interlaced, transparent=colour in (0, 2, 3) and depth in (2, 8))
            keep(name, data, high_byte if (colour, depth) == (0, 16) else lambda image: image.convert("RGB"))


def smooth(h, w):
    y, x = np.mgrid[0:h, 0:w] / 20
    waves = np.stack([np.sin(x + y), np.cos(x - y / 2), np.sin(y - x / 3)], -1)
    return Image.fromarray((128 + 110 * waves).round().astype(np.uint8))


jpeg("smooth-420.jpg", smooth(61, 83), subsampling="4:2:0", quality=90)
open(os.path.join(here, "files.bin"), "wb").write(b"".join(pixels))
json.dump(files, open(os.path.join(here, "files.json"), "w"), indent=0)

# --- resizing ------------------------------------------------------------------------------------------------------
names = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
torchvision = dict(nearest="NEAREST_EXACT", lanczos="LANCZOS", bilinear="BILINEAR", bicubic="BICUBIC")
sizes = [(23, 31, 40, 17), (40, 29, 13, 50), (1, 1, 5, 7), (37, 3, 2, 11), (17, 50, 17, 23), (19, 16, 37, 16), (53, 47, 3, 2), (7, 9, 35, 43)]
cases, data = [], []
for index, (h, w, H, W) in enumerate(sizes):
    channels = 1 if index % 4 == 3 else 3
    a = rng.integers(0, 256, (h, w, channels), dtype=np.uint8) if index % 2 else np.asarray(photo(h, w))[:, :, :channels]
    data.append(a.tobytes())
    results = []
    for number, name in enumerate(names):
        results.append(["pillow", name])
        data.append(np.asarray(Image.fromarray(a[:, :, 0] if channels == 1 else a).resize((W, H), number)).tobytes())
        if name in torchvision:
            t = torch.from_numpy(a.copy()).permute(2, 0, 1).contiguous()
            r = tvF.resize(t, [H, W], interpolation=InterpolationMode[torchvision[name]], antialias=True)
            results.append(["torchvision", name]); data.append(r.permute(1, 2, 0).contiguous().numpy().tobytes())
    cases.append(dict(height=h, width=w, channels=channels, newHeight=H, newWidth=W, results=results))
open(os.path.join(here, "resize.bin"), "wb").write(b"".join(data))
json.dump(cases, open(os.path.join(here, "resize.json"), "w"))
