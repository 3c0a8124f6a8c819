//! An access token, and calls with it over Connect and over gRPC.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gatekey_client::{Client, Error};
use serde_json::Value;

use super::report::Step;
use crate::clock;

/// Maximum clock difference in seconds. Beyond it, tokens expire early or seem to be from the
/// future.
const MAX_SKEW: u64 = 60;

const REFUSED: &str = "check the key with `gatekey key get`: it may be deleted, disabled, expired or rotated; \
                       `gatekey key rotate` gives it a new secret, and `gatekey init --rotate` gives one to the admin key";

/// Fetches a token, and compares the server's clock with this machine's.
pub(super) async fn fetch_token(client: &Client) -> Step {
    const NAME: &str = "token";
    let key = format!("key {} of {}", client.client_id(), client.credentials_source());
    match client.access_token().await {
        Err(error) => Step::failed(NAME, format!("{key} gets no token: {error}"), fix(&error)),
        Ok(token) => match skew(&token) {
            Some(seconds) if seconds > MAX_SKEW => Step::warning(
                NAME,
                format!(
                    "{key} gets a token; the clocks of the server and of this machine differ by {seconds} s"
                ),
                "synchronize both clocks, for example with NTP",
            ),
            _ => Step::ok(NAME, format!("{key} gets a token")),
        },
    }
}

/// Calls the server with the token, to look up the identity of the caller.
pub(super) async fn call(name: &'static str, client: &Client) -> Step {
    match client.whoami().await {
        Ok(user) => Step::ok(name, format!("the server identifies the caller as {}", user.subject)),
        Err(error) => Step::failed(name, format!("the call failed: {error}"), fix(&error)),
    }
}

fn fix(error: &Error) -> String {
    let otherwise = if error.is_unauthenticated() {
        // More than the hint of the error.
        return REFUSED.to_owned();
    } else if error.is_unavailable() || error.is_timeout() {
        "check the proxy in front of the server: gRPC needs HTTP/2 all the way to the server"
    } else {
        "check the server's logs"
    };
    error.hint().unwrap_or(otherwise).to_owned()
}

/// Seconds between the token's `iat` and now; `None` when the token has none.
fn skew(token: &str) -> Option<u64> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let now = clock::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(claims["iat"].as_u64()?.abs_diff(now))
}
