#!/usr/bin/env python3
"""Compares pixel-space networks of their published sizes with the original code, through `vipaint prior check`.

    git clone https://github.com/NVlabs/edm
    pip install torch numpy scipy safetensors diffusers
    python scripts/parity_pixels.py target/release/vipaint edm [NAME ...]

Weights are random, so no checkpoint is needed; each network is written as its users have it (a converted file, a pipeline's
folder) and takes about as many bytes of disk and memory as the original. Prints how far outputs and input gradients are from
PyTorch's, relative to their largest value, and fails beyond 1e-4 and 1e-3.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

SCRIPTS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS / "fixtures"))
import random_weights  # noqa: E402

NCSNPP = dict(embedding_type="fourier", encoder_type="residual", channel_mult_noise=2, resample_filter=[1, 3, 3, 1])
SONG = dict(model_type="SongUNet", augment_dim=9)
# Side and arguments of EDMPrecond, as EDM's train.py makes them.
EDM = {
    "edm-cifar10-32x32-cond-vp": (32, dict(SONG, channel_mult=[2, 2, 2], label_dim=10)),
    "edm-cifar10-32x32-uncond-ve": (32, dict(SONG, channel_mult=[2, 2, 2], **NCSNPP)),
    "edm-ffhq-64x64-uncond-vp": (64, dict(SONG, channel_mult=[1, 2, 2, 2])),
    "edm-imagenet-64x64-cond-adm": (64, dict(label_dim=1000)),
}
DOWN, ATTN_DOWN, UP, ATTN_UP = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"
# Side, channels and block types of UNet2DModel.
DDPM = {
    "ddpm-cifar10-32": (32, [128, 256, 256, 256], [DOWN, ATTN_DOWN, DOWN, DOWN], [UP, UP, ATTN_UP, UP]),
    "ddpm-celebahq-256": (256, [128, 128, 256, 256, 512, 512], [DOWN] * 4 + [ATTN_DOWN, DOWN], [UP, ATTN_UP] + [UP] * 4),
}


def edm(name, folder):
    """Writes the file; returns its path, the function of a picture, and what `prior check` must know besides."""
    import edm_to_safetensors
    from training import networks

    side, arguments = EDM[name]
    network = networks.EDMPrecond(img_resolution=side, img_channels=3, **arguments)
    random_weights.fill(network)
    path = folder / "network.safetensors"
    metadata = {"edm": json.dumps(edm_to_safetensors.description(network))}
    safetensors.torch.save_file(network.state_dict(), path, metadata)
    sigma, label, given = torch.tensor([1.5]), None, {}
    if network.label_dim:
        label = torch.eye(network.label_dim)[3:4]
        given["class"] = np.array([3], np.int64)
    given["sigma"] = sigma.numpy()
    return path, side, lambda x: network.eval()(x, sigma, label), given


def ddpm(name, folder):
    import diffusers

    side, channels, down, up = DDPM[name]
    network = diffusers.UNet2DModel(
        sample_size=side, block_out_channels=channels, down_block_types=down, up_block_types=up, layers_per_block=2,
        flip_sin_to_cos=False, freq_shift=1, downsample_padding=0, attention_head_dim=None, norm_eps=1e-6,
    )  # fmt: skip
    random_weights.fill(network)
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(folder / "pipeline")
    x0_hat = lambda x: scheduler.step(network.eval()(x, 300).sample, 300, x).pred_original_sample
    return folder / "pipeline", side, x0_hat, {"t": np.array([300], np.float32)}


def compare(vipaint, name):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        prior, side, function, given = (edm if name in EDM else ddpm)(name, folder)
        shape = (1, 3, side, side)
        x = torch.from_numpy(random_weights.unit(1, 3 * side * side).reshape(shape)).requires_grad_()
        v = torch.from_numpy(random_weights.tensor("cotangent", shape))
        y = function(x)
        (dx,) = torch.autograd.grad(y, x, v)
        tensors = dict(given, z_t=x.detach().numpy(), v=v.numpy())
        safetensors.numpy.save_file(tensors, folder / "in.safetensors")
        files = ["--input", folder / "in.safetensors", "--output", folder / "out.safetensors"]
        subprocess.run([vipaint, "prior", "check", prior, *files], check=True)
        got = safetensors.numpy.load_file(folder / "out.safetensors")
    off = lambda a, b: float(np.abs(a - b).max() / np.abs(b).max())
    return off(got["x0_hat"], y.detach().numpy()), off(got["vjp"], dx.numpy())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vipaint", type=pathlib.Path, help="the program")
    parser.add_argument("code", type=pathlib.Path, help="NVIDIA's repository")
    parser.add_argument("names", nargs="*", default=[*EDM, *DDPM], help="networks, if not all")
    options = parser.parse_args()
    sys.path[:0] = [str(options.code.resolve()), str(SCRIPTS)]
    failed = False
    for name in options.names:
        output, gradient = compare(options.vipaint.resolve(), name)
        print(f"{name}: output off by {output:.1e}, gradient by {gradient:.1e}", flush=True)
        failed |= not (output <= 1e-4 and gradient <= 1e-3)
    sys.exit(failed)


if __name__ == "__main__":
    main()
