#!/usr/bin/env python3
"""Converts a pickle of EDM (Karras et al., 2022; github.com/NVlabs/edm) to safetensors.

EDM's .pkl files hold Python objects with their source code: loading one runs that code. So `vipaint` does not read them;
this script does, with NVIDIA's repository at hand. Load only files that you trust.

    git clone https://github.com/NVlabs/edm
    pip install torch numpy scipy safetensors
    PYTHONPATH=edm python scripts/edm_to_safetensors.py edm-cifar10-32x32-cond-vp.pkl edm-cifar10.safetensors

The file gets the averaged weights (`ema`) under their names in `EDMPrecond` (or VPPrecond, VEPrecond, iDDPMPrecond), as
float32, and as metadata `edm` the arguments the network was made with, as JSON:
{"class": "EDMPrecond", "model_class": "SongUNet", "img_resolution": 32, "img_channels": 3, "label_dim": 10, "sigma_data": 0.5, ...}.
"""

import argparse
import json
import math
import pickle


# What preconditionings keep of their arguments, defaults included.
ATTRIBUTES = (
    "img_resolution", "img_channels", "label_dim", "sigma_min", "sigma_max", "sigma_data", "beta_d", "beta_min", "M", "C_1",
    "C_2", "epsilon_t",
)  # fmt: skip


def description(network):
    """The arguments of the preconditioning and of the network inside it."""
    arguments = {"class": type(network).__name__, "model_class": type(network.model).__name__}
    # Classes made persistent by EDM remember what they were called with; those of the outer one name the inner one's, too.
    for module in (network.model, network):
        arguments.update(getattr(module, "init_kwargs", {}))
    # The inner one's channels follow from the outer one's.
    for name in ("in_channels", "out_channels"):
        arguments.pop(name, None)
    arguments.update({name: getattr(network, name) for name in ATTRIBUTES if hasattr(network, name)})
    # Numbers of numpy's as Python's.
    arguments = {name: value.item() if hasattr(value, "item") else value for name, value in arguments.items()}
    return {name: value for name, value in arguments.items() if plain(value)}


def plain(value):
    """Whether JSON can hold it: it has no infinity, which stands for no limit here and is left out."""
    return isinstance(value, (str, int, list, tuple, type(None))) or isinstance(value, float) and math.isfinite(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="EDM's .pkl")
    parser.add_argument("output", help="the .safetensors to write")
    options = parser.parse_args()

    import safetensors.torch
    import torch

    with open(options.input, "rb") as file:
        network = pickle.load(file)["ema"].cpu()
    tensors = {name: value.detach().to(torch.float32).contiguous().clone() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(tensors, options.output, metadata={"edm": json.dumps(description(network))})
    print(f"{options.output}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values())} numbers")


if __name__ == "__main__":
    main()
