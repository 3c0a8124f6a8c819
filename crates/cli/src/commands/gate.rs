//! `gatekey gate`: the rules of the gate, and why it decides as it does.

use gatekey_core::api_key::{Limits, Roles, Scope};
use gatekey_credentials::Role;
use gatekey_gate::{
    Access, Caller, InvalidPath, Path, Rule, Rules, decide,
    limits::projects::{self, Body, ProjectDenial, Seen},
    rules::{Methods, Source},
};
use gatekey_server::{
    Config,
    config::Settings,
    control::{KeyRights, ReadKey},
    own_paths::{self, own_paths},
};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    administration::Administration,
    args::{Format, Gate},
    exit, logging,
    output::{self, printable},
    settings,
};

pub(crate) async fn run(arguments: Gate) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    match arguments {
        Gate::Rules { config, output } => {
            let settings = config.read_and_warn()?;
            let config = settings::resolve(&settings, settings.listen())?;
            print_rules(&config, &settings, output.output)
        }
        Gate::Explain { method, path, caller, body, data_dir, settings, output } => {
            let settings = settings.read_and_warn()?;
            let config = settings::resolve(&settings, settings.listen())?;
            let most = config.gate.max_message;
            let body = body.map(|file| read_body(&file, most)).transpose()?;
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
                .map_err(|_| exit::usage(format!("{method:?} is not an HTTP method")))?;
            let callers = match caller {
                None => everybody(),
                Some(client_id) => {
                    let holder = "gatekey gate explain";
                    let administration =
                        Administration::open_existing(&data_dir.path(), settings.clone(), holder)
                            .await?;
                    let read = ReadKey { client_id: client_id.clone() };
                    vec![Asking::key(client_id, &administration.execute(read).await?)]
                }
            };
            let request = Asked { method: &method, target: &path, body: body.as_deref() };
            Explanation::new(&config, &settings, &request, callers).print(output.output)
        }
    }
}

/// Reads a body, up to the size that the gate reads.
fn read_body(file: &std::path::Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let body = std::fs::read(file);
    let body =
        body.map_err(|error| exit::usage(format!("cannot read {}: {error}", file.display())))?;
    if body.len() > most {
        let rule =
            format!("the gate reads at most {most} bytes of a body (gate.max_message_bytes)");
        return Err(exit::usage(rule));
    }
    Ok(body)
}

/// A request to explain.
struct Asked<'r> {
    method: &'r Method,
    target: &'r str,
    body: Option<&'r [u8]>,
}

/// A rule as it is printed. A member is never left out.
#[derive(Debug, Serialize)]
struct Row {
    methods: Vec<&'static str>,
    /// An exact path, a prefix that ends in `/*`, or a path with variables.
    pattern: String,
    /// The access that the path needs; `own` if Gatekey answers it itself.
    access: &'static str,
    /// `own`, `configured` or `shipped`.
    source: &'static str,
    /// Where the configuration has the rule; null for another rule.
    origin: Option<String>,
}

const OWN: &str = "own";

impl Row {
    fn own(methods: Methods, path: String) -> Self {
        Self {
            methods: methods.names().collect(),
            pattern: path,
            access: OWN,
            source: OWN,
            origin: None,
        }
    }

    fn of(rule: &Rule, config: &Config, settings: &Settings) -> Self {
        let source = match rule.source {
            Source::Configured => "configured",
            Source::Shipped => "shipped",
        };
        let origin = config.gate.setting(rule).and_then(|setting| settings.origin(setting));
        Self {
            methods: rule.reachable_by().names().collect(),
            pattern: rule.pattern.to_string(),
            access: rule.access.as_str(),
            source,
            origin: origin.map(ToString::to_string),
        }
    }

    fn methods(&self) -> String {
        if self.methods.len() == Methods::ALL.names().count() {
            return "any".to_owned();
        }
        self.methods.join(",")
    }

    fn source(&self) -> String {
        self.origin.clone().unwrap_or_else(|| self.source.to_owned())
    }
}

fn print_rules(config: &Config, settings: &Settings, format: Format) -> anyhow::Result<()> {
    let rules = config.gate.rules();
    let own = own_paths().into_iter().filter(|own| !config.gate.passes(&own.path));
    let own = own.map(|own| Row::own(own.methods, own.path));
    let in_effect = rules.in_effect().map(|rule| Row::of(rule, config, settings));
    let rows: Vec<_> = own.chain(in_effect).collect();
    if let Some(notation) = format.notation() {
        return notation.print(&rows);
    }
    let cells = rows
        .iter()
        .map(|row| vec![row.access.to_owned(), row.methods(), row.source(), row.pattern.clone()]);
    say!("{}", output::table(&["ACCESS", "METHODS", "SOURCE", "PATH"], cells))?;
    Ok(())
}

/// The caller of the request.
struct Asking {
    key: Option<String>,
    role: Option<Role>,
    /// `None` for a key whose credentials are refused.
    caller: Option<Caller>,
    /// Whether there is a credential.
    credential: bool,
    limits: Limits,
}

impl Asking {
    fn nobody() -> Self {
        Self {
            key: None,
            role: None,
            caller: Some(Caller::Nobody),
            credential: false,
            limits: Limits::default(),
        }
    }

    fn with(key: Option<String>, roles: Roles, is_usable: bool) -> Self {
        let caller = is_usable.then(|| Caller::Key { roles, scope: Scope::of(roles) });
        let limits = Limits::default();
        Self { key, role: roles.highest(), caller, credential: true, limits }
    }

    fn key(client_id: String, rights: &KeyRights) -> Self {
        let roles = rights.roles.iter().copied().collect();
        let limits = rights.limits.clone();
        Self { limits, ..Self::with(Some(client_id), roles, rights.is_usable) }
    }

    fn name(&self) -> String {
        let role = self.role.map_or_else(|| "no role".to_owned(), |role| format!("role {role}"));
        match &self.key {
            Some(client_id) => format!("{}, {role}", printable(client_id)),
            None if self.credential => format!("a key with {role}"),
            None => "no credential".to_owned(),
        }
    }
}

/// A caller without a credential, and a key of each role.
fn everybody() -> Vec<Asking> {
    let roles = Role::ALL.into_iter().rev().map(Some);
    let keys = [None].into_iter().chain(roles);
    let keys = keys.map(|role| Asking::with(None, Roles::from(role), true));
    [Asking::nobody()].into_iter().chain(keys).collect()
}

/// A decision for one caller. A member is never left out.
#[derive(Debug, Serialize)]
struct Decision {
    #[serde(skip)]
    name: String,
    /// The client id; null if no key was named.
    key: Option<String>,
    /// Whether the caller sends a credential.
    credential: bool,
    role: Option<Role>,
    allowed: bool,
    /// `path`, `credential`, `method`, `role`, `scope`, `rule`, or a limit of the key: `project`,
    /// `domain`, `no_project`, `unseen_body` or `unreadable_body`; null if allowed.
    reason: Option<&'static str>,
    /// The reason as a sentence.
    message: Option<String>,
}

/// Why the gate decides as it does. A member is never left out.
#[derive(Debug, Serialize)]
struct Explanation {
    method: String,
    path: String,
    /// The rule that decides; null if no rule covers the path.
    rule: Option<Row>,
    /// Empty if Gatekey answers the path itself.
    decisions: Vec<Decision>,
    #[serde(skip)]
    invalid_path: Option<InvalidPath>,
    /// The limits of the key that come before the rules.
    #[serde(skip)]
    before_rules: Vec<String>,
}

impl Explanation {
    fn new(
        config: &Config,
        settings: &Settings,
        request: &Asked<'_>,
        callers: Vec<Asking>,
    ) -> Self {
        let Asked { method, target, body } = *request;
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let own = own_paths::all();
        let parsed = Path::parse(path).and_then(|parsed| {
            if own.has_respelled(&parsed, path) { Err(InvalidPath::Respelled) } else { Ok(parsed) }
        });
        let rules = config.gate.rules();
        let (rule, is_own) = match &parsed {
            Ok(path) if own.contains(path.as_str()) && !config.gate.passes(path.as_str()) => {
                (Some(Row::own(Methods::of(method), path.as_str().to_owned())), true)
            }
            Ok(path) => {
                let rule = rules.find(method, path);
                (rule.map(|rule| Row::of(rule, config, settings)), false)
            }
            Err(_) => (None, false),
        };
        let decision = |asking: Asking| {
            let denial = match &parsed {
                Ok(path) => denial(&rules, method, path, query, &asking)
                    .or_else(|| beyond_limits(method, path, query, body, config, &asking)),
                Err(invalid) => Some((invalid.reason().as_str(), invalid.to_string())),
            };
            let (reason, message) = denial.unzip();
            let (name, allowed) = (asking.name(), reason.is_none());
            let Asking { key, role, credential, caller: _, limits: _ } = asking;
            Decision { name, key, credential, role, allowed, reason, message }
        };
        let before_rules = callers.iter().flat_map(before_rules).collect();
        Self {
            method: method.to_string(),
            path: target.to_owned(),
            before_rules,
            invalid_path: parsed.as_ref().err().copied(),
            rule,
            decisions: if is_own {
                Vec::new()
            } else {
                callers.into_iter().map(decision).collect()
            },
        }
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        if let Some(notation) = format.notation() {
            return notation.print(self);
        }
        if let Some(invalid) = self.invalid_path {
            say!("{}  refused for everybody: {invalid}", output::dim("path  "))?;
            return Ok(());
        }
        match &self.rule {
            Some(rule) if rule.source == OWN => {
                say!("{}  Gatekey answers this path itself", output::dim("rule  "))?;
                return Ok(());
            }
            Some(rule) => {
                let source = rule.source();
                say!("{}  {} {}", output::dim("rule  "), rule.methods(), printable(&rule.pattern))?;
                say!("{}  {}", output::dim("access"), output::bold(&needs(rule.access)))?;
                say!("{}  {}\n", output::dim("source"), printable(&source))?;
            }
            None => say!("{}  none, so the request is denied\n", output::dim("rule  "))?,
        }
        for limit in &self.before_rules {
            say!("{}  {limit}, checked before the rule\n", output::dim("limit "))?;
        }
        let cells = self.decisions.iter().map(|decision| {
            let verdict = if decision.allowed { "allowed" } else { "denied" };
            let message = decision.message.clone().unwrap_or_default();
            vec![decision.name.clone(), verdict.to_owned(), message]
        });
        say!("{}", output::table(&["CALLER", "DECISION", "REASON"], cells))?;
        Ok(())
    }
}

/// The limits of a key that the gate checks before the rules, and that depend on more than the
/// request.
fn before_rules(asking: &Asking) -> Vec<String> {
    let Limits { allow_from, rate, .. } = &asking.limits;
    let networks: Vec<_> = allow_from.iter().map(ToString::to_string).collect();
    let networks = (!networks.is_empty()).then(|| format!("used from {}", networks.join(", ")));
    let rate = rate.map(|rate| format!("used at most {rate}"));
    networks.into_iter().chain(rate).collect()
}

/// An access with the role and scope that it needs.
fn needs(word: &str) -> String {
    let access = Access::ALL.into_iter().find(|access| access.as_str() == word);
    match access.and_then(|access| Some((access.role()?, access.scope()))) {
        Some((role, scope)) => format!("{word}: role {role} and scope {}", scope.as_str()),
        None => word.to_owned(),
    }
}

/// The reason why a caller is denied, as a word and a sentence.
fn denial(
    rules: &Rules,
    method: &Method,
    path: &Path<'_>,
    query: Option<&str>,
    asking: &Asking,
) -> Option<(&'static str, String)> {
    let caller = asking.caller.unwrap_or(Caller::Nobody);
    let denial = decide(rules, method, path, query, caller).err()?;
    let message = match asking.caller {
        Some(_) => denial.to_string(),
        None => "the key is disabled, expired or not valid yet".to_owned(),
    };
    Some((denial.reason().as_str(), message))
}

/// The reason why a request is beyond the projects and domains of its key.
fn beyond_limits(
    method: &Method,
    path: &Path<'_>,
    query: Option<&str>,
    body: Option<&[u8]>,
    config: &Config,
    asking: &Asking,
) -> Option<(&'static str, String)> {
    let is_json = body.is_some_and(|body| body.trim_ascii_start().starts_with(b"{"));
    let kind = match (path.is_procedure(), is_json) {
        (_, true) => "application/json",
        (true, false) => "application/proto",
        (false, false) => "application/octet-stream",
    };
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
    let (path, body) = (path.as_str(), body.map_or(Body::Unseen, Body::Whole));
    let seen = Seen { method, path, query, headers: &headers, body, most: config.gate.max_message };
    let denial = projects::check(&asking.limits, &seen).err()?;
    let message = match denial {
        ProjectDenial::Unseen => {
            "this API key is limited to projects or domains; show what it sends with --body"
                .to_owned()
        }
        _ => denial.to_string(),
    };
    Some((denial.reason().as_str(), message))
}
