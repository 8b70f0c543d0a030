//! Moving pictures drawn from a seed: the same on every machine.

use framegate_wire::PictureSize;

use crate::layout::LayoutError;
use crate::number_bar;
use crate::picture::{I420Image, Picture};
use crate::random::Random;
use crate::texture::{Texture, clamp};

/// What a scene shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SceneKind {
    /// As a webcam in a room: textured wall, a hand-held sway, a few moving things, sensor noise.
    Room,
    /// Colour bars at 75 % with one moving block below; next to no noise.
    Bars,
    /// A fast pan with fast things before it: hard on the encoder.
    Motion,
}

/// Whether pictures carry their number ([`number_bar`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Numbering {
    /// At the top, modulo 65 536.
    Drawn,
    /// Not at all.
    Absent,
}

/// Draws the pictures of a scene, in any order: each depends only on seed and index. BT.601, limited range.
#[derive(Debug)]
pub struct Scene {
    kind: SceneKind,
    numbering: Numbering,
    seed: u64,
    image: I420Image,
    background: [Texture; 3],
    things: Vec<Thing>,
    noise: Vec<i8>,
}

/// A textured ellipse that bounces between the edges.
#[derive(Debug)]
struct Thing {
    luma: Texture,
    tint: [u8; 2],
    radius: [usize; 2],
    start: [usize; 2],
    /// Pixels in [`STEPS`] pictures.
    speed: [usize; 2],
}

/// Side of the textures, in samples: repeats too far apart for an encoder to profit from.
const TEXTURE_SIDE: usize = 1024;

/// Samples of noise drawn beforehand; rows begin at random places in it.
const NOISE_COUNT: usize = 1 << 16;

/// Pictures that a speed counts over, so that slow things move by less than a pixel a picture.
const STEPS: usize = 8;

// The longest row must fit behind many starts.
const _: () = assert!(NOISE_COUNT > 2 * framegate_wire::limits::SIDE_MAX as usize);

/// Luma, Cb and Cr of 75 % bars: white, yellow, cyan, green, magenta, red, blue (ITU-R BT.801, BT.601 codes).
const BARS: [[u8; 7]; 3] =
    [[180, 162, 131, 112, 84, 65, 35], [128, 44, 156, 72, 184, 100, 212], [128, 142, 44, 58, 198, 212, 114]];

impl Scene {
    /// Prepares a scene: some 3 million random samples, once.
    ///
    /// # Errors
    /// [`LayoutError::Side`] when a side is 0 or above the limit.
    pub fn new(kind: SceneKind, size: PictureSize, seed: u64, numbering: Numbering) -> Result<Self, LayoutError> {
        let image = I420Image::new(size)?;
        let mut random = Random::new(seed);
        let background = [
            Texture::new(&mut random, TEXTURE_SIDE, 118, &[(256, 50), (64, 30), (16, 18), (4, 8)]),
            Texture::new(&mut random, TEXTURE_SIDE, 122, &[(128, 24), (32, 6)]),
            Texture::new(&mut random, TEXTURE_SIDE, 134, &[(128, 24), (32, 6)]),
        ];
        let things = match kind {
            SceneKind::Room => (0..4).map(|_| Thing::new(&mut random, size, 16)).collect(),
            SceneKind::Motion => (0..6).map(|_| Thing::new(&mut random, size, 96)).collect(),
            SceneKind::Bars => Vec::new(),
        };
        let strength = match kind {
            SceneKind::Room => 7,
            SceneKind::Motion => 4,
            SceneKind::Bars => 1,
        };
        let noise = (0..NOISE_COUNT).map(|_| noise(&mut random, strength)).collect();
        Ok(Self { kind, numbering, seed, image, background, things, noise })
    }

    /// Draws picture `index`; it is valid until the next call.
    pub fn draw(&mut self, index: u32) -> Picture<'_> {
        match self.kind {
            SceneKind::Bars => self.draw_bars(index as usize),
            SceneKind::Room | SceneKind::Motion => self.draw_background(index as usize),
        }
        for thing in &self.things {
            thing.draw(&mut self.image, index as usize);
        }
        self.add_noise(index);
        if self.numbering == Numbering::Drawn {
            number_bar::draw(&mut self.image, (index & 0xffff) as u16);
        }
        self.image.picture()
    }

    fn draw_background(&mut self, index: usize) {
        let (across, down) = match self.kind {
            SceneKind::Motion => (index * 10, index * 3),
            // Some pixels to and fro, out of step with each other.
            SceneKind::Room | SceneKind::Bars => (bounce(index / 3, 10), bounce(index / 5, 6)),
        };
        for (plane, texture) in self.background.iter().enumerate() {
            let half = usize::from(plane > 0);
            for (y, row) in self.image.rows_mut(plane).enumerate() {
                texture.copy_row(across >> half, y + (down >> half), row);
            }
        }
    }

    fn draw_bars(&mut self, index: usize) {
        let height = self.image.size().height as usize;
        for (plane, codes) in BARS.iter().enumerate() {
            let half = usize::from(plane > 0);
            for (y, row) in self.image.rows_mut(plane).enumerate() {
                let width = row.len();
                if y < (height * 3 / 4) >> half {
                    for (x, sample) in row.iter_mut().enumerate() {
                        *sample = codes[x * codes.len() / width];
                    }
                } else {
                    row.fill(if plane == 0 { 40 } else { 128 });
                    let start = bounce(index * width / 120, width - width / 8);
                    row[start..start + width / 8].fill(if plane == 0 { 200 } else { 128 });
                }
            }
        }
    }

    fn add_noise(&mut self, index: u32) {
        let mut random = Random::new(self.seed ^ (u64::from(index) + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        for plane in 0..3 {
            for row in self.image.rows_mut(plane) {
                let start = random.below(NOISE_COUNT - row.len());
                for (sample, noise) in row.iter_mut().zip(&self.noise[start..]) {
                    // Cameras denoise chroma harder than luma.
                    let noise = i32::from(*noise) >> usize::from(plane > 0);
                    *sample = clamp(i32::from(*sample) + noise);
                }
            }
        }
    }
}

impl Thing {
    fn new(random: &mut Random, size: PictureSize, speed_max: usize) -> Self {
        let sides = [size.width as usize, size.height as usize];
        let shorter = sides[0].min(sides[1]);
        let mut radius = || shorter / 12 + random.below(shorter / 8 + 1) + 1;
        let radius = [radius(), radius()];
        let mean = 100 + i32::from(random.byte() / 3);
        Self {
            luma: Texture::new(random, 256, mean, &[(32, 50), (8, 40), (2, 15)]),
            tint: [80 + random.byte() / 3, 80 + random.byte() / 3],
            radius,
            start: sides.map(|side| random.below(2 * side)),
            speed: sides.map(|side| (1 + random.below(speed_max)) * side.div_ceil(64) / 8 + 1),
        }
    }

    fn draw(&self, image: &mut I420Image, index: usize) {
        let sides = [image.size().width as usize, image.size().height as usize];
        let place = |axis: usize| bounce(self.start[axis] + index * self.speed[axis] / STEPS, sides[axis]);
        let centre = [place(0), place(1)];
        for plane in 0..3 {
            let half = usize::from(plane > 0);
            for (y, row) in image.rows_mut(plane).enumerate() {
                let Some(reach) = self.reach((y << half).abs_diff(centre[1])) else { continue };
                let left = centre[0].saturating_sub(reach) >> half;
                let right = ((centre[0] + reach) >> half).min(row.len());
                if left >= right {
                    continue;
                }
                if plane == 0 {
                    // The texture moves with the thing.
                    let skip = |axis: usize, at: usize| at + self.radius[axis] + 256 * 64 - centre[axis];
                    self.luma.copy_row(skip(0, left), skip(1, y), &mut row[left..right]);
                } else {
                    row[left..right].fill(self.tint[plane - 1]);
                }
            }
        }
    }

    /// How far the ellipse extends sideways, `distance` rows from its centre.
    fn reach(&self, distance: usize) -> Option<usize> {
        let rest = self.radius[1].checked_pow(2)?.checked_sub(distance.checked_pow(2)?)?;
        Some(self.radius[0] * rest.isqrt() / self.radius[1])
    }
}

/// A position that goes from 0 to `range` and back.
const fn bounce(distance: usize, range: usize) -> usize {
    if range == 0 {
        return 0;
    }
    let position = distance % (2 * range);
    if position > range { 2 * range - position } else { position }
}

/// Roughly normal noise: the sum of four even ones has a deviation of 148, scaled to half of `strength`.
fn noise(random: &mut Random, strength: i32) -> i8 {
    let sum: i32 = (0..4).map(|_| i32::from(random.byte())).sum();
    i8::try_from((sum - 510) * strength / 296).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SceneKind; 3] = [SceneKind::Room, SceneKind::Bars, SceneKind::Motion];

    fn bytes(picture: &Picture<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        crate::y4m::write_picture(&mut out, picture);
        out
    }

    #[test]
    fn a_seed_gives_the_same_pictures_in_any_order() {
        let size = PictureSize { width: 160, height: 120 };
        for kind in KINDS {
            let mut scene = Scene::new(kind, size, 1, Numbering::Absent).unwrap();
            let mut again = Scene::new(kind, size, 1, Numbering::Absent).unwrap();
            let mut other = Scene::new(kind, size, 2, Numbering::Absent).unwrap();
            let late = bytes(&again.draw(9));
            for index in 0..10 {
                let picture = bytes(&scene.draw(index));
                assert_eq!(picture, bytes(&again.draw(index)));
                assert_ne!(picture, bytes(&other.draw(index)));
                assert_eq!(picture == late, index == 9);
            }
        }
    }

    #[test]
    fn every_size_and_index_can_be_drawn_and_read() {
        for kind in KINDS {
            for (width, height) in [(1, 1), (3, 5), (36, 9), (641, 479), (1000, 20)] {
                let mut scene = Scene::new(kind, PictureSize { width, height }, 7, Numbering::Drawn).unwrap();
                for index in [0, 1, 65_535, 65_536, u32::MAX] {
                    let picture = scene.draw(index);
                    let number = number_bar::read(&picture.planes[0], picture.size);
                    assert_eq!(number, (width >= 36).then_some((index & 0xffff) as u16));
                }
            }
        }
    }
}
