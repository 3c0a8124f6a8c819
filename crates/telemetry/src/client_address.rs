//! The address of a client, including clients behind a proxy.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// Returns the last address in `X-Forwarded-For` when a trusted proxy connected, otherwise the
/// address that connected. Anyone can write the earlier addresses of that header.
pub fn client_address(
    connected: IpAddr,
    headers: &HeaderMap,
    trusted_proxies: &[IpAddr],
) -> IpAddr {
    if !trusted_proxies.contains(&connected) {
        return connected;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let address =
        last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    address.unwrap_or(connected)
}
