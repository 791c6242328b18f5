#!/usr/bin/env python3
"""Serves an unconditional pixel model of diffusers (a folder or a hub name with a UNet2DModel: google/ddpm-celebahq-256, ...):

    pip install torch diffusers numpy
    vipaint inpaint picture.png --mask hole.png --prior "exec:python scripts/examples/diffusers_prior.py google/ddpm-celebahq-256"
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import torch
from diffusers import DDPMScheduler, UNet2DModel

import vipaint_prior


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder or hub name, with the scheduler's configuration beside the model's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    parts = {}
    for part, kind in (("unet", UNet2DModel), ("scheduler", DDPMScheduler)):
        try:
            parts[part] = kind.from_pretrained(options.model, subfolder=part)
        except OSError:  # the older models have everything in one folder
            parts[part] = kind.from_pretrained(options.model)
    network = parts["unet"].to(options.device).eval().requires_grad_(False)
    table = parts["scheduler"].alphas_cumprod.double().numpy()
    prediction = parts["scheduler"].config.prediction_type

    def denoise(z_t, sigma):
        # sigma is the ratio sigma_t / alpha_t, and alpha_t^2 + sigma_t^2 = 1.
        alpha = (1 + sigma.double() ** 2).rsqrt().float()[:, None, None, None]
        noise = alpha * sigma[:, None, None, None]
        t = torch.from_numpy(vipaint_prior.timestep(sigma.cpu().numpy(), table)).to(z_t)
        raw = network(z_t, t).sample
        if prediction == "epsilon":
            return (z_t - noise * raw) / alpha
        if prediction == "v_prediction":
            return alpha * z_t - noise * raw
        return raw  # "sample"

    side = network.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    shape = (network.config.in_channels, height, width)
    vipaint_prior.serve(vipaint_prior.from_torch(denoise, options.device, shape=shape, schedule=vipaint_prior.vp(table)))


if __name__ == "__main__":
    main()
