//! [`DatabaseUrl`]: which PostgreSQL servers, which database, and how they are checked.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// The default of `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PORT: u16 = 5432;

/// The URL of a PostgreSQL database. Shown without its password.
///
/// Like libpq's, with several hosts and the parameters that [`FromStr`] names, but stricter: every
/// parameter must be known, and the server's certificate is verified unless the server is on this
/// machine or `sslmode=disable` is given.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) password: Option<Password>,
    pub(super) database: String,
    pub(super) tls: Tls,
    /// The limit for one host.
    pub(super) connect_timeout: Duration,
    pub(super) application_name: String,
}

/// A password, which is wiped when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password over.
    pub fn new(password: String) -> Self {
        Self(Zeroizing::new(password))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[a password]")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The directory of a Unix socket, and the port in the socket's name.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

impl Host {
    /// Whether nobody but this machine can answer.
    fn is_local(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp { name, .. } => {
                name == "localhost"
                    || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    Disabled,
    /// TLS, with a certificate for the host's name from these authorities.
    Verified(Authorities),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authorities {
    OfSystem,
    File(PathBuf),
}

/// Why a text is no [`DatabaseUrl`]. Quotes no part that can contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatabaseUrl(String);

impl DatabaseUrl {
    /// Sets the password, unless the URL has one.
    ///
    /// # Errors
    /// If the URL has one.
    pub fn with_password(self, password: Password) -> Result<Self, InvalidDatabaseUrl> {
        if self.password.is_some() {
            return Err(invalid("has a password, and another one is given beside it"));
        }
        Ok(Self { password: Some(password), ..self })
    }

    /// Whether the URL has a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    /// Parses `postgres://user:password@host:port,host:port/database?parameter=value`.
    ///
    /// A host that begins with `/`, percent-encoded or as parameter `host`, is the directory of a
    /// Unix socket. The parameters are `host`, `port`, `sslmode` (`verify-full` or `disable`),
    /// `sslrootcert`, `connect_timeout` (seconds for each host), `application_name` and
    /// `target_session_attrs` (`read-write`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or_else(|| invalid("does not begin with postgres:// or postgresql://"))?;
        if rest.contains('#') {
            return Err(invalid("has a fragment; write # as %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials {
            Some(credentials) => match credentials.split_once(':') {
                Some((user, password)) => (decoded(user)?, Some(decoded(password)?)),
                None => (decoded(credentials)?, None),
            },
            None => (String::new(), None),
        };
        let parameters = Parameters::parse(query)?;
        if user.is_empty() {
            return Err(invalid("names no user, as in postgres://gatekey@host/database"));
        }
        let database = decoded(database)?;
        if database.is_empty() {
            return Err(invalid("names no database, as in postgres://gatekey@host/database"));
        }
        let hosts = parameters.hosts(hosts)?;
        let tls = parameters.tls(&hosts)?;
        Ok(Self {
            hosts,
            user,
            password: password.map(Password::new),
            database,
            tls,
            connect_timeout: parameters.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            application_name: parameters.application_name.unwrap_or_else(|| "gatekey".to_owned()),
        })
    }
}

#[derive(Default)]
struct Parameters {
    host: Option<String>,
    port: Option<u16>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    connect_timeout: Option<Duration>,
    application_name: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, InvalidDatabaseUrl> {
        let mut parameters = Self::default();
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(invalid("has a parameter without a value"));
            };
            if seen.contains(&name) {
                return Err(invalid(format!("has parameter {} twice", shown(name))));
            }
            seen.push(name);
            parameters.set(name, decoded(value)?)?;
        }
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), InvalidDatabaseUrl> {
        match name {
            "host" => self.host = Some(value),
            "port" => self.port = Some(port(&value)?),
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.sslrootcert = Some(value),
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=60).contains(seconds));
                let seconds =
                    seconds.ok_or_else(|| invalid("has no connect_timeout from 1 to 60"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds));
            }
            "target_session_attrs" if value == "read-write" => {}
            "target_session_attrs" => {
                return Err(invalid(
                    "has target_session_attrs other than read-write; Gatekey needs a primary server",
                ));
            }
            "password" => {
                return Err(invalid(
                    "has parameter password; write it before the host, or use a file",
                ));
            }
            _ => {
                let name = shown(name);
                return Err(invalid(format!("has parameter {name}, which Gatekey does not know")));
            }
        }
        Ok(())
    }

    fn hosts(&self, named: &str) -> Result<Vec<Host>, InvalidDatabaseUrl> {
        let named = match (&self.host, named) {
            (Some(host), "") => host,
            (None, named) => named,
            (Some(_), _) => return Err(invalid("names hosts twice: before and after the ?")),
        };
        if named.is_empty() {
            return Err(invalid("names no host, as in postgres://gatekey@host/database"));
        }
        named.split(',').map(|host| self.host(host)).collect()
    }

    fn host(&self, host: &str) -> Result<Host, InvalidDatabaseUrl> {
        let default = self.port.unwrap_or(PORT);
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) =
                    rest.split_once(']').ok_or_else(|| invalid("has [ without ]"))?;
                let port = match rest.strip_prefix(':') {
                    Some(number) => port(number)?,
                    None if rest.is_empty() => default,
                    None => return Err(invalid("has something else than a port after ]")),
                };
                (name.to_owned(), port)
            }
            None => match host.split_once(':') {
                Some((name, number)) => (decoded(name)?, port(number)?),
                None => (decoded(host)?, default),
            },
        };
        if name.is_empty() {
            return Err(invalid("has an empty host"));
        }
        if name.starts_with('/') {
            return Ok(Host::Unix { directory: name.into(), port });
        }
        if name.bytes().any(|byte| !(byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))) {
            return Err(invalid("has a host with a character that no host name has"));
        }
        Ok(Host::Tcp { name, port })
    }

    fn tls(&self, hosts: &[Host]) -> Result<Tls, InvalidDatabaseUrl> {
        let are_local = hosts.iter().all(Host::is_local);
        let authorities = match self.sslrootcert.as_deref() {
            None | Some("system") => Authorities::OfSystem,
            Some(file) => Authorities::File(file.into()),
        };
        match self.sslmode.as_deref() {
            Some("verify-full") => Ok(Tls::Verified(authorities)),
            Some("disable") if self.sslrootcert.is_some() => {
                Err(invalid("has sslrootcert, which sslmode=disable does not use"))
            }
            Some("disable") => Ok(Tls::Disabled),
            Some(_) => Err(invalid(
                "has an sslmode that does not check who answers; use verify-full, with sslrootcert for a private \
                 authority, or disable",
            )),
            None if are_local && self.sslrootcert.is_none() => Ok(Tls::Disabled),
            None => Ok(Tls::Verified(authorities)),
        }
    }
}

fn port(text: &str) -> Result<u16, InvalidDatabaseUrl> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| invalid("has a port that is not a number from 1 to 65535"))
}

fn decoded(text: &str) -> Result<String, InvalidDatabaseUrl> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| invalid("has a part that is not UTF-8"))?;
    if decoded.contains('\0') {
        return Err(invalid("has a NUL"));
    }
    Ok(decoded.into_owned())
}

/// A parameter's name in a message, unless it is no name: then it can be part of a password that
/// was not encoded.
fn shown(name: &str) -> &str {
    let is_name =
        name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_name { name } else { "with an unusual name" }
}

fn invalid(reason: impl Into<String>) -> InvalidDatabaseUrl {
    InvalidDatabaseUrl(reason.into())
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "postgres://{}@", self.user)?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp { name, port } if name.contains(':') => {
                    write!(formatter, "{comma}[{name}]:{port}")?;
                }
                Host::Tcp { name, port } => write!(formatter, "{comma}{name}:{port}")?,
                Host::Unix { directory, port } => {
                    write!(formatter, "{comma}{}:{port}", directory.display())?;
                }
            }
        }
        write!(formatter, "/{}", self.database)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<DatabaseUrl>().unwrap_err().to_string()
    }

    #[test]
    fn a_remote_server_is_verified_by_default() {
        for text in [
            "postgres://gatekey@db.example.com/gatekey",
            "postgres://gatekey@127.0.0.1,db.example.com/gatekey",
            "postgres://gatekey@10.0.0.1/gatekey?sslmode=verify-full&sslrootcert=system",
        ] {
            assert_eq!(url(text).tls, Tls::Verified(Authorities::OfSystem), "{text}");
        }
        let file = url("postgresql://gatekey@db/gatekey?sslrootcert=/etc/ca.pem");
        assert_eq!(file.tls, Tls::Verified(Authorities::File("/etc/ca.pem".into())));
        for text in [
            "postgres://gatekey@localhost/gatekey",
            "postgres://gatekey@[::1]:5433/gatekey",
            "postgres://gatekey@%2Frun%2Fpostgresql/gatekey",
            "postgres://gatekey@/gatekey?host=/run/postgresql",
            "postgres://gatekey@db.example.com/gatekey?sslmode=disable",
        ] {
            assert_eq!(url(text).tls, Tls::Disabled, "{text}");
        }
    }

    #[test]
    fn modes_that_check_nothing_are_refused() {
        for mode in ["require", "prefer", "allow", "verify-ca", ""] {
            let refused = refused(&format!("postgres://gatekey@db/gatekey?sslmode={mode}"));
            assert!(refused.contains("verify-full"), "{mode}: {refused}");
        }
    }

    #[test]
    fn several_hosts_keep_their_order_and_ports() {
        let tcp = |name: &str, port| Host::Tcp { name: name.to_owned(), port };
        let parsed = url("postgres://gatekey@one,two:5433,[fe80::1]:5434/gatekey?port=5440");
        assert_eq!(parsed.hosts, [tcp("one", 5440), tcp("two", 5433), tcp("fe80::1", 5434)]);
    }

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        for name in ["sslcert", "options", "hostaddr", "gssencmode", "channel_binding"] {
            let refused = refused(&format!("postgres://gatekey@db/gatekey?{name}=x"));
            assert!(refused.contains(name), "{refused}");
        }
        assert!(refused("postgres://gatekey@db/gatekey?port=1&port=2").contains("twice"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = url("postgres://gatekey:hunter2%40x@db/gatekey?connect_timeout=9");
        assert_eq!(url.password.as_ref().unwrap().as_bytes(), b"hunter2@x");
        assert!(!format!("{url} {url:?} {:?}", url.password).contains("hunter2"));
        for text in [
            "postgres://gatekey:hunter2?x=@db/gatekey",
            "postgres://gatekey:hunter2#@db/gatekey",
            "postgres://gatekey:hunter2/x@db/gatekey",
            "postgres://gatekey@db/gatekey?password=hunter2",
            "postgres://gatekey@db/gatekey?hunter2",
            "mysql://gatekey:hunter2@db/gatekey",
        ] {
            assert!(!refused(text).contains("hunter2"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,80}", prefix in "(postgres://)?") {
            let _ = format!("{prefix}{text}").parse::<DatabaseUrl>().map(|url| url.to_string());
        }

        #[test]
        fn user_and_password_survive_encoding(user in "[^\0]{1,20}", password in "[^\0]{0,20}") {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let url = url(&format!("postgres://{}:{}@db/gatekey", encode(&user), encode(&password)));
            prop_assert_eq!(url.user, user);
            let parsed = url.password.unwrap();
            prop_assert_eq!(parsed.as_bytes(), password.as_bytes());
        }
    }
}
