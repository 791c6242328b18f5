//! From attributes to pixels.

use anyhow::{Context, Result, ensure};
use dicebear_core::{Avatar, Style};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use serde_json::{Map, Value, json};

use crate::table::Table;

/// Draws portraits of one style at one size.
pub struct Painter {
    style: Style,
    side: u32,
}

impl Painter {
    /// The style that the table names; pictures are `side` pixels high and wide.
    pub fn new(table: &Table, side: u32) -> Result<Self> {
        ensure!(table.style == "open-peeps", "only the style open-peeps is built in");
        let style = Style::from_str(dicebear_styles::OPEN_PEEPS).context("the style's definition")?;
        Ok(Self { style, side })
    }

    /// Planes of bytes, `[3, side, side]`.
    pub fn draw(&self, table: &Table, drawn: &[usize]) -> Result<Vec<u8>> {
        let mut options = Map::from_iter([("seed".to_owned(), json!("")), ("maskProbability".to_owned(), json!(0))]);
        for (attribute, value) in table.attributes.iter().zip(drawn) {
            options.extend(attribute.values[*value].options.clone());
        }
        let avatar = Avatar::new(&self.style, Value::Object(options)).context("DiceBear refuses the options")?;
        let tree = Tree::from_str(avatar.to_svg(), &Options::default())?;
        let mut picture = Pixmap::new(self.side, self.side).context("a picture of no size")?;
        let scale = self.side as f32 / tree.size().width();
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
        let rgba = picture.data();
        ensure!(rgba.iter().skip(3).step_by(4).all(|a| *a == 255), "a portrait must be opaque");
        Ok((0..3).flat_map(|channel| rgba.iter().skip(channel).step_by(4).copied()).collect())
    }
}
