//! `gatekey whoami`.

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
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say!("{}  {value}", output::dim(&format!("{claim:<10}")))?;
    }
    say!("{}  {}", output::dim("endpoint  "), client.url())?;
    Ok(())
}
