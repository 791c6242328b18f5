#!/usr/bin/env python3
"""Measures this program against PyTorch on the CPU and writes docs/results/speed.md (and speed.json, from which it is made).

    cargo build --release -p vipaint --example speed_worker
    git clone https://github.com/CompVis/latent-diffusion
    python scripts/bench_pytorch.py --venv SCRATCH --ldm latent-diffusion

Both sides run in processes of their own and take turns, a few calls at a time, in one run: the same shapes, the same weights
(checked: outputs and gradients are compared), two threads, frozen weights, gradients of the input only. PyTorch gets
channels_last, and of eager execution and torch.compile the better counts. A ratio is the median over all turns of PyTorch's
median time in a turn over ours in the same turn, so that what else the machine does meanwhile hits both.
"""

import argparse
import fcntl
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bench_pytorch"))
import page  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results/speed.json"
CONVOLUTIONS = [(4, 192, 192, 64), (4, 384, 384, 32), (4, 64, 64, 32), (1, 128, 128, 256)]
NETWORKS = {"fashion": 8, "cin256": 1, "decoder": 1}
PARTS = ["peak", "conv", *NETWORKS, "bf16", "threads", "samples", "memory", "demo"]
REST = 0.2  # seconds between turns: threads of the other side that wait actively go to sleep


class Worker:
    """A side of the comparison, asked line by line."""

    def __init__(self, options, side, part, *numbers, threads=2):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        if side == "rust":
            command = [str(options.worker)]
        else:
            paths = [os.environ.get("PYTHONPATH"), options.ldm]
            environment["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths if path)
            command = [str(options.venv / "bin/python"), str(ROOT / "scripts/bench_pytorch/worker.py"), side]
        log = None if options.verbose else subprocess.DEVNULL
        command += [part, *map(str, numbers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.command = " ".join(command[1:])
        for line in self.process.stdout:  # CompVis' modules print as they are made
            if line.strip() == "ready":
                return
        raise RuntimeError(f"a worker did not start: {self.command} (--verbose shows why)")

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended at {words}: {self.command} (--verbose shows why)")
        return json.loads(line) if line[0] in "[0123456789" else line.strip().strip('"')

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Lock:
    """The locks that other users of the machine wait for, if there are any: held while something is measured, and given up
    between turns after a while."""

    def __init__(self, paths, seconds):
        self.files, self.seconds, self.since = [open(path, "a") for path in paths], seconds, None

    def breathe(self):
        """Called between turns."""
        if self.since is not None and time.monotonic() - self.since > self.seconds:
            for file in self.files:
                fcntl.flock(file, fcntl.LOCK_UN)
            self.since = None
            time.sleep(1)
        if self.since is None:
            for file in self.files:
                fcntl.flock(file, fcntl.LOCK_EX)
            self.since = time.monotonic()


def turns(options, workers, kind):
    """Times of each worker, turn by turn: `{name: [[milliseconds]]}`. Every turn takes about `--turn` seconds."""
    options.lock.breathe()
    counts = {}
    for name, worker in workers.items():
        worker.ask(kind, 1)
        counts[name] = max(1, round(1e3 * options.turn / worker.ask(kind, 1)[0]))
    times = {name: [] for name in workers}
    for _ in range(options.turns):
        options.lock.breathe()
        for name, worker in workers.items():
            time.sleep(REST)
            times[name].append(worker.ask(kind, counts[name]))
    return times


def summary(times):
    """Median and range of all calls, and ratios to "rust" turn by turn."""
    result = {}
    for name, by_turn in times.items():
        ordered = sorted(sum(by_turn, []))
        result[name] = {"median": statistics.median(ordered), "low": ordered[0], "high": ordered[-1], "calls": len(ordered)}
        pairs = list(zip(by_turn, times["rust"]))
        result[name]["ratio"] = statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)
        # Of the fastest calls: other work on the machine only adds time.
        result[name]["ratio_of_least"] = ordered[0] / min(min(b) for _, b in pairs)
    return result


def sides(options, part, *numbers):
    """Both sides of a part, in all modes of PyTorch that work here, warm."""
    workers = {"rust": Worker(options, "rust", part, *numbers)}
    kinds = ["forward"] if part == "demo" else ["vjp", "forward"]
    for mode in options.modes:
        try:
            worker = Worker(options, mode, part, *numbers)
            for kind in kinds:
                worker.ask(kind, 1)
            workers[mode] = worker
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
    return workers


def root_mean_square(values):
    return (sum(x * x for x in values) / len(values)) ** 0.5


def differences(worker, reference):
    """Output's and gradient's differences of a side from another, relative to the other's root mean square."""
    with tempfile.TemporaryDirectory() as folder:
        values = []
        for side in (worker, reference):
            side.ask("write", folder)
            values.append({name: array("f", (Path(folder) / name).read_bytes()) for name in ("y", "dx")})
    found = {}
    for name in ("y", "dx"):
        a, b = (v[name] for v in values)
        if len(a) != len(b):
            raise RuntimeError(f"{name} has {len(a)} values on one side and {len(b)} on the other")
        scale = root_mean_square(b)
        found[name] = [(x - y) / scale for x, y in zip(a, b)]
    return found


def difference(workers):
    """The largest differences between the first two sides."""
    return {name: max(map(abs, of)) for name, of in differences(*list(workers.values())[:2]).items()}


def close(workers):
    for worker in workers.values():
        worker.close()


class Comparison:
    """Forward and forward + VJP of one part."""

    def __init__(self, options, part, *numbers):
        self.workers = sides(options, part, *numbers)
        self.result = {"difference": difference(self.workers), "work": self.workers["rust"].ask("work")}

    def measure(self, options):
        self.result["load"] = os.getloadavg()[0]
        for kind in ("vjp", "forward"):
            self.result[kind] = summary(turns(options, self.workers, kind))
        close(self.workers)
        return self.result


class Reduced:
    """PyTorch with products of eight bits, and how far both sides are from PyTorch in single precision."""

    def __init__(self, options):
        self.parts = {}
        for part, batch in NETWORKS.items():
            workers = {side: Worker(options, side, part, batch) for side in ("rust", "bf16")}
            exact = Worker(options, "eager", part, batch)
            errors = {side: {name: root_mean_square(of) for name, of in differences(worker, exact).items()} for side, worker in workers.items()}
            exact.close()
            self.parts[part] = (workers, errors)

    def measure(self, options):
        result = {}
        for part, (workers, errors) in self.parts.items():
            result[part] = {"error": errors, **{kind: summary(turns(options, workers, kind)) for kind in ("vjp", "forward")}}
            close(workers)
        return result


class Convolutions:
    def __init__(self, options):
        self.parts = {" ".join(map(str, shape)): Comparison(options, "conv", *shape) for shape in CONVOLUTIONS}

    def measure(self, options):
        return {shape: part.measure(options) for shape, part in self.parts.items()}


class Demo:
    def __init__(self, options):
        self.workers = sides(options, "demo")

    def measure(self, options):
        result = {"load": os.getloadavg()[0], "forward": summary(turns(options, self.workers, "forward"))}
        result["calls"] = {name: worker.ask("calls") for name, worker in self.workers.items()}
        close(self.workers)
        return result


class Peak:
    """The most multiply-adds a second."""

    def __init__(self, options):
        self.worker = Worker(options, "rust", "multiply-adds")

    def measure(self, options):
        options.lock.breathe()
        result = {str(n): max(self.worker.ask("rate", n) for _ in range(9)) for n in (1, 2)}
        self.worker.close()
        return result


class Threads:
    """This side with one thread and with two."""

    def __init__(self, options):
        self.parts = {part: {str(n): Worker(options, "rust", part, batch, threads=n) for n in (1, 2)} for part, batch in NETWORKS.items()}

    def measure(self, options):
        result = {}
        for part, workers in self.parts.items():
            times = turns(options, workers, "vjp")
            close(workers)
            gain = statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(times["1"], times["2"]))
            result[part] = {"gain": gain, **{n: statistics.median(sum(t, [])) for n, t in times.items()}}
        return result


class Samples:
    """The cost of a sample in calls of several."""

    def __init__(self, options):
        self.workers = {str(n): Worker(options, "rust", "fashion", n) for n in (1, 2, 4, 8, 16)}

    def measure(self, options):
        times = turns(options, self.workers, "vjp")
        close(self.workers)
        return {n: statistics.median(sum(t, [])) / int(n) for n, t in times.items()}


class Memory:
    """High-water marks of forward + VJP in processes that do nothing else."""

    def __init__(self, options):
        self.result = {}
        sides = ("rust", *options.modes)
        for part, batch, ours in [(part, batch, part) for part, batch in NETWORKS.items()] + [("cin256", 1, "cin256-half")]:
            self.result[ours] = {}
            for side in sides:
                if ours != part and side != "rust":
                    self.result[ours][side] = self.result[part][side]
                    continue
                worker = Worker(options, side, ours, batch)
                worker.ask("vjp", 1)
                held = worker.ask("reset")
                worker.ask("vjp", 2)
                self.result[ours][side] = {"base": worker.ask("base"), "held": held, "peak": worker.ask("peak")}
                worker.close()

    def measure(self, _):
        return self.result


def prepare(options, part):
    """Everything that may take its time."""
    if part in NETWORKS:
        return Comparison(options, part, NETWORKS[part])
    kinds = {"peak": Peak, "conv": Convolutions, "bf16": Reduced, "threads": Threads, "samples": Samples, "memory": Memory, "demo": Demo}
    return kinds[part](options)


def machine(options):
    """What the numbers hold for."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    version = "import torch, platform; print(torch.__version__.split('+')[0], platform.python_version())"
    torch, python = subprocess.check_output([str(options.venv / "bin/python"), "-c", version], text=True).split()
    rustc = subprocess.check_output(["rustc", "--version"], text=True).split()[1]
    model = f"{fields['model name']}, family {fields['cpu family']} model {fields['model']}"
    return {"cpu": model, "cores": os.cpu_count(), "torch": torch, "python": python, "rustc": rustc}


def write(results):
    (ROOT / "docs/results/speed.md").write_text(page.text(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment with torch; made if it is not there")
    parser.add_argument("--ldm", type=Path, help="checkout of CompVis' latent-diffusion (for cin256 and decoder)")
    parser.add_argument("--worker", type=Path, default=ROOT / "target/release/examples/speed_worker", help="our side, built")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure; the rest of the page stays, all of it if empty (default: %(default)s)")
    parser.add_argument("--modes", default="eager,compile", help="PyTorch's modes (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=15, help="turns of each side (default: %(default)s)")
    parser.add_argument("--turn", type=float, default=1.0, help="seconds of a turn, about (default: %(default)s)")
    parser.add_argument("--lock", type=Path, action="append", default=[], help="file that is locked (flock) while measuring, on shared machines")
    parser.add_argument("--hold", type=float, default=60, help="seconds after which the lock is released for others")
    parser.add_argument("--verbose", action="store_true", help="show what the workers print")
    options = parser.parse_args()
    options.modes = options.modes.split(",")
    if not options.venv.exists():
        subprocess.check_call([sys.executable, "-m", "venv", str(options.venv)])
        install = [str(options.venv / "bin/pip"), "install", "torch", "numpy", "einops", "pillow"]
        subprocess.check_call([*install, "--extra-index-url", "https://download.pytorch.org/whl/cpu"])

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    options.lock = Lock(options.lock, options.hold)
    for part, prepared in [(part, prepare(options, part)) for part in options.parts.split(",") if part]:
        results[part] = prepared.measure(options)
        results["machine"] = machine(options)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write(results)
        print(f"{part}: {json.dumps(results[part])[:600]}")
    write(results)  # notes may have changed


if __name__ == "__main__":
    main()
