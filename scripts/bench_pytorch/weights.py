"""The random weights that both sides of the comparison make: crates/zoo/src/source.rs (RandomWeights) in numpy."""

import numpy
import torch

STEP = 0x9E3779B97F4A7C15


def values(name, shape, seed=0):
    """The same name, shape and seed give the same values, an array of f32."""
    count, fan_in = int(numpy.prod(shape)), max(int(numpy.prod(shape[1:])), 1)
    if len(shape) > 1:
        centre, scale = 0.0, (3.0 / fan_in) ** 0.5
    else:
        centre, scale = (1.0 if name.endswith("weight") else 0.0), 0.1
    start = 0xCBF29CE484222325
    for byte in name.encode():
        start = (start ^ byte) * 0x100000001B3 % 2**64
    start = numpy.uint64((start + seed) % 2**64)
    result = numpy.empty(count, numpy.float32)
    for first in range(0, count, 1 << 20):  # pieces keep the memory of intermediate results small
        part = result[first : first + (1 << 20)]
        with numpy.errstate(over="ignore"):
            x = numpy.arange(first + 1, first + 1 + len(part), dtype=numpy.uint64) * numpy.uint64(STEP) + start
            x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        x ^= x >> numpy.uint64(31)
        unit = (x >> numpy.uint64(40)).astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)
        part[:] = numpy.float32(centre) + numpy.float32(scale) * unit
    return result.reshape(shape)


def fill(module, prefix=""):
    """Fills a module's parameters under their names after `prefix`, frozen, in channels_last."""
    module = module.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        parameter.data.copy_(torch.from_numpy(values(prefix + name, tuple(parameter.shape))))
    return module


def noise(name, shape):
    """Values of unit variance, in channels_last."""
    x = torch.from_numpy(values(name, (int(numpy.prod(shape)), 1), seed=1)).reshape(shape)
    return x.contiguous(memory_format=torch.channels_last)
