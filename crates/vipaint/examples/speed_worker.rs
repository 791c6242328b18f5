//! This side of `scripts/bench_pytorch.py`: holds one network and measures what it is told to on its standard input, a line
//! for a line, so that both sides take turns. `cargo run --release -p vipaint --example speed_worker -- PART`, where PART is
//! `fashion BATCH`, `cin256 BATCH`, `cin256-half BATCH` (weights in half precision), `decoder BATCH`, `conv BATCH C_IN C_OUT SIDE`, `demo` or `multiply-adds`.
//!
//! | line | answer |
//! | --- | --- |
//! | `forward N`, `vjp N` | milliseconds of N calls, without or with the vector-Jacobian product, as JSON |
//! | `reset` | resident bytes; the high-water mark starts anew |
//! | `peak` | resident bytes at the high-water mark |
//! | `base` | resident bytes before the network was made |
//! | `work` | multiply-adds of a forward call, as direct summation counts them |
//! | `calls` | of the demo: network calls and vector-Jacobian products |
//! | `write FOLDER` | writes `y` and `dx` there, f32 in the order `[batch, channels, height, width]` |

use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint::demo::Examples;
use vipaint::{Amount, Job, Preset, Request, Settings, parse_noise};
use vipaint_core::prior::{Calls, Condition};
use vipaint_kernels::Version;
use vipaint_nn::ops::{External, PackedConv, conv2d_frozen, external};
use vipaint_zoo::{Family, Inventory, Loader, RandomWeights, Source, presets};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Call = Box<dyn Fn(Tensor<4>) -> Tensor<4>>;

/// A function and where it is called.
struct Part {
    call: Call,
    z: Tensor<4>,
    v: Arc<Seed>,
    /// Multiply-adds of a call.
    work: u64,
    /// Whether channels come last.
    nhwc: bool,
}

fn main() -> Result<()> {
    let base = resident("VmRSS:")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, numbers) = arguments.split_first().ok_or("name a part")?;
    let numbers = numbers.iter().map(|n| n.parse()).collect::<std::result::Result<Vec<usize>, _>>()?;
    let part = match (name.as_str(), numbers.as_slice()) {
        ("fashion", &[batch]) => fashion(batch)?,
        ("cin256", &[batch]) => cin256(batch, false)?,
        ("cin256-half", &[batch]) => cin256(batch, true)?,
        ("decoder", &[batch]) => decoder(batch)?,
        ("conv", &[batch, c_in, c_out, side]) => convolution(batch, c_in, c_out, side)?,
        ("demo", []) => {
            let mut calls = Calls::default();
            return answer(|words| demo(words, &mut calls));
        }
        ("multiply-adds", []) => return answer(|words| Ok(format!("{:.1}", multiply_adds(words.1)?))),
        _ => return Err("an unknown part, or not its numbers".into()),
    };
    answer(|(word, count, rest)| match word {
        "forward" => Ok(times(count, || drop(part.forward()))),
        "vjp" => Ok(times(count, || drop(part.vjp()))),
        "write" => part.write(rest),
        "work" => Ok(part.work.to_string()),
        "base" => Ok(base.to_string()),
        _ => memory(word),
    })
}

/// Answers every line of standard input; a line is a word and a number or a text.
fn answer(mut of: impl FnMut((&str, usize, &str)) -> Result<String>) -> Result<()> {
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        println!("{}", of((word, rest.parse().unwrap_or(1), rest))?);
    }
    Ok(())
}

fn times(count: usize, mut work: impl FnMut()) -> String {
    let time = |_| {
        let start = Instant::now();
        work();
        format!("{:.3}", start.elapsed().as_secs_f64() * 1e3)
    };
    format!("[{}]", (0..count).map(time).collect::<Vec<_>>().join(", "))
}

fn memory(word: &str) -> Result<String> {
    Ok(match word {
        "reset" => {
            std::fs::write("/proc/self/clear_refs", "5")?;
            resident("VmRSS:")?
        }
        "peak" => resident("VmHWM:")?,
        _ => return Err(format!("an unknown line: {word}").into()),
    }
    .to_string())
}

/// Bytes of a field of the process's status.
fn resident(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Values of unit variance.
fn noise(name: &str, shape: [usize; 4]) -> Result<Tensor<4>> {
    let values = RandomWeights { seed: 1 }.tensor(name, &[shape.iter().product(), 1])?;
    Ok(Tensor::from_data(TensorData::new(values, shape), &Device::flex()))
}

impl Part {
    fn new(call: Call, shape: [usize; 4], work: u64) -> Result<Self> {
        let z = noise("z", shape)?;
        let v = seed(noise("v", call(z.clone()).dims())?)?;
        Ok(Self { call, z, v, work, nhwc: false })
    }

    fn forward(&self) -> Tensor<4> {
        (self.call)(self.z.clone())
    }

    fn vjp(&self) -> Option<Tensor<4>> {
        let leaf = self.z.clone().autodiff().require_grad();
        let y = (self.call)(leaf.clone());
        let mut gradients = external(y, self.v.clone(), [1, 1, 1, 1])?.sum().backward();
        leaf.grad_remove(&mut gradients)
    }

    fn write(&self, folder: &str) -> Result<String> {
        for (name, tensor) in [("y", self.forward()), ("dx", self.vjp().ok_or("no gradient")?)] {
            let tensor = if self.nhwc { tensor.permute([0, 3, 1, 2]) } else { tensor };
            let bytes: Vec<u8> = tensor.into_data().iter::<f32>().flat_map(f32::to_le_bytes).collect();
            std::fs::write(Path::new(folder).join(name), bytes)?;
        }
        Ok("written".into())
    }
}

fn fashion(batch: usize) -> Result<Part> {
    let header = vipaint_zoo::decode(&vipaint::priors::Source::named("fashion")?.bytes()?)?.0;
    network(&header.network, batch, 0.5, false)
}

fn cin256(batch: usize, half: bool) -> Result<Part> {
    let header = presets::Preset::named("ldm-cin256").ok_or("no such preset")?.header();
    network(&header.network, batch, 500.0, half)
}

/// The raw network at one time, class 0.
fn network(family: &Family, batch: usize, time: f64, half: bool) -> Result<Part> {
    let (weights, device) = (RandomWeights::default(), Device::flex());
    let loader = Loader::new(&weights, &device);
    let network = family.build(&if half { loader.halved() } else { loader })?;
    let ([c, h, w], times) = (network.shape(), vec![time; batch]);
    let conditions = vec![family.example_condition(); batch];
    let work = batch as u64 * family.multiply_adds()?;
    Part::new(Box::new(move |z| network.forward(z, &times, &conditions)), [batch, c, h, w], work)
}

fn decoder(batch: usize) -> Result<Part> {
    let header = presets::Preset::named("ldm-cin256").ok_or("no such preset")?.header();
    let config = header.autoencoder.ok_or("no autoencoder")?;
    let decoder = config.build_decoder(&Loader::new(&RandomWeights::default(), &Device::flex()), 64)?;
    let work = batch as u64 * Inventory::of(|loader| config.build_decoder(loader, 64))?.multiply_adds;
    Part::new(Box::new(move |z| decoder.decode(z)), [batch, 3, 64, 64], work)
}

/// A 3x3 convolution of images that are NHWC already, as they are inside of networks.
fn convolution(batch: usize, c_in: usize, c_out: usize, side: usize) -> Result<Part> {
    let source = RandomWeights::default();
    let weight = source.tensor("weight", &[c_out, c_in, 3, 3])?;
    let weight = Tensor::from_data(TensorData::new(weight, [c_out, c_in, 3, 3]), &Device::flex());
    let bias = Tensor::from_data(TensorData::new(source.tensor("bias", &[c_out])?, [c_out]), &Device::flex());
    let packed = PackedConv::new(weight, Some(bias), 1, 1, [side, side]);
    let work = (batch * side * side * c_in * c_out * 9) as u64;
    let z = dense(noise("z", [batch, c_in, side, side])?.permute([0, 2, 3, 1]));
    let v = dense(noise("v", [batch, c_out, side, side])?.permute([0, 2, 3, 1]));
    Ok(Part { call: Box::new(move |x| conv2d_frozen(x, &packed, None)), z, v: seed(v)?, work, nhwc: true })
}

/// The same values, in the order of the dimensions.
fn dense(x: Tensor<4>) -> Tensor<4> {
    let shape = x.dims();
    Tensor::from_data(TensorData::new(x.into_data().iter::<f32>().collect::<Vec<_>>(), shape), &Device::flex())
}

/// A function whose gradient is given, where backward passes start.
#[derive(Debug)]
struct Seed(Vec<f32>);

impl External for Seed {
    fn forward(&self, _: &[f32], y: &mut [f32]) {
        y.fill(0.0);
    }

    fn vjp(&self, _: &[f32], _: &[f32], dx: &mut [f32]) {
        dx.copy_from_slice(&self.0);
    }
}

fn seed(v: Tensor<4>) -> Result<Arc<Seed>> {
    Ok(Arc::new(Seed(v.into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?)))
}

/// `forward N`: the demo N times, the fit and eight samples. `calls`: network calls and vector-Jacobian products of one.
fn demo((word, count, _): (&str, usize, &str), calls: &mut Calls) -> Result<String> {
    match word {
        "calls" => return Ok(format!("[{}, {}]", calls.denoiser, calls.vjp)),
        "forward" => {}
        _ => return memory(word),
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let job = Job::new(Request {
            given: Examples::of("fashion").given(Some("ankle-boot"), Some("half"), 0)?.into(),
            prior: vipaint::priors::Source::named("fashion")?.load()?,
            condition: Condition::default(),
            negative: Condition::default(),
            settings: Settings::new("vipaint", Preset::Balanced, &[], parse_noise("gaussian:0.05")?)?,
            seed: 0,
        })?;
        let start = Instant::now();
        let outcome = job.run(Amount { samples: 8, batch: 8 }, &mut vipaint::silent())?;
        times.push(format!("{:.1}", start.elapsed().as_secs_f64() * 1e3));
        *calls = (outcome.fitting + outcome.sampling).calls;
    }
    Ok(format!("[{}]", times.join(", ")))
}

/// Billions of multiply-adds a second, for what one thread and all can do at most: twelve independent sums in vector registers.
fn multiply_adds(threads: usize) -> Result<f64> {
    const STEPS: usize = 1 << 25;
    let start = Instant::now();
    let sums = rayon::broadcast(|context| if context.index() < threads { chains(STEPS) } else { 0.0 });
    let seconds = start.elapsed().as_secs_f64();
    if sums.iter().any(|sum| !sum.is_finite()) {
        return Err("the sums must stay finite".into());
    }
    Ok((threads * STEPS * CHAINS * lanes()) as f64 / seconds / 1e9)
}

const CHAINS: usize = 12;

/// Lanes of the processor's vectors.
fn lanes() -> usize {
    if Version::current() >= Version::Avx512 { 16 } else { 8 }
}

fn chains(steps: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the features were found.
    match Version::current() {
        Version::Avx512 | Version::Amx => return unsafe { x86::wide(steps) },
        Version::Avx2 => return unsafe { x86::narrow(steps) },
        Version::Portable => {}
    }
    let mut sums = [[0f32; 8]; CHAINS];
    let factor = std::hint::black_box(0.5f32);
    for _ in 0..steps {
        for sum in sums.iter_mut().flatten() {
            *sum = *sum * factor + factor;
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            pub fn $name(steps: usize) -> f32 {
                let factor = $set(black_box(0.5));
                let mut sums = [$set(black_box(0.0)); super::CHAINS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        *sum = $fma(*sum, factor, factor);
                    }
                }
                black_box(sums);
                0.0
            }
        };
    }
    chains!(wide, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
    chains!(narrow, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);
}
