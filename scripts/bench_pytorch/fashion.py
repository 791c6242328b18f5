"""A port of crates/zoo/src/unet.rs with the hyperparameters of the `fashion` prior; modules have the names of its tensors."""

import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS, BLOCKS, ATTENTION, HEAD, GROUP, EMBEDDING, CLASSES, PATCH, TIME_SCALE = (48, 96, 128), (1, 1, 2), (1, 2), 32, 8, 128, 10, 2, 16.0


def norm(c):
    return nn.GroupNorm(c // GROUP, c, eps=1e-5)


class Residual(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm_in, self.conv_in = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.modulation = nn.Linear(EMBEDDING, 2 * c_out)
        self.norm_out, self.conv_out = norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x, embedding):
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))
        return h + (x if self.skip is None else self.skip(x))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm, self.heads = norm(c), c // HEAD
        self.query, self.key, self.value, self.out = (nn.Linear(c, c) for _ in range(4))

    def forward(self, x):
        b, c, h, w = x.shape
        n = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        q, k, v = (map(n).reshape(b, h * w, self.heads, HEAD).transpose(1, 2) for map in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.out(y).reshape(b, h, w, c).permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self, c_in, c_out, level):
        super().__init__()
        self.residual = Residual(c_in, c_out)
        self.attention = Attention(c_out) if level in ATTENTION else None

    def forward(self, x, embedding):
        x = self.residual(x, embedding)
        return x if self.attention is None else self.attention(x)


class Level(nn.Module):
    def __init__(self, halve, stages):
        super().__init__()
        self.halve, self.stages = halve, nn.ModuleList(stages)


class UNet(nn.Module):
    """`[batch, 1, 32, 32]`, times `[batch]`, class numbers `[batch]` (10 is the null class) to `[batch, 1, 32, 32]`."""

    def __init__(self):
        super().__init__()
        self.time_in, self.time_out = nn.Linear(EMBEDDING, EMBEDDING), nn.Linear(EMBEDDING, EMBEDDING)
        setattr(self, "class", nn.Linear(CLASSES + 1, EMBEDDING, bias=False))
        depth, c, skips = PATCH * PATCH, WIDTHS[0], []
        self.stem = nn.Conv2d(depth, c, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS)):
            halve, stages = nn.Conv2d(c, c, 3, stride=2, padding=1) if level else None, []
            for _ in range(blocks):
                stages.append(Stage(c, width, level))
                c = width
                skips.append(c)
            self.down.append(Level(halve, stages))
        self.mid_in, self.mid_attention, self.mid_out = Residual(c, c), Attention(c), Residual(c, c)
        for level in reversed(range(len(WIDTHS))):
            stages = []
            for _ in range(BLOCKS[level]):
                stages.append(Stage(c + skips.pop(), WIDTHS[level], level))
                c = WIDTHS[level]
            self.up.append(Level(None, stages))
        self.norm, self.out = norm(c), nn.Conv2d(c, depth, 3, padding=1)
        half = EMBEDDING // 2
        self.register_buffer("frequencies", 10000 ** (-torch.arange(half) / half), persistent=False)

    def embed(self, time, classes):
        phases = (time * TIME_SCALE)[:, None] * self.frequencies
        h = self.time_in(torch.cat([phases.cos(), phases.sin()], 1))
        h = h + getattr(self, "class")(F.one_hot(classes, CLASSES + 1).to(h.dtype))
        return F.silu(self.time_out(F.silu(h)))

    def forward(self, x, time, classes):
        embedding, skips = self.embed(time, classes), []
        h = self.stem(F.pixel_unshuffle(x, PATCH))
        for level in self.down:
            if level.halve is not None:
                h = level.halve(h)
            for stage in level.stages:
                h = stage(h, embedding)
                skips.append(h)
        h = self.mid_out(self.mid_attention(self.mid_in(h, embedding)), embedding)
        for i, level in enumerate(self.up):
            if i > 0:
                h = F.interpolate(h, scale_factor=2, mode="nearest")
            for stage in level.stages:
                h = stage(torch.cat([h, skips.pop()], 1), embedding)
        return F.pixel_shuffle(self.out(F.silu(self.norm(h))), PATCH)
