"""Checks what `vipaint demo` wrote: the report's fields, and that known pixels are byte-identical. Standard library only."""

import json
import math
import pathlib
import struct
import sys
import zlib


def grey_png(path):
    """Width, height and rows of an 8-bit grey PNG without interlacing."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at, idat = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, interlace) == (8, 0, 0), (path, depth, colour, interlace)
        elif kind == b"IDAT":
            idat += body
        at += 12 + length
    raw, rows, previous = zlib.decompress(idat), [], [0] * width
    for y in range(height):
        line = list(raw[y * (width + 1) : (y + 1) * (width + 1)])
        how, row = line[0], line[1:]
        for x in range(width):
            a = row[x - 1] if x else 0
            b = previous[x]
            c = previous[x - 1] if x else 0
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))
            row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth)[how]) % 256
        rows.append(row)
        previous = row
    return width, height, rows


folder = pathlib.Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())
weights = report["log_weights"]
assert len(weights) == 8 and all(math.isfinite(w) for w in weights), weights
assert report["calls"]["denoiser"] > 0 and report["calls"]["vjp"] > 0, report["calls"]

samples = [grey_png(folder / f"sample-{i:03}.png") for i in range(8)]
width, height, _ = samples[0]
assert all(s[:2] == (width, height) for s in samples)
agree = [
    [all(s[2][y][x] == samples[0][2][y][x] for s in samples) for x in range(width)] for y in range(height)
]
share = sum(map(sum, agree)) / (width * height)
# Half of the picture is hidden: the known half is the same in every sample, and the samples differ elsewhere.
assert 0.45 < share < 0.95, share
print(f"demo: 8 samples of {width}x{height}, {share:.0%} of the pixels the same in all")
