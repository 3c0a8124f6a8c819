//! Generates the reference pages in `docs/reference/`. `GATEKEY_WRITE_REFERENCE=1 cargo test
//! reference` writes them; without the variable the tests compare them with the code.

use std::{fmt::Write as _, fs, path::Path};

use clap::CommandFactory as _;
use gatekey_server::config;
use gatekey_telemetry::traces::variables;

use crate::{args::Arguments, logging};

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
