//! What public clients read in an encoded key.
//!
//! They split it at colons, each generation in its own way, so that an endpoint with a port becomes another
//! endpoint, client id and secret: quietly in some, with an error in others.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatekey_client::{EncodedCredentials, PlainSecret};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::report::Step;
use crate::output;

/// An encoded key and the environment variable that holds it.
pub(super) struct Held {
    pub(super) variable: &'static str,
    pub(super) encoded: PlainSecret,
}

/// How a client takes a key apart.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// At the first three colons; all else is the organization.
    FirstColons,
    /// At every colon; there must be three.
    EveryColon,
}

/// The public clients, by how they read.
const CLIENTS: [(&str, Reading); 5] = [
    ("flyte 2.0, flyteplugins-union 0.1 (gRPC)", Reading::FirstColons),
    ("flyte 2.12, flyteplugins-union 0.19 (Connect)", Reading::FirstColons),
    ("Union's Terraform provider", Reading::FirstColons),
    ("union 0.1.204", Reading::EveryColon),
    ("flyte's Rust controller", Reading::EveryColon),
];

/// Reads a key as every public client does. Without one, a made-up key of the server is read.
pub(super) fn check(name: &'static str, held: Option<&Held>, endpoint: &str) -> Step {
    let variable = held.map(|held| held.variable);
    let encoded = match held {
        Some(held) => Ok(held.encoded.clone()),
        None => EncodedCredentials::new(endpoint, "a-key", PlainSecret::new("a-secret"), "")
            .map(|made_up| made_up.encode()),
    };
    let encoded = match encoded {
        Ok(encoded) => encoded,
        Err(error) => return Step::failed(name, error.to_string(), "reach the server by another name"),
    };
    let shown = variable.unwrap_or("a key of this server");
    let copied = "copy the key once more, whole and in one line, or rotate it";
    let meant = match EncodedCredentials::decode(encoded.expose()) {
        Ok(meant) => meant,
        Err(error) => return Step::failed(name, format!("{shown} cannot be read: {error}"), copied),
    };
    let text =
        BASE64_STANDARD.decode(encoded.expose().trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = text.map(Zeroizing::new) else {
        return Step::failed(name, format!("{shown} cannot be read"), copied);
    };
    let readings = CLIENTS.map(|(client, reading)| (client, read(reading, &text, &meant)));
    let details =
        json!({ "key": variable, "readings": readings.clone().map(|(client, read)| read.as_json(client)) });
    let wrong: Vec<_> = readings.iter().filter(|(_, read)| !read.is_right(&meant)).collect();
    let step = if let Some((client, read)) = wrong.first() {
        let found = format!(
            "{} of {} public clients would misread {shown}: {client} {}",
            wrong.len(),
            CLIENTS.len(),
            read.said()
        );
        let host = output::bare_host(meant.endpoint());
        let mend = format!(
            "let the server be reached on port 443 by a name or an IPv4 address; or make the key for {host:?} alone \
             (--output env prints FLYTE_API_KEY so) and give flyte --endpoint {:?} beside it",
            meant.endpoint()
        );
        // Our own tools read it well, and a made-up key troubles nobody yet.
        if matches!(variable, Some("FLYTE_API_KEY" | "UNION_API_KEY")) {
            Step::failed(name, found, mend)
        } else {
            Step::warning(name, found, mend)
        }
    } else if meant.endpoint() != endpoint {
        let found = format!(
            "every public client reads {shown} well, and goes to {:?}, not to {endpoint:?}",
            meant.endpoint()
        );
        Step::warning(name, found, format!("give the clients --endpoint {endpoint} beside the key"))
    } else {
        Step::ok(name, format!("every public client reads {shown} well, and goes to {endpoint}"))
    };
    step.with_details(details)
}

/// What a client takes a key for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Parts { endpoint: String, client_id: String, secret_is_right: bool },
    Refused,
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

    fn said(&self) -> String {
        match self {
            Self::Parts { endpoint, client_id, .. } => {
                format!("goes to {endpoint:?} with client id {client_id:?}")
            }
            Self::Refused => "refuses it".to_owned(),
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
            Self::Refused => json!({ "client": client, "refuses": "there are more than three colons" }),
        }
    }
}

fn read(reading: Reading, text: &str, meant: &EncodedCredentials) -> Read {
    let parts: Vec<_> = match reading {
        Reading::FirstColons => text.splitn(4, ':').collect(),
        Reading::EveryColon => text.split(':').collect(),
    };
    let [endpoint, client_id, secret, _organization] = parts[..] else { return Read::Refused };
    let secret_is_right = secret == meant.client_secret().expose();
    // Where a part is taken for another, the secret may stand in the wrong place: it is not shown.
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
    fn a_key_of_a_bare_host_is_read_well_by_all() {
        let step = check("key", Some(&held("keys.example.com:ci:secret:None")), "keys.example.com");
        assert_eq!(step.state, State::Ok, "{step:?}");
    }

    #[test]
    fn a_key_with_a_port_is_misread_by_all_and_the_secret_is_not_shown() {
        let step = check("key", Some(&held("h.example:8443:ci:5ecret:None")), "h.example:8443");
        assert_eq!(step.state, State::Failed, "{step:?}");
        let details = step.details.clone().unwrap();
        assert_eq!(details["readings"][0]["endpoint"], "h.example");
        assert_eq!(details["readings"][0]["client_id"], "8443");
        assert_eq!(details["readings"][0]["secret"], "something else");
        assert!(details["readings"][3]["refuses"].is_string());
        assert!(!format!("{step:?}").contains("5ecret"), "{step:?}");
        assert!(step.mend.unwrap().contains("443"));
    }

    #[test]
    fn an_ipv6_address_is_misread_as_well() {
        let step = check("key", Some(&held("[::1]:ci:secret:None")), "[::1]");
        assert_eq!(step.state, State::Failed, "{step:?}");
    }

    #[test]
    fn a_key_for_another_place_and_one_for_our_own_tools_are_worth_a_warning() {
        let step = check("key", Some(&held("h.example:ci:secret:None")), "h.example:8443");
        assert_eq!(step.state, State::Warning, "{step:?}");
        assert!(step.mend.unwrap().contains("--endpoint h.example:8443"));
        let ours = Held { variable: "GATEKEY_API_KEY", ..held("h.example:8443:ci:secret:None") };
        assert_eq!(check("key", Some(&ours), "h.example:8443").state, State::Warning);
        assert_eq!(check("key", None, "h.example:8443").state, State::Warning);
        assert_eq!(check("key", None, "h.example").state, State::Ok);
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        for text in ["", "nonsense", "a:b"] {
            let junk = Held { variable: "FLYTE_API_KEY", encoded: PlainSecret::new(text) };
            assert_eq!(check("key", Some(&junk), "h").state, State::Failed, "{text}");
        }
    }
}
