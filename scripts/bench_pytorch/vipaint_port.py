"""A port of what `vipaint demo` runs (crates/core: posterior, guided, sampler/vipaint.rs) for the prior `fashion`, with the same
options and the same network calls; its random numbers are PyTorch's."""

import json
import math
import struct
import zlib
from pathlib import Path

import numpy
import torch
from torch.distributions import Normal, kl_divergence

from fashion import CLASSES, UNet

ROOT = Path(__file__).resolve().parents[2]
SIGMA_MIN, SIGMA_MAX, RHO = 0.02, 40.0, 7.0
SAMPLES, ITERATIONS, MC, GRID, STRATA, EACH, INIT, INIT_STEPS, REFINE = 8, 50, 5, 30, 2, 2, 6, 12, 25
RATES, DECAY, INIT_GAMMA, SIGMA_Y = (0.1, 0.02, 0.05), 0.99, 3.0, 0.05


def tensors(path):
    """Metadata and tensors of a safetensors file of f16 values."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata, body = header.pop("__metadata__"), data[8 + length :]
    read = lambda entry: numpy.frombuffer(body[slice(*entry["data_offsets"])], numpy.float16).reshape(entry["shape"])
    return metadata, {name: torch.from_numpy(read(entry).astype(numpy.float32)) for name, entry in header.items()}


def picture():
    """The demo's picture in [-1, 1], `[1, 1, 32, 32]`: a grey PNG of 8 bits."""
    data, at, parts = (ROOT / "crates/vipaint/assets/fashion-mnist/ankle-boot.png").read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 0), "a grey PNG of 8 bits"
        parts += body if kind == b"IDAT" else b""
        at += 12 + length
    rows, above = [], [0] * width
    raw = zlib.decompress(parts)
    for y in range(height):
        kind, *line = raw[y * (width + 1) : (y + 1) * (width + 1)]
        for x in range(width):
            a, b, c = (line[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[x] = (line[x] + (0, a, b, (a + b) // 2, near)[kind]) % 256
        rows.append(line)
        above = line
    return torch.tensor(rows, dtype=torch.float32)[None, None] / 127.5 - 1


def grid(start, end, steps):
    ramp = torch.linspace(start ** (1 / RHO), end ** (1 / RHO), steps + 1, dtype=torch.float64)
    return [start, *(ramp**RHO).tolist()[1:-1], end]


def reverse(t, s):
    """The ancestral step from sigma `t` to `s`: weights of z_t and x0_hat, standard deviation."""
    return s * s / (t * t), 1 - s * s / (t * t), math.sqrt(t * t - s * s) * s / t


class Prior:
    def __init__(self, compiled):
        metadata, weights = tensors(ROOT / "priors/fashion/fashion.safetensors")
        description = json.loads(metadata["vipaint.prior"])
        self.std, self.sigma_data = description["data_std"], description["parameterization"]["sigma_data"]
        unet = UNet()
        unet.load_state_dict(weights)
        unet = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.unet = torch.compile(unet) if compiled else unet
        self.calls = [0, 0]

    def x0_hat(self, z, sigmas):
        """Karras et al. (2022), table 1; class unknown."""
        self.calls[0] += len(z)
        self.calls[1] += len(z) if z.requires_grad else 0
        sigma = torch.as_tensor(sigmas, dtype=torch.float32).reshape(-1).expand(len(z))
        total = sigma**2 + self.sigma_data**2
        skip, out = (self.sigma_data**2 / total)[:, None, None, None], (sigma * self.sigma_data / total.sqrt())[:, None, None, None]
        classes = torch.full((len(z),), CLASSES)
        return z * skip + self.unet(z / total.sqrt()[:, None, None, None], sigma.log() / 4, classes) * out

    def spread(self, sigma):
        return self.std * sigma / math.sqrt(self.std**2 + sigma**2)


class Demo:
    def __init__(self, prior):
        self.prior, self.y = prior, picture()
        self.known = torch.ones_like(self.y)
        self.known[..., self.y.shape[3] // 2 :] = 0
        self.y = self.y * self.known

    def nll(self, x_hat, spread):
        variance = self.known * spread**2 + SIGMA_Y**2
        terms = ((self.y - x_hat * self.known) ** 2 / variance + variance.log() + math.log(2 * math.pi)) * 0.5
        return (terms * self.known).sum((1, 2, 3))

    def walk(self, z, levels):
        """Guided reverse diffusion, the correction inside."""
        for i, sigma in enumerate(levels):
            leaf = z.detach().requires_grad_(True)
            x0_hat = self.prior.x0_hat(leaf, sigma)
            (gradient,) = torch.autograd.grad(self.nll(x0_hat, self.prior.spread(sigma)).sum(), leaf)
            z = x0_hat.detach() - gradient * sigma**2
            if i + 1 < len(levels):
                on_z, on_x0, std = reverse(sigma, levels[i + 1])
                z = leaf.detach() * on_z + z * on_x0 + torch.randn_like(leaf) * std
        return z

    def start(self):
        self.levels = [3.0 * self.prior.std, 1.5 * self.prior.std]
        shape = (INIT, *self.y.shape[1:])
        found = self.walk(torch.randn(shape) * SIGMA_MAX, grid(SIGMA_MAX, self.levels[0], INIT_STEPS - 1))
        mean, variance = found.mean(0, keepdim=True), found.var(0, unbiased=False, keepdim=True)
        std = reverse(*self.levels)[2]
        self.mu = [mean.clone().requires_grad_(True) for _ in self.levels]
        top = (variance + self.levels[0] ** 2).sqrt().log()
        self.log_tau = [top.requires_grad_(True), torch.full_like(mean, math.log(std)).requires_grad_(True)]
        self.gamma = torch.full_like(mean, INIT_GAMMA).requires_grad_(True)
        self.grid = grid(SIGMA_MAX, self.levels[0], GRID)

    def marginal(self, sigma):
        """Mean and variance of q(z_t) above the top keypoint."""
        return self.mu[0], (self.log_tau[0] * 2).exp() + sigma**2 - self.levels[0] ** 2

    def hop(self, z, x0_hat):
        on_z, on_x0, std = reverse(*self.levels)
        prior_mean = z * on_z + x0_hat * on_x0
        return self.mu[1] + torch.sigmoid(self.gamma) * (prior_mean - self.mu[1]), prior_mean, std

    def loss(self):
        """The bound's negative (posterior/bound.rs)."""
        prior, ends = self.prior, []
        for i in range(STRATA * EACH):
            stratum = i // EACH
            first, end = stratum * GRID // STRATA, (stratum + 1) * GRID // STRATA
            step = int(torch.randint(first, end, ()))
            ends.append((self.grid[step], self.grid[step + 1], (end - first) / EACH))
        t, s, weight = (torch.tensor(column, dtype=torch.float32)[:, None, None, None] for column in zip(*ends))
        mean, variance = self.marginal(t)
        upper = mean + variance.sqrt() * torch.randn(len(ends), *self.y.shape[1:])
        z = self.mu[0] + self.log_tau[0].exp() * torch.randn(MC, *self.y.shape[1:])
        sigmas = torch.cat([torch.full((MC,), self.levels[0]), t.flatten()])
        x0_hat = prior.x0_hat(torch.cat([z, upper]), sigmas)
        mean, prior_mean, std = self.hop(z, x0_hat[:MC])
        tau = self.log_tau[1].exp()
        hierarchy = kl_divergence(Normal(mean, tau), Normal(prior_mean, std)).sum((1, 2, 3)).mean()
        below = prior.x0_hat(mean + tau * torch.randn_like(mean), self.levels[1])
        reconstruction = -self.nll(below, prior.spread(self.levels[1])).mean()
        mean_s, var_s = self.marginal(s)
        var_ts = t**2 - s**2
        q = Normal(mean_s + var_s / (var_s + var_ts) * (upper - mean_s), (var_s * var_ts / (var_s + var_ts)).sqrt())
        ratio = s**2 / t**2
        p = Normal(upper * ratio + x0_hat[MC:] * (1 - ratio), (var_ts * ratio).sqrt())
        above = (kl_divergence(q, p) * weight).sum()
        mean, variance = self.marginal(SIGMA_MAX)
        start = kl_divergence(Normal(mean, variance.sqrt()), Normal(torch.zeros_like(mean), SIGMA_MAX)).sum()
        return hierarchy + above + start - reconstruction

    def fit(self):
        self.start()
        groups = [self.mu, self.log_tau, [self.gamma]]
        adam = torch.optim.Adam([{"params": p, "lr": lr} for p, lr in zip(groups, RATES)], betas=(0.9, 0.99), eps=1e-8)
        for iteration in range(ITERATIONS):
            for group, rate in zip(adam.param_groups, RATES):
                group["lr"] = rate * DECAY ** (iteration // 10)
            adam.zero_grad()
            self.loss().backward()
            adam.step()

    @torch.no_grad()
    def draw(self):
        shape = (SAMPLES, *self.y.shape[1:])
        z = self.mu[0] + self.log_tau[0].exp() * torch.randn(shape)
        mean, _, _ = self.hop(z, self.prior.x0_hat(z, self.levels[0]))
        path = [z, mean + self.log_tau[1].exp() * torch.randn(shape)]
        with torch.enable_grad():
            samples = self.walk(path[1], grid(self.levels[1], SIGMA_MIN, REFINE - 1))
        return samples, self.log_weights(path)

    def log_weights(self, path):
        log = lambda x, mean, std: Normal(mean, std).log_prob(x).sum((1, 2, 3))
        mean, prior_mean, std = self.hop(path[0], self.prior.x0_hat(path[0], self.levels[0]))
        weight = log(path[1], prior_mean, std) - log(path[1], mean, self.log_tau[1].exp())
        weight -= self.nll(self.prior.x0_hat(path[1], self.levels[1]), self.prior.spread(self.levels[1]))
        mean, variance = self.marginal(self.levels[0])
        weight -= log(path[0], mean, variance.sqrt())
        z = path[0]
        for t, s in reversed(list(zip(self.grid, self.grid[1:]))):
            on_z, on_x0, std = reverse(t, s)
            scale = math.sqrt(t * t - s * s)
            z_t = z + torch.randn_like(z) * scale
            weight -= log(z_t, z, scale)
            weight += log(z, z_t * on_z + self.prior.x0_hat(z_t, t) * on_x0, std)
            z = z_t
        return weight + log(z, torch.zeros_like(z), SIGMA_MAX)


def demo(compiled):
    """What worker.py answers with."""
    prior = Prior(compiled)
    last = []

    def run():
        prior.calls, job = [0, 0], Demo(prior)
        job.fit()
        last[:] = [job, *job.draw()]

    def check(_):
        """Root mean square distance of samples and picture where it is known."""
        job, samples, _ = last
        return float((((samples - job.y) * job.known) ** 2).sum().div(job.known.sum() * SAMPLES).sqrt())

    return {"forward": run, "calls": lambda _: prior.calls, "write": check}
