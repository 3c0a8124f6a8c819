//! Facts about messages that proto3 cannot express: required and read-only members, and examples.

use serde_json::{Value, json};

/// Members that a message always has, by their names in JSON.
const REQUIRED: &[(&str, &[&str])] = &[
    ("gatekey.v1.ApiKey", &["clientId", "clientName", "keyId", "createdAt", "updatedAt"]),
    ("gatekey.v1.Secret", &["id", "createdAt"]),
    ("gatekey.v1.CreateResponse", &["apiKey", "clientSecret", "encodedCredentials"]),
    ("gatekey.v1.GetResponse", &["apiKey"]),
    ("gatekey.v1.UpdateResponse", &["apiKey"]),
    ("gatekey.v1.RotateSecretResponse", &["apiKey", "clientSecret", "encodedCredentials"]),
    ("gatekey.v1.RetireSecretResponse", &["apiKey"]),
    ("gatekey.v1.DisableResponse", &["apiKey"]),
    ("gatekey.v1.EnableResponse", &["apiKey"]),
    ("cloudidl.identity.App", &["clientId", "clientName"]),
    ("cloudidl.identity.CreateAppResponse", &["app"]),
    ("cloudidl.identity.GetAppResponse", &["app"]),
    ("cloudidl.identity.UpdateAppResponse", &["app"]),
];

/// Requests that need at least one of these members.
const ONE_OF: &[(&str, &[&str])] = &[
    ("gatekey.v1.CreateRequest", &["clientId", "clientName"]),
    ("cloudidl.identity.CreateAppRequest", &["clientId", "clientName"]),
];

/// Members that only the server sets.
const READ_ONLY: &[(&str, &[&str])] = &[(
    "gatekey.v1.ApiKey",
    &[
        "keyId",
        "grantTypes",
        "createdAt",
        "updatedAt",
        "disabledAt",
        "epoch",
        "secrets",
        "organization",
    ],
)];

fn members(table: &'static [(&str, &[&str])], message: &str) -> &'static [&'static str] {
    table.iter().find(|(name, _)| *name == message).map_or(&[], |(_, members)| members)
}

/// Returns whether an empty request is refused.
pub(super) fn needs_body(message: &str) -> bool {
    !members(ONE_OF, message).is_empty() || message == "gatekey.v1.ApiKey"
}

/// Returns whether only the server sets a member.
pub(super) fn is_read_only(message: &str, member: &str) -> bool {
    members(READ_ONLY, message).contains(&member)
}

/// Adds the required members and an example to the schema of a message, without members that the
/// schema lacks.
pub(super) fn complete(message: &str, schema: &mut Value) {
    let has = |name: &str| schema["properties"].get(name).is_some();
    let required: Vec<_> =
        members(REQUIRED, message).iter().copied().filter(|name| has(name)).collect();
    let one_of: Vec<_> =
        members(ONE_OF, message).iter().map(|name| json!({ "required": [name] })).collect();
    let example = example(message).map(|example| match example {
        Value::Object(mut members) => {
            members.retain(|name, _| has(name));
            Value::Object(members)
        }
        other => other,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !one_of.is_empty() {
        schema["anyOf"] = json!(one_of);
    }
    if let Some(example) = example {
        schema["examples"] = json!([example]);
    }
}

fn example(message: &str) -> Option<Value> {
    let secret = "gk_...";
    let encoded = "a2V5cy5leGFtcGxlLmNvbTpjaTpna18uLi46Tm9uZQ==";
    Some(match message {
        "gatekey.v1.CreateRequest" => json!({
            "clientId": "ci",
            "clientName": "CI pipeline",
            "role": "contributor",
            "expiresAt": "2040-01-01T00:00:00Z",
        }),
        "gatekey.v1.RotateSecretRequest" => json!({ "grace": "86400s", "secretLabel": "spring" }),
        "gatekey.v1.ApiKey" => json!({
            "clientId": "ci",
            "clientName": "CI pipeline",
            "keyId": "Vb2tzSN4pD3mWq7aXc1yRg",
            "role": "viewer",
            "redirectUris": ["http://localhost:8080/authorization-code/callback"],
            "grantTypes": ["client_credentials"],
            "createdAt": "2026-01-31T12:00:00Z",
            "updatedAt": "2026-01-31T12:00:00Z",
            "epoch": "1",
            "secrets": [example("gatekey.v1.Secret")],
        }),
        "gatekey.v1.Secret" => json!({
            "id": "q0Yw3Jk2",
            "label": "spring",
            "createdAt": "2026-01-31T12:00:00Z",
        }),
        "gatekey.v1.CreateResponse" | "gatekey.v1.RotateSecretResponse" => json!({
            "apiKey": example("gatekey.v1.ApiKey"),
            "clientSecret": secret,
            "encodedCredentials": encoded,
        }),
        "gatekey.v1.GetResponse"
        | "gatekey.v1.UpdateResponse"
        | "gatekey.v1.RetireSecretResponse"
        | "gatekey.v1.DisableResponse"
        | "gatekey.v1.EnableResponse" => json!({ "apiKey": example("gatekey.v1.ApiKey") }),
        "gatekey.v1.ListResponse" => json!({ "apiKeys": [example("gatekey.v1.ApiKey")] }),
        "cloudidl.identity.CreateAppRequest" => {
            json!({ "clientId": "ci", "clientName": "CI pipeline" })
        }
        "cloudidl.identity.UpdateAppRequest" => json!({ "clientName": "CI pipeline" }),
        "cloudidl.identity.App" => json!({
            "clientId": "ci",
            "clientName": "CI pipeline",
            "clientIdIssuedAt": "2026-01-31T12:00:00Z",
        }),
        "cloudidl.identity.CreateAppResponse" => json!({
            "app": { "clientId": "ci", "clientName": "CI pipeline", "clientSecret": secret },
        }),
        "cloudidl.identity.GetAppResponse" | "cloudidl.identity.UpdateAppResponse" => {
            json!({ "app": example("cloudidl.identity.App") })
        }
        "cloudidl.identity.ListAppsResponse" => {
            json!({ "apps": [example("cloudidl.identity.App")] })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{bindings::Bindings, plain_json};

    #[test]
    fn tables_name_members_of_messages() {
        let pool = &Bindings::get().pool;
        for (name, members) in REQUIRED.iter().chain(ONE_OF).chain(READ_ONLY) {
            let message = pool.message_by_name(name).expect(name);
            for member in *members {
                let known = message.fields().iter().any(|field| field.json_name() == *member);
                assert!(known, "{name} has no {member}");
            }
        }
        for message in pool.messages() {
            if let Some(Value::Object(mut example)) = example(message.full_name()) {
                let index = pool.message_index(message.full_name()).unwrap();
                assert_eq!(
                    plain_json::read(pool, index, &mut example).map_err(|error| error.to_string()),
                    Ok(()),
                    "{}",
                    message.full_name()
                );
            }
        }
    }
}
