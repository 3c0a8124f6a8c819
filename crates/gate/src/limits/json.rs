//! Reads named fields of a message in protobuf's JSON form.
//!
//! A field has two names, such as `projectId` and `project_id`. A message with a repeated member,
//! or with both names of a field, is refused: parsers take one or the other.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{places::Field, unreadable::Unreadable};

/// A value, with all that is needed of it.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Text(String),
    /// A number or a boolean.
    Other,
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads a message: an object, and nothing after it.
    pub(super) fn message(bytes: &[u8]) -> Result<Self, Unreadable> {
        match serde_json::from_slice(bytes) {
            Ok(object @ Self::Object(_)) => Ok(object),
            Err(error) if error.is_data() => Err(Unreadable::Repeated),
            Ok(_) | Err(_) => Err(Unreadable::Malformed),
        }
    }

    fn value(&self, field: &Field) -> Result<Option<&Self>, Unreadable> {
        let Self::Object(members) = self else { return Err(Unreadable::Malformed) };
        let camel = camel_case(field.name);
        let mut found = members.iter().filter(|(name, _)| *name == field.name || *name == camel);
        let value = found.next().map(|(_, value)| value);
        if found.next().is_some() {
            return Err(Unreadable::Repeated);
        }
        Ok(value.filter(|value| !matches!(value, Self::Null)))
    }

    /// Whether a field is there, and not null.
    pub(super) fn has(&self, field: &Field) -> Result<bool, Unreadable> {
        Ok(self.value(field)?.is_some())
    }

    /// The messages at the end of a path of fields.
    pub(super) fn messages(&self, path: &[Field]) -> Result<Vec<&Self>, Unreadable> {
        let mut messages = vec![self];
        for field in path {
            let mut inner = Vec::new();
            for message in messages {
                match (message.value(field)?, field.repeated) {
                    (None, _) => {}
                    (Some(Self::List(elements)), true) => inner.extend(elements),
                    (Some(object @ Self::Object(_)), false) => inner.push(object),
                    (Some(_), _) => return Err(Unreadable::Malformed),
                }
            }
            messages = inner;
        }
        Ok(messages)
    }

    /// A text; empty if it is absent.
    pub(super) fn text(&self, field: &Field) -> Result<&str, Unreadable> {
        match self.value(field)? {
            None => Ok(""),
            Some(Self::Text(text)) => Ok(text),
            Some(_) => Err(Unreadable::Malformed),
        }
    }
}

/// The JSON name of a field.
pub(super) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else {
            camel.push(if upper { letter.to_ascii_uppercase() } else { letter });
            upper = false;
        }
    }
    camel
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            if !names.insert(name.clone()) {
                return Err(serde::de::Error::custom("a member is repeated"));
            }
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: Field = Field { name: "project_id", number: 1, repeated: false };
    const NAME: Field = Field { name: "name", number: 2, repeated: false };

    fn name(json: &str) -> Result<Vec<String>, Unreadable> {
        let message = Json::message(json.as_bytes())?;
        let found = message.messages(&[ID])?;
        found.into_iter().map(|id| id.text(&NAME).map(str::to_owned)).collect()
    }

    #[test]
    fn both_names_of_a_field_are_read() {
        assert_eq!(name(r#"{"projectId":{"name":"a"}}"#), Ok(vec!["a".to_owned()]));
        assert_eq!(name(r#"{"project_id":{"n\u0061me":"\u0061"}}"#), Ok(vec!["a".to_owned()]));
        assert_eq!(name(r#"{"x":[1,null,true,{"y":2.5e3}]}"#), Ok(Vec::new()));
        assert_eq!(name(r#"{"projectId":null}"#), Ok(Vec::new()));
        assert_eq!(name(r#"{"projectId":{"name":null}}"#), Ok(vec![String::new()]));
    }

    #[test]
    fn a_member_with_two_readings_is_refused() {
        for repeated in [
            r#"{"projectId":{"name":"a"},"projectId":{"name":"b"}}"#,
            r#"{"projectId":{"name":"a"},"project_id":{"name":"b"}}"#,
            r#"{"projectId":{"name":"a","n\u0061me":"b"}}"#,
            r#"{"projectId":{"name":"a"},"x":1,"x":1}"#,
        ] {
            assert_eq!(name(repeated), Err(Unreadable::Repeated), "{repeated}");
        }
        for malformed in [
            "",
            "[]",
            "null",
            "\"a\"",
            "{",
            r#"{"projectId":"a"}"#,
            r#"{"projectId":[{"name":"a"}]}"#,
            r#"{"projectId":{"name":1}}"#,
            r#"{"projectId":{"name":["a"]}}"#,
            r"{} {}",
            r#"{"projectId":{"name":"a"},}"#,
        ] {
            assert_eq!(name(malformed), Err(Unreadable::Malformed), "{malformed}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert_eq!(name(&deep), Err(Unreadable::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[{}\\[\\]\":,a-d]{0,40}") {
            let _ = Json::message(&bytes);
            let _ = Json::message(text.as_bytes());
        }
    }
}
