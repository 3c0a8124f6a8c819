//! Generates the reference pages in `docs/reference/`. `GATEKEY_WRITE_REFERENCE=1 cargo test
//! reference` writes them; without the variable the tests compare them with the code.

use std::{fmt::Write as _, fs, path::Path};

use clap::CommandFactory as _;
use gatekey_server::config;
use gatekey_telemetry::traces::variables;

use serde_json::Value;

use crate::{args::Arguments, database, logging, output::WithSecret};

#[track_caller]
fn must_be(page: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(page);
    #[expect(clippy::disallowed_methods, reason = "set by whoever runs the tests")]
    let write = std::env::var_os("GATEKEY_WRITE_REFERENCE").is_some();
    if write {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, generated).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/reference/{page} is out of date; GATEKEY_WRITE_REFERENCE=1 cargo test reference writes it"
    );
}

/// Returns text as a cell of a table: one line, with pipes escaped.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_page_of_the_configuration_is_current() {
    let mut page = "# Configuration file

Generated from the code. `gatekey serve --config FILE` reads a TOML file with these sections; every
setting is optional. A flag overrides its environment variable, and both override the file.
`gatekey config check --config FILE` checks a file and prints the effective settings. `gatekey
config schema` prints its JSON Schema, for editors.
"
    .to_owned();
    for section in config::sections() {
        writeln!(page, "\n## [{}]\n\n{}\n", section.name, section.description).unwrap();
        page.push_str(
            "| setting | flag | variable | value | default | meaning |\n|---|---|---|---|---|---|\n",
        );
        for setting in &section.settings {
            let code =
                |text: Option<&str>| text.map(|text| format!("`{text}`")).unwrap_or_default();
            let default = match (setting.default(), setting.when_unset()) {
                (Some(default), _) => format!("`{default}`"),
                (None, unset) => unset.unwrap_or_default().to_owned(),
            };
            writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {} |",
                setting.name(),
                code(setting.flag()),
                code(setting.variable()),
                cell(&setting.kind()),
                cell(&default),
                cell(setting.description())
            )
            .unwrap();
        }
    }
    must_be("configuration.md", &page);
}

#[test]
fn the_page_of_the_output_is_current() {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<WithSecret<'_>>().to_value();
    must_be("output.schema.json", &format!("{schema:#}\n"));
    let mut page = "# Output for programs

Generated from the code. `--output json` and `--output yaml` print the same members. A key has one
shape in all commands that print one; [output.schema.json](output.schema.json) is its JSON Schema.
A member is never left out: what does not apply is null. Later versions may add members.
`gatekey key delete` prints `client_id`, and `state` as `\"deleted\"`.

## A key

`gatekey key create`, `get`, `list`, `update`, `rotate`, `retire`, `disable`, `enable` and `gatekey
init`.

"
    .to_owned();
    let secret = &schema["$defs"]["KeySecret"];
    let with_secret = ["client_secret", "endpoint", "encoded_credentials", "ca_file"];
    let (added, of_key): (Vec<_>, Vec<_>) =
        members(&schema).into_iter().partition(|(name, _)| with_secret.contains(&&**name));
    let mut section = |text: &str, members: &[(String, Value)]| {
        page.push_str(text);
        page.push_str("| member | value | meaning |\n|---|---|---|\n");
        for (name, member) in members {
            let meaning = cell(member["description"].as_str().unwrap());
            writeln!(page, "| `{name}` | {} | {meaning} |", value(member, &schema)).unwrap();
        }
    };
    section("", &of_key);
    section("\n## A secret of a key\n\n", &members(secret));
    section(
        "\n## A new secret\n\n`gatekey key create`, `gatekey key rotate` and `gatekey init` add these \
         to the key. They are\nshown only once.\n\n",
        &added,
    );
    must_be("output.md", &page);
}

fn members(schema: &Value) -> Vec<(String, Value)> {
    let members = schema["properties"].as_object().unwrap();
    members.iter().map(|(name, member)| (name.clone(), member.clone())).collect()
}

/// Names the kind of value that a schema describes.
fn value(member: &Value, schema: &Value) -> String {
    if let Some(any) = member["anyOf"].as_array() {
        return any.iter().map(|one| value(one, schema)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(name) = member["$ref"].as_str() {
        return value(&schema["$defs"][name.rsplit('/').next().unwrap()], schema);
    }
    let kinds = match &member["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::String(kind) if kind == "null" => return "null".to_owned(),
        Value::String(kind) => vec![&**kind],
        _ => Vec::new(),
    };
    let mut kind = match member["format"].as_str() {
        Some("date-time") => "date and time (RFC 3339)".to_owned(),
        _ => kinds.first().copied().unwrap_or_default().to_owned(),
    };
    let names: Vec<_> = [&member["enum"], &member["oneOf"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|one| one.as_str().or_else(|| one["const"].as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    if !names.is_empty() {
        kind = names.join(", ");
    }
    if kind == "array" {
        let item = &member["items"];
        kind =
            if item["$ref"].is_string() { "list of secrets" } else { "list of strings" }.to_owned();
    }
    if kinds.contains(&"null") { format!("{kind} or null") } else { kind }
}

#[test]
fn the_page_of_the_environment_is_current() {
    let mut page = "# Environment variables

Generated from the code. A flag overrides its variable.

## The server and local administration

| variable | flag | default | meaning |
|---|---|---|---|
"
    .to_owned();
    let command = Arguments::command();
    let mut rows: Vec<String> = Vec::new();
    let mut open = vec![&command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands());
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().map(|variable| variable.to_str().unwrap())
            else {
                continue;
            };
            // `doctor` has hidden flags for the variables of clients, which are listed below.
            if gatekey_client::VARIABLES.iter().any(|(name, _)| *name == variable) {
                continue;
            }
            let default =
                argument.get_default_values().first().map(|value| value.to_str().unwrap());
            let default = default.map(|default| format!("`{default}`")).unwrap_or_default();
            let meaning = cell(&argument.get_help().unwrap().to_string());
            let flag =
                (!argument.is_hide_set()).then(|| format!("`--{}`", argument.get_long().unwrap()));
            let flag = flag.unwrap_or_default();
            rows.push(format!("| `{variable}` | {flag} | {default} | {meaning} |"));
        }
    }
    rows.push(format!(
        "| `{}` | | `info` | Log filter: {}. Parts without a level have the default; a malformed filter \
         is reported, and the default applies |",
        logging::filter::VARIABLE,
        logging::filter::FORM_IN_MARKDOWN
    ));
    rows.push(format!(
        "| `{}` | |  | Password of the database, instead of `--database-password-file` |",
        database::PASSWORD
    ));
    for (variable, meaning) in variables::MEANINGS {
        rows.push(format!("| `{variable}` | |  | {} |", cell(meaning)));
    }
    rows.sort();
    rows.dedup();
    writeln!(page, "{}", rows.join("\n")).unwrap();
    page.push_str(
        "
## Clients

`key`, `token`, `whoami`, the Rust crate and the Python packages read these, in this order. An empty
variable counts as not set:

| variable | meaning |
|---|---|
",
    );
    for (variable, meaning) in gatekey_client::VARIABLES {
        writeln!(page, "| `{variable}` | {} |", cell(meaning)).unwrap();
    }
    must_be("environment.md", &page);
}
