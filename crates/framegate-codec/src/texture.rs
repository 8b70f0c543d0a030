//! Repeating random textures for scenes.

use crate::random::Random;

/// A square of samples that continues seamlessly over its edges.
#[derive(Debug, Clone)]
pub(crate) struct Texture {
    side: usize,
    samples: Vec<u8>,
}

impl Texture {
    /// Sums value noise of several cell sizes, each `(cell, amplitude)`, around `mean`; cells are powers of two up to
    /// `side`, which is one as well.
    pub(crate) fn new(random: &mut Random, side: usize, mean: i32, octaves: &[(usize, i32)]) -> Self {
        let mut sums = vec![mean; side * side];
        for &(cell, amplitude) in octaves {
            add_octave(&mut sums, side, cell, amplitude, random);
        }
        Self { side, samples: sums.into_iter().map(clamp).collect() }
    }

    /// Copies row `y` from column `x` on into `out`, as often as it takes.
    pub(crate) fn copy_row(&self, x: usize, y: usize, out: &mut [u8]) {
        let start = y % self.side * self.side;
        let row = &self.samples[start..start + self.side];
        let (head, rest) = out.split_at_mut((self.side - x % self.side).min(out.len()));
        head.copy_from_slice(&row[x % self.side..][..head.len()]);
        for part in rest.chunks_mut(self.side) {
            part.copy_from_slice(&row[..part.len()]);
        }
    }
}

fn add_octave(sums: &mut [i32], side: usize, cell: usize, amplitude: i32, random: &mut Random) {
    let count = side / cell;
    let lattice: Vec<i32> = (0..count * count).map(|_| i32::from(random.byte()) - 128).collect();
    let corner = |x: usize, y: usize| lattice[y % count * count + x % count];
    // Cells are below 2^15, so the weights and the products fit.
    let weight = |position: usize| i32::try_from(position).unwrap_or(0);
    let steps = weight(cell);
    for (index, sum) in sums.iter_mut().enumerate() {
        let (x, y) = (index % side, index / side);
        let (column, row) = (x / cell, y / cell);
        let (right, down) = (weight(x % cell), weight(y % cell));
        let upper = corner(column, row) * (steps - right) + corner(column + 1, row) * right;
        let lower = corner(column, row + 1) * (steps - right) + corner(column + 1, row + 1) * right;
        *sum += (upper * (steps - down) + lower * down) / (steps * steps) * amplitude / 128;
    }
}

/// Keeps a sample within the limited range of luma, which that of chroma contains.
pub(crate) fn clamp(sample: i32) -> u8 {
    u8::try_from(sample.clamp(16, 235)).unwrap_or(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_texture_is_smooth_over_its_edges() {
        let texture = Texture::new(&mut Random::new(3), 256, 128, &[(64, 60)]);
        for y in 0..256 {
            let mut row = [0; 12];
            texture.copy_row(250, y, &mut row);
            assert!(row.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 3), "{row:?}");
        }
    }
}
