"""Serves a Python model as a prior for `vipaint --prior "exec:python my_prior.py"`.

With numpy, a model is a class:

    import vipaint_prior

    class Gaussian(vipaint_prior.Prior):
        shape = (3, 64, 64)
        schedule = vipaint_prior.ve(sigma_min=0.002, sigma_max=80)

        def denoise(self, z_t, sigma):            # E[z_0 | z_t], arrays [b, c, h, w] and [b]
            return z_t / (1 + sigma[:, None, None, None] ** 2)

        def vjp(self, z_t, sigma, v):             # the gradient of <v, denoise(z_t, sigma)> with respect to z_t
            return v / (1 + sigma[:, None, None, None] ** 2)

    vipaint_prior.serve(Gaussian())

With PyTorch or JAX, a function is enough, see `from_torch` and `from_jax`. `examples/diffusers_prior.py` serves a diffusers
pipeline. `z_t` is `alpha_t z_0 + sigma_t eps` in the model's own scaling, `sigma` is sigma_t / alpha_t (infinite at the noisy
end of flow matching), and what is returned is the unclipped estimate of z_0.

The protocol is in docs/exec.md; `serve_raw` needs nothing but the standard library. The program may print: its standard
output is redirected to standard error.
"""

import json
import os
import struct
import sys
import traceback

MAX_MESSAGE = 1 << 30
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


# Messages


def unpack(data):
    """The metadata and the tensors, as {name: (dtype, shape, bytes)}, of a safetensors file."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(bytes(data[8 : 8 + length]))
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        start, end = info["data_offsets"]
        tensors[name] = (info["dtype"], tuple(info["shape"]), data[8 + length + start : 8 + length + end])
    return metadata, tensors


def pack(metadata, tensors):
    """A safetensors file of tensors given as {name: (dtype, shape, bytes)}."""
    header, parts, offset = {"__metadata__": metadata}, [], 0
    # The format wants no gaps and suggests wide types first, so that everything is aligned.
    for name, (dtype, shape, data) in sorted(tensors.items(), key=lambda item: -SIZES[item[1][0]]):
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read_exactly(stream, count):
    """`count` bytes, or fewer where the stream ends."""
    parts, left = [], count
    while left:
        part = stream.read(min(left, 1 << 20))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def serve_raw(answer):
    """Answers requests until there are no more: `answer(op, tensors)` gives metadata and tensors, as `unpack` does."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints from now on prints to standard error
    while True:
        prefix = read_exactly(source, 8)
        if len(prefix) < 8:
            return
        (length,) = struct.unpack("<Q", prefix)
        if length > MAX_MESSAGE:
            raise ValueError(f"a message of {length} bytes")
        data = read_exactly(source, length)
        if len(data) < length:
            return
        try:
            metadata, tensors = unpack(data)
            reply = pack(*answer(metadata.get("op"), tensors))
        except Exception as error:  # the other side decides what to do about it
            traceback.print_exc()
            reply = pack({"error": f"{type(error).__name__}: {error}"}, {})
        sink.write(struct.pack("<Q", len(reply)) + reply)
        sink.flush()


# Schedules


def vp(alphas_cumprod):
    """Variance preserving: `alphas_cumprod` for each timestep, falling in (0, 1)."""
    return {"schedule": "vp", "alphas_cumprod": alphas_cumprod}


def ve(sigma_min, sigma_max, rho=7.0):
    """Variance exploding (alpha = 1), with grids even in sigma ** (1 / rho)."""
    return {"schedule": "ve", "sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}


def flow(shift=1.0):
    """Flow matching: alpha = 1 - t, sigma = t."""
    return {"schedule": "flow", "shift": shift}


def timestep(sigma, alphas_cumprod):
    """The (fractional) timestep whose sigma_t / alpha_t is `sigma`, linear in its logarithm between whole ones, as numpy."""
    import numpy as np

    table = np.asarray(alphas_cumprod, dtype=np.float64)
    return np.interp(np.log(np.maximum(sigma, 1e-30)), 0.5 * np.log((1 - table) / table), np.arange(len(table)))


# Models


class Prior:
    """A model over numpy arrays. Subclasses set what differs and define `denoise` and `vjp`."""

    shape = None  # of z: (channels, height, width)
    schedule = None  # vp(...), ve(...) or flow(...)
    value_range = (-1.0, 1.0)  # of pictures
    data_std = 0.5  # of z_0
    classes = ()  # names; denoise and vjp then get `class_` [b], or nothing for the unconditional model
    takes_context = False  # whether they get `context` [b, l, d] and perhaps `pooled` [b, d]
    image_shape = None  # of a decoded picture, if the model is a latent one: decode, decode_vjp and encode are defined then

    def denoise(self, z_t, sigma, **condition):
        raise NotImplementedError

    def vjp(self, z_t, sigma, v, **condition):
        raise NotImplementedError

    def decode(self, z):
        raise NotImplementedError

    def decode_vjp(self, z, v):
        raise NotImplementedError

    def encode(self, x):
        raise NotImplementedError

    def describe(self):
        """The answer to `describe`: metadata, and arrays."""
        schedule = dict(self.schedule)
        table = schedule.pop("alphas_cumprod", None)
        metadata = {
            "protocol": "1",
            "dtype": "f32",
            "shape": json.dumps([int(size) for size in self.shape]),
            "value_range": json.dumps([float(value) for value in self.value_range]),
            "data_std": json.dumps(float(self.data_std)),
            "conditioning": "class" if len(self.classes) else "context" if self.takes_context else "none",
            "decodes": json.dumps(self.image_shape is not None),
            "schedule": schedule.pop("schedule"),
        }
        metadata.update({key: json.dumps(float(value)) for key, value in schedule.items()})
        if len(self.classes):
            metadata["classes"] = json.dumps([str(name) for name in self.classes])
        if self.image_shape is not None:
            metadata["image_shape"] = json.dumps([int(size) for size in self.image_shape])
        return metadata, {} if table is None else {"alphas_cumprod": table}


RESULTS = {"denoise": "x0_hat", "vjp": "vjp", "decode": "x", "decode_vjp": "vjp", "encode": "z"}


def serve(prior):
    """Serves a `Prior` until vipaint ends."""
    import numpy as np

    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}

    def answer(op, tensors):
        arrays = {name: np.frombuffer(data, types[dtype]).reshape(shape) for name, (dtype, shape, data) in tensors.items()}
        if "class" in arrays:
            arrays["class_"] = arrays.pop("class")
        if op == "describe":
            metadata, results = prior.describe()
            # In double precision: 1 - alphas_cumprod is small, and must not lose its digits.
            results = {name: np.ascontiguousarray(values, dtype="<f8") for name, values in results.items()}
            return metadata, {name: ("F64", values.shape, values.tobytes()) for name, values in results.items()}
        if op not in RESULTS:
            raise ValueError(f"op {op!r} is not known")
        result = np.ascontiguousarray(getattr(prior, op)(**arrays), dtype="<f4")
        return {}, {RESULTS[op]: ("F32", result.shape, result.tobytes())}

    serve_raw(answer)


def from_torch(denoise, device="cpu", decode=None, encode=None, **about):
    """A `Prior` from PyTorch functions of tensors: `denoise(z_t, sigma, **condition)`, and for latent models `decode(z)` and
    `encode(x)`. Gradients are autograd's. `about` sets the attributes of `Prior`: shape, schedule, ..."""
    import torch

    def tensors(arrays):
        return {name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}

    def run(function, **arrays):
        with torch.no_grad():
            return function(**tensors(arrays)).float().cpu().numpy()

    def pull_back(function, wrt, v, **arrays):
        arguments = tensors(arrays)
        arguments[wrt].requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(**arguments).float(), arguments[wrt], tensors({"v": v})["v"])
        return gradient.float().cpu().numpy()

    return _functional(run, pull_back, denoise, decode, encode, about)


def from_jax(denoise, decode=None, encode=None, **about):
    """As `from_torch`, for JAX functions of arrays; they are compiled once for each batch size."""
    import jax
    import numpy as np

    compiled = {}

    def run(function, **arrays):
        if function not in compiled:
            compiled[function] = jax.jit(function)
        return np.asarray(compiled[function](**arrays), dtype=np.float32)

    def pull_back(function, wrt, v, **arrays):
        key = (function, wrt)
        if key not in compiled:

            def product(v, moving, **fixed):
                _, back = jax.vjp(lambda x: function(**{wrt: x}, **fixed), moving)
                return back(v)[0]

            compiled[key] = jax.jit(product)
        moving = arrays.pop(wrt)
        return np.asarray(compiled[key](v, moving, **arrays), dtype=np.float32)

    return _functional(run, pull_back, denoise, decode, encode, about)


def _functional(run, pull_back, denoise, decode, encode, about):
    prior = Prior()
    for name, value in about.items():
        if not hasattr(Prior, name):
            raise TypeError(f"a prior has no attribute {name}")
        setattr(prior, name, value)
    prior.denoise = lambda **arrays: run(denoise, **arrays)
    prior.vjp = lambda v, **arrays: pull_back(denoise, "z_t", v, **arrays)
    if decode is not None:
        prior.decode = lambda z: run(decode, z=z)
        prior.decode_vjp = lambda z, v: pull_back(decode, "z", v, z=z)
    if encode is not None:
        prior.encode = lambda x: run(encode, x=x)
    return prior
