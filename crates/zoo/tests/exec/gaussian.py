"""A Gaussian prior for the tests, over `scripts/vipaint_prior.py` and the standard library alone; `argv[1]` says how it fails."""

import array
import json
import os
import pathlib
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[4] / "scripts"))

import vipaint_prior

MODE = sys.argv[1] if len(sys.argv) > 1 else "ve"
CLASSES = MODE == "vp-class-decoder"
SQUARE = MODE.startswith("square")
SHAPE = [1, 8, 8] if SQUARE else [1, 2, 3]
COUNT = SHAPE[1] * SHAPE[2]
MEAN, VARIANCE = 0.25, 0.09


def describe():
    about = {
        "protocol": "1",
        "dtype": "f32",
        "shape": json.dumps(SHAPE),
        "schedule": "ve",
        "sigma_min": "0.01",
        "sigma_max": "50",
        "value_range": "[0, 1]",
        "data_std": "0.3",
        "conditioning": "none",
    }
    tensors = {}
    if CLASSES or MODE == "rising":
        table = [0.9, 0.5, 0.1] if CLASSES else [0.1, 0.5]
        about.update(schedule="vp", value_range="[-1, 1]")
        tensors["alphas_cumprod"] = ("F64", (len(table),), array.array("d", table).tobytes())
    if MODE == "square-flow":
        about.update(schedule="flow", shift="3")
    if CLASSES:
        about.update(conditioning="class", classes='["low", "high"]', decodes="true")
    if MODE == "protocol":
        about["protocol"] = "7"
    if MODE == "schedule":
        about["schedule"] = "cosine"
    if MODE == "bad-shape":
        about["shape"] = "64"
    if MODE == "error":
        raise ValueError("no such model")
    return about, tensors


def numbers(tensor, kind="f"):
    return array.array(kind, bytes(tensor[2]))


def floats(name, shape, values):
    return {}, {name: ("F32", tuple(shape), array.array("f", values).tobytes())}


def denoise(tensors, v=None):
    """The posterior mean of every value, or its gradient times `v`."""
    z, sigma = numbers(tensors["z_t"]), numbers(tensors["sigma"])
    batch = len(sigma)
    classes = numbers(tensors["class"], "q") if "class" in tensors else [None] * batch
    values = []
    for b in range(batch):
        alpha = (1 + sigma[b] ** 2) ** -0.5 if CLASSES else 1.0
        noise = (alpha * sigma[b]) ** 2
        if MODE == "square-flow":
            alpha = 1 / (1 + sigma[b])  # 0 where sigma is infinite
            noise = (1 - alpha) ** 2
        mean, variance = (2.0 * classes[b] - 1, 1e-12) if classes[b] is not None else (MEAN, VARIANCE)
        gain = alpha * variance / (alpha**2 * variance + noise)
        for i in range(b * COUNT, (b + 1) * COUNT):
            values.append(gain * v[i] if v is not None else mean + gain * (z[i] - alpha * mean))
    return values, [batch] + SHAPE


def decode(z):
    """Three times the values, each row twice: [1, 2, 3] to [1, 4, 3]."""
    return [3 * value for start in range(0, len(z), 3) for _ in range(2) for value in z[start : start + 3]]


def answer(op, tensors):
    if op == "describe":
        return describe()
    if op == "denoise":
        if MODE == "answer-crash":
            raise SystemExit("a crash in the middle")
        values, shape = denoise(tensors)
        if MODE == "answer-shape":
            shape = shape[:2] + [shape[3], shape[2]]
        if MODE == "answer-nan":
            values[0] = float("nan")
        return floats("estimate" if MODE == "answer-name" else "x0_hat", shape, values)
    if op == "vjp":
        if MODE in ("vjp-error", "square-vjp-error"):
            raise RuntimeError("no gradient today")
        values, shape = denoise(tensors, numbers(tensors["v"]))
        return floats("vjp", shape, values)
    if op == "decode":
        z = numbers(tensors["z"])
        return floats("x", [len(z) // COUNT, 1, 4, 3], decode(z))
    if op == "decode_vjp":
        v = numbers(tensors["v"])
        rows = [v[start : start + 3] for start in range(0, len(v), 3)]
        pairs = zip(rows[::2], rows[1::2])
        return floats("vjp", tensors["z"][1], [3 * (a + b) for first, second in pairs for a, b in zip(first, second)])
    if op == "encode":
        x = numbers(tensors["x"])
        rows = [x[start : start + 3] for start in range(0, len(x), 6)]
        return floats("z", [len(x) // 12] + SHAPE, [value / 3 for row in rows for value in row])
    raise ValueError(f"op {op!r} is not known")


def main():
    out = sys.stdout.buffer
    if MODE == "crash":
        sys.exit("the reason of the crash")
    if MODE == "print":
        print("Loading the model ...", flush=True)
        time.sleep(0.2)
    if MODE == "garbage":
        out.write(struct.pack("<Q", 20) + b"x" * 20)
        out.flush()
        time.sleep(60)
    if MODE == "short":
        out.write(struct.pack("<Q", 2000) + b"x" * 20)
        out.flush()
        return
    if MODE == "huge":
        out.write(struct.pack("<Q", 1 << 40))
        out.flush()
        time.sleep(60)
    if MODE in ("hang", "pid"):
        pids = [os.getpid()]
        if MODE == "hang":
            pids.append(subprocess.Popen(["sleep", "600"]).pid)
        pathlib.Path(sys.argv[2]).write_text(" ".join(map(str, pids)))
        if MODE == "hang":
            time.sleep(600)
    vipaint_prior.serve_raw(answer)


if __name__ == "__main__":
    main()
