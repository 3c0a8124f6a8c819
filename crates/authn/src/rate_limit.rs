//! The headers that tell a caller its rate (draft-ietf-httpapi-ratelimit-headers-11).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use gatekey_core::{
    api_key::{Rate, Remaining},
    token::Limited,
};

/// The name of the policy in the headers: the rate of the key.
pub const POLICY: &str = "key";
/// The problem type of an exhausted rate.
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Returns the headers for a refusal; none unless the rate is exhausted.
pub fn headers(limited: &Limited) -> Vec<(HeaderName, HeaderValue)> {
    match limited {
        Limited::Network => Vec::new(),
        Limited::Rate { rate, exhausted } => fields(*rate, 0, exhausted.reset_after),
    }
}

/// Returns the headers for the response to a request that counted.
pub fn headers_of_use(rate: Rate, remaining: &Remaining) -> Vec<(HeaderName, HeaderValue)> {
    fields(rate, remaining.count, remaining.reset_after)
}

fn fields(rate: Rate, remaining: u32, reset_after: Duration) -> Vec<(HeaderName, HeaderValue)> {
    let seconds = reset_after.as_secs_f64().ceil();
    let limit = format!("\"{POLICY}\";r={remaining};t={seconds}");
    let value = |(name, text): (HeaderName, String)| {
        HeaderValue::from_str(&text).ok().map(|value| (name, value))
    };
    let fields = [(RATE_LIMIT, limit), (RATE_LIMIT_POLICY, policy(rate))];
    fields.into_iter().filter_map(value).collect()
}

fn policy(rate: Rate) -> String {
    format!("\"{POLICY}\";q={};w={}", rate.count(), rate.window().as_secs())
}
