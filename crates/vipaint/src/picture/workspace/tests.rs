use proptest::prelude::*;

use super::*;
use crate::picture::{Layout, Samples};

/// A picture of noise, and a mask with at least one pixel of each kind.
fn any_case() -> impl Strategy<Value = (Picture, Mask)> {
    (1usize..70, 1usize..70, 0..4usize, any::<bool>(), 0.02..0.98f64, any::<u64>())
        .prop_filter("two pixels are needed", |(width, height, ..)| width * height > 1)
        .prop_map(|(width, height, layout, wide, share, seed)| {
            let layout = [Layout::Grey, Layout::GreyAlpha, Layout::Rgb, Layout::Rgba][layout];
            let mut state = seed;
            let mut next = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as u32
            };
            let mut pixel = || {
                let value = next() as u16;
                let mut samples = vec![value; layout.colours()];
                samples.resize(layout.channels(), u16::MAX);
                samples
            };
            let samples: Vec<u16> = (0..width * height).flat_map(|_| pixel()).collect();
            let samples = if wide {
                Samples::U16(samples)
            } else {
                Samples::U8(samples.iter().map(|sample| (sample >> 8) as u8).collect())
            };
            let mut known: Vec<bool> = (0..width * height).map(|_| f64::from(next() % 1000) / 1000.0 > share).collect();
            (known[0], known[width * height - 1]) = (true, false);
            let mask = Mask::new(width, height, known).expect("one pixel is known and one is hidden");
            (Picture { width, height, layout, samples, icc: None }, mask)
        })
}

fn pixel(picture: &Picture, x: usize, y: usize) -> Vec<u16> {
    let at = (y * picture.width + x) * picture.layout.channels();
    let range = at..at + picture.layout.channels();
    match &picture.samples {
        Samples::U8(samples) => samples[range].iter().copied().map(u16::from).collect(),
        Samples::U16(samples) => samples[range].to_vec(),
    }
}

proptest! {
    #[test]
    fn known_pixels_stay_and_hidden_ones_are_in_range(
        (picture, mask) in any_case(), channels in prop_oneof![Just(1usize), Just(3)], size in 1usize..48, context in proptest::option::of(1.0..4.0f64),
    ) {
        let work = Workspace::new(picture.clone(), mask.clone(), channels, size, context, "picture").expect("it is grey");
        prop_assert_eq!(work.values().len(), channels * size * size);
        prop_assert!(work.values().iter().all(|value| (0.0..=1.0).contains(value)));
        prop_assert!(work.known().contains(&true));
        let result: Vec<f32> = (0..channels * size * size).map(|i| (i as f32).sin() * 2.0).collect();
        let pasted = work.paste(&work.hidden_values(&result));
        for y in 0..picture.height {
            for x in 0..picture.width {
                if mask.known(x, y) {
                    prop_assert_eq!(pixel(&pasted, x, y), pixel(&picture, x, y));
                }
            }
        }
    }

    #[test]
    fn a_result_that_is_right_is_pasted_without_a_seam(width in 20usize..90, height in 20usize..90, size in 16usize..40, context in proptest::option::of(Just(2.0))) {
        // A smooth picture: what is lost by scaling is small, and the hole must come back closely.
        let truth = |x: usize, y: usize| 0.5 + 0.3 * (x as f32 / width as f32 - 0.5) - 0.4 * (y as f32 / height as f32 - 0.5);
        let samples: Vec<u16> = (0..width * height).map(|i| (truth(i % width, i / width) * 65535.0).round() as u16).collect();
        let picture = Picture { width, height, layout: Layout::Grey, samples: Samples::U16(samples), icc: None };
        let hides = |i: usize| (width / 3..2 * width / 3).contains(&(i % width)) && (height / 4..height / 2).contains(&(i / width));
        let mask = Mask::new(width, height, (0..width * height).map(|i| !hides(i)).collect()).expect("a proper hole");
        let work = Workspace::new(picture, mask.clone(), 1, size, context, "picture").expect("it is grey");
        // The true picture at the prior's size, but a little too bright.
        let at = |i: usize, start: isize| start as f32 + (i as f32 + 0.5) * work.frame.side as f32 / size as f32 - 0.5;
        let scaled = work.frame.side != size;
        let offset = if scaled { 0.05 } else { 0.0 };
        let result: Vec<f32> = (0..size * size).map(|i| {
            let (x, y) = (at(i % size, work.frame.x), at(i / size, work.frame.y));
            0.5 + 0.3 * (x / width as f32 - 0.5) - 0.4 * (y / height as f32 - 0.5) + offset
        }).collect();
        let pasted = work.paste(&work.hidden_values(&result));
        for (x, y) in work.hidden() {
            prop_assert!((pasted.unit(x, y, 0) - truth(x, y)).abs() < 0.02, "{} {}", pasted.unit(x, y, 0), truth(x, y));
        }
    }
}

#[test]
fn a_picture_of_the_priors_size_is_worked_on_as_it_is() {
    let picture = Picture::grey(8, 8, (0..64).map(|i| i * 4).collect()).expect("64 samples");
    let mask = Mask::new(8, 8, (0..64).map(|i| i % 8 < 4).collect()).expect("half of each");
    let work = Workspace::new(picture.clone(), mask, 1, 8, None, "picture").expect("it is grey");
    for i in (0..64).filter(|i| i % 8 < 4) {
        assert_eq!(work.values()[i], picture.unit(i % 8, i / 8, 0));
    }
    let all: Vec<f32> = (0..64).map(|i| picture.unit(i % 8, i / 8, 0)).collect();
    assert_eq!(work.paste(&work.hidden_values(&all)), picture);
    assert!(work.notes().is_empty());
}

#[test]
fn a_pixel_is_known_only_if_all_of_it_is() {
    let picture = Picture::grey(4, 4, vec![100; 16]).expect("16 samples");
    let mut known = vec![true; 16];
    known[5] = false;
    let mask = Mask::new(4, 4, known).expect("one is hidden");
    let work = Workspace::new(picture, mask, 1, 2, None, "picture").expect("it is grey");
    assert_eq!(work.known(), [false, true, true, true]);
}

/// Distances against a search over all pairs, and what counts as thin: LaMa's thin strokes do, its thick ones and what protocols hide in
/// one piece do not.
#[test]
fn the_depth_of_holes() {
    let side = 32;
    for protocol in vipaint_core::operator::PROTOCOLS {
        let mut depths = Vec::new();
        for seed in 0..4 {
            let known: Vec<bool> = protocol.mask([1, side, side], seed).into_iter().map(|known| known > 0.0).collect();
            let squares = distances(&known, side);
            let brute = |i: usize| {
                let square = |j: usize| {
                    (i % side).abs_diff(j % side).pow(2) as f64 + (i / side).abs_diff(j / side).pow(2) as f64
                };
                (0..side * side).filter(|j| known[*j]).map(square).fold(f64::INFINITY, f64::min)
            };
            assert!((0..side * side).step_by(7).all(|i| squares[i] == brute(i)), "{} {seed}", protocol.name);
            let hidden: Vec<f64> = squares.into_iter().filter(|square| *square > 0.0).map(f64::sqrt).collect();
            depths.push(hidden.iter().sum::<f64>() / hidden.len() as f64 / side as f64);
        }
        let thin = depths.iter().all(|depth| *depth < crate::scene::THIN);
        let thick = depths.iter().all(|depth| *depth > crate::scene::THIN);
        match protocol.name {
            "thin" | "lines" | "grid" => assert!(thin, "{}: {depths:?}", protocol.name),
            "half" | "box" | "centre" | "expand" | "rotated" | "rectangles" => {
                assert!(thick, "{}: {depths:?}", protocol.name);
            }
            _ => {}
        }
    }
}
