//! Pictures about pictures: the grid, the uncertainty map, the bound's trace.

mod canvas;
mod grid;
mod raster;
mod trace;
mod uncertainty;

pub use canvas::{Canvas, DrawError};
pub use grid::{Cell, grid};
pub use raster::Raster;
pub use trace::trace;
pub use uncertainty::uncertainty;
