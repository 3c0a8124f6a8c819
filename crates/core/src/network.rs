//! IP networks: [`Networks`] that the operator trusts, and [`network`], the part of an address that
//! counts as one client.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Returns what counts as one client: an IPv4 address, or the /64 of an IPv6 address, because
/// every host has that many addresses.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// An address, or all addresses that begin with the same bits (CIDR, RFC 4632 section 3.1).
///
/// Canonical: an IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, and
/// the bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

/// Text that is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address or a network, such as 192.0.2.7, 10.42.0.0/16 or 2001:db8::/32")]
pub struct InvalidNetwork;

impl Network {
    /// Returns the network of the addresses whose first `prefix` bits are those of `address`;
    /// `None` if an address has fewer bits.
    pub fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        const MAPPED: u32 = 96;
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if prefix >= MAPPED => {
                (IpAddr::V4(mapped), prefix - MAPPED)
            }
            (written, _) => (written, prefix),
        };
        let first = match address {
            IpAddr::V4(address) => {
                let host = 32_u32.checked_sub(prefix)?;
                let mask = u32::MAX.checked_shl(host).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let host = 128_u32.checked_sub(prefix)?;
                let mask = u128::MAX.checked_shl(host).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Some(Self { first, prefix })
    }

    /// Returns whether an address, in any spelling, is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same_bits = match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        same_bits >= self.prefix
    }

    /// Returns whether the network is so large that it has strangers in it: more than a /8 of IPv4,
    /// or more than a /16 of IPv6 that is not private (RFC 4193).
    pub fn has_strangers(&self) -> bool {
        match self.first {
            IpAddr::V4(_) => self.prefix < 8,
            IpAddr::V6(first) => self.prefix < 16 && !(first.is_unique_local() && self.prefix >= 7),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            first @ IpAddr::V4(_) => Self { first, prefix: 32 },
            first @ IpAddr::V6(_) => Self { first, prefix: 128 },
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| InvalidNetwork);
        };
        let address = address.parse().map_err(|_| InvalidNetwork)?;
        // A number's parser would also accept a sign.
        let is_number =
            (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| is_number).ok_or(InvalidNetwork)?;
        Self::new(address, prefix).ok_or(InvalidNetwork)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, prefix } = self;
        if *self == Self::from(*first) {
            return first.fmt(formatter);
        }
        write!(formatter, "{first}/{prefix}")
    }
}

/// A list of addresses and networks, such as the proxies that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Returns whether an address, in any spelling, is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_client_has_a_whole_ipv6_network() {
        let of = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_network_has_one_spelling() {
        for (written, canonical) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("10.42.7.1/16", "10.42.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::ffff:10.42.0.0/112", "10.42.0.0/16"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(written.parse::<Network>().map(String::from).as_deref(), Ok(canonical));
        }
        for invalid in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            "10.0.0/8",
            "::1/129",
            "fe80::1%eth0",
            "proxy",
            "10.0.0.0/255.0.0.0",
        ] {
            assert_eq!(invalid.parse::<Network>(), Err(InvalidNetwork), "{invalid}");
        }
    }

    #[test]
    fn a_network_contains_both_spellings() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.42.0.0/16", "10.42.255.255"));
        assert!(contains("10.42.0.0/16", "::ffff:10.42.1.2"));
        assert!(!contains("10.42.0.0/16", "10.43.0.0"));
        assert!(contains("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(contains("0.0.0.0/0", "203.0.113.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("::/1", "::ffff:1.2.3.4"));
    }

    #[test]
    fn a_huge_network_has_strangers() {
        let strangers = |network: &str| network.parse::<Network>().unwrap().has_strangers();
        for network in ["0.0.0.0/0", "128.0.0.0/1", "::/0", "2000::/3", "::ffff:0:0/96"] {
            assert!(strangers(network), "{network}");
        }
        for network in ["10.0.0.0/8", "192.0.2.7", "fc00::/7", "fd00::/8", "2400:cb00::/32"] {
            assert!(!strangers(network), "{network}");
        }
    }

    proptest! {
        #[test]
        fn a_network_survives_a_round_trip(address: IpAddr, prefix in 0..=128_u32) {
            if let Some(network) = Network::new(address, prefix) {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
                prop_assert!(network.contains(network.first));
                let mapped = matches!(address.to_canonical(), IpAddr::V4(_)) && address.is_ipv6();
                prop_assert!(mapped || network.contains(address));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9a-f.:/%\\[\\]]{0,40}|\\PC{0,40}") {
            let _ = text.parse::<Network>();
        }
    }
}
