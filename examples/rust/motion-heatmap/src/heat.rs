//! The map: one number per cell of the picture, pushed up by change and cooling down.

/// Side of a cell in pixels.
pub const CELL: usize = 8;

/// Where it is warm.
#[derive(Debug, Default)]
pub struct HeatMap {
    /// Cells across and down.
    columns: usize,
    rows: usize,
    /// 0 (nothing moved lately) to 1.
    heat: Vec<f32>,
    /// The picture before.
    before: Vec<u8>,
    width: usize,
}

impl HeatMap {
    /// An empty map for pictures of this size.
    pub fn new(width: usize, height: usize) -> Self {
        let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
        Self { columns, rows, heat: vec![0.0; columns * rows], before: Vec::with_capacity(width * height), width }
    }

    /// Takes the next picture. `kept` is the part of the heat that is left after a frame, `least` the difference of a
    /// pixel that counts, in grey levels.
    pub fn add<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>, kept: f32, least: u8) {
        for heat in &mut self.heat {
            *heat *= kept;
        }
        let is_first = self.before.is_empty();
        for (y, row) in rows.enumerate() {
            if is_first {
                self.before.extend_from_slice(row);
                continue;
            }
            let cells = &mut self.heat[y / CELL * self.columns..][..self.columns];
            let before = &mut self.before[y * self.width..][..self.width];
            for (cell, (now, before)) in cells.iter_mut().zip(row.chunks(CELL).zip(before.chunks_mut(CELL))) {
                let changed = now.iter().zip(before.iter()).filter(|(now, before)| now.abs_diff(**before) >= least);
                // A cell of which a quarter changes in every frame is as hot as can be.
                *cell = (*cell + changed.count() as f32 * (1.0 - kept) / (CELL * CELL / 4) as f32).min(1.0);
                before.copy_from_slice(now);
            }
        }
    }

    /// The hottest cells of at least `least`, hottest first, as `[x, y, w, h]` in fractions of the picture and heat.
    pub fn hottest(&self, least: f32, count: usize) -> Vec<([f32; 4], f32)> {
        let mut cells: Vec<_> = self.heat.iter().copied().enumerate().filter(|(_, heat)| *heat >= least).collect();
        cells.sort_by(|(a, hot), (b, hotter)| hotter.total_cmp(hot).then(a.cmp(b)));
        let (w, h) = (1.0 / self.columns as f32, 1.0 / self.rows as f32);
        let place = |index: usize| [(index % self.columns) as f32 * w, (index / self.columns) as f32 * h, w, h];
        cells.into_iter().take(count).map(|(index, heat)| (place(index), heat)).collect()
    }

    /// Mean over the whole picture, 0 to 1.
    pub fn mean(&self) -> f32 {
        self.heat.iter().sum::<f32>() / self.heat.len().max(1) as f32
    }

    /// The picture before in grey with the heat over it, as packed BGR: from blue through yellow to red.
    pub fn draw(&self, strength: f32) -> Vec<u8> {
        let mut picture = Vec::with_capacity(self.before.len() * 3);
        for (index, &grey) in self.before.iter().enumerate() {
            let (x, y) = (index % self.width, index / self.width);
            let heat = self.heat[y / CELL * self.columns + x / CELL];
            let colour = [1.0 - heat, 1.0 - (2.0 * heat - 1.0).abs(), heat].map(|part| part * 255.0);
            let cover = strength * heat.sqrt();
            picture.extend(colour.map(|part| (f32::from(grey) * (1.0 - cover) + part * cover) as u8));
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey picture with a bright square of two cells at `x`.
    fn picture(x: usize) -> Vec<u8> {
        let mut picture = vec![50; 64 * 32];
        for row in picture.chunks_mut(64).skip(8).take(16) {
            row[x..x + 16].fill(200);
        }
        picture
    }

    #[test]
    fn what_moves_is_warm_and_cools_down() {
        let mut map = HeatMap::new(64, 32);
        for x in [0, 8, 16, 24] {
            map.add(picture(x).chunks(64), 0.8, 20);
        }
        let ([x, y, w, h], heat) = map.hottest(0.1, 1)[0];
        assert_eq!((w, h), (0.125, 0.25));
        assert!((8.0..40.0).contains(&(x * 64.0)) && (8.0..24.0).contains(&(y * 32.0)), "{x} {y}");
        assert!(heat > 0.1 && heat <= 1.0);
        let warm = map.mean();
        for _ in 0..20 {
            map.add(picture(24).chunks(64), 0.8, 20);
        }
        assert!(map.mean() < warm / 50.0 && map.hottest(0.1, 8).is_empty());
    }

    #[test]
    fn noise_is_not_warm() {
        let mut map = HeatMap::new(9, 5);
        for level in [100, 110, 95] {
            map.add(vec![level; 45].chunks(9), 0.9, 20);
        }
        assert_eq!(map.mean(), 0.0);
        assert_eq!(map.draw(1.0), vec![95; 9 * 5 * 3], "cold is as it was");
    }
}
