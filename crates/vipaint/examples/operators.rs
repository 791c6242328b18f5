//! Every operator on held-out pictures of the embedded prior: VIPaint and DPS at equal cost, by the PSNR of the mean of the
//! samples. `cargo run --release -p vipaint --example operators -- [PER_CLASS] [COST]`; seed 0, pictures measured with Gaussian
//! noise of standard deviation .05.

use vipaint::held_out::{HeldOut, of_each_class};
use vipaint::picture::Picture;
use vipaint::{Amount, Degradation, Job, Measured, Origin, Request, Result, Settings, parse_noise, priors::Source};
use vipaint_core::prior::Condition;
use vipaint_eval::masks::{Budget, Contender};
use vipaint_eval::metrics::psnr;
use vipaint_eval::stats::Mean;

const OPERATORS: [&str; 7] =
    ["gaussian:1.5", "bicubic:4", "jpeg:10", "hdr", "motion:7:30", "box:4", "gaussian:1+bicubic:2+jpeg:30"];
const METHODS: [&str; 6] = ["vipaint k=2", "dps zeta=0.3", "dps zeta=1", "dps zeta=3", "dps zeta=10", "dps zeta=30"];
const SAMPLES: usize = 8;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (per_class, cost) = (numbers.next().unwrap_or(2) as usize, numbers.next().unwrap_or(700));
    let pictures = of_each_class(HeldOut::of("fashion")?.pictures()?, 0, per_class);
    println!("{} pictures, {SAMPLES} samples each, cost {cost} a picture; PSNR of the mean, dB", pictures.len());
    for operator in OPERATORS {
        let mut reference: Vec<f64> = Vec::new();
        for name in METHODS {
            let mut spent = 0;
            let values = (pictures.iter())
                .map(|(values, _)| {
                    let (psnr, calls) = run(operator, values, name, cost)?;
                    spent += calls;
                    Ok(psnr)
                })
                .collect::<Result<Vec<f64>>>()?;
            let cost = spent / pictures.len() as u64;
            print!("{operator:30} {:18} cost {cost:4}  {:.2}", name, Mean::of(&values));
            if reference.is_empty() {
                println!();
                reference = values;
            } else {
                println!("  lead {:.2}", Mean::paired(&reference, &values));
            }
        }
    }
    Ok(())
}

/// PSNR of the samples' mean, and the cost in forward calls.
fn run(operator: &str, values: &[f32], name: &str, cost: u64) -> Result<(f64, u64)> {
    let samples: Vec<u8> = values.iter().map(|v| ((v + 1.0) * 127.5).round() as u8).collect();
    let side = values.len().isqrt();
    let picture = Picture::grey(side, side, samples).expect("a picture is a square");
    let origin = Origin::of("held-out picture", b"");
    let degradation = Degradation::parse(operator)?;
    let contender = Contender::parse(name).expect("a well-written contender");
    let budget = Budget { cost, samples: SAMPLES as u64, guided: false };
    let options = contender.options(&budget).expect("options within their domain");
    let noise = parse_noise("gaussian:0.05")?;
    let request = Request {
        given: Measured { picture, origin, degradation, simulate: true }.into(),
        prior: Source::named("fashion")?.load()?,
        condition: Condition::default(),
        negative: Condition::default(),
        settings: Settings::restore(contender.method.name, options, 1.0, None, noise)?,
        seed: 0,
    };
    let amount = Amount { samples: SAMPLES, batch: SAMPLES };
    let outcome = Job::new(request)?.run(amount, &mut vipaint::silent())?;
    let truth: Vec<f32> = values.iter().map(|v| f32::midpoint(*v, 1.0)).collect();
    let mean = |i: usize| outcome.samples.iter().map(|s| s[i]).sum::<f32>() / SAMPLES as f32;
    let mean: Vec<f32> = (0..truth.len()).map(|i| mean(i).clamp(0.0, 1.0)).collect();
    let calls = (outcome.fitting + outcome.sampling).calls;
    Ok((psnr(&mean, &truth), calls.cost()))
}
