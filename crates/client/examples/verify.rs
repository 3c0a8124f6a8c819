//! Verifies the access token on standard input:
//!
//! ```console
//! $ gatekey token |
//! >     cargo run --example verify -- https://keys.example.com https://keys.example.com ca.pem
//! ```

#![expect(clippy::print_stdout, reason = "this is what an example is for")]

use std::{env, error::Error, io::stdin};

use gatekey_client::{Verifier, blocking};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: verify ISSUER AUDIENCE [CA_FILE]";
    let (issuer, audience) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let mut verifier = Verifier::builder(issuer, audience);
    if let Some(ca_file) = arguments.next() {
        verifier = verifier.ca_file(ca_file);
    }
    let verifier = blocking::Verifier::from(verifier.build()?);
    let mut token = String::new();
    stdin().read_line(&mut token)?;
    let claims = verifier.verify(token.trim())?;
    println!("{} may {:?} until {}", claims.client_id, claims.scope, claims.exp);
    Ok(())
}
