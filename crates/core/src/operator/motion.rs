//! Motion blur: the kernel of a camera that moves along a straight line while the shutter is open. It is a
//! [`super::Kernel`].

use super::Taps;
use crate::{Error, Result};

/// The longest motion that is taken, in pixels.
const MAX_LENGTH: f64 = 255.0;
/// Points a pixel's length that the line is measured with.
const POINTS: f64 = 64.0;

/// The kernel of a motion of `length` pixels (1 to 255) at `degrees` above the horizontal, counter-clockwise. A pixel's
/// weight is the share of the (centred) line that lies in it.
///
/// # Errors
/// A length out of range or an angle that is not finite.
pub fn motion_taps(length: f64, degrees: f64) -> Result<Taps> {
    if !(1.0..=MAX_LENGTH).contains(&length) {
        let problem = format!("motion: the length must be between 1 and {MAX_LENGTH} pixels, not {length}");
        return Err(Error::option("operator", problem));
    }
    if !degrees.is_finite() {
        return Err(Error::option("operator", "motion: the angle must be a number of degrees"));
    }
    Ok(taps(length, degrees))
}

pub(super) fn taps(length: f64, degrees: f64) -> Taps {
    let angle = degrees.rem_euclid(360.0).to_radians();
    let radius = (length / 2.0).ceil() as usize;
    let side = 2 * radius + 1;
    let count = (length * POINTS).ceil() as usize;
    let mut values = vec![0.0f64; side * side];
    for i in 0..count {
        let along = length * ((i as f64 + 0.5) / count as f64 - 0.5);
        let (x, y) = (radius as f64 + along * angle.cos(), radius as f64 - along * angle.sin());
        values[y.round() as usize * side + x.round() as usize] += 1.0 / count as f64;
    }
    Taps { height: side, width: side, values: values.into_iter().map(|v| v as f32).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_motion_is_a_row_of_equal_weights() {
        let taps = taps(5.0, 0.0);
        let middle = taps.height / 2;
        for (k, value) in taps.values.iter().enumerate() {
            let (i, j) = (k / taps.width, k % taps.width);
            let inside = i == middle && j.abs_diff(middle) <= 2;
            assert!((value - if inside { 0.2 } else { 0.0 }).abs() < 1e-6, "{i} {j} {value}");
        }
        assert!((taps.values.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn turning_by_ninety_degrees_transposes_and_flips() {
        let (level, upright) = (taps(4.5, 30.0), taps(4.5, 120.0));
        let side = level.width;
        for i in 0..side {
            for j in 0..side {
                let turned = upright.values[(side - 1 - j) * side + i];
                // A point on a pixel's edge may fall on either side.
                assert!((level.values[i * side + j] - turned).abs() < 0.02);
            }
        }
    }
}
