//! [`Methods`]: the HTTP methods that a rule covers.

use std::fmt;

use http::Method;

/// HTTP methods that can pass. `HEAD` is `GET` without a body, so it counts as `GET`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Methods(u8);

/// The methods, each at the place of its bit.
const NAMES: [&str; Methods::COUNT] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Methods {
    pub(crate) const COUNT: usize = 5;
    /// No method.
    pub const NONE: Self = Self(0);
    pub const GET: Self = Self(1);
    pub const POST: Self = Self(1 << 1);
    pub const GET_AND_POST: Self = Self(Self::GET.0 | Self::POST.0);
    /// Every method that can pass: neither `OPTIONS`, which the gate answers itself, nor `CONNECT`,
    /// `TRACE` and unknown ones.
    pub const ALL: Self = Self((1 << Self::COUNT) - 1);

    /// The set of one method; empty if the method never passes.
    pub fn of(method: &Method) -> Self {
        let name = if method == Method::HEAD { "GET" } else { method.as_str() };
        Self::named(name)
    }

    /// The set of the method with a name in upper case; empty if it never passes.
    pub(crate) fn named(name: &str) -> Self {
        NAMES.iter().position(|known| *known == name).map_or(Self::NONE, Self::at)
    }

    /// The set of the method at a place.
    pub(crate) fn at(place: usize) -> Self {
        Self(1 << place)
    }

    /// The places of the methods.
    pub(crate) fn places(self) -> impl Iterator<Item = usize> {
        (0..Self::COUNT).filter(move |place| self.overlaps(Self::at(*place)))
    }

    /// The names of the methods.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.places().map(|place| NAMES[place])
    }

    /// Whether a method is in both sets.
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return formatter.write_str("*");
        }
        let names: Vec<_> = self.names().collect();
        formatter.write_str(&names.join(","))
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
