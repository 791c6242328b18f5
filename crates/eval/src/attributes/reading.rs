//! A reader that speaks of attributes as the declared distribution does.

use super::World;
use crate::reader::Reader;
use crate::{Error, Result};

/// A [`Reader`] whose attributes and values are brought to the order of a [`World`].
pub struct Reading {
    reader: Reader,
    /// For each of the world's attributes the reader's, and for each of the reader's values of it the world's.
    places: Vec<(usize, Vec<usize>)>,
}

impl Reading {
    /// Puts the two together.
    ///
    /// # Errors
    /// [`Error::World`] when the reader lacks an attribute, or knows a value of it that the world does not.
    pub fn new(reader: Reader, world: &World) -> Result<Self> {
        let place = |a: usize| {
            let found = reader.attributes().iter().position(|own| own.name == world.name(a));
            let own = found.ok_or_else(|| Error::World(format!("{} cannot be read", world.name(a))))?;
            let values = reader.attributes()[own].values.iter().map(|value| world.value(a, value));
            Ok((own, values.collect::<Result<Vec<_>>>()?))
        };
        let places = (0..world.len()).map(place).collect::<Result<Vec<_>>>()?;
        Ok(Self { reader, places })
    }

    /// The value of every attribute of each picture, as [`Reader::read`].
    pub fn read(&self, pictures: &[f32]) -> Vec<Vec<usize>> {
        let ordered = |read: Vec<usize>| self.places.iter().map(|(own, values)| values[read[*own]]).collect();
        self.reader.read(pictures).into_iter().map(ordered).collect()
    }
}
