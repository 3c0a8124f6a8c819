//! Through the front door: the real binary on a real port, over real TLS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect")]

mod smoke;
mod support;
