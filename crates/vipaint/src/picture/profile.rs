//! Colour profiles: which of them mean what a prior was trained on.
//!
//! Priors see sRGB samples. A picture with another meaning would have to be converted and back, and its known pixels
//! would no longer be the file's; so it is refused.

use moxcms::{ColorProfile, DataColorSpace, ToneReprCurve, Xyzd};

/// Colorants of sRGB, adapted to D50.
const SRGB: [[f64; 3]; 3] = [[0.4360, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]];
/// Half of the samples' range in linear light: between gammas 2.6 and 1.8. (sRGB says .214.)
const MIDDLE: std::ops::RangeInclusive<f32> = 0.165..=0.287;

/// Checks that samples under the profile `icc` can be taken for sRGB samples.
///
/// Grey, in one channel or in three equal ones, has no primaries: any profile with a usual gamma will do.
pub(super) fn check(icc: &[u8], grey: bool) -> Result<(), String> {
    let profile = ColorProfile::new_from_slice(icc).map_err(|_| "its colour profile cannot be read".to_string())?;
    let curves: Vec<Option<&ToneReprCurve>> = match profile.color_space {
        DataColorSpace::Gray => vec![profile.gray_trc.as_ref()],
        DataColorSpace::Rgb => [&profile.red_trc, &profile.green_trc, &profile.blue_trc].map(Option::as_ref).to_vec(),
        other => return Err(format!("its colour profile is for {other:?}, neither RGB nor grey")),
    };
    if !curves.into_iter().all(|curve| curve.and_then(middle).is_some_and(|middle| MIDDLE.contains(&middle))) {
        return Err("its colour profile has an unusual gamma".to_string());
    }
    let colorants = [profile.red_colorant, profile.green_colorant, profile.blue_colorant];
    if !grey && !colorants.iter().zip(SRGB).all(|(colorant, srgb)| near(colorant, srgb)) {
        return Err("its colour profile is not sRGB".to_string());
    }
    Ok(())
}

fn near(colorant: &Xyzd, [x, y, z]: [f64; 3]) -> bool {
    [colorant.x - x, colorant.y - y, colorant.z - z].iter().all(|gap| gap.abs() < 0.01)
}

/// Linear light of the middle of the samples' range.
fn middle(curve: &ToneReprCurve) -> Option<f32> {
    Some(curve.make_linear_evaluator().ok()?.evaluate_value(0.5))
}

#[cfg(test)]
mod tests {
    use moxcms::curve_from_gamma;

    use super::*;

    fn checked(profile: &ColorProfile, grey: bool) -> Result<(), String> {
        check(&profile.encode().expect("the profile is well formed"), grey)
    }

    #[test]
    fn what_looks_like_srgb_is_accepted() {
        assert_eq!(checked(&ColorProfile::new_srgb(), false), Ok(()));
        assert_eq!(checked(&ColorProfile::new_gray_with_gamma(2.2), true), Ok(()));
        // Primaries say nothing about grey.
        assert_eq!(checked(&ColorProfile::new_display_p3(), true), Ok(()));
    }

    #[test]
    fn what_does_not_is_refused() {
        assert!(checked(&ColorProfile::new_display_p3(), false).is_err());
        assert!(checked(&ColorProfile::new_gray_with_gamma(1.0), true).is_err());
        let curve = Some(curve_from_gamma(1.0));
        let mut linear = ColorProfile::new_srgb();
        (linear.red_trc, linear.green_trc, linear.blue_trc) = (curve.clone(), curve.clone(), curve);
        assert!(checked(&linear, false).is_err());
        assert!(check(b"not a profile", true).is_err());
    }
}
