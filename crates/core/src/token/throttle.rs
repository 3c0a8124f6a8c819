//! [`Throttle`]: limits failed authentications per address and minute.
//!
//! The defense against guessing is the 184 random bits of a secret. The throttle slows down clients
//! with a stale secret, and makes them visible to the operator. A correct secret always passes, so
//! no one can lock out a key's owner.
//!
//! The table has a fixed size, because an attacker can have any number of addresses.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_lc_rs::hmac;

use crate::{Env, Timestamp, network::network};

/// Addresses that can be counted at once, in 128 KiB. If two share a slot, the later one replaces
/// the earlier one.
const SLOTS: usize = 1 << 14;
const MINUTE: i64 = 60;

/// Counts failed authentications by address (IPv6 by /64) in minutes that begin at a different
/// second for each address.
pub(crate) struct Throttle {
    limit: u16,
    /// Decides the slot of an address, so that an attacker cannot choose whose slot to take.
    key: hmac::Key,
    slots: Box<[AtomicU64]>,
}

/// An address exceeded its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    /// Time until the minute ends; at least a second.
    pub(crate) retry_after: Duration,
    /// Whether this is the first throttled failure in this minute.
    pub(crate) first: bool,
}

/// The content of a slot: part of the address's MAC (24 bits), the minute (24 bits) and the number
/// of failures (16 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    owner: u64,
    minute: u64,
    failures: u16,
}

impl Throttle {
    /// A limit of 0 disables the throttle.
    pub(crate) fn new(limit: u16, env: &Env) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &env.random::<32>());
        let slots = if limit == 0 { 0 } else { SLOTS };
        Self { limit, key, slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a failure. Returns `None` as long as the address is within its limit.
    pub(crate) fn note(&self, from: IpAddr, now: Timestamp) -> Option<Throttled> {
        if self.limit == 0 {
            return None;
        }
        let (place, fresh, left) = self.place(from, now);
        let mut failures = 0;
        let count = |held: u64| {
            let held = Slot::unpack(held);
            let known = held.owner == fresh.owner && held.minute == fresh.minute;
            failures = if known { held.failures.saturating_add(1) } else { 1 };
            Some(Slot { failures, ..fresh }.pack())
        };
        self.slots[place].fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        (failures > self.limit).then(|| Throttled {
            retry_after: Duration::from_secs(left),
            first: failures == self.limit + 1,
        })
    }

    /// Returns the slot of an address, its content without failures, and the seconds that are left
    /// of the minute.
    fn place(&self, from: IpAddr, now: Timestamp) -> (usize, Slot, u64) {
        let mac = match network(from) {
            IpAddr::V4(address) => hmac::sign(&self.key, &address.octets()),
            IpAddr::V6(address) => hmac::sign(&self.key, &address.octets()),
        };
        let [high, low, offset, owner @ ..] =
            *mac.as_ref().first_chunk::<6>().expect("HMAC-SHA-256 gives 32 bytes");
        let owner = owner.into_iter().fold(0, |bits, byte| bits << 8 | u64::from(byte));
        let second = now.as_seconds() + i64::from(offset) % MINUTE;
        let minute = second.div_euclid(MINUTE).cast_unsigned() & Slot::MASK;
        let left = (MINUTE - second.rem_euclid(MINUTE)).cast_unsigned();
        (
            usize::from(u16::from_be_bytes([high, low])) % SLOTS,
            Slot { owner, minute, failures: 0 },
            left,
        )
    }
}

impl Slot {
    const MASK: u64 = (1 << 24) - 1;

    fn pack(self) -> u64 {
        self.owner << 40 | self.minute << 16 | u64::from(self.failures)
    }

    fn unpack(bits: u64) -> Self {
        let [.., high, low] = bits.to_be_bytes();
        Self {
            owner: bits >> 40,
            minute: bits >> 16 & Self::MASK,
            failures: u16::from_be_bytes([high, low]),
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Throttle({} a minute)", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn throttle(limit: u16) -> Throttle {
        Throttle::new(limit, &Env::system())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    #[test]
    fn a_failure_beyond_the_limit_is_throttled() {
        let (throttle, from) = (throttle(3), address("192.0.2.1"));
        let begin = (0..60).find(|second| throttle.place(from, at(*second)).2 == 60).unwrap();
        for second in 0..3 {
            assert_eq!(throttle.note(from, at(begin + second)), None);
        }
        let throttled =
            |first, seconds| Some(Throttled { retry_after: Duration::from_secs(seconds), first });
        assert_eq!(throttle.note(from, at(begin + 10)), throttled(true, 50));
        assert_eq!(throttle.note(from, at(begin + 59)), throttled(false, 1));
        assert_eq!(throttle.note(from, at(begin + 60)), None);
    }

    #[test]
    fn each_address_is_counted_separately() {
        let throttle = throttle(1);
        for last in 0..=255 {
            assert_eq!(
                throttle.note(Ipv4Addr::new(198, 51, 100, last).into(), at(0)),
                None,
                "{last}"
            );
        }
    }

    #[test]
    fn an_ipv6_64_network_is_one_address() {
        let throttle = throttle(1);
        assert_eq!(throttle.note(address("2001:db8:0:1::1"), at(0)), None);
        assert!(throttle.note(address("2001:db8:0:1:ffff:ffff:ffff:ffff"), at(0)).is_some());
        assert_eq!(throttle.note(address("2001:db8:0:2::1"), at(0)), None);
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_same() {
        let throttle = throttle(1);
        assert_eq!(throttle.note(address("192.0.2.1"), at(0)), None);
        assert!(throttle.note(address("::ffff:192.0.2.1"), at(0)).is_some());
    }

    #[test]
    fn a_limit_of_zero_throttles_nothing() {
        let throttle = throttle(0);
        for _ in 0..100_000 {
            assert_eq!(throttle.note(address("192.0.2.1"), at(0)), None);
        }
        assert!(throttle.slots.is_empty());
    }

    #[test]
    fn a_million_addresses_need_no_more_memory() {
        let throttle = throttle(1);
        for number in 0..1_000_000_u128 {
            throttle.note(Ipv6Addr::from_bits(number << 64).into(), at(0));
        }
        assert_eq!(size_of_val(&*throttle.slots), 128 * 1024);
    }

    #[test]
    fn the_count_does_not_overflow() {
        let (throttle, from) = (throttle(10_000), address("192.0.2.1"));
        for _ in 0..=u32::from(u16::MAX) {
            throttle.note(from, at(0));
        }
        assert!(throttle.note(from, at(0)).is_some_and(|throttled| !throttled.first));
    }

    #[test]
    fn a_slot_survives_a_round_trip() {
        for slot in [
            Slot { owner: Slot::MASK, minute: 0, failures: u16::MAX },
            Slot { owner: 0, minute: Slot::MASK, failures: 1 },
            Slot { owner: 1, minute: 2, failures: 3 },
        ] {
            assert_eq!(Slot::unpack(slot.pack()), slot);
        }
    }
}
