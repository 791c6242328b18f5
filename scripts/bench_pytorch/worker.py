"""PyTorch's side of bench_pytorch.py; the same lines as crates/vipaint/examples/speed_worker.rs.

    worker.py MODE PART [NUMBERS]        MODE is eager, compile, or eager with products of eight bits: bf16
"""

import ctypes
import json
import sys
import time

import torch

from weights import fill, noise


def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


BASE = status("VmRSS")


def network(part, numbers):
    """The function, and the shape it is called at."""
    if part == "conv":
        batch, c_in, c_out, side = numbers
        return fill(torch.nn.Conv2d(c_in, c_out, 3, padding=1)), (batch, c_in, side, side)
    if part == "fashion":
        from fashion import UNet

        (batch,) = numbers
        times, classes, unet = torch.full((batch,), 0.5), torch.zeros(batch, dtype=torch.long), fill(UNet())
        return lambda x: unet(x, times, classes), (batch, 1, 32, 32)
    import compvis

    (batch,) = numbers
    if part == "cin256":
        times, unet = torch.full((batch,), 500.0), compvis.Cin256()
        return lambda x: unet(x, times), (batch, 3, 64, 64)
    return compvis.Decoder(), (batch, 3, 64, 64)


def main():
    mode, part, *numbers = sys.argv[1:]
    if mode == "bf16":
        torch.backends.mkldnn.conv.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    if part == "demo":
        import vipaint_port

        return answer(vipaint_port.demo(mode == "compile"))
    call, shape = network(part, [int(n) for n in numbers])
    forward_call, vjp_call = call, call
    if mode == "compile":
        # Frozen weights may be reordered once, if no gradient passes through them.
        forward_call, vjp_call = torch.compile(call, options={"freezing": True}), torch.compile(call)
    x = noise("z", shape)

    def forward():
        with torch.no_grad():
            return forward_call(x)

    with torch.no_grad():
        v = noise("v", tuple(call(x).shape))

    def vjp():
        leaf = x.clone().requires_grad_(True)
        return torch.autograd.grad(vjp_call(leaf), leaf, v)[0]

    def write(folder):
        for name, tensor in (("y", forward()), ("dx", vjp())):
            tensor.contiguous().detach().numpy().tofile(f"{folder}/{name}")
        return "written"

    answer({"forward": forward, "vjp": vjp, "write": write})


def answer(of):
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "reset":
            ctypes.CDLL(None).malloc_trim(0)
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            result = status("VmRSS")
        elif word == "base":
            result = BASE
        elif word == "peak":
            result = status("VmHWM")
        elif word in ("write", "calls"):
            result = of[word](rest)
        else:
            result = []
            for _ in range(int(rest)):
                start = time.perf_counter()
                of[word]()
                result.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
