//! Sheets of pictures beside a page's numbers.

/// A page's text and pictures.
pub struct Page {
    /// Markdown.
    pub text: String,
    /// Sheets of samples.
    pub pictures: Vec<Grid>,
}

/// A picture of a page.
pub struct Grid {
    /// File name.
    pub file: String,
    /// `[width, height]`.
    pub size: [u32; 2],
    /// Red, green and blue of every pixel, line by line.
    pub rgb: Vec<u8>,
}

/// Times that pictures are enlarged, and white pixels between them and between groups.
const SCALE: usize = 2;
const GAP: usize = 2;
const GROUP: usize = 10;

/// Groups of lines of pictures `[c, h, w]`, below each other.
pub(crate) fn sheet(file: String, [c, h, w]: [usize; 3], groups: &[Vec<Vec<&[u8]>>]) -> Grid {
    let (cell_w, cell_h) = (w * SCALE + GAP, h * SCALE + GAP);
    let columns = groups.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let tall = |group: &Vec<Vec<&[u8]>>| group.len() * cell_h + GROUP;
    let (width, height) = (columns * cell_w, groups.iter().map(tall).sum::<usize>());
    let mut rgb = vec![255; width * height * 3];
    let mut top = 0;
    for group in groups {
        for (line, pictures) in group.iter().enumerate() {
            for (column, picture) in pictures.iter().enumerate() {
                for (y, x) in (0..h * SCALE).flat_map(|y| (0..w * SCALE).map(move |x| (y, x))) {
                    let to = (top + line * cell_h + y) * width + column * cell_w + x;
                    for channel in 0..3 {
                        rgb[to * 3 + channel] = picture[(channel.min(c - 1) * h + y / SCALE) * w + x / SCALE];
                    }
                }
            }
        }
        top += tall(group);
    }
    Grid { file, size: [width as u32, height as u32], rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_where_they_should() {
        let (a, b) = ([7u8], [9u8]);
        let grid = sheet("a.png".into(), [1, 1, 1], &[vec![vec![&a, &b]], vec![vec![&b]]]);
        // Two columns of 2 + 2; groups of one line of 2 + 2 and 10 below.
        assert_eq!((grid.size, grid.rgb.len()), ([8, 28], 8 * 28 * 3));
        let at = |x: usize, y: usize| grid.rgb[(y * 8 + x) * 3];
        assert_eq!([at(1, 1), at(2, 0), at(4, 0), at(0, 2), at(0, 14), at(4, 14)], [7, 255, 9, 255, 9, 255]);
    }
}
