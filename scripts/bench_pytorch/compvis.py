"""CompVis' own networks (github.com/CompVis/latent-diffusion, a checkout on PYTHONPATH), with three changes in their favour:
nothing is computed twice to save memory, attention is PyTorch's fused one, and weights are in channels_last."""

import torch
import torch.nn.functional as F
from ldm.modules import attention
from ldm.modules.diffusionmodules import model
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from weights import fill, values


def attend(self, x, context=None, mask=None):
    """CrossAttention.forward."""
    context = x if context is None else context
    b, n, _ = x.shape
    q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
    q, k, v = (t.reshape(b, t.shape[1], self.heads, -1).transpose(1, 2) for t in (q, k, v))
    return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))


def attend_picture(self, x):
    """AttnBlock.forward of the autoencoder: one head."""
    h = self.norm(x)
    b, c, height, width = x.shape
    q, k, v = (map(h).permute(0, 2, 3, 1).reshape(b, 1, height * width, c) for map in (self.q, self.k, self.v))
    y = F.scaled_dot_product_attention(q, k, v).reshape(b, height, width, c).permute(0, 3, 1, 2)
    return x + self.proj_out(y)


attention.CrossAttention.forward = attend
model.AttnBlock.forward = attend_picture


class Cin256(nn.Module):
    """configs/latent-diffusion/cin256-v2.yaml: `[batch, 3, 64, 64]`, times `[batch]`; class 0."""

    def __init__(self):
        super().__init__()
        self.unet = UNetModel(image_size=64, in_channels=3, out_channels=3, model_channels=192, attention_resolutions=[8, 4, 2],
                              num_res_blocks=2, channel_mult=[1, 2, 3, 5], num_heads=1, use_spatial_transformer=True,
                              transformer_depth=1, context_dim=512)
        fill(self.unet, "model.diffusion_model.")
        for module in self.unet.modules():
            if hasattr(module, "checkpoint"):
                module.checkpoint = False
        table = values("cond_stage_model.embedding.weight", (1001, 512))
        self.register_buffer("context", torch.from_numpy(table[:1].copy())[None])

    def forward(self, x, time):
        return self.unet(x, time, self.context.expand(x.shape[0], -1, -1))


class Decoder(nn.Module):
    """The VQ-f4 first stage's VQModelInterface.decode: the nearest entries of the codebook, then the decoder."""

    def __init__(self):
        super().__init__()
        name = "first_stage_model."
        self.decoder = fill(model.Decoder(ch=128, out_ch=3, ch_mult=(1, 2, 4), num_res_blocks=2, attn_resolutions=[],
                                          in_channels=3, resolution=256, z_channels=3), name + "decoder.")
        self.post_quant = fill(nn.Conv2d(3, 3, 1), name + "post_quant_conv.")
        self.register_buffer("entries", torch.from_numpy(values(name + "quantize.embedding.weight", (8192, 3))))

    def forward(self, z):
        rows = z.detach().permute(0, 2, 3, 1).reshape(-1, 3)
        # ||z||^2 is the same for all entries.
        distances = torch.addmm(self.entries.square().sum(1), rows, self.entries.T, alpha=-2)
        nearest = self.entries[distances.argmin(1)].reshape(z.shape[0], z.shape[2], z.shape[3], 3).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant(z + (nearest - z).detach()))
