//! The reference pages in `docs/reference/`, made of the code. `GATEKEY_WRITE_REFERENCE=1 cargo test reference` writes
//! them; without the variable the tests hold them against the code.

use std::{fmt::Write as _, fs, path::Path};

use clap::CommandFactory as _;
use gatekey_server::config::Settings;
use serde_json::Value;

use crate::{args::Arguments, logging};

#[track_caller]
fn must_be(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(page);
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests says so")]
    let write = std::env::var_os("GATEKEY_WRITE_REFERENCE").is_some();
    if write {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/reference/{page} is not what the code says; \
         GATEKEY_WRITE_REFERENCE=1 cargo test reference writes it"
    );
}

/// On one line, and with nothing that ends a cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// `text`, `whole number`, `list of texts`.
fn kind(setting: &Value) -> String {
    let choices = |setting: &Value| {
        let constants = setting["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["const"]);
        let names = setting["enum"].as_array().into_iter().flatten().chain(constants);
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>()
    };
    match setting["type"].as_str().unwrap_or_default() {
        "array" => format!("list, each: {}", kind(&setting["items"])),
        "number" => format!("number from {} to {}, with a fraction", setting["minimum"], setting["maximum"]),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => match (setting["minimum"].as_u64(), setting["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("number from {least} to {most}"),
            (_, _) => "number".to_owned(),
        },
        _ if !choices(setting).is_empty() => choices(setting).join(" or "),
        _ if setting["format"] == "ip" => "address".to_owned(),
        _ => "text".to_owned(),
    }
}

#[test]
fn the_page_of_the_configuration_is_what_the_code_says() {
    let schema = Settings::schema();
    let command = Arguments::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut page = "# Configuration file

Made of the code. `gatekey serve --config F` reads TOML; flags go before it, unknown names are refused.
`gatekey config check --config F` tells what follows from a file, `gatekey config schema` prints its JSON Schema, which
editors check files with.

| name | flag | value | default | meaning |
|---|---|---|---|---|
"
    .to_owned();
    for (name, setting) in schema["properties"].as_object().unwrap() {
        let setting = match setting["$ref"].as_str() {
            Some(reference) => {
                let mut resolved = schema.pointer(reference.trim_start_matches('#')).unwrap().clone();
                resolved.as_object_mut().unwrap().extend(setting.as_object().unwrap().clone());
                resolved
            }
            None => setting.clone(),
        };
        let flag = serve.get_arguments().find(|argument| argument.get_id() == name);
        let flag = flag.map(|flag| format!("`--{}`", flag.get_long().unwrap())).unwrap_or_default();
        let default = setting.get("default").map(|default| format!("`{default}`")).unwrap_or_default();
        let meaning = cell(setting["description"].as_str().unwrap());
        writeln!(page, "| `{name}` | {flag} | {} | {default} | {meaning} |", kind(&setting)).unwrap();
    }
    must_be("configuration.md", &page);
}

#[test]
fn the_page_of_the_environment_is_what_the_code_says() {
    let mut page = "# Environment variables

Made of the code. A flag goes before its variable.

## The server and local administration

| variable | flag | default | meaning |
|---|---|---|---|
"
    .to_owned();
    let command = Arguments::command();
    let mut told: Vec<String> = Vec::new();
    let mut open = vec![&command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands());
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().map(|variable| variable.to_str().unwrap()) else {
                continue;
            };
            // The doctor takes from flags what clients take from the environment; they are told below.
            if gatekey_client::VARIABLES.iter().any(|(name, _)| *name == variable) {
                continue;
            }
            let default = argument.get_default_values().first().map(|value| value.to_str().unwrap());
            let default = default.map(|default| format!("`{default}`")).unwrap_or_default();
            let meaning = cell(&argument.get_help().unwrap().to_string());
            let flag = (!argument.is_hide_set()).then(|| format!("`--{}`", argument.get_long().unwrap()));
            let flag = flag.unwrap_or_default();
            told.push(format!("| `{variable}` | {flag} | {default} | {meaning} |"));
        }
    }
    told.push(format!(
        "| `{}` | | `info` | What is logged: a level, or levels by part, such as `info,gatekey::request=off` |",
        logging::FILTER_VARIABLE
    ));
    told.sort();
    told.dedup();
    writeln!(page, "{}", told.join("\n")).unwrap();
    page.push_str(
        "
## Clients

`key`, `token`, `whoami`, the Rust crate and the Python packages, in this order. A variable that is set and empty counts as unset:

| variable | meaning |
|---|---|
",
    );
    for (variable, meaning) in gatekey_client::VARIABLES {
        writeln!(page, "| `{variable}` | {} |", cell(meaning)).unwrap();
    }
    must_be("environment.md", &page);
}
