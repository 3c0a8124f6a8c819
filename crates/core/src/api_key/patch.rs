//! [`ApiKeyPatch`]: the changes of an update.

use gatekey_credentials::Role;

use super::{
    ApiKey, Application, ApplicationType, GrantType, Limits, Rate, ResponseType,
    TokenEndpointAuthMethod, limits,
};
use crate::{Timestamp, network::Networks};

/// The changes of an update. `None` keeps a field; a list is replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeyPatch {
    pub client_name: Option<String>,
    pub redirect_uris: Option<Vec<String>>,
    pub response_types: Option<Vec<ResponseType>>,
    pub grant_types: Option<Vec<GrantType>>,
    pub application_type: Option<ApplicationType>,
    pub contacts: Option<Vec<String>>,
    pub logo_uri: Option<String>,
    pub client_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
    pub jwks_uri: Option<String>,
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// Replaces all roles; `Some(None)` takes them away.
    pub role: Option<Option<Role>>,
    /// `Some(None)` removes the expiry.
    pub expires_at: Option<Option<Timestamp>>,
    /// Empty networks permit any.
    pub allow_from: Option<Networks>,
    /// `Some(None)` permits any rate.
    pub rate: Option<Option<Rate>>,
    /// An empty list permits any.
    pub projects: Option<Vec<String>>,
    /// An empty list permits any.
    pub domains: Option<Vec<String>>,
}

impl ApiKeyPatch {
    /// Applies the changes to a key. The store calls it inside its transaction.
    pub fn apply(&self, key: &mut ApiKey, at: Timestamp) {
        self.apply_to_application(&mut key.application);
        if let Some(role) = self.role {
            key.roles = role.into();
        }
        set(&mut key.expires_at, self.expires_at.as_ref());
        self.apply_to_limits(&mut key.limits);
        key.updated_at = at;
    }

    /// Applies only the changes to the descriptive part.
    pub fn apply_to_application(&self, application: &mut Application) {
        set(&mut application.client_name, self.client_name.as_ref());
        set(&mut application.redirect_uris, self.redirect_uris.as_ref());
        set(&mut application.response_types, self.response_types.as_ref());
        set(&mut application.grant_types, self.grant_types.as_ref());
        set(&mut application.application_type, self.application_type.as_ref());
        set(&mut application.contacts, self.contacts.as_ref());
        set(&mut application.logo_uri, self.logo_uri.as_ref());
        set(&mut application.client_uri, self.client_uri.as_ref());
        set(&mut application.policy_uri, self.policy_uri.as_ref());
        set(&mut application.tos_uri, self.tos_uri.as_ref());
        set(&mut application.jwks_uri, self.jwks_uri.as_ref());
        set(&mut application.token_endpoint_auth_method, self.token_endpoint_auth_method.as_ref());
    }

    /// Applies only the changes to the limits.
    pub fn apply_to_limits(&self, limits: &mut Limits) {
        set(&mut limits.allow_from, self.allow_from.as_ref());
        set(&mut limits.rate, self.rate.as_ref());
        set(&mut limits.projects, self.projects.as_ref());
        set(&mut limits.domains, self.domains.as_ref());
    }

    /// The changed limits in words, for the ledger.
    pub fn changed_limits(&self) -> String {
        let Self { allow_from, rate, projects, domains, .. } = self;
        let rate = rate.as_ref().map(Option::as_slice);
        limits::words(allow_from.as_ref(), rate, projects.as_deref(), domains.as_deref())
    }

    /// The names of the changed fields, for the ledger.
    pub fn changed_fields(&self) -> Vec<&'static str> {
        [
            ("client_name", self.client_name.is_some()),
            ("redirect_uris", self.redirect_uris.is_some()),
            ("response_types", self.response_types.is_some()),
            ("grant_types", self.grant_types.is_some()),
            ("application_type", self.application_type.is_some()),
            ("contacts", self.contacts.is_some()),
            ("logo_uri", self.logo_uri.is_some()),
            ("client_uri", self.client_uri.is_some()),
            ("policy_uri", self.policy_uri.is_some()),
            ("tos_uri", self.tos_uri.is_some()),
            ("jwks_uri", self.jwks_uri.is_some()),
            ("token_endpoint_auth_method", self.token_endpoint_auth_method.is_some()),
            ("role", self.role.is_some()),
            ("expires_at", self.expires_at.is_some()),
            ("allow_from", self.allow_from.is_some()),
            ("rate", self.rate.is_some()),
            ("projects", self.projects.is_some()),
            ("domains", self.domains.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, changes)| changes.then_some(field))
        .collect()
    }
}

fn set<T: Clone>(field: &mut T, change: Option<&T>) {
    if let Some(change) = change {
        field.clone_from(change);
    }
}
