//! A token, and calls with it over Connect and over gRPC.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gatekey_client::{Client, Error};
use serde_json::Value;

use super::report::Step;
use crate::clock;

/// Clocks that differ by more make tokens expire early, or be refused as issued in the future.
const MOST_SKEW: u64 = 60;

/// Fetches a token, and compares the server's clock with this machine's.
pub(super) async fn fetch_token(client: &Client) -> Step {
    const NAME: &str = "token";
    let from = format!("key {} of {}", client.client_id(), client.credentials_source());
    match client.access_token().await {
        Err(error) => Step::failed(NAME, format!("{from} gets none: {error}"), mend(&error)),
        Ok(token) => match skew(&token) {
            Some(seconds) if seconds > MOST_SKEW => Step::warning(
                NAME,
                format!("{from} gets one; the server's clock and this machine's differ by {seconds} s"),
                "let both synchronise their clocks",
            ),
            _ => Step::ok(NAME, format!("{from} gets one")),
        },
    }
}

/// Asks who is calling.
pub(super) async fn call(name: &'static str, client: &Client) -> Step {
    match client.whoami().await {
        Ok(user) => Step::ok(name, format!("the server knows the caller as {}", user.subject)),
        Err(error) => Step::failed(name, format!("the call fails: {error}"), mend(&error)),
    }
}

fn mend(error: &Error) -> String {
    let otherwise = if error.is_unauthenticated() {
        "check the key with `gatekey key get`: it may be deleted, disabled, expired or rotated; `gatekey key rotate` \
         gives it a new secret, `gatekey init --rotate` the admin"
    } else if error.is_unavailable() || error.is_timeout() {
        "a proxy in front may not pass this protocol on: gRPC needs HTTP/2 all the way to the server"
    } else {
        "see what the server logs about it"
    };
    error.hint().unwrap_or(otherwise).to_owned()
}

/// Seconds between a token's date of issue and now; `None` when it is no JWT with one.
fn skew(token: &str) -> Option<u64> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let now = clock::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(claims["iat"].as_u64()?.abs_diff(now))
}
