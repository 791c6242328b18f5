//! External programs as priors: a Gaussian whose answers are known, and programs that fail in every way.
//!
//! The programs use nothing but Python's standard library; without a `python3` the tests say so and pass.

use std::process::Command;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_core::Level;
use vipaint_core::prior::{Condition, Denoiser, Prior, analytic::Gaussian};
use vipaint_zoo::exec::{ExecError, MAX_MESSAGE, Message, Values, load};

const SHAPE: [usize; 3] = [1, 2, 3];
const LIMIT: Duration = Duration::from_secs(30);

fn python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: there is no python3");
    }
    there
}

fn command(mode: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec/gaussian.py");
    format!("python3 '{script}' {mode}")
}

fn prior(mode: &str) -> Prior {
    load(&command(mode), LIMIT).unwrap_or_else(|error| panic!("{mode}: {error}"))
}

fn refusal(mode: &str, limit: Duration) -> ExecError {
    load(&command(mode), limit).err().unwrap_or_else(|| panic!("{mode} was taken"))
}

fn tensor(batch: usize, frequency: f32) -> Tensor<4> {
    let [c, h, w] = SHAPE;
    let values: Vec<f32> = (0..batch * c * h * w).map(|i| (i as f32 * frequency).sin()).collect();
    Tensor::from_data(TensorData::new(values, [batch, c, h, w]), &Device::flex())
}

fn level(sigma: f64) -> Level {
    Level { t: sigma, alpha: 1.0, sigma }
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// Both sides compute in double or single precision and round once.
fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs())), "{a:?} {b:?}");
}

#[test]
fn a_gaussian_gives_its_exact_mean_and_gradient() {
    if !python() {
        return;
    }
    let prior = prior("ve");
    assert_eq!((prior.shape(), prior.value_range, prior.data_std), (SHAPE, (0.0, 1.0), 0.3));
    assert_eq!(prior.hash.len(), 16);
    let exact = Gaussian::new(&[0.25; 6], &[0.09; 6], SHAPE, &Device::flex()).unwrap();
    let (z, v, levels) = (tensor(2, 0.7), tensor(2, 1.3), [level(0.5), level(3.0)]);
    let run = |denoiser: &dyn Denoiser| {
        let leaf = z.clone().autodiff().require_grad();
        let x0_hat = denoiser.x0_hat(leaf.clone(), &levels, &Condition::default()).unwrap();
        // Through something else, too, so that the cotangent is not simply v.
        let loss = (x0_hat.clone().square() * v.clone().autodiff()).sum();
        let mut gradients = loss.backward();
        (values(x0_hat.inner()), values(leaf.grad_remove(&mut gradients).unwrap()))
    };
    let ((ours, our_gradient), (theirs, their_gradient)) = (run(&*prior.denoiser), run(&exact));
    close(&ours, &theirs);
    close(&our_gradient, &their_gradient);
    close(&values(prior.denoiser.x0_hat(z, &levels, &Condition::default()).unwrap()), &theirs);
    prior.check().unwrap();
}

#[test]
fn schedules_classes_and_autoencoders_are_understood() {
    if !python() {
        return;
    }
    let prior = prior("vp-class-decoder");
    assert_eq!(prior.classes, ["low", "high"]);
    let level = prior.schedule.level(1.0);
    assert!((level.alpha.powi(2) - 0.5).abs() < 1e-9, "{level:?}");
    // Its classes are means -1 and 1, of a prior so narrow that nothing else matters.
    for (class, mean) in [(0, -1.0), (1, 1.0)] {
        let x0_hat = prior.denoiser.x0_hat(tensor(1, 0.7), &[level], &Condition::class(class)).unwrap();
        close(&values(x0_hat), &[mean; 6]);
    }
    let error = prior.denoiser.x0_hat(tensor(1, 0.7), &[level], &Condition::class(2)).unwrap_err();
    assert!(error.to_string().contains("out of range"), "{error}");
    // Its decoder triples, and repeats each row.
    assert_eq!(prior.autoencoder.image_shape(SHAPE), [1, 4, 3]);
    let z = tensor(1, 0.7).autodiff().require_grad();
    let x = prior.autoencoder.decode(z.clone());
    assert_eq!(x.dims(), [1, 1, 4, 3]);
    let mut gradients = x.clone().sum().backward();
    close(&values(z.grad_remove(&mut gradients).unwrap()), &[6.0; 6]);
    let again = prior.autoencoder.encode(x.inner());
    close(&values(again), &values(tensor(1, 0.7)));
    prior.check().unwrap();
}

#[test]
fn programs_that_fail_are_told_apart() {
    if !python() {
        return;
    }
    let cases = [
        ("crash", "its last words: "),
        ("crash", "the reason of the crash"),
        ("print", "does the program print to standard output?"),
        ("garbage", "is no message"),
        ("short", "ended"),
        ("huge", "1 GiB"),
        ("error", "the external program says: ValueError: no such model"),
        ("protocol", "has a protocol that is not 1"),
        ("schedule", "none of vp, ve, flow"),
        ("bad-shape", "not three sizes"),
        ("rising", "do not fall strictly"),
    ];
    for (mode, part) in cases {
        let error = refusal(mode, LIMIT).to_string();
        assert!(error.contains(part), "{mode}: {error}");
    }
    assert!(matches!(refusal("crash", LIMIT), ExecError::Ended { .. }));
    assert!(matches!(load("no-such-program-anywhere", LIMIT), Err(ExecError::Start { .. })));
    assert!(matches!(load("", LIMIT), Err(ExecError::Command(_))));
    assert!(matches!(load("'open quote", LIMIT), Err(ExecError::Command(_))));
}

#[test]
fn a_program_that_hangs_is_stopped_with_all_it_started() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let start = Instant::now();
    // Half a second for Python to start and write the numbers; the answer never comes.
    let error = refusal(&format!("hang '{}'", file.display()), Duration::from_secs(3));
    assert!(matches!(error, ExecError::Hung { op: "describe", .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    for pid in pids.split_whitespace() {
        assert!(ends(pid), "{pid} is still there");
    }
}

#[test]
fn a_program_ends_with_its_prior() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let prior = prior(&format!("pid '{}'", file.display()));
    let pid = std::fs::read_to_string(&file).unwrap();
    drop(prior);
    assert!(ends(pid.trim()), "{pid} is still there");
}

/// Whether a process ends within a few seconds.
fn ends(pid: &str) -> bool {
    let there = || {
        // A zombie that nobody has waited for yet has ended.
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = status.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        state.is_some_and(|state| state != 'Z')
    };
    let start = Instant::now();
    while there() && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    !there()
}

#[test]
fn wrong_answers_are_errors_forwards_and_backwards() {
    if !python() {
        return;
    }
    for (mode, part) in [
        ("answer-shape", "has x0_hat of shape [1, 1, 3, 2], not [1, 1, 2, 3]"),
        ("answer-nan", "not finite"),
        ("answer-name", "has no tensor x0_hat"),
        ("answer-crash", "last words"),
    ] {
        let prior = prior(mode);
        let error = prior.denoiser.x0_hat(tensor(1, 0.7), &[level(1.0)], &Condition::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{mode}: {error}");
        // Nothing is asked of it any more.
        assert!(prior.denoiser.x0_hat(tensor(1, 0.7), &[level(1.0)], &Condition::default()).is_err());
    }
    let prior = prior("vjp-error");
    let leaf = tensor(1, 0.7).autodiff().require_grad();
    let x0_hat = prior.denoiser.x0_hat(leaf.clone(), &[level(1.0)], &Condition::default()).unwrap();
    prior.check().unwrap();
    let mut gradients = x0_hat.sum().backward();
    assert!(values(leaf.grad_remove(&mut gradients).unwrap()).iter().all(|value| value.is_nan()));
    assert!(prior.check().unwrap_err().to_string().contains("no gradient today"));
}

#[test]
fn messages_round_trip_and_damage_is_an_error() {
    let message = Message::request("denoise")
        .with("z_t", Values::F32(vec![1, 2], vec![0.5, -1.0]))
        .with("class", Values::I64(vec![1], vec![-3]))
        .with("table", Values::F64(vec![1], vec![0.1]));
    let bytes = message.encode().unwrap();
    assert_eq!(Message::read(&mut &bytes[..]).unwrap(), Some(message));
    assert_eq!(Message::read(&mut &[][..]).unwrap(), None);
    for end in 1..bytes.len() {
        assert!(Message::read(&mut &bytes[..end]).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            let _ = Message::read(&mut &bytes[..]);
        }
    }
    let long = (MAX_MESSAGE + 1).to_le_bytes();
    assert!(matches!(Message::read(&mut &long[..]), Err(ExecError::TooLarge(_))));
}
