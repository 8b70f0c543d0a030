//! Randomness that a repeated run repeats: xoshiro256++ of Blackman and Vigna, seeded by SplitMix64 as they advise.

/// A generator. Not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of one processor: those of the same seed at other places give other numbers.
    pub(crate) fn new(seed: u64, place: u32) -> Self {
        let mut mixed = seed ^ u64::from(place).wrapping_mul(0xd1b5_4a32_d192_ed03);
        Self { state: std::array::from_fn(|_| split_mix(&mut mixed)) }
    }

    /// Fills `bytes`. Every call begins with a fresh number, so that what it gives depends on the calls before only.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(size_of::<u64>()) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        // The first numbers of SplitMix64 from 0 and of xoshiro256++ from the state 1, 2, 3, 4.
        let mut state = 0;
        assert_eq!(split_mix(&mut state), 0xe220_a839_7b1d_cdaf);
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([random.next(), random.next(), random.next()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_place_others() {
        let bytes = |seed, place, lengths: &[usize]| {
            let mut random = Random::new(seed, place);
            lengths
                .iter()
                .flat_map(|&length| {
                    let mut part = vec![0; length];
                    random.fill(&mut part);
                    part
                })
                .collect::<Vec<u8>>()
        };
        assert_eq!(bytes(7, 0, &[3, 20]), bytes(7, 0, &[3, 20]));
        assert_ne!(bytes(7, 0, &[16]), bytes(8, 0, &[16]));
        assert_ne!(bytes(7, 0, &[16]), bytes(7, 1, &[16]));
        assert!(bytes(7, 0, &[0]).is_empty());
    }
}
