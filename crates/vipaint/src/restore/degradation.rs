//! What happened to a picture, as it is written on the command line: `gaussian:1.5`, `bicubic:4+jpeg:30`.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use vipaint_core::operator::{
    Blocks, Downsample, GaussianBlur, Grey, HighRange, Jpeg, Kernel, Operator, Shape3, Shrink, Taps, motion_taps,
};

use super::kernel_file;
use crate::error::{Error, Result};
use crate::names;

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Gaussian(f64),
    Motion(f64, f64),
    /// A file's name, and what was in it once it is read.
    Kernel(String, Option<Taps>),
    Box(usize),
    Bicubic(usize),
    Blocks(usize),
    Grey,
    Jpeg(u8),
    Hdr(f64),
}

/// Steps that were applied to a picture, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Degradation {
    text: String,
    steps: Vec<Step>,
}

/// How each step is written; the first word is its name.
const FORMS: [&str; 9] = [
    "gaussian:SIGMA",
    "motion:LENGTH:ANGLE",
    "kernel:FILE",
    "box:FACTOR",
    "bicubic:FACTOR",
    "blocks:FACTOR",
    "grey",
    "jpeg:QUALITY",
    "hdr:GAIN",
];

/// The factors that pictures may be enlarged by.
const FACTORS: [usize; 3] = [2, 4, 8];

impl Degradation {
    /// From the text of `--operator`: steps of the forms [`FORMS`], joined by `+`. No file is read yet.
    ///
    /// # Errors
    /// [`Error::Usage`] when a step is unknown or its numbers are out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let steps = text.split('+').map(|step| parse_step("--operator", step.trim())).collect::<Result<Vec<_>>>()?;
        Self { text: text.to_owned(), steps }.checked("--operator")
    }

    /// From the text of `deblur --kernel`: `gaussian:SIGMA`, `motion:LENGTH:ANGLE` or a file.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is none of these.
    pub fn blur(text: &str) -> Result<Self> {
        const OPTION: &str = "--kernel";
        let name = text.split(':').next().unwrap_or_default();
        let step = if ["gaussian", "motion"].contains(&name) {
            parse_step(OPTION, text)?
        } else if Path::new(text).exists() {
            Step::Kernel(text.to_owned(), None)
        } else {
            let known = ["gaussian:SIGMA", "motion:LENGTH:ANGLE"];
            let nearest = names::nearest(name, ["gaussian", "motion"]).map(|near| format!("did you mean {near}? or "));
            let remedy = format!("{}write {} or the path of a file", nearest.unwrap_or_default(), known.join(", "));
            return Err(Error::usage(OPTION, format!("{text:?} is neither a kernel nor a file"), remedy));
        };
        Self { text: text.to_owned(), steps: vec![step] }.checked(OPTION)
    }

    /// From `upscale --factor` and `--kernel`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the factor is not 2, 4 or 8.
    pub fn shrunk(factor: usize, shrink: Shrink) -> Result<Self> {
        if !FACTORS.contains(&factor) {
            let nearest = FACTORS.into_iter().min_by_key(|known| known.abs_diff(factor)).unwrap_or(2);
            return Err(Error::usage(
                "--factor",
                format!("{factor} is not known"),
                format!("take 2, 4 or 8 (nearest: {nearest})"),
            ));
        }
        let (name, step) = match shrink {
            Shrink::Box => ("box", Step::Box(factor)),
            Shrink::Bicubic => ("bicubic", Step::Bicubic(factor)),
        };
        Self { text: format!("{name}:{factor}"), steps: vec![step] }.checked("--factor")
    }

    /// Numbers out of range are found by trying the steps on a picture that every factor divides.
    fn checked(self, option: &str) -> Result<Self> {
        let mut factor = 1;
        for step in &self.steps {
            if let Step::Box(by) | Step::Bicubic(by) | Step::Blocks(by) = step {
                if !(1..=64).contains(by) || factor * by > 64 {
                    return Err(Error::usage(option, format!("{by} is too large a factor, or none"), "take 2, 4 or 8"));
                }
                factor *= by;
            }
        }
        let (device, shape) = (Device::flex(), [3, factor, factor]);
        if !self.steps.iter().any(|step| matches!(step, Step::Kernel(_, None))) {
            self.parts(shape, (-1.0, 1.0), &device).map_err(|error| refuse(option, error))?;
        }
        Ok(self)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the files that are named in it.
    ///
    /// # Errors
    /// [`Error::Input`] when one cannot be read or is not a kernel.
    pub fn resolve(mut self) -> Result<Self> {
        for step in &mut self.steps {
            if let Step::Kernel(file, taps @ None) = step {
                *taps = Some(kernel_file::read_taps(Path::new(file))?);
            }
        }
        Ok(self)
    }

    /// How many times smaller the measured picture's sides are.
    pub(super) fn factor(&self) -> usize {
        let by = |step: &Step| match step {
            Step::Box(by) | Step::Bicubic(by) | Step::Blocks(by) => *by,
            _ => 1,
        };
        self.steps.iter().map(by).product()
    }

    /// Measured pictures may be cut only at multiples of this.
    pub(super) fn grid(&self) -> usize {
        if self.rounds() { 8 } else { 1 }
    }

    /// Whether something was rounded coarsely.
    pub(crate) fn rounds(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Jpeg(_)))
    }

    /// Whether the measured picture has lost its colours.
    pub(super) fn is_grey(&self) -> bool {
        self.steps.contains(&Step::Grey)
    }

    /// The operators for pictures of a shape whose black and white have these values, and what one measured value stands for
    /// in the picture's values (sums over blocks are larger than means).
    pub(super) fn parts(
        &self,
        mut shape: Shape3,
        (low, high): (f64, f64),
        device: &Device,
    ) -> vipaint_core::Result<(Vec<Arc<dyn Operator>>, f64)> {
        let (mut parts, mut scale) = (Vec::<Arc<dyn Operator>>::new(), 1.0);
        for step in &self.steps {
            let range = (low * scale, high * scale);
            let part: Arc<dyn Operator> = match step {
                Step::Gaussian(sigma) => Arc::new(GaussianBlur::new(*sigma, shape, device)?),
                Step::Motion(length, degrees) => Arc::new(Kernel::new(motion_taps(*length, *degrees)?, shape, device)?),
                Step::Kernel(file, taps) => {
                    let problem =
                        || vipaint_core::Error::Option { name: "operator", problem: format!("{file} is not read") };
                    Arc::new(Kernel::new(taps.clone().ok_or_else(problem)?, shape, device)?)
                }
                Step::Box(by) => Arc::new(Downsample::new(Shrink::Box, *by, shape, device)?),
                Step::Bicubic(by) => Arc::new(Downsample::new(Shrink::Bicubic, *by, shape, device)?),
                Step::Blocks(by) => {
                    scale *= (by * by) as f64;
                    Arc::new(Blocks::new(*by, shape, device)?)
                }
                Step::Grey => Arc::new(Grey::new(shape, device)?),
                Step::Jpeg(quality) => Arc::new(Jpeg::new(*quality, shape, range, device)?),
                Step::Hdr(gain) => Arc::new(HighRange::new(*gain, shape, range)?),
            };
            shape = part.output_shape();
            parts.push(part);
        }
        Ok((parts, scale))
    }
}

fn refuse(option: &str, error: vipaint_core::Error) -> Error {
    match error {
        vipaint_core::Error::Option { problem, .. } => {
            Error::usage(option, problem, format!("known: {}", FORMS.join(", ")))
        }
        other => Error::from(other),
    }
}

fn parse_step(option: &str, text: &str) -> Result<Step> {
    let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let known = FORMS.map(|form| form.split(':').next().unwrap_or(form));
    let Some(form) = FORMS.iter().zip(known).find(|(_, known)| *known == name).map(|(form, _)| *form) else {
        let nearest = names::nearest(name, known).map(|near| format!("did you mean {near}? or "));
        let remedy = format!("{}Known: {}", nearest.unwrap_or_default(), FORMS.join(", "));
        return Err(Error::usage(option, format!("{name:?} is no operator"), remedy));
    };
    let wrong = || Error::usage(option, format!("{text:?} cannot be read"), format!("write it as {form}"));
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(wrong);
    let whole = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    Ok(match (name, rest) {
        ("gaussian", Some(rest)) => Step::Gaussian(number(rest)?),
        ("motion", Some(rest)) => {
            let (length, angle) = rest.split_once(':').ok_or_else(wrong)?;
            Step::Motion(number(length)?, number(angle)?)
        }
        ("kernel", Some(file)) => Step::Kernel(file.to_owned(), None),
        ("box", Some(rest)) => Step::Box(whole(rest)?),
        ("bicubic", Some(rest)) => Step::Bicubic(whole(rest)?),
        ("blocks", Some(rest)) => Step::Blocks(whole(rest)?),
        ("grey", None) => Step::Grey,
        ("jpeg", Some(rest)) => Step::Jpeg(rest.parse().map_err(|_| {
            Error::usage(option, format!("{text:?} has no quality from 1 to 100"), format!("write it as {form}"))
        })?),
        ("hdr", None) => Step::Hdr(2.0),
        ("hdr", Some(rest)) => Step::Hdr(number(rest)?),
        _ => return Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_wrong_ones_named() {
        for good in
            ["gaussian:1.5", "motion:5:30", "bicubic:4+jpeg:30", "hdr", "hdr:3", "grey", "kernel:k.png", "blocks:2"]
        {
            assert!(Degradation::parse(good).is_ok_and(|d| d.text() == good), "{good}");
        }
        let fails = |text: &str| Degradation::parse(text).map_or_else(|e| e.to_string(), |_| String::new());
        assert!(fails("gausian:1").contains("did you mean gaussian?"));
        assert!(fails("gaussian").contains("gaussian:SIGMA") && fails("gaussian:x").contains("gaussian:SIGMA"));
        assert!(fails("gaussian:-1").contains("sigma must be above 0"));
        assert!(fails("jpeg:0").contains("between 1 and 100") && fails("jpeg:300").contains("1 to 100"));
        assert!(fails("box:0").contains("factor") && fails("box:8+box:16").contains("too large"));
        assert!(fails("motion:5").contains("motion:LENGTH:ANGLE") && fails("").contains("no operator"));
        assert!(Degradation::shrunk(3, Shrink::Box).is_err_and(|e| e.to_string().contains("nearest: 2")));
        assert!(Degradation::blur("motoin:3:4").is_err_and(|e| e.to_string().contains("did you mean motion?")));
    }
}
