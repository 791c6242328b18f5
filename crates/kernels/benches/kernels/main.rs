//! Speed of every kernel, forward and vector-Jacobian product: `cargo bench -p vipaint-kernels`, or
//! `cargo bench -p vipaint-kernels -- WORD` for those with a word in their name. `RAYON_NUM_THREADS` sets the threads.
//!
//! Kernels that multiply are given in billions of multiply-adds a second, counted as the direct algorithm's, and their share of
//! the most that the processor was seen to do in registers; Winograd's algorithm does fewer, so its share may be above 100 %.
//! The others are given in billions of bytes a second that they must read and write, and their share of a plain copy's.

mod convolutions;
mod machine;
mod others;
mod table;

use table::Table;

fn main() {
    // Cargo passes `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let machine = machine::Machine::measure();
    println!(
        "{} threads; {:.1} billion multiply-adds a second in registers, {:.1} billion bytes a second copied\n",
        vipaint_kernels::threads(),
        machine.multiply_adds / 1e9,
        machine.bytes / 1e9,
    );
    let mut table = Table::new(machine, words);
    convolutions::all(&mut table);
    others::all(&mut table);
}
