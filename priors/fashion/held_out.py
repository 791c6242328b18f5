"""Takes the first ten pictures of every class from Fashion-MNIST's test set, for `vipaint bench masks`.

    python3 priors/fashion/held_out.py /usr/share/datasets/fashion-mnist

The folder is that of the Debian package dataset-fashion-mnist (MIT licence). Writes held-out-images.idx.gz and
held-out-labels.idx.gz beside this script, ordered by class.
"""

import gzip
import pathlib
import struct
import sys

source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
images = gzip.open(source / "t10k-images-idx3-ubyte.gz").read()[16:]
labels = gzip.open(source / "t10k-labels-idx1-ubyte.gz").read()[8:]
chosen = [[i for i, label in enumerate(labels) if label == c][:10] for c in range(10)]
chosen = [i for of_class in chosen for i in of_class]


def write(name, header, body):
    with gzip.GzipFile(here / name, "wb", mtime=0) as file:
        file.write(header + body)


write("held-out-images.idx.gz", struct.pack(">4I", 0x803, len(chosen), 28, 28), b"".join(images[i * 784 : (i + 1) * 784] for i in chosen))
write("held-out-labels.idx.gz", struct.pack(">2I", 0x801, len(chosen)), bytes(labels[i] for i in chosen))
