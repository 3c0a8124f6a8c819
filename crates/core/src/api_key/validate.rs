//! [`Validation`]: the rules of a key's fields.

use std::{collections::HashSet, hash::Hash, time::Duration};

use gatekey_credentials::{detection::holds_credential, text};

use super::{Application, Limits, limits, redirect_uri};
use crate::{Error, Timestamp, error::Violation};

/// The longest client name or label, in characters.
pub const MAX_NAME_LENGTH: usize = 200;
/// The longest URI, in bytes.
pub const MAX_URI_LENGTH: usize = 2048;
/// A key can have at most this many redirect URIs, contacts, grants or response types.
pub const MAX_LIST_LENGTH: usize = 50;
/// The longest grace of a rotation.
pub const MAX_GRACE: Duration = Duration::from_hours(2160);
/// The longest contact, in bytes: an e-mail address of the longest parts (RFC 5321 section
/// 4.5.3.1).
const MAX_CONTACT_LENGTH: usize = 320;

/// The rule of every text: people paste credentials into the wrong fields, and what a key shows is
/// listed, logged and recorded for ever.
pub(super) const NO_CREDENTIAL: &str = "must not contain a secret or a token";

/// Collects every rule that a request breaks, so that the caller learns all of them at once.
#[derive(Debug, Default)]
pub(super) struct Validation(Vec<Violation>);

impl Validation {
    /// Succeeds if no rule was broken.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    pub(super) fn application(&mut self, application: &Application) {
        self.name("client_name", &application.client_name);
        self.list("redirect_uris", &application.redirect_uris, MAX_URI_LENGTH);
        for uri in &application.redirect_uris {
            if let Err(rule) = redirect_uri::validate(uri) {
                self.broken("redirect_uris", rule.to_string());
            }
        }
        self.list("contacts", &application.contacts, MAX_CONTACT_LENGTH);
        self.web_address("logo_uri", &application.logo_uri);
        self.web_address("client_uri", &application.client_uri);
        self.web_address("policy_uri", &application.policy_uri);
        self.web_address("tos_uri", &application.tos_uri);
        self.web_address("jwks_uri", &application.jwks_uri);
        self.distinct("grant_types", &application.grant_types);
        self.distinct("response_types", &application.response_types);
    }

    pub(super) fn label(&mut self, field: &'static str, label: &str) {
        if label.chars().count() > MAX_NAME_LENGTH {
            self.broken(field, format!("must be at most {MAX_NAME_LENGTH} characters long"));
        } else {
            self.shown_as_it_is(field, label);
        }
        self.text(field, label);
    }

    /// Checks that a text contains no credential.
    pub(super) fn text(&mut self, field: &'static str, text: &str) {
        if holds_credential(text) {
            self.broken(field, NO_CREDENTIAL);
        }
    }

    pub(super) fn expiry(&mut self, expires_at: Option<Timestamp>, now: Timestamp) {
        if expires_at.is_some_and(|at| at <= now || at > Timestamp::MAX) {
            self.broken("expires_at", "must be in the future, and before the year 10000");
        }
    }

    pub(super) fn limits(&mut self, given: &Limits) {
        let Limits { allow_from, rate: _, projects, domains } = given;
        for (field, checked) in [
            ("allow_from", limits::check_networks(allow_from)),
            ("projects", limits::check_labels(projects)),
            ("domains", limits::check_labels(domains)),
        ] {
            if let Err(rule) = checked {
                self.broken(field, rule);
            }
        }
    }

    pub(super) fn grace(&mut self, grace: Duration) {
        if grace > MAX_GRACE {
            self.broken("grace", "must be at most 90 days");
        }
    }

    fn name(&mut self, field: &'static str, name: &str) {
        if name.trim().is_empty() {
            self.broken(field, "must not be empty");
        } else if text::deceptive_character(name).is_none() && !text::is_visible(name) {
            self.broken(field, "must contain a visible character");
        } else {
            self.label(field, name);
        }
    }

    /// Refuses characters that are invisible or turn text around: one admin reads in lists what
    /// another caller wrote.
    fn shown_as_it_is(&mut self, field: &'static str, text: &str) {
        match text::deceptive_character(text) {
            None => {}
            Some(character) if character.is_control() => {
                self.broken(field, "must not contain control characters");
            }
            Some(character) => {
                let code = u32::from(character);
                let rule = format!(
                    "must not contain U+{code:04X}, which is invisible or changes the direction of text"
                );
                self.broken(field, rule);
            }
        }
    }

    fn list(&mut self, field: &'static str, list: &[String], longest: usize) {
        if list.len() > MAX_LIST_LENGTH {
            self.broken(field, format!("must have at most {MAX_LIST_LENGTH} entries"));
        }
        let fits = |entry: &String| {
            (1..=longest).contains(&entry.len()) && !entry.chars().any(char::is_control)
        };
        if list.iter().all(fits) {
            let deceptive = list.iter().find(|entry| text::deceptive_character(entry).is_some());
            if let Some(entry) = deceptive {
                self.shown_as_it_is(field, entry);
            }
        } else {
            let rule =
                format!("must have entries of 1 to {longest} bytes without control characters");
            self.broken(field, rule);
        }
        self.distinct(field, list);
        if list.iter().any(|entry| holds_credential(entry)) {
            self.broken(field, NO_CREDENTIAL);
        }
    }

    fn distinct<T: Eq + Hash>(&mut self, field: &'static str, list: &[T]) {
        if list.iter().collect::<HashSet<_>>().len() < list.len() {
            self.broken(field, "must not name the same thing twice");
        }
    }

    fn web_address(&mut self, field: &'static str, uri: &str) {
        if !uri.is_empty() && (uri.len() > MAX_URI_LENGTH || !is_web_address(uri)) {
            let rule =
                format!("must be an absolute http or https URL of at most {MAX_URI_LENGTH} bytes");
            self.broken(field, rule);
        }
        self.text(field, uri);
    }

    pub(super) fn broken(&mut self, field: &'static str, rule: impl Into<String>) {
        self.0.push(Violation { field, rule: rule.into() });
    }
}

fn is_web_address(uri: &str) -> bool {
    !uri.chars().any(|c| c.is_control() || c.is_whitespace())
        && url::Url::parse(uri)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}
