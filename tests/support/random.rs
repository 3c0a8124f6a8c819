//! Reproducible random numbers.

use gatekey_core::Env;

use crate::support::{environment, is_long_run};

/// The seed, unless `GATEKEY_TEST_SEED` sets another or the run is long.
const SEED: u64 = 0x6b65_7973_2e31;

/// The seed of a test, printed so that a failure shows it.
pub(crate) fn seed() -> u64 {
    let seed = match environment("GATEKEY_TEST_SEED") {
        Some(given) => u64::from_str_radix(given.trim_start_matches("0x"), 16)
            .expect("GATEKEY_TEST_SEED is hexadecimal"),
        None if is_long_run() => u64::from_ne_bytes(Env::system().random()),
        None => SEED,
    };
    println!("GATEKEY_TEST_SEED={seed:#x}");
    seed
}

/// `SplitMix64`: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number, less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
