//! Random mutations of small real files through every reader, with memory counted (see `fuzz/README.md`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vipaint_zoo::exec::{Message, Values};

#[path = "../../../fuzz/readers.rs"]
mod readers;

/// The system's allocator, counting.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that a reader may hold for each byte of its input, and besides.
const PER_BYTE: usize = 200;
const BESIDES: usize = 4 << 20;

type Reader = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let checkpoints = std::fs::read_dir(root.join("crates/zoo/tests/checkpoints")).expect("the folder of checkpoints");
    let checkpoints: Vec<_> = checkpoints.filter_map(|file| std::fs::read(file.ok()?.path()).ok()).collect();
    let message = Message::request("vjp")
        .with("z_t", Values::F32(vec![1, 3], vec![1.0; 3]))
        .with("class", Values::I64(vec![1], vec![3]))
        .encode()
        .expect("a small message");
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4][..], &[7; 32]].concat();
    let posterior = std::env::args().nth(2).map(|path| std::fs::read(path).expect("a posterior file"));
    let prior = std::fs::read(root.join("priors/fashion/classifier.safetensors")).expect("the judge's file");
    let readers: [Reader; 5] = [
        ("checkpoint", readers::checkpoint, checkpoints),
        ("message", readers::message, vec![message.clone(), message[8..].to_vec()]),
        ("idx", readers::idx, vec![idx]),
        ("posterior", readers::posterior, vec![posterior.unwrap_or_else(|| message[8..].to_vec())]),
        ("prior", readers::prior, vec![prior]),
    ];
    for (name, reader, seeds) in readers {
        let (runs, most) = run(reader, &seeds, Duration::from_secs(seconds));
        println!("{name:12} {runs} inputs, at most {most} bytes held");
    }
}

/// Mutated inputs that were read, and the most memory held for one.
fn run(reader: fn(&[u8]), seeds: &[Vec<u8>], time: Duration) -> (u64, usize) {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let (start, mut runs, mut most) = (Instant::now(), 0, 0);
    while start.elapsed() < time {
        let bytes = mutated(seeds, &mut random);
        let before = HELD.load(Relaxed);
        PEAK.store(before, Relaxed);
        reader(&bytes);
        let held = PEAK.load(Relaxed).saturating_sub(before);
        assert!(held <= PER_BYTE * bytes.len() + BESIDES, "{held} bytes held for an input of {}", bytes.len());
        (runs, most) = (runs + 1, most.max(held));
    }
    (runs, most)
}

/// A seed with some bytes changed, repeated, removed, or taken from another seed.
fn mutated(seeds: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut below = |n: usize| random.random_range(0..n.max(1));
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..=below(6) {
        // Half of the changes hit the start, where headers are.
        let span = if below(2) == 0 { bytes.len() } else { bytes.len().min(4096) };
        let at = below(span);
        let end = (at + 1 + below(32)).min(bytes.len());
        match below(6) {
            0 => bytes.truncate(at),
            1 => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len());
                let part = other[from..(from + 64).min(other.len())].to_vec();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), part);
            }
            2 if at < end => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part.repeat(1 + below(8)));
            }
            3 if at < end => drop(bytes.drain(at..end)),
            4 if at < end => bytes[at..end].fill([0, 0x7f, 0xff][below(3)]),
            _ => {
                let byte = below(256) as u8;
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
    bytes
}
