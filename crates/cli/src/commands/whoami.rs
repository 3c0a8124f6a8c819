//! `gatekey whoami`.

use std::net::IpAddr;

use gatekey_client::UserInfo;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    args::{Client, Format},
    client,
    output::{self, printable},
};

/// The caller, with members named as the claims of OpenID Connect.
#[derive(Serialize)]
struct Caller {
    subject: String,
    name: String,
    preferred_username: String,
    given_name: String,
    family_name: String,
    email: String,
    picture: String,
    additional_claims: Map<String, Value>,
    endpoint: String,
}

impl Caller {
    fn new(user: UserInfo, endpoint: String) -> Self {
        Self {
            subject: user.subject,
            name: user.name,
            preferred_username: user.preferred_username,
            given_name: user.given_name,
            family_name: user.family_name,
            email: user.email,
            picture: user.picture,
            additional_claims: user.additional_claims,
            endpoint,
        }
    }
}

pub(crate) async fn run(flags: Client, format: Format) -> anyhow::Result<()> {
    let client = client::from_flags(&flags)?;
    let caller = Caller::new(client.whoami().await?, client.url());
    if let Some(notation) = format.notation() {
        return notation.print(&caller);
    }
    say!("{}  {}", output::dim("subject   "), output::bold(&printable(&caller.subject)))?;
    say!("{}  {}", output::dim("name      "), printable(&caller.name))?;
    for (claim, value) in &caller.additional_claims {
        // The first label of an address names nobody.
        if claim == "userhandle" && is_part_of_address(value, client.endpoint()) {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let claim = format!("{:<10}", printable(claim));
        say!("{}  {}", output::dim(&claim), printable(&value))?;
    }
    say!("{}  {}", output::dim("endpoint  "), printable(&caller.endpoint))?;
    Ok(())
}

/// Whether a value is the first label of an endpoint that is an IP address, which a server without
/// an organization answers.
fn is_part_of_address(value: &Value, endpoint: &str) -> bool {
    let host = output::bare_host(endpoint);
    let address = host.trim_matches(['[', ']']);
    address.parse::<IpAddr>().is_ok() && value.as_str() == host.split('.').next()
}
