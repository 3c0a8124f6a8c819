//! The parts of the help that clap does not generate: groups of commands, examples, exit codes and
//! environment variables.

use std::fmt::Write as _;

use clap::{Command, builder::styling::Styles};

use crate::exit;

/// The commands in the order of `gatekey --help`, by task.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Get started", &["quickstart", "doctor", "completions"]),
    ("Use API keys", &["key", "token", "whoami"]),
    ("Run a server", &["serve", "init", "ca", "config", "gate"]),
    ("Rotate and audit", &["signing-key", "root-key", "ledger"]),
    ("Back up", &["backup", "restore"]),
];

const CREDENTIALS: &str = "  GATEKEY_API_KEY   Encoded credentials; their endpoint may have a port
  FLYTE_API_KEY     Used if GATEKEY_API_KEY is not set; then UNION_API_KEY
  GATEKEY_ENDPOINT  URL of the server; overrides the endpoint of the credentials
  GATEKEY_CA_FILE   PEM file of additional CA certificates";

const OTHER_VARIABLES: &str =
    "  GATEKEY_DATA_DIR  Directory of the database, the root key and certificates
  GATEKEY_LOG       Log filter, such as debug or info,gatekey::request=off";

const CONFIG_FILE: &str = "Without credentials in the environment, Flyte's config.yaml is used.";

/// Groups the commands of the help.
///
/// clap lists all subcommands under one heading, so the groups are part of a template.
pub(super) fn with_groups(command: Command) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\n{}\n{{options}}{{after-help}}",
        groups(&command),
        heading("Options")
    );
    command.help_template(template)
}

fn groups(command: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let _ = write!(text, "\n{}\n", heading(title));
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {}  {about}", literal(&format!("{name:<11}")));
        }
    }
    text
}

/// Returns the end of `gatekey -h`.
pub(super) fn overview() -> String {
    let see = "See `gatekey help COMMAND` for the flags of a command, and `gatekey --help` for exit codes and \
               environment variables.";
    format!("{}\n\n{see}", start())
}

/// Returns the end of `gatekey --help`.
pub(super) fn long_overview() -> String {
    format!(
        "{}\n\n{}\n{}\n\n{}\n{CREDENTIALS}\n{OTHER_VARIABLES}\n\n{CONFIG_FILE}",
        start(),
        heading("Exit codes"),
        exit::HELP,
        heading("Environment variables")
    )
}

fn start() -> String {
    examples(&[
        "gatekey quickstart",
        "gatekey serve --data-dir /var/lib/gatekey",
        "gatekey key create ci-pipeline",
    ])
}

/// Returns examples to paste.
pub(super) fn examples(commands: &[&str]) -> String {
    commands
        .iter()
        .fold(heading("Examples"), |text, command| format!("{text}\n  {}", literal(command)))
}

/// Returns examples to paste, and where a command finds its credentials.
pub(super) fn client_examples(commands: &[&str]) -> String {
    let variables = heading("Environment variables");
    format!("{}\n\n{variables}\n{CREDENTIALS}\n\n{CONFIG_FILE}", examples(commands))
}

fn heading(title: &str) -> String {
    let header = Styles::styled().get_header().to_owned();
    format!("{header}{title}:{header:#}")
}

fn literal(text: &str) -> String {
    let style = Styles::styled().get_literal().to_owned();
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory as _, Parser as _};

    use super::*;
    use crate::args::{Arguments, command};

    /// Every command with its words, except clap's own `help`.
    fn commands() -> Vec<(String, Command)> {
        let mut open = vec![("gatekey".to_owned(), command())];
        let mut commands = Vec::new();
        while let Some((words, command)) = open.pop() {
            let children = command.get_subcommands().filter(|child| child.get_name() != "help");
            open.extend(
                children.map(|child| (format!("{words} {}", child.get_name()), child.clone())),
            );
            commands.push((words, command));
        }
        commands
    }

    fn visible_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
        command.get_arguments().filter(|argument| !argument.is_hide_set())
    }

    /// A page without styles, as on a terminal of 80 columns.
    fn page(command: &Command, long: bool) -> String {
        let mut command = command.clone().term_width(80);
        let page = if long { command.render_long_help() } else { command.render_help() };
        page.to_string()
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.sort_unstable();
        let command = Arguments::command();
        let mut names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(grouped, names);
    }

    #[test]
    fn every_command_has_examples_of_itself_that_parse() {
        for (words, command) in commands() {
            let page = page(&command, false);
            let (_, examples) =
                page.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{words}: {page}"));
            for example in examples.lines().take_while(|line| !line.is_empty()) {
                assert!(example.trim_start().starts_with(&words), "{words}: {example}");
                // The rest is for the shell.
                let example = example.split(['>', '|']).next().unwrap();
                let parsed = Arguments::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn every_command_and_argument_has_help() {
        for (words, command) in commands() {
            assert!(command.get_about().is_some(), "{words}");
            for argument in visible_arguments(&command) {
                assert!(argument.get_help().is_some(), "{words}: {argument}");
            }
        }
    }

    #[test]
    fn enumerated_arguments_list_and_explain_their_values() {
        let mut enumerated = std::collections::BTreeSet::new();
        for (words, command) in commands() {
            let (short, long) = (page(&command, false), page(&command, true));
            for argument in
                visible_arguments(&command).filter(|argument| argument.get_action().takes_values())
            {
                let values = argument.get_possible_values();
                if !values.is_empty() {
                    enumerated.insert(argument.get_id().to_string());
                }
                for value in values {
                    let name = value.get_name();
                    assert!(
                        short.contains(name) && long.contains(name),
                        "{words}: {argument}: {name}"
                    );
                    // The names of shells explain themselves.
                    let is_explained = value.get_help().is_some() || argument.get_id() == "shell";
                    assert!(is_explained, "{words}: {argument}: {name}");
                }
            }
        }
        for id in ["role", "output", "shell", "log.format"] {
            assert!(enumerated.contains(id), "{id} is not among {enumerated:?}");
        }
    }

    #[test]
    fn every_page_fits_a_terminal_of_80_columns() {
        for (words, command) in commands() {
            for long in [false, true] {
                for line in page(&command, long).lines() {
                    assert!(line.chars().count() <= 80, "{words}: {line}");
                }
            }
        }
    }
}
