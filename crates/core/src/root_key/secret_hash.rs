//! [`SecretHash`]: the stored form of a secret.

use aws_lc_rs::constant_time;

/// HMAC-SHA-256 of a secret under a versioned pepper.
///
/// Not a slow hash: a secret carries 184 random bits, and NIST SP 800-63B section 5.1.2.2 asks for
/// a slow one only below 112 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretHash {
    /// The version of the root key that the pepper is derived from.
    pub pepper_version: u32,
    pub mac: [u8; 32],
}

impl SecretHash {
    /// Whether both hashes are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        let same = constant_time::verify_slices_are_equal(&self.mac, &other.mac).is_ok();
        #[expect(clippy::needless_bitwise_bool, reason = "both comparisons must always run")]
        let same = same & (self.pepper_version == other.pepper_version);
        same
    }
}
