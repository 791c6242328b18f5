//! What a job works on: a picture with a hole, or a measured picture as a whole.

use serde_json::{Value, json};

use crate::draw::{Cell, Raster};
use crate::given::{Given, Origin};
use crate::picture::{Picture, Workspace};
use crate::restore::{Measured, Restoration};

/// What is given: a picture with a hole, or one that was degraded as a whole.
pub enum Input {
    /// To be completed.
    Hole(Box<Given>),
    /// To be restored.
    Whole(Box<Measured>),
}

impl From<Given> for Input {
    fn from(given: Given) -> Self {
        Self::Hole(Box::new(given))
    }
}

impl From<Measured> for Input {
    fn from(measured: Measured) -> Self {
        Self::Whole(Box::new(measured))
    }
}

/// The same at the prior's size.
pub enum Scene {
    /// The square around a hole; the picture's and the mask's files.
    Hole(Box<Workspace>, [Origin; 2]),
    /// A measured picture.
    Whole(Box<Restoration>),
}

/// Mean distance of hidden pixels from known ones, over the picture's side, below which a hole is thin, as is one whose pixels all
/// touch known ones. At 32 pixels LaMa's thin strokes have at most .043, rectangles that cover 30 % and more at least .061.
pub(crate) const THIN: f64 = 0.05;

impl Scene {
    /// What a user should hear: warnings, notes, and a line on what is worked on.
    pub fn told(&self) -> (Vec<String>, Vec<String>, String) {
        match self {
            Self::Hole(work, _) => {
                let hidden = 100.0 * work.mask().hidden_share();
                let line = format!("{}, {hidden:.1} % hidden", work.picture().describe());
                (work.mask().warnings().to_vec(), work.notes().to_vec(), line)
            }
            Self::Whole(restoration) => {
                let given = &restoration.given;
                let what = if given.simulate { "simulated" } else { "measured" };
                let line = format!("{}, {what}: {}", given.picture.describe(), given.degradation.text());
                (Vec::new(), restoration.notes().to_vec(), line)
            }
        }
    }

    /// How far guided paths go towards the data (option `zeta`), where they are better than a fit: in a picture that was measured as
    /// a whole, or has a thin hole. The best of 0.5, 1 and 1.5 on other pictures than those of docs/results/operators.md.
    pub(crate) fn guided(&self) -> Option<&'static str> {
        match self {
            Self::Hole(work, _) => (work.hidden_depth() <= (THIN * work.size() as f64).max(1.0)).then_some("1.5"),
            // A linear model knows nothing of rounding.
            Self::Whole(restoration) => Some(if restoration.given.degradation.rounds() { "0.5" } else { "1" }),
        }
    }

    /// What is new in a result `[channels, size, size]`, some values for each pixel.
    pub(crate) fn values(&self, result: &[f32]) -> Vec<f32> {
        match self {
            Self::Hole(work, _) => work.hidden_values(result),
            Self::Whole(restoration) => restoration.values(result),
        }
    }

    /// The picture that such values make.
    pub(crate) fn picture(&self, values: &[f32]) -> Picture {
        match self {
            Self::Hole(work, _) => work.paste(values),
            Self::Whole(restoration) => restoration.picture(values),
        }
    }

    /// `f` of the new values of each pixel of the resulting pictures.
    pub(crate) fn spread(&self, values: &[f32], f: impl Fn(&[f32]) -> f32) -> Vec<Option<f32>> {
        match self {
            Self::Hole(work, _) => work.spread(values, f),
            Self::Whole(restoration) => {
                values.chunks_exact(restoration.shape()[0]).map(|values| Some(f(values))).collect()
            }
        }
    }

    /// What was given, as the sheet of results shows it.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        match self {
            Self::Hole(work, _) => vec![
                Cell { label: "input".into(), picture: Raster::of(work.picture()).for_eyes() },
                Cell { label: "masked".into(), picture: Raster::masked(work.picture(), work.mask()) },
            ],
            Self::Whole(restoration) => restoration.cells(),
        }
    }

    /// The report's part on inputs.
    pub(crate) fn inputs(&self) -> Value {
        let file = |origin: &Origin| json!({ "name": origin.name, "sha256": origin.sha256 });
        match self {
            Self::Hole(work, [picture, mask]) => {
                let (mut of_picture, mut of_mask) = (file(picture), file(mask));
                of_picture["kind"] = work.picture().describe().into();
                of_mask["hidden_share"] = work.mask().hidden_share().into();
                json!({ "picture": of_picture, "mask": of_mask })
            }
            Self::Whole(restoration) => {
                let given = &restoration.given;
                let mut of_picture = file(&given.origin);
                of_picture["kind"] = given.picture.describe().into();
                json!({ "picture": of_picture, "operator": given.degradation.text(), "simulated": given.simulate })
            }
        }
    }

    /// The measured picture as a file, where it was simulated.
    pub(crate) fn simulated(&self) -> Option<Picture> {
        match self {
            Self::Whole(restoration) if restoration.given.simulate => Some(restoration.measured_picture()),
            _ => None,
        }
    }

    /// The true values and their shape `[channels, height, width]`, where they are known.
    pub(crate) fn truth(&self) -> Option<(&[f32], [usize; 3])> {
        match self {
            Self::Hole(..) => None,
            Self::Whole(restoration) => restoration.truth().map(|truth| (truth, restoration.shape())),
        }
    }
}
