//! The headers that tell a caller its rate (draft-ietf-httpapi-ratelimit-headers-11).

use axum::http::{HeaderName, HeaderValue};
use gatekey_core::{api_key::Rate, token::Limited};

/// The name of the policy in the headers: the rate of the key.
pub const POLICY: &str = "key";
/// The problem type of an exhausted rate.
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Returns the headers for a refusal; none unless the rate is exhausted.
pub fn headers(limited: &Limited) -> Vec<(HeaderName, HeaderValue)> {
    let Limited::Rate { rate, exhausted } = limited else { return Vec::new() };
    let seconds = exhausted.reset_after.as_secs_f64().ceil();
    let fields =
        [(RATE_LIMIT, format!("\"{POLICY}\";r=0;t={seconds}")), (RATE_LIMIT_POLICY, policy(*rate))];
    let value = |(name, text): (HeaderName, String)| {
        HeaderValue::from_str(&text).ok().map(|value| (name, value))
    };
    fields.into_iter().filter_map(value).collect()
}

fn policy(rate: Rate) -> String {
    format!("\"{POLICY}\";q={};w={}", rate.count(), rate.window().as_secs())
}
