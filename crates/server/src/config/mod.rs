//! The configuration of a server.
//!
//! [`Settings`] are the values that flags, environment and file set. [`Settings::resolve`] applies
//! the defaults and validates everything; the result is a [`Config`]. Each section has a file with
//! its settings, defaults and rules. [`definition`] explains how a setting is defined. To add a
//! section, add a file with a `Section`, a field in `Sections`, and a field in [`Config`].

pub mod database;
pub mod definition;
mod file;
mod flat_names;
pub mod gate;
pub mod identity;
mod invalid_setting;
mod issuers;
pub mod keys;
pub mod limits;
pub mod log;
mod resolve;
mod schema;
mod sections;
pub mod server;
mod settings;
pub mod tls;
pub mod tokens;
pub mod traces;

pub use definition::{Setting, sections, setting, settings};
pub use file::InvalidFile;
pub use flat_names::FlatName;
pub use invalid_setting::{InvalidSetting, Origin};
pub use resolve::Config;
pub use schema::schema;
pub use server::{ForwardedHeader, Reflection};
pub use settings::Settings;
pub use tls::TlsMode;
pub use toml::Value;

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        path::{Path, PathBuf},
    };

    use gatekey_core::network::Network;
    use gatekey_credentials::{Role, jwt::Algorithm};
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::{sections::Sections, *};

    pub(super) fn resolve_on(listening: &str, toml: &str) -> Result<Config, Vec<InvalidSetting>> {
        let settings = match Settings::from_toml(Path::new("gatekey.toml"), toml) {
            Ok(settings) => settings,
            Err(InvalidFile::Settings(invalid)) => return Err(invalid),
            Err(syntax @ InvalidFile::Syntax { .. }) => panic!("{syntax}"),
        };
        settings.resolve(listening.parse().unwrap())
    }

    pub(super) fn resolve(toml: &str) -> Result<Config, Vec<InvalidSetting>> {
        resolve_on("127.0.0.1:8443", toml)
    }

    pub(super) fn broken_on(listening: &str, toml: &str) -> Vec<String> {
        resolve_on(listening, toml)
            .unwrap_err()
            .into_iter()
            .map(|invalid| invalid.setting)
            .collect()
    }

    pub(super) fn broken(toml: &str) -> Vec<String> {
        broken_on("127.0.0.1:8443", toml)
    }

    pub(super) fn settings(toml: &str) -> Settings {
        Settings::from_toml(Path::new("gatekey.toml"), toml).unwrap()
    }

    #[test]
    fn every_setting_is_described() {
        for section in sections() {
            assert!(!section.description.is_empty(), "{}", section.name);
        }
        for setting in super::settings() {
            assert!(!setting.summary().is_empty(), "{}", setting.path);
            assert!(
                setting.default().is_some() != setting.when_unset().is_some(),
                "{}",
                setting.path
            );
        }
        let schema = schema();
        assert_eq!(schema["properties"].as_object().unwrap().len(), sections().len());
        for section in sections() {
            let schema = &schema["properties"][&section.name];
            assert_eq!(schema["additionalProperties"], false);
            assert_eq!(schema["properties"].as_object().unwrap().len(), section.settings.len());
        }
        let text = schema.to_string();
        let has_keyword = |keyword: &str| text.contains(&format!("\"{keyword}\":"));
        assert!(!text.contains("null") && !has_keyword("required"), "{text}");
        for keyword in ["x-flag", "x-variable", "x-value", "x-bare", "x-unset", "x-group"] {
            assert!(!has_keyword(keyword), "{keyword}: {text}");
        }
    }

    #[test]
    fn the_defaults_in_the_schema_are_the_defaults() {
        let mut given = Settings::default();
        let file = Origin::LastStart;
        for setting in super::settings() {
            if let Some(default) = setting.default() {
                let default = Value::try_from(default).unwrap();
                given.set(setting, default, file.clone()).unwrap();
            }
        }
        let listening = given.listen();
        assert_eq!(listening, Settings::default().listen());
        assert_eq!(
            given.resolve(listening).unwrap(),
            Settings::default().resolve(listening).unwrap()
        );
    }

    #[test]
    fn every_invalid_setting_is_reported_with_its_place() {
        let toml = "[tokens]\nlifetime_seconds = 1\n\n[server]\norganization = \"a b\"";
        let invalid = resolve(toml).unwrap_err();
        let messages: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages[0],
            "gatekey.toml, line 2: tokens.lifetime_seconds must be a whole number from 60 to 86400"
        );
        assert!(
            messages[1].starts_with("gatekey.toml, line 5: server.organization must be"),
            "{messages:?}"
        );
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        "\\PC{1,20}".prop_map(PathBuf::from)
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        any::<(IpAddr, u16)>().prop_map(SocketAddr::from)
    }

    prop_compose! {
        fn server_section()(
            listen in address(),
            public_url in option::of("https://[a-z]{1,9}(:[1-9][0-9]{0,3})?/?"),
            organization in "[A-Za-z0-9._-]{0,63}",
            trusted_proxies in vec(any::<(IpAddr, u32)>(), 0..4),
            forwarded_header in prop_oneof![Just(ForwardedHeader::XForwardedFor), Just(ForwardedHeader::Forwarded)],
            admin_listen in option::of(address()),
            reflection in prop_oneof![Just(Reflection::Keys), Just(Reflection::Open)],
            idle_timeout_seconds in 1..=86_400_u64,
            max_connection_age_seconds in 1..=604_800_u64,
            connection_share_per_address in 0.0..=1.0,
        ) -> server::Section {
            let trusted_proxies = trusted_proxies.into_iter().filter_map(|(address, prefix)| Network::new(address, prefix % 129)).collect();
            server::Section { listen, public_url, organization, trusted_proxies, forwarded_header, admin_listen, reflection, idle_timeout_seconds, max_connection_age_seconds, connection_share_per_address }
        }
    }

    prop_compose! {
        fn tls_section()(files in option::of((path(), path())), plaintext: bool) -> tls::Section {
            let (cert_file, key_file) = files.unzip();
            tls::Section { plaintext: plaintext && cert_file.is_none(), cert_file, key_file }
        }
    }

    prop_compose! {
        fn tokens_section()(
            lifetime_seconds in 60..=86_400_u64,
            audiences in option::of(vec("[^\\s]{1,20}", 1..4)),
            authorization_metadata_key in "[a-z0-9-]{1,20}",
        ) -> tokens::Section {
            tokens::Section { lifetime_seconds, audiences, authorization_metadata_key }
        }
    }

    prop_compose! {
        fn keys_section()(
            root_key_file in option::of(path()),
            signing_algorithm in select(&Algorithm::ALL),
            signing_key_max_age_seconds in 3600..=315_360_000_u64,
            signing_key_publish_ahead_seconds in 600..=2_592_000_u64,
            default_lifetime_seconds in option::of(60..=100_u64),
            max_lifetime_seconds in option::of(100..=3_153_600_000_u64),
            max_secret_lifetime_seconds in option::of(60..=3_153_600_000_u64),
        ) -> keys::Section {
            keys::Section { root_key_file, signing_algorithm, signing_key_max_age_seconds, signing_key_publish_ahead_seconds, default_lifetime_seconds, max_lifetime_seconds, max_secret_lifetime_seconds }
        }
    }

    prop_compose! {
        fn database_section()(
            url in option::of("\\PC{0,20}"),
            password_file in option::of(path()),
        ) -> database::Section {
            database::Section { url, password_file }
        }
    }

    prop_compose! {
        fn identity_section()(
            family_name in option::of("[^\\pC\\s]{1,20}"),
            email in option::of("[a-z]{0,3}(\\{client_id\\})?@[a-z]{1,9}"),
            in_tokens: bool,
        ) -> identity::Section {
            identity::Section { family_name, email, in_tokens }
        }
    }

    prop_compose! {
        fn traces_section()(
            endpoint in option::of("https?://[a-z]{1,9}(/[a-z]{1,9})?/?"),
            full_endpoint in option::of("https?://[a-z]{1,9}(/[a-z]{1,9})?/?"),
            ca_file in option::of(path()),
            service_name in option::of("\\PC{1,20}"),
            sample_ratio in 0.0..=1.0_f64,
        ) -> traces::Section {
            traces::Section { endpoint, full_endpoint, ca_file, service_name, sample_ratio }
        }
    }

    prop_compose! {
        fn upstream_section()(
            url in "https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?/?",
            matches in vec("grpc|/[a-z]{1,9}(/\\*)?", 0..3),
            pass in vec("/[a-z]{1,9}", 0..2),
            audience in option::of("[a-z]{1,9}"),
            ca_file in option::of(path()),
        ) -> gate::UpstreamSection {
            gate::UpstreamSection { url, matches, pass, audience, ca_file }
        }
    }

    prop_compose! {
        fn issuer()(
            issuer in "https?://[a-z]{1,9}/?",
            alias in "[a-z]{0,9}",
            audience in "\\PC{0,9}",
            algorithms in vec(select(&Algorithm::ALL), 0..4),
            jwks_url in option::of("https?://[a-z]{1,9}/?"),
            authorized_parties in vec("\\PC{0,9}", 0..3),
            ca_file in option::of(path()),
            roles in vec(("\\PC{0,9}", "\\PC{0,9}", select(&Role::ALL)), 0..3),
        ) -> issuers::Issuer {
            let rule = |(claim, value, role)| issuers::Rule { claim, value, role };
            let roles = roles.into_iter().map(rule).collect();
            issuers::Issuer { issuer, alias, audience, algorithms, jwks_url, authorized_parties, ca_file, roles }
        }
    }

    prop_compose! {
        fn gate_section()(
            upstream in option::of("https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?/?"),
            audience in option::of("[^\\s]{1,20}"),
            upstreams in vec(upstream_section(), 0..3),
            issuers in vec(issuer(), 0..3),
            drain_seconds in 0..=3600_u64,
            cors_origins in vec("https?://[a-z]{1,9}(:8[0-9]{3})?", 0..3),
            max_message_bytes in 1024..=(32_usize << 20),
            // Valid whatever proxies are trusted.
            forward_auth in prop::strategy::Just(false),
            internal_services: bool,
            rules in prop::collection::btree_map(
                "/[a-z.]{1,9}/\\*|/[a-z]{1,9}|/a\\.B/[a-z]{1,9}",
                select(&gatekey_gate::Access::ALL),
                0..4,
            ),
        ) -> gate::Section {
            gate::Section {
                upstream,
                audience,
                upstreams,
                forward_auth,
                cors_origins,
                max_message_bytes,
                drain_seconds,
                internal_services,
                issuers,
                rules,
            }
        }
    }

    prop_compose! {
        fn any_sections()(
            server in server_section(),
            tls in tls_section(),
            tokens in tokens_section(),
            keys in keys_section(),
            database in database_section(),
            identity in identity_section(),
            failed_authentications_per_minute in 0..=10_000_u16,
            own_changes_per_minute in 0..=10_000_u16,
            format in select(&[log::LogFormat::Auto, log::LogFormat::Text, log::LogFormat::Json]),
            traces in traces_section(),
            gate in gate_section(),
        ) -> Sections {
            let limits = limits::Limits { failed_authentications_per_minute, own_changes_per_minute };
            Sections { server, tls, tokens, keys, database, identity, limits, log: log::Log { format }, traces, gate }
        }
    }

    proptest! {
        #[test]
        fn an_effective_configuration_survives_a_round_trip(sections in any_sections()) {
            let given = settings(&toml::to_string(&sections).unwrap());
            prop_assert_eq!(given.read(), sections);
            if let Ok(config) = given.resolve(given.listen()) {
                let effective = settings(&toml::to_string(&config.effective).unwrap());
                prop_assert_eq!(effective.resolve(effective.listen()).unwrap(), config);
            }
        }
    }
}
