"""The page of results."""

from pathlib import Path
from statistics import geometric_mean

TITLES = {
    "fashion": "`fashion` U-Net, batch 8",
    "cin256": "ImageNet-256 latent U-Net (cin256-v2), batch 1",
    "decoder": "its VQ-f4 decoder, 256x256",
}
MEMORY = {**TITLES, "cin256-half": "the same, weights kept in half precision (PyTorch's in single)"}
NEEDED = {"conv": 2.0, "fashion": 2.5, "cin256": 1.5, "decoder": 1.7, "demo": 2.5}


def best(result):
    """The mode of PyTorch that counts: the one with the smaller ratio to ours."""
    modes = {name: entry["ratio"] for name, entry in result.items() if name != "rust"}
    return min(modes, key=modes.get)


def cell(entry, digits=1):
    return f"{entry['median']:.{digits}f} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def table(*rows):
    return "\n".join([row(*rows[0]), row(*["---"] * len(rows[0])), *(row(*r) for r in rows[1:])])


def timing(result):
    """Times of the three, the ratio, and that of the fastest calls: on a machine with other work the surer of the two."""
    mode = best(result)
    ratios = [f"**{result[mode]['ratio']:.2f}**", f"{result[mode]['ratio_of_least']:.2f}"]
    return [cell(result["rust"]), *(cell(result[m]) if m in result else "-" for m in ("eager", "compile")), *ratios]


def rate(work, result, name, passes):
    """Billions of multiply-adds a second, as direct summation would need them."""
    return work * passes / result[name]["median"] / 1e6


def convolutions(results, peak):
    rows = [["batch, channels, side", "vipaint", "PyTorch", "ratio", "vipaint", "PyTorch", "ratio"]]
    ratios = {"forward": [], "vjp": []}
    for shape, result in results.items():
        batch, c_in, c_out, side = map(int, shape.split())
        cells = [f"{batch}, {c_in}, {side}"]
        for kind, passes in (("forward", 1), ("vjp", 2)):
            entry, mode = result[kind], best(result[kind])
            work = batch * side * side * c_in * c_out * 9
            for name in ("rust", mode):
                speed = rate(work, entry, name, passes)
                cells.append(f"{speed:.0f}" + (f" ({100 * speed / peak:.0f} %)" if peak else ""))
            cells.append(f"{entry[mode]['ratio']:.2f}")
            ratios[kind].append(entry[mode]["ratio"])
        rows.append(cells)
    means = [geometric_mean(ratios[kind]) for kind in ("forward", "vjp")]
    rows.append(["geometric mean", "", "", f"**{means[0]:.2f}**", "", "", f"**{means[1]:.2f}**"])
    return table(*rows), means[1]


def megabytes(n):
    return f"{n / 1e6:.0f}"


def text(results):
    machine, peak = results["machine"], results.get("peak", {})
    parts = [
        "# Speed against PyTorch on the CPU",
        "Written by [`scripts/bench_pytorch.py`](../../scripts/bench_pytorch.py), which says how it measures; the numbers behind this "
        "page are in [speed.json](speed.json). Same shapes and weights on both sides (outputs and gradients are compared), two threads, "
        "frozen weights, gradient of the input only; of PyTorch's eager execution and `torch.compile` the better counts. "
        "Times are medians over all calls with the smallest and largest in parentheses; ratios are medians over turns, and beside them the "
        "ratio of the fastest calls, since other work on the machine only adds time.",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, shared with other work; PyTorch {machine['torch']}, Python {machine['python']}, "
        f"rustc {machine['rustc']}. " + (f"Most multiply-adds a second, measured: {peak['1']:.0f} billion with one thread, "
        f"{peak['2']:.0f} with two." if peak else ""),
    ]
    if "conv" in results:
        body, _ = convolutions(results["conv"], peak.get("2"))
        load = max(entry["load"] for entry in results["conv"].values())
        gap = max(max(entry["difference"].values()) for entry in results["conv"].values())
        parts += [
            "## 3x3 convolutions",
            "Billions of multiply-adds a second as direct summation counts them"
            + (", and their share of the measured peak (of vectors' instructions; more than 100 % is Winograd's algorithm, or tile registers)" if peak else "")
            + ": first forward, then forward and vector-Jacobian product.",
            body,
            f"Load average while measuring up to {load:.1f}; largest difference of the results {gap:.0e} of their root mean square.",
        ]
    networks = [name for name in TITLES if name in results]
    if networks:
        rows = [["network", "", "vipaint", "eager", "`torch.compile`", "ratio", "of the fastest", "needed"]]
        notes = []
        for name in networks:
            result = results[name]
            for kind, title in (("forward", "forward"), ("vjp", "forward + VJP")):
                rows.append([TITLES[name], title, *timing(result[kind]), f"{NEEDED[name]}"])
            if "work" in result and peak:
                share = [100 * rate(result["work"], result[kind], "rust", n) / peak["2"] for kind, n in (("forward", 1), ("vjp", 2))]
                notes.append(f"{name}: {result['work'] / 1e9:.1f} billion multiply-adds a forward call, {share[0]:.0f} % of the peak forward "
                             f"and {share[1]:.0f} % with VJP, load {result['load']:.1f}, results differ by at most "
                             f"{max(result['difference'].values()):.0e} of their root mean square.")
        parts += ["## Whole networks", "Milliseconds of a call.", table(*rows), "\n".join(f"* {note}" for note in notes)]
    if "bf16" in results:
        rows = [["network", "", "vipaint", "PyTorch, eight bits", "ratio", "error of vipaint", "of PyTorch, eight bits"]]
        for name in networks:
            result = results["bf16"][name]
            for kind, title, value in (("forward", "forward", "y"), ("vjp", "forward + VJP", "dx")):
                errors = [f"{result['error'][side][value]:.1e}" for side in ("rust", "bf16")]
                rows.append([TITLES[name], title, cell(result[kind]["rust"]), cell(result[kind]["bf16"]), f"{result[kind]['bf16']['ratio']:.2f}", *errors])
        parts += ["## Against products of eight bits",
                  "PyTorch, asked for it (`fp32_precision = \"bf16\"`, eager), takes the first eight bits of each factor, which tile registers "
                  "multiply, too. It is no match in what it computes, so it does not count above. Errors are root mean squares of the difference from PyTorch in single precision, relative to "
                  "the root mean square of the output, or of the gradient.", table(*rows)]
    if "demo" in results:
        result = results["demo"]
        calls = result["calls"]["rust"]
        equal = "the same in both" if all(c == calls for c in result["calls"].values()) else f"PyTorch's: {result['calls']}"
        parts += [
            "## Fit and eight samples of the demo",
            table(["vipaint", "eager", "`torch.compile`", "ratio", "of the fastest", "needed"], [*timing(result["forward"]), f"{NEEDED['demo']}"]),
            f"Milliseconds; {calls[0]} network calls and {calls[1]} vector-Jacobian products, {equal}. PyTorch's side is "
            f"[a port](../../scripts/bench_pytorch/vipaint_port.py). Load {result['load']:.1f}.",
        ]
    if "memory" in results:
        rows = [["network", "vipaint", "eager", "`torch.compile`", "ratio", "without what the process held before its network"]]
        for name, sides in results["memory"].items():
            others = [side for side in sides if side != "rust"]
            least = min(others, key=lambda side: sides[side]["peak"])
            above = {side: entry["peak"] - entry["base"] for side, entry in sides.items()}
            ratio = sides["rust"]["peak"] / sides[least]["peak"]
            net = min(above[side] for side in others)
            rows.append([MEMORY[name], *(megabytes(sides[s]["peak"]) if s in sides else "-" for s in ("rust", "eager", "compile")),
                         f"**{ratio:.2f}**", f"{megabytes(above['rust'])} against {megabytes(net)}: **{above['rust'] / net:.2f}**"])
        parts += ["## Memory", "High-water mark of the resident set during forward + VJP, millions of bytes, weights in all their forms included; "
                  "ratios to the smaller of PyTorch's.", table(*rows)]
    if "threads" in results:
        rows = [["forward + VJP", "one thread", "two threads", "gain"]]
        for name in TITLES:
            entry = results["threads"].get(name)
            if entry is None:
                continue
            rows.append([TITLES[name], f"{entry['1']:.1f} ms", f"{entry['2']:.1f} ms", f"**{entry['gain']:.2f}**"])
        if peak:
            rows.append(["multiply-adds in registers, billions a second", f"{peak['1']:.0f}", f"{peak['2']:.0f}", f"{peak['2'] / peak['1']:.2f}"])
        parts += ["## From one thread to two", table(*rows)]
    if "samples" in results:
        counts = list(results["samples"])
        parts += ["## Cost of a sample", "Milliseconds of forward + VJP of the `fashion` U-Net, a sample, in calls of so many:",
                  table(counts, [f"{results['samples'][n]:.2f}" for n in counts])]
    parts.append((Path(__file__).parent / "notes.md").read_text().strip())
    return "\n\n".join(parts) + "\n"
