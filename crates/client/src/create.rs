//! [`ApiKey::create`]: names a new key, and selects the service that creates it.

use std::time::SystemTime;

use buffa_types::google::protobuf::Timestamp;
use gatekey_credentials::{ClientId, Role, detection::holds_credential};
use gatekey_proto::{
    cloudidl::identity::{
        ConsentMethod, CreateAppRequest, GrantTypes, ResponseTypes, TokenEndpointAuthMethod,
    },
    gatekey::v1,
};

use crate::{
    ApiKey, Client, Error, api_key_service, apps_service,
    details::role_to_wire,
    error::{Kind, one_line},
};

/// The redirect URI of a key that is created without one, as in Union's client.
const DEFAULT_REDIRECT_URI: &str = "http://localhost:8080/authorization-code/callback";

/// Describes the key that [`ApiKey::create_with`] creates.
///
/// ```
/// use gatekey_client::{CreateOptions, Role};
///
/// let options = CreateOptions { role: Some(Role::Viewer), ..CreateOptions::new("dashboard") };
/// assert_eq!(options.name, "dashboard");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// The name; required. The client id is derived from it: lower case, with every run of
    /// characters other than `0-9 A-Z a-z` replaced by one `-`. The key's `client_name` is then
    /// the client id, as in Union's client.
    pub name: String,
    /// The client id, instead of the derived one. The key's `client_name` is then `name`.
    pub client_id: Option<String>,
    /// The redirect URIs of the authorization code grant. Empty means
    /// `http://localhost:8080/authorization-code/callback`.
    pub redirect_uris: Vec<String>,
    /// Attaches no default policy to the key. On a Gatekey server, the key gets no role.
    pub skip_default_policy_assignments: bool,
    /// The key's role. `None` means the server's default, `contributor`. Gatekey servers only.
    pub role: Option<Role>,
    /// The time from which the key is rejected. `None` means never. Gatekey servers only.
    pub expires_at: Option<SystemTime>,
    /// Free text stored with the first secret, at most 200 characters. Gatekey servers only.
    pub secret_label: Option<String>,
    /// The networks that the key may be used from, such as `10.0.0.0/8`. Empty means any. Gatekey
    /// servers only.
    pub allow_from: Vec<String>,
    /// How often the key may be used, such as `100/s`. `None` means any rate. Gatekey servers only.
    pub rate: Option<String>,
    /// The Flyte projects that the gate admits the key for. Empty means any. Gatekey servers only.
    pub projects: Vec<String>,
    /// The Flyte domains that the gate admits the key for. Empty means any. Gatekey servers only.
    pub domains: Vec<String>,
}

impl CreateOptions {
    /// Sets the name; every other field has its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether the public API lacks a field for one of the options.
    fn needs_gatekey(&self) -> bool {
        self.role.is_some()
            || self.expires_at.is_some()
            || self.secret_label.is_some()
            || self.has_limits()
    }

    fn has_limits(&self) -> bool {
        let Self { allow_from, rate, projects, domains, .. } = self;
        !allow_from.is_empty() || rate.is_some() || !projects.is_empty() || !domains.is_empty()
    }

    fn into_app_request(self, naming: Naming) -> CreateAppRequest {
        CreateAppRequest {
            organization: naming.organization,
            client_id: naming.client_id,
            client_name: naming.client_name,
            redirect_uris: redirect_uris_or_default(self.redirect_uris),
            response_types: vec![ResponseTypes::CODE.into()],
            grant_types: vec![
                GrantTypes::CLIENT_CREDENTIALS.into(),
                GrantTypes::AUTHORIZATION_CODE.into(),
            ],
            token_endpoint_auth_method: TokenEndpointAuthMethod::CLIENT_SECRET_BASIC.into(),
            consent_method: ConsentMethod::CONSENT_METHOD_REQUIRED.into(),
            skip_default_policy_assignments: self.skip_default_policy_assignments,
            ..CreateAppRequest::default()
        }
    }

    fn into_gatekey_request(self, naming: Naming) -> v1::CreateRequest {
        v1::CreateRequest {
            client_id: naming.client_id,
            client_name: naming.client_name,
            role: self.role.map_or(v1::Role::ROLE_UNSPECIFIED, role_to_wire).into(),
            without_role: self.skip_default_policy_assignments,
            redirect_uris: redirect_uris_or_default(self.redirect_uris),
            expires_at: self.expires_at.map(Timestamp::from).into(),
            secret_label: self.secret_label.unwrap_or_default(),
            allow_from: self.allow_from,
            rate: self.rate.unwrap_or_default(),
            projects: self.projects,
            domains: self.domains,
            ..v1::CreateRequest::default()
        }
    }
}

impl ApiKey {
    /// Creates a key with the default options; see [`ApiKey::create_with`].
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::create(&client, "CI Pipeline").await?;
    /// assert_eq!(key.client_id(), "ci-pipeline");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(client: &Client, name: &str) -> Result<Self, Error> {
        Self::create_with(client, CreateOptions::new(name)).await
    }

    /// Creates a key. Only this response contains the secret: store
    /// [`ApiKey::encoded_credentials`].
    ///
    /// The request goes to Gatekey's API key service (`gatekey.v1`) if the options need it, else to
    /// `AppsService/Create`. On Union's serverless endpoints the client id is
    /// `tenant-userhandle-name` and the organization is the caller's, as in Union's client.
    ///
    /// # Errors
    /// [`is_already_exists`](Error::is_already_exists) if the client id is taken, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) if a value breaks a rule. A call whose
    /// response is lost is retried: a Gatekey server then returns another secret for the new key,
    /// while other servers may report that the key exists.
    ///
    /// ```no_run
    /// use gatekey_client::{ApiKey, CreateOptions, Role};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let options = CreateOptions { role: Some(Role::Viewer), ..CreateOptions::new("dashboard") };
    /// let key = ApiKey::create_with(&client, options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_with(client: &Client, options: CreateOptions) -> Result<Self, Error> {
        if options.role.is_some() && options.skip_default_policy_assignments {
            return Err(Error::new(
                Kind::InvalidArgument,
                "role conflicts with skip_default_policy_assignments, which creates a key without a role",
            ));
        }
        let naming = Naming::of(client, &options).await?;
        if options.needs_gatekey() {
            let has_limits = options.has_limits();
            api_key_service::create(client, options.into_gatekey_request(naming), has_limits).await
        } else {
            apps_service::create(client, options.into_app_request(naming)).await
        }
    }
}

/// The names of a new key.
struct Naming {
    client_id: String,
    client_name: String,
    organization: String,
}

impl Naming {
    async fn of(client: &Client, options: &CreateOptions) -> Result<Self, Error> {
        if let Some(client_id) = &options.client_id {
            let client_name = [&options.name, client_id].into_iter().find(|name| !name.is_empty());
            return Ok(Self {
                client_id: client_id.clone(),
                client_name: client_name.cloned().unwrap_or_default(),
                organization: client.request_organization().await?,
            });
        }
        // The derived client id is lower case, in which the server recognizes no secret.
        if holds_credential(&options.name) {
            return Err(Error::new(
                Kind::InvalidArgument,
                "the name must not contain a secret or a token",
            ));
        }
        let derived = ClientId::derive_from_name(&options.name).map_err(|error| {
            Error::new(
                Kind::InvalidArgument,
                format!("the name {:?} {error}", one_line(&options.name)),
            )
            .caused_by(error)
        })?;
        let client_id = match client.serverless_tenant() {
            Some(tenant) => format!("{tenant}-{}-{derived}", client.user_handle().await?),
            None => derived.to_string(),
        };
        Ok(Self {
            client_name: client_id.clone(),
            client_id,
            organization: client.request_organization().await?,
        })
    }
}

fn redirect_uris_or_default(redirect_uris: Vec<String>) -> Vec<String> {
    if redirect_uris.is_empty() { vec![DEFAULT_REDIRECT_URI.to_owned()] } else { redirect_uris }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatekey_credentials::{EncodedCredentials, PlainSecret};
    use gatekey_proto::cloudidl::identity::App;

    #[tokio::test]
    async fn serverless_keys_are_named_as_in_unions_client() {
        let client = Client::builder()
            .endpoint("https://serverless-1.us-east-2.s.union.ai")
            .credentials("me", PlainSecret::new("s"))
            .build()
            .unwrap();
        client.set_user_handle("ada");
        let naming = Naming::of(&client, &CreateOptions::new("CI Pipeline")).await.unwrap();
        assert_eq!(naming.client_id, "serverless-1-ada-ci-pipeline");
        assert_eq!(naming.client_name, naming.client_id);
        assert_eq!(naming.organization, "ada");

        let app =
            App { client_id: naming.client_id, client_secret: "s3cret".into(), ..App::default() };
        let key = ApiKey::from_response(Some(app), "create", &naming.organization).unwrap();
        let key = key.encoded_for(&client).unwrap();
        assert_eq!(key.organization(), Some("ada"));
        let encoded = EncodedCredentials::decode(key.encoded_credentials().unwrap()).unwrap();
        assert_eq!(encoded.endpoint(), "serverless-1.us-east-2.s.union.ai");
        assert_eq!(encoded.organization(), "ada");
    }
}
