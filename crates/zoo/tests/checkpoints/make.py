"""Makes the torch files in this folder with the real PyTorch (2.x), pytorch-lightning and safetensors:

    pip install torch pytorch-lightning safetensors numpy
    python make.py

Every number is i/8 + a constant of its tensor, which f16 and bf16 hold exactly, so that the tests know them.
"""

import collections
import os
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

HERE = pathlib.Path(__file__).parent


def ramp(start, *shape, dtype=torch.float32):
    count = int(np.prod(shape))
    return (torch.arange(count, dtype=torch.float32) / 8 + start).reshape(shape).to(dtype)


def plain():
    """Every type, strides, a shared storage, a scalar, an empty tensor, a parameter."""
    base = ramp(0, 4, 6)
    return collections.OrderedDict(
        f32=ramp(1, 2, 3),
        f16=ramp(2, 2, 3, dtype=torch.float16),
        bf16=ramp(3, 5, dtype=torch.bfloat16),
        f64=ramp(4, 2, 2, dtype=torch.float64),
        i64=torch.arange(3),
        flag=torch.tensor([True, False]),
        transposed=base.t(),  # [6, 4], strides [1, 6]
        column=base[:, 2],  # [4], stride 6, offset 2
        row=base[1],  # [6], offset 6
        scalar=torch.tensor(7.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(ramp(5, 3)),
    )


def module():
    """A module's own state dict, with its `_metadata`."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    with torch.no_grad():
        network[0].weight.copy_(ramp(0, 2, 1, 3, 3))
        network[0].bias.copy_(ramp(1, 2))
    return network.state_dict()


def lightning():
    """A training checkpoint as CompVis' are: callbacks, optimizer states, numpy scalars, averaged weights without dots."""
    weight, average = ramp(0, 2, 3), ramp(100, 2, 3)
    return {
        "epoch": 3,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": collections.OrderedDict(
            {
                "betas": ramp(9, 4),
                "model.diffusion_model.input_blocks.0.0.weight": weight,
                "model.diffusion_model.out.2.bias": ramp(1, 3),
                "model_ema.decay": torch.tensor(0.9999),
                "model_ema.num_updates": torch.tensor(7, dtype=torch.int32),
                "model_ema.diffusion_modelinput_blocks00weight": average,
                "first_stage_model.decoder.conv_in.weight": ramp(2, 2, 2),
            }
        ),
        "callbacks": {ModelCheckpoint: {"monitor": "val/loss", "best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": ramp(0, 2)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"last_lr": [np.float64(1e-4)], "best": np.float32(2), "when": np.int64(5)}],
        "hyper_parameters": {"path": pathlib.PurePosixPath("a/b"), "size": torch.Size([1, 2]), "device": torch.device("cpu")},
    }


def strange():
    """Tensors of types that are not supported beside one that is."""
    return {
        "weight": ramp(0, 2),
        "quantized": torch.quantize_per_tensor(ramp(0, 4), 0.5, 0, torch.qint8),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "float8": torch.zeros(4, dtype=torch.float8_e4m3fn),
        "unsigned": torch.zeros(4, dtype=torch.uint16),
    }


class Network:
    """An object, not weights."""


def main():
    torch.save(plain(), HERE / "plain.pt")
    torch.save(plain(), HERE / "plain-legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(module(), HERE / "module.pth")
    torch.save(lightning(), HERE / "lightning.ckpt")
    torch.save(lightning(), HERE / "lightning-legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save(strange(), HERE / "strange.pt")
    torch.save(Network(), HERE / "object.pt")
    torch.save({"ema": {"w": ramp(5, 2)}, "model": {"w": ramp(0, 2)}, "step": 3}, HERE / "ema.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), HERE / "script.pt")
    # As written on a big-endian machine: torch.save takes the order from the system.
    order, sys.byteorder = sys.byteorder, "big"
    torch.save({"w": ramp(0, 2)}, HERE / "big-endian.pt")
    sys.byteorder = order
    safetensors.torch.save_file({"a": ramp(1, 2, 3), "half": ramp(2, 4, dtype=torch.float16)}, HERE / "shard-1.safetensors")
    safetensors.torch.save_file({"b": ramp(3, 2, dtype=torch.bfloat16)}, HERE / "shard-2.safetensors")
    index = '{"metadata": {"total_size": 36}, "weight_map": {"a": "shard-1.safetensors", "half": "shard-1.safetensors", "b": "shard-2.safetensors"}}'
    (HERE / "model.safetensors.index.json").write_text(index + "\n")
    print(sum(f.stat().st_size for f in HERE.iterdir() if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
