//! Settings of a server, from flags, environment variables and a configuration file.
//!
//! The flags are generated from the definitions in [`gatekey_server::config`], which are also the
//! definitions of the file. So a new setting needs no code here.

use std::{
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches,
    builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser as _},
    error::ErrorKind,
    parser::ValueSource,
    value_parser,
};
use gatekey_server::{
    Config,
    config::{self, InvalidSetting, Origin, Setting, Settings, Value},
};

use crate::{
    database, exit, output,
    trusted::{self, Exposure, Kind, Refusal},
};

/// Chooses the settings that have a flag on a command.
pub(crate) trait Scope {
    fn includes(setting: &Setting) -> bool;
}

/// Every setting.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Serving {}

/// The settings that a data directory depends on when it is created.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Initializing {}

/// Only where the data and the root key are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Places {}

/// Only the configuration file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConfigFile {}

impl Scope for Serving {
    fn includes(_: &Setting) -> bool {
        true
    }
}

impl Scope for Initializing {
    fn includes(setting: &Setting) -> bool {
        matches!(setting.section(), "server" | "tls" | "keys" | "database")
    }
}

impl Scope for Places {
    fn includes(setting: &Setting) -> bool {
        setting.path == "keys.root_key_file" || setting.section() == "database"
    }
}

impl Scope for ConfigFile {
    fn includes(_: &Setting) -> bool {
        false
    }
}

/// `--config` and a flag for each setting of the scope.
#[derive(Debug, Clone)]
pub(crate) struct SettingFlags<S> {
    config: Option<PathBuf>,
    settings: Settings,
    scope: PhantomData<S>,
}

impl<S> SettingFlags<S> {
    /// Whether a configuration file is named.
    pub(crate) fn has_file(&self) -> bool {
        self.config.is_some()
    }

    /// Returns the settings of flags, environment and file, and who else can change the file.
    pub(crate) fn read(self) -> anyhow::Result<(Settings, Option<Exposure>)> {
        let set = self.settings.without_malformed_variables();
        let Some(path) = &self.config else { return Ok((set, None)) };
        let refuse = |refusal: Refusal| exit::usage(refusal.to_string());
        let (bytes, exposure) = trusted::read(path, Kind::Configuration).map_err(refuse)?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            exit::usage(format!("cannot read the configuration file {}: {error}", path.display()))
        })?;
        let file =
            Settings::from_toml(path, text).map_err(|error| exit::usage(error.to_string()))?;
        Ok((set.or(file), exposure))
    }

    /// Returns the settings of flags, environment and file, and prints warnings: of deprecated
    /// names, of variables that are ignored, and of a file that a group can change.
    pub(crate) fn read_and_warn(self) -> anyhow::Result<Settings> {
        let (settings, exposure) = self.read()?;
        if let Some(exposure) = exposure {
            eprintln!("{} {exposure}", output::warning_word());
        }
        for deprecated in settings.flat_names() {
            eprintln!("{} {deprecated}", output::warning_word());
        }
        for ignored in settings.ignored_variables() {
            eprintln!("{} {ignored}; it is ignored", output::warning_word());
        }
        Ok(settings)
    }
}

/// Checks settings, and reports every invalid one.
pub(crate) fn resolve(settings: &Settings, listening: SocketAddr) -> anyhow::Result<Config> {
    let config = settings.resolve(listening).map_err(|invalid| {
        let lines: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        exit::usage(lines.join("\n"))
    })?;
    if let Some(Err(rule)) = config.database.as_ref().map(|named| database::parse(&named.url)) {
        let invalid = InvalidSetting::new("database.url", rule);
        return Err(exit::usage(settings.locate(invalid).to_string()));
    }
    Ok(config)
}

const CONFIG: &str = "config";

impl<S: Scope> Args for SettingFlags<S> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .help("Configuration file, TOML; flags override it")
            .value_parser(value_parser!(PathBuf));
        config::settings()
            .filter(|setting| S::includes(setting))
            .filter_map(arg)
            .fold(command.arg(config), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Returns the flag of a setting.
fn arg(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag()?.strip_prefix("--")?;
    let mut arg = Arg::new(setting.path.as_str()).long(flag).help(help(setting));
    if setting.is_switch() {
        return Some(arg.action(ArgAction::SetTrue));
    }
    if let Some(name) = setting.value_name() {
        arg = arg.value_name(name);
    }
    if let Some(variable) = setting.variable() {
        arg = arg.env(variable);
    }
    if let Some(value) = setting.bare_value() {
        arg = arg.num_args(0..=1).default_missing_value(value);
    }
    let parse = |text: &str| match setting.variable() {
        // An empty variable counts as not set (OpenTelemetry specification, "Parsing empty value").
        Some(_) if text.is_empty() => Ok(None),
        _ => setting.parse(text).map(Some).map_err(|rule| match setting.value_name() {
            Some("ADDR") => format!("{rule}{}", address_hint(text)),
            _ => rule,
        }),
    };
    let choices = setting.choices();
    Some(if choices.is_empty() {
        // Text that is not UTF-8 is reported later, so that a variable can be ignored.
        arg.value_parser(
            OsStringValueParser::new().try_map(move |text| parse(&text.to_string_lossy())),
        )
    } else {
        let choices =
            choices.into_iter().map(|(name, meaning)| PossibleValue::new(name).help(meaning));
        arg.value_parser(PossibleValuesParser::new(choices).try_map(move |text| parse(&text)))
    })
}

/// The port in hints for an address without one.
const PORT: u16 = 8443;

/// Says how to write an address that lacks its IP address or port; empty where that is not clear.
pub(crate) fn address_hint(text: &str) -> String {
    let name = text.strip_suffix(':').filter(|rest| !rest.ends_with(':')).unwrap_or(text);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return format!("; write {}", SocketAddr::new(address, PORT));
    }
    if matches!(name, "" | "localhost") {
        return format!("; write 127.0.0.1:{PORT}");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let Ok(port) = port.parse::<u16>() else { return String::new() };
    match host {
        "localhost" => format!("; write 127.0.0.1:{port}"),
        "" | "*" => {
            format!("; write 127.0.0.1:{port}, or 0.0.0.0:{port} for every address of this machine")
        }
        _ => String::new(),
    }
}

fn help(setting: &Setting) -> String {
    let default = match (setting.default(), setting.when_unset()) {
        (_, Some(unset)) => Some(unset.to_owned()),
        (Some(serde_json::Value::String(text)), None) if !text.is_empty() => Some(text.clone()),
        (Some(number @ serde_json::Value::Number(_)), None) => Some(number.to_string()),
        (_, None) => None,
    };
    let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    format!("{}{default}", setting.summary())
}

impl<S: Scope> FromArgMatches for SettingFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut settings = Settings::default();
        for setting in config::settings().filter(|setting| S::includes(setting)) {
            let Some(flag) = setting.flag() else { continue };
            let origin = match (matches.value_source(&setting.path), setting.variable()) {
                (Some(ValueSource::CommandLine), _) => Origin::Flag(flag),
                (Some(ValueSource::EnvVariable), Some(variable)) => Origin::Variable(variable),
                (_, _) => continue,
            };
            let value = if setting.is_switch() {
                Some(Value::from(matches.get_flag(&setting.path)))
            } else {
                matches.get_one::<Option<Value>>(&setting.path).cloned().flatten()
            };
            if let Some(value) = value {
                settings.set(setting, value, origin).map_err(|invalid| {
                    Error::raw(ErrorKind::ValueValidation, format!("{invalid}\n"))
                })?;
            }
        }
        Ok(Self { config: matches.get_one(CONFIG).cloned(), settings, scope: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
