//! VIPaint: restoration of pictures with diffusion priors.
//!
//! Data flows one way: a picture and its mask ([`Given`]) or what happened to it ([`Measured`]), a prior ([`priors`]) and [`Settings`] make a [`Request`]; a
//! [`Job`] brings it to the prior's size and runs it; the [`Outcome`] is saved. Nothing here prints: loops report to an
//! observer, which may also stop them.
//!
//! ```no_run
//! use vipaint::{Amount, Given, Job, Preset, Request, Settings, parse_noise, picture::Keep, priors::Source, save::Folder};
//!
//! # fn main() -> vipaint::Result<()> {
//! let request = Request {
//!     given: Given::open("coat.png".as_ref(), "hole.png".as_ref(), Keep::White)?.into(),
//!     prior: Source::named("fashion")?.load()?,
//!     condition: Default::default(),
//!     negative: Default::default(),
//!     settings: Settings::new("vipaint", Preset::Balanced, &[], parse_noise("gaussian:0.05")?)?,
//!     seed: 0,
//! };
//! let outcome = Job::new(request)?.run(Amount { samples: 8, batch: 8 }, &mut vipaint::silent())?;
//! outcome.save(&Folder::open("out".as_ref())?, "my program")?;
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod checkpoint;
pub mod demo;
pub mod draw;
pub mod error;
pub mod evaluation;
pub mod given;
pub mod held_out;
pub mod hub;
pub mod job;
pub mod memory;
pub mod names;
pub mod picture;
pub mod portraits;
mod posterior_file;
pub mod priors;
mod restore;
pub mod save;
mod scene;
pub mod settings;
pub mod speed;

pub use error::{Error, Result};
pub use given::{Given, Origin};
pub use job::{Amount, Job, Outcome, Request, Stage};
pub use restore::{Degradation, Measured, Restoration};
pub use scene::{Input, Scene};
pub use settings::{Preset, Settings, parse_noise};
pub use vipaint_core::event::{Event, Observer, silent};
pub use vipaint_core::prior::Condition;

/// The example there is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
