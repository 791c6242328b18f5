//! How long a prior's network (or its decoder) takes, and how much memory.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use vipaint_core::Schedule;
use vipaint_core::prior::{Condition, Footprint, Prior};
use vipaint_nn::device::name;
use vipaint_zoo::{
    Inventory, Loader, RandomWeights, Source as _,
    presets::{PRESETS, Preset},
};

use crate::error::{Error, Result};
use crate::memory;
use crate::names;
use crate::priors::{EMBEDDED, MadeOf, Open, Source, is_path, refuse};

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
    /// With random weights: kept in half precision. Of a file its name says so.
    pub half_weights: bool,
    /// Calls of each kind; their median counts.
    pub rounds: usize,
}

type Call<'a> = Box<dyn Fn(Tensor<4>) -> vipaint_core::Result<Tensor<4>> + 'a>;

/// Measures: medians `forward_ms` and `forward_vjp_ms` (a call with its vector-Jacobian product), `peak_bytes` (the
/// process's high-water mark, which holds the weights too) beside `estimate_bytes`, the process's size after loading (`loaded_bytes`) and what
/// a call with its gradient should hold by the architecture (`held_bytes`); `load_ms`, and the high-water mark until then, `load_peak_bytes`.
///
/// # Errors
/// [`Error`] names the option or the prior that cannot be used.
pub fn measure(ask: &Ask) -> Result<Value> {
    for (option, value) in [("--batch", ask.batch), ("--rounds", ask.rounds), ("--size", ask.size.unwrap_or(1))] {
        if value == 0 {
            return Err(Error::usage(option, "must be at least 1", "leave the option out"));
        }
    }
    if ask.half_weights && !ask.random_weights {
        let problem = "is for --random-weights";
        return Err(Error::usage(
            "--half-weights",
            problem,
            "write FILE,weights=f16 to keep a file's in half precision",
        ));
    }
    if ask.random_weights { random(ask) } else { loaded(ask) }
}

/// What a part of a prior costs, by its architecture.
struct Cost {
    parameters: usize,
    multiply_adds: Option<u64>,
    /// Held for each sample until its gradient is taken.
    held: Option<u64>,
}

impl Cost {
    fn of(inventory: &Inventory, multiply_adds: u64) -> Self {
        let held = (inventory.outputs > 0).then(|| inventory.held_bytes());
        Self { parameters: inventory.parameters(), multiply_adds: Some(multiply_adds), held }
    }

    /// Of the denoiser or the decoder of a prior; none without a decoder.
    fn part(made_of: &MadeOf, decode: bool) -> vipaint_zoo::Result<Option<Self>> {
        Ok(Some(match (made_of, decode) {
            (MadeOf::Network(header), false) => Self::of(&header.network.inventory()?, header.network.multiply_adds()?),
            (MadeOf::Network(header), true) => {
                let Some(config) = &header.autoencoder else { return Ok(None) };
                let side = header.network.shape()[1];
                let inventory = Inventory::of(|loader| config.build_decoder(loader, side))?;
                Self::of(&inventory, inventory.multiply_adds)
            }
            (MadeOf::Text(header), _) => {
                let of_decoder = |name: &str| name.starts_with("autoencoder.");
                let entries = header.entries()?;
                let mine = entries.iter().filter(|entry| of_decoder(&entry.name) == decode);
                let multiply_adds = (!decode).then(|| header.network.multiply_adds());
                Self {
                    parameters: mine.map(|entry| entry.shape.iter().product::<usize>()).sum(),
                    multiply_adds,
                    held: None,
                }
            }
        }))
    }
}

/// A condition that a network accepts.
fn example(made_of: &MadeOf) -> Condition {
    match made_of {
        MadeOf::Network(header) => header.network.example_condition(),
        MadeOf::Text(_) => Condition::default(),
    }
}

/// The prior as it is.
fn loaded(ask: &Ask) -> Result<Value> {
    if Preset::named(&ask.prior).is_some() && !EMBEDDED.iter().any(|prior| prior.name == ask.prior) {
        let problem = format!("the weights of {} are not in the program", ask.prior);
        return Err(Error::usage("PRIOR", problem, "add --random-weights, or give the file of its weights"));
    }
    let source = Source::named(&ask.prior)?;
    let ask = &Ask { half_weights: source.halved(), ..ask.clone() };
    let start = Instant::now();
    let Open { prior, raw } = source.open(&ask.device)?;
    let load = Load::since(start);
    let Some(raw) = raw else {
        let problem = format!("the network of {} cannot be measured", prior.name);
        return Err(Error::usage("PRIOR", problem, "give an embedded prior or a file"));
    };
    let [_, side, _] = prior.shape();
    if ask.size.is_some_and(|size| size != side) {
        let problem = format!("the prior works on a side of {side}");
        return Err(Error::usage("--size", problem, "leave the option out, or add --random-weights"));
    }
    whole(ask, &prior, &raw.made_of, &load)
}

/// A prior, whichever part is asked for.
fn whole(ask: &Ask, prior: &Prior, made_of: &MadeOf, load: &Load) -> Result<Value> {
    let refused = |error: vipaint_zoo::Error| refuse(&ask.prior, &error);
    let cost = Cost::part(made_of, ask.decode).map_err(refused)?.ok_or_else(|| no_decoder(&prior.name))?;
    let of = |footprint: Footprint| if ask.decode { footprint.decoder } else { footprint.denoiser };
    allow(ask, cost.held.or_else(|| prior.footprint.map(of)))?;
    let (condition, levels) = (example(made_of), levels(&prior.schedule, ask.batch));
    let call: Call<'_> = if ask.decode {
        Box::new(|z| Ok(prior.autoencoder.decode(z)))
    } else {
        Box::new(|z| prior.denoiser.x0_hat(z, &levels, &condition))
    };
    run(ask, prior.shape(), &cost, load, &call)
}

/// The prior's architecture, at any size, with random weights.
fn random(ask: &Ask) -> Result<Value> {
    let refused = |error: vipaint_zoo::Error| refuse(&ask.prior, &error);
    let header = match described(&ask.prior)? {
        MadeOf::Network(header) => header,
        MadeOf::Text(_) if ask.half_weights => {
            let problem = format!("the weights of {} are always in single precision", ask.prior);
            return Err(Error::usage("--half-weights", problem, "leave the option out"));
        }
        MadeOf::Text(header) => {
            let header = ask.size.map_or_else(|| (*header).clone(), |size| header.as_ref().clone().with_side(size));
            let start = Instant::now();
            let opened = header.random(&ask.device).map_err(refused)?;
            return whole(ask, &opened.prior, &MadeOf::Text(Box::new(header)), &Load::since(start));
        }
    };
    let mut header = *header;
    if let Some(size) = ask.size {
        header.network = header.network.with_side(size);
        header.network.validate().map_err(|error| {
            let problem = format!("{} cannot work on a side of {size} ({error})", ask.prior);
            Error::usage("--size", problem, "leave the option out for the prior's own")
        })?;
    }
    let shape = header.network.shape();
    let cost = Cost::part(&MadeOf::Network(Box::new(header.clone())), ask.decode).map_err(refused)?;
    let cost = cost.ok_or_else(|| no_decoder(&ask.prior))?;
    allow(ask, cost.held)?;
    let weights = RandomWeights::default();
    let loader = Loader::new(&weights, &ask.device);
    let loader = if ask.half_weights { loader.halved() } else { loader };
    let start = Instant::now();
    if let Some(config) = header.autoencoder.as_ref().filter(|_| ask.decode) {
        let decoder = config.build_decoder(&loader, shape[1]).map_err(refused)?;
        return run(ask, shape, &cost, &Load::since(start), &(Box::new(|z| Ok(decoder.decode(z))) as Call<'_>));
    }
    let (condition, levels) = (header.network.example_condition(), levels(&header.schedule, ask.batch));
    let network = header.network.build(&loader).map_err(refused)?;
    let load = Load::since(start);
    let prior = vipaint_zoo::with_network(header, network);
    run(ask, shape, &cost, &load, &(Box::new(|z| prior.denoiser.x0_hat(z, &levels, &condition)) as Call<'_>))
}

/// The description of an architecture: a known one's, or that of an embedded prior or a file.
fn described(name: &str) -> Result<MadeOf> {
    if let Some(preset) = Preset::named(name) {
        return Ok(MadeOf::Network(Box::new(preset.header())));
    }
    let known = EMBEDDED.iter().map(|prior| prior.name).chain(PRESETS.iter().map(|preset| preset.name));
    match Source::named(name) {
        Err(Error::Usage { .. }) if !is_path(name) => {
            let problem = format!("there is no architecture {name:?}");
            Err(Error::usage("PRIOR", problem, names::remedy(name, known)))
        }
        source => source?.made_of(),
    }
}

/// Refuses calls that hold more for each sample than the user said.
fn allow(ask: &Ask, held: Option<u64>) -> Result<()> {
    let bytes = held.map_or(0, |held| held.saturating_mul(ask.batch as u64));
    memory::allow("a call with its gradient", bytes, "lower --batch or --size, or allow more with --memory")
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

fn run(ask: &Ask, [c, h, w]: [usize; 3], cost: &Cost, load: &Load, call: &Call<'_>) -> Result<Value> {
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
    let held = cost.held.map(|held| ask.batch as u64 * held);
    Ok(json!({
        "prior": ask.prior,
        "part": if ask.decode { "decoder" } else { "denoiser" },
        "random_weights": ask.random_weights,
        "half_weights": ask.half_weights,
        "batch": ask.batch,
        "shape": [c, h, w],
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "device": name(&ask.device),
        "threads": rayon::current_num_threads(),
        "rounds": ask.rounds,
        "load_ms": load.ms,
        "loaded_bytes": load.resident,
        "load_peak_bytes": load.peak,
        "forward_ms": forward,
        "forward_vjp_ms": forward_vjp,
        "held_bytes": held,
        "estimate_bytes": load.resident.zip(held).map(|(weights, held)| weights + held),
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
