//! JSON of plain HTTP. A member that is no field of its message is refused instead of ignored, and
//! names of `gatekey.v1`'s enums are words: `viewer` for `ROLE_VIEWER`.

use buffa_descriptor::{
    DescriptorPool, EnumIndex, EnumValueDescriptor, FieldDescriptor, FieldKind, MessageIndex,
    SingularKind,
};
use gatekey_core::{Error, redact};
use serde_json::{Map, Value};

/// The package whose enums have words.
const PACKAGE: &str = "gatekey.v1.";
/// The message whose fields a request of the public API may have been meant to have.
const OTHER: &str = "gatekey.v1.CreateRequest";
/// Characters of a name from outside that a message repeats.
const MAX_SHOWN: usize = 64;

/// Returns the words of an enum, or its names in the protos if it has none.
pub fn words(pool: &DescriptorPool, index: EnumIndex) -> Vec<String> {
    let described = pool.enumeration(index);
    let words = described.values().iter().filter_map(|value| word(described.full_name(), value));
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return described.values().iter().map(|value| value.name().to_owned()).collect();
    }
    words
}

/// Returns the word for a value, such as `client_credentials` for `GRANT_TYPE_CLIENT_CREDENTIALS`;
/// `None` for the value of an unset field.
fn word(described: &str, value: &EnumValueDescriptor) -> Option<String> {
    let name = described.strip_prefix(PACKAGE)?;
    let mut prefix = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    let word = value.name().strip_prefix(&prefix)?.strip_prefix('_')?.to_ascii_lowercase();
    (word != "unspecified").then_some(word)
}

/// Returns whether a message has a JSON form of its own.
pub fn is_well_known(pool: &DescriptorPool, message: MessageIndex) -> bool {
    pool.message(message).full_name().starts_with("google.protobuf.")
}

/// Returns whether the enums in a message have words.
pub fn has_words(pool: &DescriptorPool, message: MessageIndex) -> bool {
    pool.message(message).full_name().starts_with(PACKAGE)
}

fn field<'p>(
    pool: &'p DescriptorPool,
    message: MessageIndex,
    name: &str,
) -> Option<&'p FieldDescriptor> {
    let mut fields = pool.message(message).fields().iter();
    fields.find(|field| field.name() == name || field.json_name() == name)
}

/// Checks the members of a request, and replaces words by names of the protos.
///
/// # Errors
/// [`Error::Invalid`] for a member that is no field, a field that is given under both of its names,
/// or an unknown name of an enum.
pub fn read(
    pool: &DescriptorPool,
    message: MessageIndex,
    object: &mut Map<String, Value>,
) -> Result<(), Error> {
    for (name, value) in &mut *object {
        let Some(field) = field(pool, message, name) else {
            return Err(Error::invalid("body", unknown_field(pool, message, name)));
        };
        match field.kind() {
            FieldKind::Singular(kind) => read_value(pool, field, kind, value)?,
            FieldKind::List(kind) => {
                for value in value.as_array_mut().into_iter().flatten() {
                    read_value(pool, field, kind, value)?;
                }
            }
            FieldKind::Map { value: kind, .. } => {
                for (_, value) in value.as_object_mut().into_iter().flatten() {
                    read_value(pool, field, kind, value)?;
                }
            }
        }
    }
    for field in pool.message(message).fields() {
        let (name, json_name) = (field.name(), field.json_name());
        if name != json_name && object.contains_key(name) && object.contains_key(json_name) {
            return Err(Error::invalid("body", format!("has {json_name} twice")));
        }
    }
    Ok(())
}

fn read_value(
    pool: &DescriptorPool,
    field: &FieldDescriptor,
    kind: SingularKind,
    value: &mut Value,
) -> Result<(), Error> {
    match (kind, &mut *value) {
        (SingularKind::Message(inner), Value::Object(object)) if !is_well_known(pool, inner) => {
            read(pool, inner, object)
        }
        (SingularKind::Enum(index), Value::String(given)) => {
            let described = pool.enumeration(index);
            let mut values = described.values().iter();
            let known = values.find(|known| {
                known.name() == given || word(described.full_name(), known).as_ref() == Some(given)
            });
            let known = known.ok_or_else(|| {
                let (name, words) = (field.json_name(), words(pool, index).join(", "));
                let rule = format!("has the unknown {name} {}; expected {words}", shown(given));
                Error::invalid("body", rule)
            })?;
            known.name().clone_into(given);
            Ok(())
        }
        (SingularKind::Message(_) | SingularKind::Enum(_) | SingularKind::Scalar(_), _) => Ok(()),
    }
}

fn unknown_field(pool: &DescriptorPool, message: MessageIndex, name: &str) -> String {
    let is_theirs = !has_words(pool, message)
        && pool.message_index(OTHER).is_some_and(|other| field(pool, other, name).is_some());
    let hint = if is_theirs { ", which only /gatekey/v1/keys has" } else { "" };
    let fields = pool.message(message).fields().iter().map(FieldDescriptor::json_name);
    let fields = fields.collect::<Vec<_>>().join(", ");
    format!("has the unknown field {}{hint}; expected {fields}", shown(name))
}

fn shown(text: &str) -> String {
    format!("{:?}", redact(text, MAX_SHOWN))
}

/// Replaces names of the protos in a response by words.
pub fn write(pool: &DescriptorPool, message: MessageIndex, value: &mut Value) {
    let Value::Object(object) = value else { return };
    for (name, value) in object {
        let Some(field) = field(pool, message, name) else { continue };
        match field.kind() {
            FieldKind::Singular(kind) => write_value(pool, kind, value),
            FieldKind::List(kind) => {
                let values = value.as_array_mut().into_iter().flatten();
                values.for_each(|value| write_value(pool, kind, value));
            }
            FieldKind::Map { value: kind, .. } => {
                let values = value.as_object_mut().into_iter().flatten();
                values.for_each(|(_, value)| write_value(pool, kind, value));
            }
        }
    }
}

fn write_value(pool: &DescriptorPool, kind: SingularKind, value: &mut Value) {
    match (kind, &mut *value) {
        (SingularKind::Message(inner), _) if !is_well_known(pool, inner) => {
            write(pool, inner, value);
        }
        (SingularKind::Enum(index), Value::String(given)) => {
            let described = pool.enumeration(index);
            let known = described.values().iter().find(|known| known.name() == given);
            if let Some(word) = known.and_then(|known| word(described.full_name(), known)) {
                *given = word;
            }
        }
        (SingularKind::Message(_) | SingularKind::Enum(_) | SingularKind::Scalar(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::rpc::bindings::Bindings;

    fn message(name: &str) -> (&'static DescriptorPool, MessageIndex) {
        let pool = &Bindings::get().pool;
        (pool, pool.message_index(name).unwrap())
    }

    fn read_as(name: &str, value: Value) -> Result<Value, String> {
        let (pool, index) = message(name);
        let Value::Object(mut object) = value else { panic!("{value}") };
        read(pool, index, &mut object).map_err(|error| error.to_string())?;
        Ok(Value::Object(object))
    }

    #[test]
    fn a_word_and_the_protos_name_are_equal() {
        for role in ["viewer", "ROLE_VIEWER"] {
            let read = read_as("gatekey.v1.CreateRequest", json!({ "role": role })).unwrap();
            assert_eq!(read, json!({ "role": "ROLE_VIEWER" }));
        }
        let refused = read_as("gatekey.v1.CreateRequest", json!({ "role": "reader" })).unwrap_err();
        assert!(
            refused.contains("\"reader\"; expected admin, contributor, viewer, verifier"),
            "{refused}"
        );
        let (pool, index) = message("gatekey.v1.GetResponse");
        let mut response =
            json!({ "apiKey": { "role": "ROLE_ADMIN", "grantTypes": ["GRANT_TYPE_DEVICE_CODE"] } });
        write(pool, index, &mut response);
        assert_eq!(
            response,
            json!({ "apiKey": { "role": "admin", "grantTypes": ["device_code"] } })
        );
    }

    #[test]
    fn an_unknown_or_repeated_member_is_refused() {
        for (message, value, words) in [
            (
                "gatekey.v1.CreateRequest",
                json!({ "rôle": "admin" }),
                "\"rôle\"; expected clientId, ",
            ),
            (
                "cloudidl.identity.CreateAppRequest",
                json!({ "role": "admin" }),
                "only /gatekey/v1/keys has",
            ),
            ("gatekey.v1.UpdateRequest", json!({ "apiKey": { "x": 1 } }), "unknown field \"x\""),
            (
                "gatekey.v1.GetRequest",
                json!({ "clientId": "a", "client_id": "b" }),
                "clientId twice",
            ),
        ] {
            let refused = read_as(message, value).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        let known =
            json!({ "client_id": null, "expiresAt": "2030-01-01T00:00:00Z", "redirectUris": [] });
        assert_eq!(read_as("gatekey.v1.CreateRequest", known.clone()), Ok(known));
    }

    proptest! {
        #[test]
        fn no_json_makes_the_reader_panic(name in "role|apiKey|api_key|grantTypes|\\PC{0,9}", text in "\\PC{0,99}") {
            for value in [json!(text), json!([text]), json!({ &*text: 1 }), json!({ "role": { &*text: [] } })] {
                let _ = read_as("gatekey.v1.UpdateRequest", json!({ &*name: value }));
            }
        }
    }
}
