//! `gatekey whoami`.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    args::{Client, Format},
    client, output,
};

pub(crate) async fn run(flags: Client, format: Format) -> anyhow::Result<()> {
    let client = client::from_flags(&flags)?;
    let user = client.whoami().await?;
    if let Some(notation) = format.notation() {
        return notation.print(&user);
    }
    say!("{}  {}", output::dim("subject   "), output::bold(&user.subject))?;
    say!("{}  {}", output::dim("name      "), user.name)?;
    for (claim, value) in &user.additional_claims {
        // The first label of an address names nobody.
        if claim == "userhandle" && is_part_of_address(value, client.endpoint()) {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say!("{}  {value}", output::dim(&format!("{claim:<10}")))?;
    }
    say!("{}  {}", output::dim("endpoint  "), client.url())?;
    Ok(())
}

/// Whether a value is the first label of an endpoint that is an IP address, which a server without
/// an organization answers.
fn is_part_of_address(value: &Value, endpoint: &str) -> bool {
    let host = output::bare_host(endpoint);
    let address = host.trim_matches(['[', ']']);
    address.parse::<IpAddr>().is_ok() && value.as_str() == host.split('.').next()
}
