//! What a prior file says about its weights.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vipaint_core::Schedule;
use vipaint_core::prior::{Footprint, Head};

use crate::{Error, Family, Inventory, Loader, Network, Preconditioning, Result, autoencoder};

/// The version of the description that this program writes and reads.
pub const FORMAT: u32 = 1;

/// How a network's output becomes `x0_hat`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Parameterization {
    /// [`crate::Edm`].
    Edm {
        /// The data's standard deviation the network was trained with.
        sigma_data: f64,
    },
    /// [`crate::Headed`].
    Head {
        /// What the network predicts.
        head: Head,
    },
    /// [`crate::Preconditioning::Vp`].
    Vp {
        /// Extent of the slope of `beta(t) = beta_d t + beta_min`.
        beta_d: f64,
        /// Slope at the start.
        beta_min: f64,
        /// Timesteps the network counts.
        steps: f64,
    },
    /// [`crate::Preconditioning::Ve`].
    Ve,
    /// [`crate::Preconditioning::Iddpm`].
    Iddpm {
        /// Bound of the change of `alpha_bar` at high noise.
        c_1: f64,
        /// Offset of the cosine.
        c_2: f64,
        /// Timesteps of the table.
        steps: usize,
    },
}

impl Parameterization {
    /// The factors of [`crate::Edm`].
    ///
    /// # Errors
    /// What the network predicts, if it has none.
    pub fn preconditioning(&self) -> Result<Preconditioning, Head> {
        Ok(match *self {
            Self::Edm { sigma_data } => Preconditioning::Edm { sigma_data },
            Self::Vp { beta_d, beta_min, steps } => Preconditioning::Vp { beta_d, beta_min, steps },
            Self::Ve => Preconditioning::Ve,
            Self::Iddpm { c_1, c_2, steps } => Preconditioning::iddpm(c_1, c_2, steps),
            Self::Head { head } => return Err(head),
        })
    }
}

/// The description of a prior, kept as JSON in the file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this description.
    pub format: u32,
    /// Name of the prior.
    pub name: String,
    /// Family and hyperparameters.
    pub network: Family,
    /// Noise schedule.
    pub schedule: Schedule,
    /// What the network predicts.
    pub parameterization: Parameterization,
    /// Standard deviation of the data.
    pub data_std: f64,
    /// Class names, one for each class of the network.
    pub classes: Vec<String>,
    /// Range of picture values.
    pub value_range: (f64, f64),
    /// From the network's space to pictures, if it does not work on pictures themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<autoencoder::Config>,
}

/// More timesteps, or table entries, than any discrete schedule has.
const MAX_STEPS: usize = 100_000;

impl Header {
    /// Reads and checks a description from an untrusted file.
    ///
    /// # Errors
    /// [`Error::Header`] or [`Error::Config`] says which field is wrong.
    pub fn from_json(text: &str) -> Result<Self> {
        let fail = |problem: &str| Err(Error::Header(problem.to_string()));
        let value: Value = serde_json::from_str(text).map_err(|e| Error::Header(e.to_string()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(Error::Header(format!("format {format} is unknown; this program reads {FORMAT}")));
            }
            None => return fail("has no field `format`"),
        }
        // A schedule is tabulated while it is read, so its size is checked before.
        if let Some(steps) = value.get("schedule").and_then(|s| s.get("steps")) {
            let fits = steps.as_u64().is_some_and(|n| (2..=MAX_STEPS as u64).contains(&n));
            if !fits {
                return fail("schedule: steps must be 2 to 100000");
            }
        }
        let header: Self = serde_json::from_value(value).map_err(|e| Error::Header(e.to_string()))?;
        header.check()?;
        Ok(header)
    }

    /// The description as JSON.
    pub fn to_json(&self) -> String {
        // Every field is a plain number, string or list of those, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Network and autoencoder, frozen, from their tensors.
    pub(crate) fn build(&self, loader: &Loader<'_>) -> Result<(Arc<dyn Network>, Option<autoencoder::Autoencoder>)> {
        let network = self.network.build(loader)?;
        let side = self.network.shape()[1];
        let autoencoder = self.autoencoder.as_ref().map(|config| config.build(loader, side)).transpose()?;
        Ok((network, autoencoder))
    }

    /// All that the prior reads from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be built.
    pub fn inventory(&self) -> Result<Inventory> {
        Inventory::of(|loader| self.build(loader))
    }

    /// Memory that calls hold, by the architecture.
    ///
    /// # Errors
    /// As [`Self::inventory`].
    pub fn footprint(&self) -> Result<Footprint> {
        let side = self.network.shape()[1];
        let decoder =
            self.autoencoder.as_ref().map(|config| Inventory::of(|loader| config.build_decoder(loader, side)));
        let decoder = decoder.transpose()?.map_or(0, |inventory| inventory.held_bytes());
        let network = self.network.inventory()?;
        let late = matches!(self.network, Family::Unet(_));
        Ok(Footprint { denoiser: network.held_bytes(), recomputed: network.recomputed_bytes(), decoder, late })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fail = |problem: &str| Err(Error::Header(problem.to_string()));
        let positive = |x: f64| x.is_finite() && x > 0.0;
        self.network.validate()?;
        if self.network.classes() != self.classes.len() {
            return fail("classes: must name each class of the network");
        }
        if let Some(autoencoder) = &self.autoencoder {
            autoencoder.validate()?;
            if autoencoder.embed_dim != self.network.shape()[0] {
                return fail("autoencoder: embed_dim must be as many as the network has channels");
            }
        }
        if !positive(self.data_std) {
            return fail("data_std: must be positive");
        }
        let (low, high) = self.value_range;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return fail("value_range: must be two increasing numbers");
        }
        match self.parameterization {
            Parameterization::Edm { sigma_data } if !positive(sigma_data) => {
                return fail("parameterization: sigma_data must be positive");
            }
            Parameterization::Vp { beta_d, beta_min, steps }
                if ![beta_d, beta_min, steps].into_iter().all(positive) =>
            {
                return fail("parameterization: beta_d, beta_min and steps (M) must be positive");
            }
            Parameterization::Iddpm { c_1, c_2, steps }
                if !(positive(c_1) && c_1 < 1.0 && positive(c_2) && (2..=MAX_STEPS).contains(&steps)) =>
            {
                return fail("parameterization: needs 0 < c_1 < 1, c_2 > 0 and 2 to 100000 steps (M)");
            }
            _ => {}
        }
        match &self.schedule {
            Schedule::Ve { sigma_min, sigma_max, rho } => {
                if !(positive(*sigma_min) && positive(*rho) && sigma_max.is_finite() && sigma_min < sigma_max) {
                    return fail("schedule: needs 0 < sigma_min < sigma_max and rho > 0");
                }
            }
            Schedule::Flow { shift } => {
                if !positive(*shift) {
                    return fail("schedule: shift must be positive");
                }
            }
            Schedule::Vp(_) => self.check_vp()?,
        }
        Ok(())
    }

    fn check_vp(&self) -> Result<()> {
        let json = serde_json::to_value(&self.schedule).unwrap_or_default();
        let table = json.get("alphas_cumprod").and_then(Value::as_array);
        let count = match table {
            Some(table) => table.len(),
            None => json.get("steps").and_then(Value::as_u64).unwrap_or(0) as usize,
        };
        if !(2..=MAX_STEPS).contains(&count) {
            return Err(Error::Header("schedule: needs 2 to 100000 timesteps".into()));
        }
        let levels: Vec<_> = (0..count).map(|i| self.schedule.level(i as f64)).collect();
        let falls = levels.windows(2).all(|w| w[0].ratio() < w[1].ratio());
        if !falls || levels.iter().any(|l| !(l.alpha > 0.0 && l.sigma > 0.0 && l.ratio().is_finite())) {
            return Err(Error::Header("schedule: alphas_cumprod must fall strictly inside (0, 1)".into()));
        }
        Ok(())
    }
}
