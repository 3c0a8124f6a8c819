//! The JSON Schema of a configuration file.

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::sections::Sections;

/// Returns the JSON Schema (2020-12) of a configuration file.
pub fn schema() -> Json {
    let mut schema = annotated();
    publish(&mut schema);
    schema["title"] = Json::from("Configuration of a Gatekey server");
    schema["description"] = Json::from("Every setting is optional.");
    schema
}

/// Returns the schema with the keywords of [`definition`](super::definition). TOML has no null, so
/// the schema has none.
pub(super) fn annotated() -> Json {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let generator = settings.with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = Json::from(generator.into_root_schema_for::<Sections>());
    tidy(&mut schema);
    schema
}

/// Joins the lines of a description's paragraphs, and removes null: as the type of a setting and as
/// its default.
fn tidy(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            members.retain(|name, member| name != "default" || !member.is_null());
            if let Some(Json::String(description)) = members.get_mut("description") {
                let paragraphs =
                    description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                *description = paragraphs.collect::<Vec<_>>().join("\n\n");
            }
            if let Some(Json::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            members.values_mut().for_each(tidy);
        }
        Json::Array(members) => members.iter_mut().for_each(tidy),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Turns the annotated schema into the schema of a file: every setting is optional, and its
/// description has what applies when it is not set.
fn publish(schema: &mut Json) {
    let Json::Object(members) = schema else { return };
    members.remove("required");
    if let (Some(Json::String(unset)), Some(Json::String(description))) =
        (members.remove("x-unset"), members.get_mut("description"))
    {
        *description = format!("{description}\n\nDefault: {unset}.");
    }
    members.retain(|keyword, _| !keyword.starts_with("x-"));
    if let Some(items) = members.get_mut("items") {
        publish(items);
    }
    if let Some(Json::Object(properties)) = members.get_mut("properties") {
        for property in properties.values_mut() {
            if property["type"] == "object"
                && let Json::Object(section) = property
            {
                section.remove("default");
            }
            publish(property);
        }
    }
}
