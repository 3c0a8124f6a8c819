//! How public clients decode encoded credentials.
//!
//! They split them at colons, each generation in its own way. An endpoint with a port therefore
//! becomes a different endpoint, client id and secret: some clients fail, others do not notice.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatekey_client::{EncodedCredentials, PlainSecret};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::report::Step;
use crate::output;

/// An encoded key and the environment variable that contains it.
pub(super) struct Held {
    pub(super) variable: &'static str,
    pub(super) encoded: PlainSecret,
}

/// How a client splits a key.
#[derive(Debug, Clone, Copy)]
enum Split {
    /// At the first three colons; the rest is the organization.
    FirstColons,
    /// At every colon; there must be exactly three.
    EveryColon,
}

const CLIENTS: [(&str, Split); 5] = [
    ("flyte 2.0, flyteplugins-union 0.1 (gRPC)", Split::FirstColons),
    ("flyte 2.12, flyteplugins-union 0.19 (Connect)", Split::FirstColons),
    ("Union's Terraform provider", Split::FirstColons),
    ("union 0.1.204", Split::EveryColon),
    ("flyte's Rust controller", Split::EveryColon),
];

/// Decodes a key as every public client does; without one, a sample key for the server.
pub(super) fn check(name: &'static str, held: Option<&Held>, endpoint: &str) -> Step {
    let variable = held.map(|held| held.variable);
    let encoded = match held {
        Some(held) => Ok(held.encoded.clone()),
        None => EncodedCredentials::new(endpoint, "a-key", PlainSecret::new("a-secret"), "")
            .map(|sample| sample.encode()),
    };
    let encoded = match encoded {
        Ok(encoded) => encoded,
        Err(error) => {
            return Step::failed(name, error.to_string(), "use another name for the server");
        }
    };
    let shown = variable.unwrap_or("a key for this server");
    let copy_again = "copy the key again, whole and in one line, or rotate it";
    let meant = match EncodedCredentials::decode(encoded.expose()) {
        Ok(meant) => meant,
        Err(error) => {
            return Step::failed(name, format!("cannot decode {shown}: {error}"), copy_again);
        }
    };
    let text = BASE64_STANDARD
        .decode(encoded.expose().trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = text.map(Zeroizing::new) else {
        return Step::failed(name, format!("cannot decode {shown}"), copy_again);
    };
    let readings = CLIENTS.map(|(client, split)| (client, read(split, &text, &meant)));
    let details = json!({ "key": variable, "readings": readings.clone().map(|(client, read)| read.as_json(client)) });
    let wrong: Vec<_> = readings.iter().filter(|(_, read)| !read.is_right(&meant)).collect();
    let step = if let Some((client, read)) = wrong.first() {
        let found = format!(
            "{} of {} public clients misread {shown}: {client} {}",
            wrong.len(),
            CLIENTS.len(),
            read.describe()
        );
        let host = output::bare_host(meant.endpoint());
        let fix = format!(
            "serve on port 443 under a name or an IPv4 address; or encode the key for {host}, as --output env does in \
             FLYTE_API_KEY, and use flyte --endpoint {}",
            meant.endpoint()
        );
        // Gatekey's own tools read it correctly, and nobody uses the sample key.
        if matches!(variable, Some("FLYTE_API_KEY" | "UNION_API_KEY")) {
            Step::failed(name, found, fix)
        } else {
            Step::warning(name, found, fix)
        }
    } else if meant.endpoint() != endpoint {
        let found = format!(
            "all public clients can decode {shown}, but connect to {} instead of {endpoint}",
            meant.endpoint()
        );
        Step::warning(name, found, format!("use --endpoint {endpoint} with the key"))
    } else {
        Step::ok(name, format!("all public clients can decode {shown}, and connect to {endpoint}"))
    };
    step.with_details(details)
}

/// How a client understands a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Parts { endpoint: String, client_id: String, secret_is_right: bool },
    Rejected,
}

impl Read {
    fn is_right(&self, meant: &EncodedCredentials) -> bool {
        let right = Self::Parts {
            endpoint: meant.endpoint().to_owned(),
            client_id: meant.client_id().to_owned(),
            secret_is_right: true,
        };
        *self == right
    }

    fn describe(&self) -> String {
        match self {
            Self::Parts { endpoint, client_id, .. } => {
                format!("connects to {endpoint:?} with client id {client_id:?}")
            }
            Self::Rejected => "rejects it".to_owned(),
        }
    }

    fn as_json(&self, client: &str) -> Value {
        match self {
            Self::Parts { endpoint, client_id, secret_is_right } => json!({
                "client": client,
                "endpoint": endpoint,
                "client_id": client_id,
                "secret": if *secret_is_right { "the key's" } else { "something else" },
            }),
            Self::Rejected => {
                json!({ "client": client, "refuses": "there are more than three colons" })
            }
        }
    }
}

fn read(split: Split, text: &str, meant: &EncodedCredentials) -> Read {
    let parts: Vec<_> = match split {
        Split::FirstColons => text.splitn(4, ':').collect(),
        Split::EveryColon => text.split(':').collect(),
    };
    let [endpoint, client_id, secret, _organization] = parts[..] else { return Read::Rejected };
    let secret_is_right = secret == meant.client_secret().expose();
    // A wrong split can put the secret into another part; it must not be shown.
    let shown = |part: &str| {
        if part.contains(meant.client_secret().expose()) { "(the secret)" } else { part }.to_owned()
    };
    Read::Parts { endpoint: shown(endpoint), client_id: shown(client_id), secret_is_right }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::report::State;

    fn held(text: &str) -> Held {
        Held { variable: "FLYTE_API_KEY", encoded: PlainSecret::new(BASE64_STANDARD.encode(text)) }
    }

    #[test]
    fn every_client_decodes_a_key_without_a_port() {
        let step = check("key", Some(&held("keys.example.com:ci:secret:None")), "keys.example.com");
        assert_eq!(step.state, State::Ok, "{step:?}");
    }

    #[test]
    fn a_misread_key_does_not_reveal_its_secret() {
        let step = check("key", Some(&held("h.example:8443:ci:5ecret:None")), "h.example:8443");
        assert_eq!(step.state, State::Failed, "{step:?}");
        let details = step.details.clone().unwrap();
        assert_eq!(details["readings"][0]["endpoint"], "h.example");
        assert_eq!(details["readings"][0]["client_id"], "8443");
        assert_eq!(details["readings"][0]["secret"], "something else");
        assert!(details["readings"][3]["refuses"].is_string());
        assert!(!format!("{step:?}").contains("5ecret"), "{step:?}");
        assert!(step.fix.unwrap().contains("443"));
    }

    #[test]
    fn an_ipv6_address_is_misread() {
        let step = check("key", Some(&held("[::1]:ci:secret:None")), "[::1]");
        assert_eq!(step.state, State::Failed, "{step:?}");
    }

    #[test]
    fn keys_that_only_some_tools_misread_are_warnings() {
        let step = check("key", Some(&held("h.example:ci:secret:None")), "h.example:8443");
        assert_eq!(step.state, State::Warning, "{step:?}");
        assert!(step.fix.unwrap().contains("--endpoint h.example:8443"));
        let ours = Held { variable: "GATEKEY_API_KEY", ..held("h.example:8443:ci:secret:None") };
        assert_eq!(check("key", Some(&ours), "h.example:8443").state, State::Warning);
        assert_eq!(check("key", None, "h.example:8443").state, State::Warning);
        assert_eq!(check("key", None, "h.example").state, State::Ok);
    }

    #[test]
    fn text_that_is_not_a_key_fails() {
        for text in ["", "nonsense", "a:b"] {
            let junk = Held { variable: "FLYTE_API_KEY", encoded: PlainSecret::new(text) };
            assert_eq!(check("key", Some(&junk), "h").state, State::Failed, "{text}");
        }
    }
}
