//! The unit of a figure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    CpuMicroseconds,
    Microseconds,
    Milliseconds,
    Mebibytes,
    Bytes,
    PerSecond,
    MebibytesPerSecond,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::CpuMicroseconds => format!("{value:.1} µs CPU"),
            Self::Microseconds => format!("{value:.0} µs"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Bytes => format!("{value:.0} bytes"),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::MebibytesPerSecond => format!("{value:.0} MiB/s"),
        }
    }
}
