//! Through the front door: the real binary on a real port, over real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests say what they expect"
)]

mod smoke;
mod support;
