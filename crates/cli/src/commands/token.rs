//! `gatekey token`.

use serde_json::json;

use crate::{
    args::{Client, Format},
    client,
    output::{check_stdout, print_once},
};

/// Prints an access token, as text without anything else.
pub(crate) async fn run(flags: Client, format: Format) -> anyhow::Result<()> {
    check_stdout()?;
    let token = client::from_flags(&flags)?.access_token().await?;
    let text = match format.notation() {
        Some(notation) => {
            notation.text(&json!({ "access_token": token, "token_type": "Bearer" }))?
        }
        None => token,
    };
    print_once(&text, "the access token", "run `gatekey token` again")
}
