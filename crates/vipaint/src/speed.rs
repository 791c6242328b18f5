//! How long a prior's network (or its decoder) takes, and how much memory.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vipaint_core::Schedule;
use vipaint_nn::device::name;
use vipaint_zoo::{Header, Inventory, Loader, RandomWeights, Source as _, presets::Preset};

use crate::error::{Error, Result};
use crate::memory;
use crate::priors::{EMBEDDED, Open, Source, refuse};

/// What is measured.
#[derive(Debug, Clone)]
pub struct Ask {
    /// An embedded name, a file, or with random weights the name of a known architecture.
    pub prior: String,
    /// Where.
    pub device: Device,
    /// Samples of a call.
    pub batch: usize,
    /// Side of `z`; by default the prior's own.
    pub size: Option<usize>,
    /// The decoder instead of the denoiser.
    pub decode: bool,
    /// Random weights instead of the prior's.
    pub random_weights: bool,
    /// With random weights: kept in half precision.
    pub half_weights: bool,
    /// Calls of each kind; their median counts.
    pub rounds: usize,
}

type Call<'a> = Box<dyn Fn(Tensor<4>) -> vipaint_core::Result<Tensor<4>> + 'a>;

/// Measures: medians `forward_ms` and `forward_vjp_ms` (a call with its vector-Jacobian product), `peak_bytes` (the
/// process's high-water mark, which holds the weights too); `load_ms`, and the process's size after loading and its
/// high-water mark until then, `loaded_bytes` and `load_peak_bytes`.
///
/// # Errors
/// [`Error`] names the option or the prior that cannot be used.
pub fn measure(ask: &Ask) -> Result<Value> {
    for (option, value) in [("--batch", ask.batch), ("--rounds", ask.rounds), ("--size", ask.size.unwrap_or(1))] {
        if value == 0 {
            return Err(Error::usage(option, "must be at least 1", "leave the option out"));
        }
    }
    if ask.random_weights { random(ask) } else { loaded(ask) }
}

/// The prior as it is.
fn loaded(ask: &Ask) -> Result<Value> {
    if Preset::named(&ask.prior).is_some() && !EMBEDDED.iter().any(|prior| prior.name == ask.prior) {
        let problem = format!("the weights of {} are not in the program", ask.prior);
        return Err(Error::usage("PRIOR", problem, "add --random-weights, or give the file of its weights"));
    }
    let source = Source::named(&ask.prior)?;
    let start = Instant::now();
    let Open { prior, raw } = source.open(&ask.device)?;
    let load = Load::since(start);
    let Some((header, _)) = raw else {
        let problem = format!("the network of {} cannot be measured", prior.name);
        return Err(Error::usage("PRIOR", problem, "give an embedded prior or a file"));
    };
    let [_, side, _] = prior.shape();
    if ask.size.is_some_and(|size| size != side) {
        let problem = format!("the prior works on a side of {side}");
        return Err(Error::usage("--size", problem, "leave the option out, or add --random-weights"));
    }
    if ask.decode && prior.autoencoder.is_identity() {
        return Err(no_decoder(&prior.name));
    }
    let inventory = header.network.inventory().map_err(|error| refuse(&source.name(), &error))?;
    let (condition, levels) = (header.network.example_condition(), levels(&prior.schedule, ask.batch));
    let call: Call<'_> = if ask.decode {
        Box::new(|z| Ok(prior.autoencoder.decode(z)))
    } else {
        Box::new(|z| prior.denoiser.x0_hat(z, &levels, &condition))
    };
    run(ask, prior.shape(), &inventory, &load, &call)
}

/// The prior's architecture, at any size, with random weights.
fn random(ask: &Ask) -> Result<Value> {
    let mut header = described(&ask.prior)?;
    if let Some(size) = ask.size {
        header.network = header.network.with_side(size);
    }
    let shape = header.network.shape();
    let refused = |error: vipaint_zoo::Error| refuse(&ask.prior, &error);
    let weights = RandomWeights::default();
    let loader = Loader::new(&weights, &ask.device);
    let loader = if ask.half_weights { loader.halved() } else { loader };
    if ask.decode {
        let Some(config) = &header.autoencoder else { return Err(no_decoder(&ask.prior)) };
        let inventory = Inventory::of(|loader| config.build_decoder(loader, shape[1])).map_err(refused)?;
        let start = Instant::now();
        let decoder = config.build_decoder(&loader, shape[1]).map_err(refused)?;
        return run(ask, shape, &inventory, &Load::since(start), &(Box::new(|z| Ok(decoder.decode(z))) as Call<'_>));
    }
    let inventory = header.network.inventory().map_err(refused)?;
    let (condition, levels) = (header.network.example_condition(), levels(&header.schedule, ask.batch));
    let start = Instant::now();
    let network = header.network.build(&loader).map_err(refused)?;
    let load = Load::since(start);
    let prior = vipaint_zoo::with_network(header, network);
    run(ask, shape, &inventory, &load, &(Box::new(|z| prior.denoiser.x0_hat(z, &levels, &condition)) as Call<'_>))
}

/// The description of an architecture: a known one's, or that of an embedded prior or a file.
fn described(name: &str) -> Result<Header> {
    if let Some(preset) = Preset::named(name) {
        return Ok(preset.header());
    }
    Source::named(name)?.header()
}

fn no_decoder(name: &str) -> Error {
    Error::usage("--decode", format!("prior {name} has no decoder"), "leave the option out")
}

/// As much noise as signal.
fn levels(schedule: &Schedule, batch: usize) -> Vec<vipaint_core::Level> {
    vec![schedule.level_at_ratio(1.0); batch]
}

/// What loading took.
struct Load {
    ms: f64,
    resident: Option<u64>,
    peak: Option<u64>,
}

impl Load {
    fn since(start: Instant) -> Self {
        Self { ms: start.elapsed().as_secs_f64() * 1e3, resident: memory::resident(), peak: memory::peak() }
    }
}

fn run(ask: &Ask, [c, h, w]: [usize; 3], inventory: &Inventory, load: &Load, call: &Call<'_>) -> Result<Value> {
    let noise = RandomWeights { seed: 1 };
    let z = noise.tensor("z", &[ask.batch, c * h * w, 1]).map_err(|error| refuse(&ask.prior, &error))?;
    let z = Tensor::<4>::from_data(TensorData::new(z, [ask.batch, c, h, w]), &ask.device);
    // The first calls pack what is packed late, and warm the caches.
    let v = call(z.clone())?;
    with_vjp(call, &z, &v)?;
    finished(ask)?;
    let forward = median(ask.rounds, || {
        call(z.clone())?;
        finished(ask)
    })?;
    let forward_vjp = median(ask.rounds, || {
        with_vjp(call, &z, &v)?;
        finished(ask)
    })?;
    Ok(json!({
        "prior": ask.prior,
        "part": if ask.decode { "decoder" } else { "denoiser" },
        "random_weights": ask.random_weights,
        "half_weights": ask.half_weights,
        "batch": ask.batch,
        "shape": [c, h, w],
        "parameters": inventory.parameters(),
        "multiply_adds": inventory.multiply_adds,
        "device": name(&ask.device),
        "threads": rayon::current_num_threads(),
        "rounds": ask.rounds,
        "load_ms": load.ms,
        "loaded_bytes": load.resident,
        "load_peak_bytes": load.peak,
        "forward_ms": forward,
        "forward_vjp_ms": forward_vjp,
        "held_bytes": ask.batch as u64 * inventory.held_bytes(),
        "peak_bytes": memory::peak(),
    }))
}

/// Waits for what a device was told to do.
fn finished(ask: &Ask) -> Result<()> {
    ask.device.sync().map_err(|error| Error::Resource {
        what: "--device".into(),
        problem: format!("the device failed ({error})"),
        remedy: "lower --batch or --size, or leave the option out".into(),
    })
}

fn with_vjp(call: &Call<'_>, z: &Tensor<4>, v: &Tensor<4>) -> Result<()> {
    let leaf = z.clone().autodiff().require_grad();
    let mut gradients = (call(leaf.clone())? * v.clone().autodiff()).sum().backward();
    drop(leaf.grad_remove(&mut gradients));
    Ok(())
}

/// The median time in milliseconds.
fn median(rounds: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(f64::midpoint(times[(rounds - 1) / 2], times[rounds / 2]))
}
