"""A network at its full size, made by its authors' own code and configuration, against vipaint.

    python scripts/parity.py cin256 --code DIR --vipaint target/release/vipaint --work DIR
    python scripts/parity.py adm-imagenet-256-class --code DIR ... [--side 64]

`--code` is a checkout of CompVis/latent-diffusion (cin256), CompVis/stable-diffusion (sd-1.5) or openai/guided-diffusion (adm-...).
Weights are random (those of `RandomWeights`, crates/zoo/src/source.rs); they are written to the work folder as a checkpoint with
the authors' names, which vipaint recognises and loads. Compares the raw output, x0_hat and the input gradient of one call, and
of the autoencoder the decoder's output and gradient and the encoder's output, each relative to the largest magnitude. `--side`
takes another side of z. Needs torch, numpy, safetensors, einops, omegaconf; several GB of memory and disk.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
from common import call, fill, noise, package, weights  # noqa: E402

CONFIGS = {
    "cin256": "configs/latent-diffusion/cin256-v2.yaml",
    "sd-1.5": "configs/stable-diffusion/v1-inference.yaml",
}
# The model flags of guided-diffusion's README.
FLAGS = dict(attention_resolutions="32,16,8", learn_sigma=True, use_scale_shift_norm=True, resblock_updown=True, num_res_blocks=2)
GUIDED = {
    "adm-imagenet-64": dict(
        FLAGS, image_size=64, num_channels=192, num_head_channels=64, num_res_blocks=3, use_new_attention_order=True,
        class_cond=True,
    ),
    "adm-imagenet-128": dict(FLAGS, image_size=128, num_channels=256, num_heads=4, class_cond=True),
    "adm-imagenet-256": dict(FLAGS, image_size=256, num_channels=256, num_head_channels=64),
    "adm-imagenet-256-class": dict(FLAGS, image_size=256, num_channels=256, num_head_channels=64, class_cond=True),
}
PRESETS = {"cin256": "ldm-cin256"}
CODEBOOK = "first_stage_model.quantize.embedding.weight"


def skip_initialisation():
    """Weights are overwritten, so that drawing them first would only take time."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "xavier_uniform_", "trunc_normal_"):
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def freeze(model):
    """Without gradients of weights little is kept for the backward pass, and nothing need be computed twice."""
    for module in model.modules():
        for name in ("checkpoint", "use_checkpoint"):
            if hasattr(module, name):
                setattr(module, name, False)
    model.eval().requires_grad_(False)
    for module in model.modules():
        if type(module).__name__ == "AttentionBlock":
            module.requires_grad_(True)  # guided diffusion's computes itself twice come what may, and asks for their gradient
    return model


def latent(name, code, side):
    from omegaconf import OmegaConf

    sys.path.insert(0, code)
    from ldm.modules.diffusionmodules.model import Decoder, Encoder
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    config = OmegaConf.to_container(OmegaConf.load(f"{code}/{CONFIGS[name]}"))["model"]["params"]
    network = {**config["unet_config"]["params"], "use_checkpoint": False}
    first = config["first_stage_config"]["params"]
    dd = first["ddconfig"]
    double = 2 if dd["double_z"] else 1
    z, e = dd["z_channels"], first["embed_dim"]
    model = torch.nn.ModuleDict(dict(
        model=torch.nn.ModuleDict(dict(diffusion_model=UNetModel(**network))),
        first_stage_model=torch.nn.ModuleDict(dict(
            encoder=Encoder(**dd), decoder=Decoder(**dd), quant_conv=torch.nn.Conv2d(double * z, double * e, 1),
            post_quant_conv=torch.nn.Conv2d(e, z, 1),
        )),
    ))
    freeze(model)
    fill(model)
    state = model.state_dict()
    side = side or config["image_size"]
    t, shape = torch.tensor([417.0]), (1, network["in_channels"], side, side)
    inputs = {"t": t}
    if "class_label" in str(config.get("cond_stage_key")):
        classes = config["cond_stage_config"]["params"]["n_classes"]
        table = weights("cond_stage_model.embedding.weight", (classes, network["context_dim"]))
        state["cond_stage_model.embedding.weight"] = table
        inputs["class"] = torch.tensor([207])
        context = table[inputs["class"]][:, None]
    else:
        inputs["context"] = context = noise(3, 1, 77, network["context_dim"])
    if "n_embed" in first:
        state[CODEBOOK] = weights(CODEBOOK, (first["n_embed"], e))
    start, end = (config[key] ** 0.5 for key in ("linear_start", "linear_end"))
    betas = torch.linspace(start, end, config["timesteps"], dtype=torch.float64) ** 2
    state |= {"betas": betas.float(), "alphas_cumprod": torch.cumprod(1 - betas, 0).float()}
    run = lambda x: model["model"]["diffusion_model"](x, t, context=context)
    return state, run, shape, inputs, torch.cumprod(1 - betas, 0), (model["first_stage_model"], config, e)


def guided(name, code, side):
    package("guided_diffusion", f"{code}/guided_diffusion")
    from guided_diffusion.script_util import create_model

    flags = GUIDED[name]
    model = freeze(create_model(**flags))
    fill(model)
    t, side = torch.tensor([417.0]), side or flags["image_size"]
    inputs = {"t": t} | ({"class": torch.tensor([207])} if flags.get("class_cond") else {})
    extra = {"y": inputs["class"]} if "class" in inputs else {}
    if flags["image_size"] == 64:
        raise SystemExit("the cosine schedule of this model is not in the script")
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    return model.state_dict(), lambda x: model(x, t, **extra), (1, 3, side, side), inputs, torch.cumprod(1 - betas, 0), None


def check(args, checkpoint, tensors, *more):
    """One `vipaint prior check`; the outputs and what it took."""
    given, made = args.work / "in.safetensors", args.work / "out.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, given)
    place = f"{checkpoint},preset={PRESETS.get(args.name, args.name)}"
    start = time.time()
    command = [args.vipaint, "prior", "check", place, "--input", str(given), "--output", str(made), *more]
    subprocess.run(command, check=True)
    print(f"  vipaint: {time.time() - start:.1f} s with loading, at most {children():.2f} GB so far")
    return load_file(made)


def children():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def compare(what, got, expected):
    error = (got - expected).abs().max() / expected.abs().max()
    print(f"{what:16} {error:.1e}   (of {expected.abs().max():.3g}, {tuple(expected.shape)})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*CONFIGS, *GUIDED])
    parser.add_argument("--code", required=True)
    parser.add_argument("--vipaint", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--side", type=int)
    parser.add_argument("--denoiser-only", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    skip_initialisation()
    make = latent if args.name in CONFIGS else guided
    state, run, shape, inputs, alphas_cumprod, first = make(args.name, args.code, args.side)
    checkpoint = args.work / f"{args.name}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, checkpoint)
    print(f"{args.name}: {len(state)} tensors, {checkpoint.stat().st_size / 2**30:.2f} GB", flush=True)
    stated = args.work / "prior.toml"
    stated.write_text(f"[network]\nimage_size = {shape[-1]}\n" if args.side else "")
    del state

    z = noise(1, *shape)
    level = alphas_cumprod[int(inputs["t"].item())]
    v = noise(2, *shape)
    z.requires_grad_(True)
    start = time.time()
    raw = run(z)
    x0_hat = ((z - (1 - level).sqrt() * raw[:, : shape[1]]) / level.sqrt()).float()
    forward = time.time() - start
    (vjp,) = torch.autograd.grad((x0_hat * v).sum(), z)
    print(f"  PyTorch: forward {forward:.1f} s, with gradient {time.time() - start:.1f} s", flush=True)
    got = check(args, checkpoint, {"z_t": z, "v": v, **inputs})
    compare("raw", got["raw"], raw.detach())
    compare("x0_hat", got["x0_hat"], x0_hat.detach())
    compare("gradient", got["vjp"], vjp)
    del raw, x0_hat
    if first is None or args.denoiser_only:
        return
    model, config, e = first
    scale = config.get("scale_factor", 1.0)
    codes = config["first_stage_config"]["params"].get("n_embed")
    table = weights(CODEBOOK, (codes, e)) if codes else None

    def quantise(h):
        if table is None:
            return h
        rows = h.detach().permute(0, 2, 3, 1).reshape(-1, e)
        nearest = table[torch.cdist(rows.double(), table.double()).argmin(1)].view(*h.shape[:1], *h.shape[2:], e)
        return h + (nearest.permute(0, 3, 1, 2) - h).detach()

    def decode(z):
        return model["decoder"](model["post_quant_conv"](quantise(z / scale)))

    decoded = call(decode, noise(4, *shape), 5)
    got = check(args, checkpoint, {"z": decoded["x"], "v": decoded["v"]}, "--decode")
    compare("decoder", got["x"], decoded["out"])
    compare("its gradient", got["vjp"], decoded["grad"])
    with torch.no_grad():
        encoded = model["quant_conv"](model["encoder"](decoded["out"]))[:, :e] * scale
    got = check(args, checkpoint, {"x": decoded["out"]}, "--encode")
    compare("encoder", got["z"], encoded)


if __name__ == "__main__":
    main()
