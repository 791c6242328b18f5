#!/usr/bin/env python3
"""Makes the example pictures and masks of this folder. Needs the Debian package dataset-fashion-mnist.

Pictures are test images of Fashion-MNIST, which no prior of this repository is trained on, padded from 28x28 to 32x32
with black. In masks, white is known and black is hidden.
"""

import gzip
import pathlib
import struct
import zlib

TEST_IMAGES = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
SIZE, PAD, SIDE = 28, 2, 32
# Name and number in the test set.
PICTURES = {
    "ankle-boot": 28,
    "bag": 30,
    "coat": 50,
    "dress": 124,
    "sandal": 82,
    "shirt": 7,
    "sneaker": 12,
    "trouser": 3,
}


def png(path, rows):
    """Writes an 8-bit grey PNG."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def picture(images, number):
    start = 16 + number * SIZE * SIZE
    rows = [images[start + y * SIZE : start + (y + 1) * SIZE] for y in range(SIZE)]
    blank = [bytes(SIDE)] * PAD
    return blank + [bytes(PAD) + row + bytes(PAD) for row in rows] + blank


def mask(known):
    return [[255 if known(x, y) else 0 for x in range(SIDE)] for y in range(SIDE)]


def main():
    here = pathlib.Path(__file__).parent
    (here / "fashion-mnist").mkdir(exist_ok=True)
    (here / "masks").mkdir(exist_ok=True)
    images = gzip.open(TEST_IMAGES).read()
    for name, number in PICTURES.items():
        png(here / "fashion-mnist" / f"{name}.png", picture(images, number))
    middle = range(8, 24)
    masks = {
        "half": lambda x, y: x < SIDE // 2,
        "box": lambda x, y: not (x in middle and y in middle),
        "centre": lambda x, y: x in middle and y in middle,
    }
    for name, known in masks.items():
        png(here / "masks" / f"{name}.png", mask(known))


if __name__ == "__main__":
    main()
