//! The instructions.
//!
//! Tile registers are named in `asm!` only, so the compiler has nothing in them.

use super::{Ahead, BLOCK, LINE, SIDE, Steps};
use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, __m128i, __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch,
    _mm512_castsi128_si512, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtph_ps,
    _mm512_extracti64x4_epi64, _mm512_inserti32x4, _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_or_si512,
    _mm512_set4_epi32, _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_ps,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _xgetbv,
};
use std::marker::PhantomData;
use std::sync::LazyLock;

/// Whether the processor has what is used here and the system lends its state to this process.
pub(crate) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: a processor with AVX-512 has the leaf, and its system the instruction.
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("xsave")
            && unsafe { has_tiles() }
            && permitted()
    });
    *AVAILABLE
}

/// # Safety
/// The processor has AVX-512 and XSAVE.
#[target_feature(enable = "xsave")]
unsafe fn has_tiles() -> bool {
    const TILE: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    /// The registers' and their configuration's state.
    const STATE: u64 = 1 << 17 | 1 << 18;
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: the processor has the instruction.
    features & (TILE | BF16) == TILE | BF16 && unsafe { _xgetbv(0) } & STATE == STATE
}

/// Asks the system, once for the process, for the registers' state (Linux, arch/x86/xstate.rst).
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes what the process may do, nothing else.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// This thread's tile registers, each of 16 rows of 64 bytes; released in the end, lest the system saves them for others.
pub(crate) struct Tiles(PhantomData<*const ()>);

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    pub(crate) fn new() -> Self {
        static ALL: Configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        assert!(available(), "the processor's tile registers");
        // SAFETY: the instruction is there, and the configuration is a valid one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const ALL, options(nostack, readonly, preserves_flags)) };
        Self(PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is a configuration, and nobody uses the registers any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// Bytes of a block.
const BYTES: usize = 4 * BLOCK;

/// Adds up products of 32 rows, 32 terms and 32 columns, `sums[i][j] = (sums[i][j] +) sum_steps sum_k a[i][k] b[k][j]`.
///
/// Of the left factor a step's rows are 64 bytes apart, 32 numbers in each, the low parts `low` bytes after the high ones. Of
/// the right factor it is a block: low parts of columns below 16 and from 16 on, then the high parts. What is `ahead`, at any
/// address, is asked for meanwhile. Faster if both factors begin at cache lines.
///
/// The compiler's checks end here, and so do a sanitizer's: what the steps read must be inside of the factors.
pub(crate) fn block(
    _: &Tiles,
    a: &[f32],
    low: usize,
    b: &[f32],
    steps: Steps,
    ahead: Ahead,
    sums: &mut [f32],
    add: bool,
) {
    let Steps { list, most } = steps;
    assert_eq!(sums.len(), BLOCK, "sums of a block");
    if list.is_empty() {
        if !add {
            sums.fill(0.0);
        }
        return;
    }
    let past = [most.left + low + BYTES / 2, most.right + BYTES];
    assert!(past[0] <= size_of_val(a) && past[1] <= size_of_val(b), "steps read {past:?} bytes of the factors");
    let range = list.as_ptr_range();
    // SAFETY: each step reads half of a block at two places on the left, and a block on the right, all inside; so are the sums; the
    // holder of the tiles configured them.
    unsafe {
        asm!(
            "mov {left:e}, 128",
            "test {count}, {count}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {left}*1]",
            "tileloadd tmm1, [{sums} + {left}*1 + 64]",
            "tileloadd tmm2, [{sums} + {left}*1 + 2048]",
            "tileloadd tmm3, [{sums} + {left}*1 + 2112]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "mov {left}, [{step}]",
            "mov {right}, [{step} + 8]",
            "add {left}, {a}",
            "add {right}, {b}",
            // The high parts on the left and the low ones on the right,
            "tileloadd tmm4, [{left} + {line}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {line}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {line}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // the high parts of both,
            "tileloadd tmm6, [{right} + {line}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {line}*1 + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // and the low parts on the left.
            "add {left}, {low}",
            "tileloadd tmm4, [{left} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {line}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "mov {count}, {lines}",
            "test {count}, {count}",
            "jz 5f",
            "4:",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {line}",
            "dec {count}",
            "jnz 4b",
            "5:",
            "add {step}, 16",
            "cmp {step}, {end}",
            "jne 3b",
            "mov {left:e}, 128",
            "tilestored [{sums} + {left}*1], tmm0",
            "tilestored [{sums} + {left}*1 + 64], tmm1",
            "tilestored [{sums} + {left}*1 + 2048], tmm2",
            "tilestored [{sums} + {left}*1 + 2112], tmm3",
            a = in(reg) a.as_ptr(),
            b = in(reg) b.as_ptr(),
            low = in(reg) low,
            sums = in(reg) sums.as_mut_ptr(),
            count = inout(reg) usize::from(add) => _,
            step = inout(reg) range.start => _,
            end = in(reg) range.end,
            line = in(reg) 64usize,
            ahead = inout(reg) ahead.start => _,
            lines = in(reg) ahead.lines,
            left = out(reg) _,
            right = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Asks for a cache line, at any address, that is to be read.
#[inline]
pub(crate) fn near(line: *const f32) {
    // SAFETY: a hint, which reads and writes nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

/// Asks for a cache line, at any address, that is to be written.
#[inline]
pub(crate) fn want(line: *const f32) {
    // SAFETY: a hint, which reads and writes nothing; every processor with AVX-512 has it.
    unsafe { asm!("prefetchw [{}]", in(reg) line, options(nostack, readonly, preserves_flags)) };
}

/// The high and the low parts of 32 values.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn parts(first: __m512, second: __m512) -> [__m512i; 2] {
    // SAFETY: vectors of 512 bits each.
    let integers = |numbers: __m512bh| unsafe { std::mem::transmute::<__m512bh, __m512i>(numbers) };
    // As values again they are the upper halves of words.
    let high = integers(_mm512_cvtne2ps_pbh(second, first));
    let lower = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
    let first = _mm512_sub_ps(first, lower(_mm512_extracti64x4_epi64::<0>(high)));
    let second = _mm512_sub_ps(second, lower(_mm512_extracti64x4_epi64::<1>(high)));
    [high, integers(_mm512_cvtne2ps_pbh(second, first))]
}

/// Splits `channels` values of each of `count` rows, row `i` at `x + row(i)`: 32 of a row are a line at `to`, of the next row the
/// next line, the next 32 values `plane` values later, zeros past the last; the low parts `low` values after them, in
/// wrapping arithmetic.
///
/// # Safety
/// The rows are valid for reading, and `to` for writing, what is described.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn split(
    x: *const f32,
    row: impl Fn(usize) -> usize,
    count: usize,
    channels: usize,
    to: *mut f32,
    plane: usize,
    low: usize,
) {
    for i in 0..count {
        for (chunk, first) in (0..channels).step_by(SIDE).enumerate() {
            let mask = u32::MAX >> (SIDE - SIDE.min(channels - first));
            // SAFETY: masked lanes are not read; places are the caller's.
            unsafe {
                let (x, to) = (x.add(row(i) + first), to.add(chunk * plane + i * LINE));
                let a = _mm512_maskz_loadu_ps(mask as u16, x);
                let b = _mm512_maskz_loadu_ps((mask >> 16) as u16, x.wrapping_add(LINE));
                let [high, lower] = parts(a, b);
                _mm512_storeu_si512(to.cast(), high);
                _mm512_storeu_si512(to.wrapping_add(low).cast(), lower);
            }
        }
    }
}

/// A block of the right factor whose terms are up to 32 rows, `stride` apart, of up to 32 values, zeros past the last.
///
/// # Safety
/// The rows are valid for reading, and `to` for writing a block.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn interleave(rows: *const f32, stride: usize, [terms, columns]: [usize; 2], to: *mut f32) {
    let mask = u32::MAX >> (SIDE - SIDE.min(columns));
    for (tile, pair) in (0..32).map(|i| (i % 2, i / 2)) {
        let mask = (mask >> (16 * tile)) as u16;
        let row = |term: usize| {
            let mask = if term < terms { mask } else { 0 };
            // SAFETY: masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(mask, rows.wrapping_add(term * stride + 16 * tile)) }
        };
        let (first, second) = (row(2 * pair), row(2 * pair + 1));
        let [high, low] = parts(first, second).map(|numbers| {
            // From the first's numbers before the second's to pairs.
            let half = |numbers| _mm512_cvtepu16_epi32(numbers);
            let second = half(_mm512_extracti64x4_epi64::<1>(numbers));
            _mm512_or_si512(half(_mm512_extracti64x4_epi64::<0>(numbers)), _mm512_slli_epi32::<16>(second))
        });
        // SAFETY: lines of a block; the low parts come first.
        unsafe {
            let to = to.add((16 * tile + pair) * LINE);
            _mm512_storeu_si512(to.cast(), low);
            _mm512_storeu_si512(to.add(SIDE * LINE).cast(), high);
        }
    }
}

/// Blocks of the right factor from numbers in half precision in the same order, of which both parts are exact.
///
/// # Safety
/// `half` is valid for reading 512 pairs, `to` for writing a block.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn expand(half: *const f32, to: *mut f32) {
    for line in 0..SIDE {
        // SAFETY: 32 lines of 32 numbers; the low parts come first.
        unsafe {
            let numbers = _mm512_loadu_si512(half.add(line * LINE).cast());
            let (a, b) = (_mm512_extracti64x4_epi64::<0>(numbers), _mm512_extracti64x4_epi64::<1>(numbers));
            let [high, low] = parts(_mm512_cvtph_ps(a), _mm512_cvtph_ps(b));
            _mm512_storeu_si512(to.add(line * LINE).cast(), low);
            _mm512_storeu_si512(to.add((SIDE + line) * LINE).cast(), high);
        }
    }
}

/// A block of the right factor with terms and columns exchanged.
///
/// # Safety
/// `from` is valid for reading a block, `to` for writing one, apart.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(clippy::cast_ptr_alignment, reason = "the load asks for no alignment")]
pub(crate) unsafe fn turn(from: *const f32, to: *mut f32) {
    // Of two columns, of a pair of terms each, to two terms of a pair of columns.
    let exchange = _mm512_set4_epi32(0x0f0e_0b0a, 0x0d0c_0908, 0x0706_0302, 0x0504_0100);
    for part in 0..2 {
        for (tile, quarter, half) in (0..16).map(|i| (i / 8, i / 2 % 4, i % 2)) {
            // SAFETY: rows of the tile of these columns, then of that of these terms.
            unsafe {
                let from = from.add((2 * part + tile) * 16 * LINE + quarter * 4);
                let row = |i: usize| _mm_loadu_si128(from.add((8 * half + i) * LINE).cast());
                let even = four(row(0), row(2), row(4), row(6));
                let odd = four(row(1), row(3), row(5), row(7));
                let (even, odd) = (_mm512_shuffle_epi8(even, exchange), _mm512_shuffle_epi8(odd, exchange));
                let to = to.add(((2 * part + half) * 16 + 8 * tile + 2 * quarter) * LINE);
                _mm512_storeu_si512(to.cast(), _mm512_unpacklo_epi64(even, odd));
                _mm512_storeu_si512(to.add(LINE).cast(), _mm512_unpackhi_epi64(even, odd));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn four(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m512i {
    let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, c), d)
}
