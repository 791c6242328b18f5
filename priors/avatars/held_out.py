"""Makes the held-out portraits, example pictures and masks that ship with the prior, from the files that tools/avatars wrote
(README.md): python priors/avatars/held_out.py, from the root of the repository."""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

DATA, HERE = Path("runs/avatars-data"), Path(__file__).parent
COUNT = 160  # of the held-out portraits, the first ones
EXAMPLES = {"ada": 1, "bo": 27, "cem": 32, "dora": 24, "eve": 29, "finn": 59, "gus": 60, "hana": 42}


def read(name):
    data = np.memmap(DATA / f"{name}.idx", dtype=np.uint8, mode="r")
    header, pixels = data[:20], data[20:].reshape(-1, 3, 64, 64)
    return header, pixels, [json.loads(line) for line in (DATA / f"{name}.jsonl").open()]


def places_of(attributes, pixels, rows, where):
    """Pixels that change when nothing but these attributes does."""
    groups = defaultdict(list)
    for i, row in enumerate(rows):
        values = row["attributes"]
        if all(values[key] == value for key, value in where.items()):
            groups[tuple(v for key, v in values.items() if key not in attributes)].append(i)
    changed = np.zeros((64, 64), dtype=bool)
    for group in groups.values():
        alike = pixels[group].astype(int)
        changed |= ((alike.max(0) - alike.min(0)) > 4).any(0)
    return changed


def grown(places):
    padded = np.pad(places, 1)
    shifted = [np.roll(padded, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return np.any(shifted, 0)[1:-1, 1:-1]


def masks():
    """True where known. `hair` hides every place that tells hair or its colour, if there is no beard of that colour, and
    `face` all else but the middle of the face."""
    _, pixels, rows = read("train")
    hair = grown(places_of({"hair", "hair colour"}, pixels, rows, {"facial hair": "none"}))
    y, x = np.mgrid[:64, :64]
    hidden = {
        "hair": hair,
        "eyes": (x >= 15) & (x < 57) & (y >= 20) & (y < 42),
        "mouth": (x >= 22) & (x < 55) & (y >= 32) & (y < 56),
        "half": x >= 32,
        "face": hair | (x < 24) | (x >= 52) | (y < 22) | (y >= 50),
    }
    return {name: ~places for name, places in hidden.items()}


def main():
    header, pixels, rows = read("test")
    header = header.copy()
    header[4:8] = np.frombuffer(np.array([COUNT], dtype=">u4").tobytes(), dtype=np.uint8)
    with gzip.GzipFile(HERE / "held-out.idx.gz", "wb", 9, mtime=0) as file:
        file.write(header.tobytes() + pixels[:COUNT].tobytes())
    with (HERE / "held-out.jsonl").open("w") as file:
        for row in rows[:COUNT]:
            print(json.dumps(row["attributes"]), file=file)
    for name, i in EXAMPLES.items():
        Image.fromarray(pixels[i].transpose(1, 2, 0)).save(HERE / "portraits" / f"{name}.png", optimize=True)
    for name, known in masks().items():
        Image.fromarray(known).save(HERE / "masks" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
