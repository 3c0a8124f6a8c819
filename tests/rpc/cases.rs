//! A table of cases, run over each protocol.

use Caller::{Admin, BadToken, Contributor, Itself, Nobody};
use connectrpc::ErrorCode;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::{
    json,
    protocols::{Protocol, RpcClient},
    stop_and_read_log,
};
use crate::support::Server;

/// The caller of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    /// With an invalid credential.
    BadToken,
    /// A key with the role contributor.
    Contributor,
    /// The key `$key`.
    Itself,
    Admin,
}

/// The expected result of a call.
enum Expected {
    /// A response that matches this JSON, see [`json::check`].
    Response(&'static str),
    /// A code, and a message that contains these words.
    Refusal(ErrorCode, &'static [&'static str]),
}

/// A case. In its texts, `$new` stands for an unused client id, `$key` for a key that was created
/// for the case, `$secret_id` for the id of that key's secret, and `$current_secret` for the secret
/// itself.
struct Case {
    name: &'static str,
    procedure: &'static str,
    caller: Caller,
    request: &'static str,
    expected: Expected,
}

const fn answered(
    name: &'static str,
    procedure: &'static str,
    caller: Caller,
    request: &'static str,
    response: &'static str,
) -> Case {
    Case { name, procedure, caller, request, expected: Expected::Response(response) }
}

const fn refused(
    name: &'static str,
    procedure: &'static str,
    caller: Caller,
    request: &'static str,
    code: ErrorCode,
    words: &'static [&'static str],
) -> Case {
    Case { name, procedure, caller, request, expected: Expected::Refusal(code, words) }
}

macro_rules! apps {
    ($method:literal) => {
        concat!("/cloudidl.identity.AppsService/", $method)
    };
}

macro_rules! authorizer {
    ($method:literal) => {
        concat!("/cloudidl.authorizer.AuthorizerService/", $method)
    };
}

macro_rules! keys {
    ($method:literal) => {
        concat!("/gatekey.v1.ApiKeyService/", $method)
    };
}

const CASES: &[Case] = &[
    // cloudidl.identity.AppsService
    answered(
        "create",
        apps!("Create"),
        Admin,
        r#"{"clientId": "$new", "clientName": "$new", "grantTypes": ["CLIENT_CREDENTIALS"],
            "redirectUris": ["https://ci.example.com/callback"]}"#,
        r#"{"app": {"clientId": "$new", "clientName": "$new", "clientSecret": "<secret>",
            "organization": null, "clientIdIssuedAt": "<any>", "grantTypes": ["CLIENT_CREDENTIALS"],
            "redirectUris": ["https://ci.example.com/callback"], "responseTypes": null,
            "tokenEndpointAuthMethod": null}}"#,
    ),
    refused(
        "create an existing key",
        apps!("Create"),
        Admin,
        r#"{"clientId": "$key", "clientName": "another"}"#,
        ErrorCode::AlreadyExists,
        &["$key", "already exists"],
    ),
    refused(
        "create with an invalid client id",
        apps!("Create"),
        Admin,
        r#"{"clientId": "a:b", "clientName": "a"}"#,
        ErrorCode::InvalidArgument,
        &["client_id", "':'"],
    ),
    refused(
        "create with an invalid redirect URI",
        apps!("Create"),
        Admin,
        r#"{"clientId": "$new", "redirectUris": ["http://ci.example.com/callback"]}"#,
        ErrorCode::InvalidArgument,
        &["redirect_uris", "https"],
    ),
    refused(
        "create with an unknown enum number",
        apps!("Create"),
        Admin,
        r#"{"clientId": "$new", "grantTypes": [99]}"#,
        ErrorCode::InvalidArgument,
        &["grant_types", "99"],
    ),
    refused(
        "create for another organization",
        apps!("Create"),
        Admin,
        r#"{"clientId": "$new", "organization": "globex"}"#,
        ErrorCode::PermissionDenied,
        &["globex"],
    ),
    refused(
        "create without a token",
        apps!("Create"),
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "create with a bad token",
        apps!("Create"),
        BadToken,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "create as a contributor",
        apps!("Create"),
        Contributor,
        r#"{"clientId": "$new"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "get",
        apps!("Get"),
        Admin,
        r#"{"clientId": "$key"}"#,
        r#"{"app": {"clientId": "$key", "clientName": "$key", "clientSecret": null,
            "clientIdIssuedAt": "<any>"}}"#,
    ),
    answered(
        "get the calling key",
        apps!("Get"),
        Itself,
        r#"{"clientId": "$key"}"#,
        r#"{"app": {"clientId": "$key", "clientSecret": null}}"#,
    ),
    refused(
        "get an unknown key",
        apps!("Get"),
        Admin,
        r#"{"clientId": "$new"}"#,
        ErrorCode::NotFound,
        &["$new", "does not exist"],
    ),
    refused(
        "get nothing",
        apps!("Get"),
        Admin,
        "{}",
        ErrorCode::InvalidArgument,
        &["client_id", "empty"],
    ),
    refused(
        "get for another organization",
        apps!("Get"),
        Admin,
        r#"{"clientId": "$key", "organization": "globex"}"#,
        ErrorCode::PermissionDenied,
        &["globex"],
    ),
    refused(
        "get without a token",
        apps!("Get"),
        Nobody,
        r#"{"clientId": "$key"}"#,
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "get with an invalid token",
        apps!("Get"),
        BadToken,
        r#"{"clientId": "$key"}"#,
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "get another as a contributor",
        apps!("Get"),
        Contributor,
        r#"{"clientId": "$key"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "update",
        apps!("Update"),
        Admin,
        r#"{"clientId": "$key", "clientName": "renamed", "grantTypes": ["CLIENT_CREDENTIALS"]}"#,
        r#"{"app": {"clientId": "$key", "clientName": "renamed", "clientSecret": null,
            "grantTypes": ["CLIENT_CREDENTIALS"], "redirectUris": null}}"#,
    ),
    refused(
        "update an unknown key",
        apps!("Update"),
        Admin,
        r#"{"clientId": "$new", "clientName": "renamed"}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    refused(
        "update with an invalid home page",
        apps!("Update"),
        Admin,
        r#"{"clientId": "$key", "clientUri": "javascript:alert(1)"}"#,
        ErrorCode::InvalidArgument,
        &["client_uri"],
    ),
    refused(
        "update without a token",
        apps!("Update"),
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "update the calling key",
        apps!("Update"),
        Itself,
        r#"{"clientId": "$key", "clientName": "renamed"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered("delete", apps!("Delete"), Admin, r#"{"clientId": "$key"}"#, "{}"),
    refused(
        "delete an unknown key",
        apps!("Delete"),
        Admin,
        r#"{"clientId": "$new"}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    refused(
        "delete without a token",
        apps!("Delete"),
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "delete the calling key",
        apps!("Delete"),
        Itself,
        r#"{"clientId": "$key"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "list by client id",
        apps!("List"),
        Admin,
        r#"{"request": {"filters": [{"function": "EQUAL", "field": "client_id", "values": ["$key"]}]}}"#,
        r#"{"apps": [{"clientId": "$key", "clientSecret": null}], "token": null}"#,
    ),
    answered(
        "list a page",
        apps!("List"),
        Admin,
        r#"{"request": {"limit": 1}}"#,
        r#"{"apps": [{"clientId": "<any>"}], "token": "<any>"}"#,
    ),
    refused(
        "list with an unsupported filter",
        apps!("List"),
        Admin,
        r#"{"request": {"filters": [{"function": "ENDS_WITH", "field": "role", "values": ["x"]}]}}"#,
        ErrorCode::InvalidArgument,
        &["filters.function", "ENDS_WITH", "role"],
    ),
    refused(
        "list with a forged page token",
        apps!("List"),
        Admin,
        r#"{"request": {"token": "next"}}"#,
        ErrorCode::InvalidArgument,
        &["token"],
    ),
    refused("list without a token", apps!("List"), Nobody, "{}", ErrorCode::Unauthenticated, &[]),
    refused(
        "list as a contributor",
        apps!("List"),
        Contributor,
        "{}",
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    // cloudidl.authorizer.AuthorizerService
    answered(
        "assign",
        authorizer!("AssignIdentity"),
        Admin,
        r#"{"identity": {"applicationId": {"subject": "$key"}}, "policyId": {"name": "viewer"}}"#,
        "{}",
    ),
    answered(
        "unassign",
        authorizer!("UnassignIdentity"),
        Admin,
        r#"{"identity": {"applicationId": {"subject": "$key"}}, "policyId": {"name": "contributor"}}"#,
        "{}",
    ),
    refused(
        "assign to the calling key",
        authorizer!("AssignIdentity"),
        Itself,
        r#"{"identity": {"applicationId": {"subject": "$key"}}, "policyId": {"name": "admin"}}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "get assignments",
        authorizer!("GetIdentityAssignments"),
        Admin,
        r#"{"identity": {"applicationId": {"subject": "$key"}}}"#,
        r#"{"identityAssignment": {"identity": {"applicationId": {"subject": "$key"}},
            "policies": [{"id": {"name": "contributor"}}]}}"#,
    ),
    refused(
        "get assignments of an unknown key",
        authorizer!("GetIdentityAssignments"),
        Admin,
        r#"{"identity": {"applicationId": {"subject": "$new"}}}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    answered(
        "get a policy",
        authorizer!("GetPolicy"),
        Admin,
        r#"{"id": {"name": "viewer"}}"#,
        r#"{"policy": {"id": {"name": "viewer"}, "bindings": [{"roleId": {"name": "viewer"}}]}}"#,
    ),
    answered(
        "get a role",
        authorizer!("GetRole"),
        Admin,
        r#"{"id": {"name": "viewer"}}"#,
        r#"{"role": {"id": {"name": "viewer"}, "roleType": "ROLE_TYPE_VIEWER"}}"#,
    ),
    refused(
        "create a policy",
        authorizer!("CreatePolicy"),
        Admin,
        "{}",
        ErrorCode::Unimplemented,
        &[],
    ),
    // gatekey.v1.ApiKeyService
    answered(
        "key service: create",
        keys!("Create"),
        Admin,
        r#"{"clientId": "$new", "role": "ROLE_VIEWER", "secretLabel": "first"}"#,
        r#"{"apiKey": {"clientId": "$new", "clientName": "$new", "keyId": "<any>", "role": "ROLE_VIEWER",
            "createdAt": "<any>", "updatedAt": "<any>", "expiresAt": null, "disabledAt": null, "epoch": "1",
            "grantTypes": ["GRANT_TYPE_CLIENT_CREDENTIALS", "GRANT_TYPE_AUTHORIZATION_CODE"],
            "secrets": [{"id": "<any>", "label": "first", "expiresAt": null, "lastUsedAt": null}]},
            "clientSecret": "<secret>", "encodedCredentials": "<any>"}"#,
    ),
    refused(
        "key service: create an existing key",
        keys!("Create"),
        Admin,
        r#"{"clientId": "$key"}"#,
        ErrorCode::AlreadyExists,
        &["$key"],
    ),
    refused(
        "key service: create with an unknown role",
        keys!("Create"),
        Admin,
        r#"{"clientId": "$new", "role": 9}"#,
        ErrorCode::InvalidArgument,
        &["role", "9"],
    ),
    refused(
        "key service: create with a past expiry",
        keys!("Create"),
        Admin,
        r#"{"clientId": "$new", "expiresAt": "2001-01-01T00:00:00Z"}"#,
        ErrorCode::InvalidArgument,
        &["expires_at", "future"],
    ),
    refused(
        "key service: create as a contributor",
        keys!("Create"),
        Contributor,
        "{}",
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "key service: get",
        keys!("Get"),
        Admin,
        r#"{"clientId": "$key"}"#,
        r#"{"apiKey": {"clientId": "$key", "role": "ROLE_CONTRIBUTOR", "secrets": [{"id": "$secret_id"}]}}"#,
    ),
    answered(
        "key service: get the calling key",
        keys!("Get"),
        Itself,
        r#"{"clientId": "$key"}"#,
        r#"{"apiKey": {"clientId": "$key"}}"#,
    ),
    refused(
        "key service: get an unknown key",
        keys!("Get"),
        Admin,
        r#"{"clientId": "$new"}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    refused("our get without a token", keys!("Get"), Nobody, "{}", ErrorCode::Unauthenticated, &[]),
    answered(
        "key service: list",
        keys!("List"),
        Admin,
        r#"{"pageSize": 1}"#,
        r#"{"apiKeys": [{"clientId": "<any>", "keyId": "<any>"}], "nextPageToken": "<any>"}"#,
    ),
    refused(
        "key service: list with a forged page token",
        keys!("List"),
        Admin,
        r#"{"pageToken": "next"}"#,
        ErrorCode::InvalidArgument,
        &["token"],
    ),
    refused(
        "our list as a contributor",
        keys!("List"),
        Contributor,
        "{}",
        ErrorCode::PermissionDenied,
        &[],
    ),
    answered(
        "key service: update",
        keys!("Update"),
        Admin,
        r#"{"apiKey": {"clientId": "$key", "role": "ROLE_ADMIN", "clientName": "not masked"},
            "updateMask": "role"}"#,
        r#"{"apiKey": {"clientId": "$key", "role": "ROLE_ADMIN", "clientName": "$key"}}"#,
    ),
    refused(
        "key service: update without a mask",
        keys!("Update"),
        Admin,
        r#"{"apiKey": {"clientId": "$key"}}"#,
        ErrorCode::InvalidArgument,
        &["update_mask"],
    ),
    refused(
        "key service: update the calling key",
        keys!("Update"),
        Itself,
        r#"{"apiKey": {"clientId": "$key", "role": "ROLE_ADMIN"}, "updateMask": "role"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered("our delete", keys!("Delete"), Admin, r#"{"clientId": "$key"}"#, "{}"),
    refused(
        "key service: delete an unknown key",
        keys!("Delete"),
        Admin,
        r#"{"clientId": "$new"}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    answered(
        "rotate",
        keys!("RotateSecret"),
        Admin,
        r#"{"clientId": "$key", "grace": "3600s", "secretLabel": "second"}"#,
        r#"{"apiKey": {"clientId": "$key", "epoch": "1",
            "secrets": [{"id": "$secret_id", "expiresAt": "<any>"}, {"label": "second", "expiresAt": null}]},
            "clientSecret": "<secret>", "encodedCredentials": "<any>"}"#,
    ),
    answered(
        "rotate the calling key",
        keys!("RotateSecret"),
        Itself,
        r#"{"clientId": "$key", "currentSecret": "$current_secret"}"#,
        r#"{"apiKey": {"clientId": "$key", "epoch": "2"}, "clientSecret": "<secret>"}"#,
    ),
    refused(
        "rotate the calling key by its token",
        keys!("RotateSecret"),
        Itself,
        r#"{"clientId": "$key"}"#,
        ErrorCode::InvalidArgument,
        &["current_secret"],
    ),
    refused(
        "rotate the calling key by a wrong secret",
        keys!("RotateSecret"),
        Itself,
        r#"{"clientId": "$key", "currentSecret": "gk_wrong"}"#,
        ErrorCode::PermissionDenied,
        &["current_secret"],
    ),
    refused(
        "rotate with a long grace",
        keys!("RotateSecret"),
        Admin,
        r#"{"clientId": "$key", "grace": "7776001s"}"#,
        ErrorCode::InvalidArgument,
        &["grace", "90 days"],
    ),
    refused(
        "rotate another as a contributor",
        keys!("RotateSecret"),
        Contributor,
        r#"{"clientId": "$key"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    refused(
        "rotate without a token",
        keys!("RotateSecret"),
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    answered(
        "retire",
        keys!("RetireSecret"),
        Admin,
        r#"{"clientId": "$key", "secretId": "$secret_id"}"#,
        r#"{"apiKey": {"clientId": "$key", "secrets": [{"id": "$secret_id", "expiresAt": "<any>"}]}}"#,
    ),
    refused(
        "retire another key's secret",
        keys!("RetireSecret"),
        Admin,
        r#"{"clientId": "$key", "secretId": "0123456789abcdef"}"#,
        ErrorCode::NotFound,
        &["$key", "0123456789abcdef"],
    ),
    refused(
        "retire a secret of the calling key",
        keys!("RetireSecret"),
        Itself,
        r#"{"clientId": "$key", "secretId": "$secret_id"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "disable",
        keys!("Disable"),
        Admin,
        r#"{"clientId": "$key"}"#,
        r#"{"apiKey": {"clientId": "$key", "disabledAt": "<any>", "epoch": "2"}}"#,
    ),
    refused(
        "disable nothing",
        keys!("Disable"),
        Admin,
        "{}",
        ErrorCode::InvalidArgument,
        &["client_id"],
    ),
    refused(
        "disable the calling key",
        keys!("Disable"),
        Itself,
        r#"{"clientId": "$key"}"#,
        ErrorCode::PermissionDenied,
        &["admin"],
    ),
    answered(
        "enable",
        keys!("Enable"),
        Admin,
        r#"{"clientId": "$key"}"#,
        r#"{"apiKey": {"clientId": "$key", "disabledAt": null, "epoch": "1"}}"#,
    ),
    refused(
        "enable an unknown key",
        keys!("Enable"),
        Admin,
        r#"{"clientId": "$new"}"#,
        ErrorCode::NotFound,
        &["$new"],
    ),
    refused(
        "enable without a token",
        keys!("Enable"),
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    // Login metadata, and the caller's identity.
    answered(
        "metadata",
        "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata",
        Nobody,
        "{}",
        r#"{"issuer": "<any>", "tokenEndpoint": "<any>", "jwksUri": "<any>", "scopesSupported": ["all"]}"#,
    ),
    answered(
        "metadata for older clients",
        "/flyteidl.service.AuthMetadataService/GetOAuth2Metadata",
        Nobody,
        "{}",
        r#"{"issuer": "<any>", "tokenEndpoint": "<any>", "jwksUri": "<any>", "scopesSupported": ["all"]}"#,
    ),
    answered(
        "metadata with an invalid token",
        "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata",
        BadToken,
        "{}",
        r#"{"issuer": "<any>"}"#,
    ),
    answered(
        "client configuration",
        "/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig",
        Nobody,
        "{}",
        r#"{"authorizationMetadataKey": "authorization"}"#,
    ),
    answered(
        "client configuration for older clients",
        "/flyteidl.service.AuthMetadataService/GetPublicClientConfig",
        Nobody,
        "{}",
        r#"{"authorizationMetadataKey": "authorization"}"#,
    ),
    answered(
        "user info",
        "/flyteidl2.auth.IdentityService/UserInfo",
        Itself,
        "{}",
        r#"{"subject": "$key", "name": "$key", "preferredUsername": "$key",
            "additionalClaims": {"userhandle": "127", "role": "contributor"}}"#,
    ),
    answered(
        "user info for older clients",
        "/flyteidl.service.IdentityService/UserInfo",
        Itself,
        "{}",
        r#"{"subject": "$key", "name": "$key", "preferredUsername": "$key",
            "additionalClaims": {"userhandle": "127", "role": "contributor"}}"#,
    ),
    refused(
        "user info without a token",
        "/flyteidl2.auth.IdentityService/UserInfo",
        Nobody,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    refused(
        "user info for older clients with an invalid token",
        "/flyteidl.service.IdentityService/UserInfo",
        BadToken,
        "{}",
        ErrorCode::Unauthenticated,
        &[],
    ),
    // Methods that are not served.
    refused("an unknown method", apps!("Rename"), Admin, "{}", ErrorCode::Unimplemented, &[]),
    refused(
        "an unknown method without a token",
        apps!("Rename"),
        Nobody,
        "{}",
        ErrorCode::Unimplemented,
        &[],
    ),
    refused(
        "an unknown service",
        "/cloudidl.identity.UserService/GetUser",
        Admin,
        "{}",
        ErrorCode::Unimplemented,
        &[],
    ),
];

/// The server, and the callers of the table.
struct Fixture {
    server: Server,
    contributor: String,
}

impl Fixture {
    /// Runs a case.
    ///
    /// # Errors
    /// How the outcome differs from the expected one.
    async fn run(&self, case: &Case, client: &RpcClient, protocol: Protocol) -> Result<(), String> {
        let own = format!(
            "{}.{}",
            case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            protocol.name()
        );
        let (new, key) = (format!("new.{own}"), format!("key.{own}"));
        let mut itself = String::new();
        let (mut secret_id, mut current_secret) = (String::new(), String::new());
        if case.caller == Itself || case.request.contains("$key") {
            let credentials = self.server.create_key(&key).await;
            if case.caller == Itself {
                itself = self.server.token(&credentials).await;
                current_secret = credentials.client_secret;
            }
            let made = self.server.shown(&key).await;
            made["secrets"][0]["id"].as_str().unwrap().clone_into(&mut secret_id);
        }
        let fill = |text: &str| {
            let text = text.replace("$new", &new).replace("$key", &key);
            text.replace("$secret_id", &secret_id).replace("$current_secret", &current_secret)
        };
        let token = match case.caller {
            Nobody => "",
            BadToken => "not.a.token",
            Contributor => &self.contributor,
            Itself => &itself,
            Admin => &self.server.admin_token,
        };
        let request: Value = serde_json::from_str(&fill(case.request)).unwrap();
        let outcome = client.call(case.procedure, token, &request).await;
        match (&case.expected, outcome) {
            (Expected::Response(response), Ok(actual)) => {
                let expected: Value = serde_json::from_str(&fill(response)).unwrap();
                json::check(&expected, &actual)
                    .map_err(|difference| format!("{difference}; in {actual}"))
            }
            (Expected::Response(_), Err(refusal)) => Err(format!("refused: {refusal:?}")),
            (Expected::Refusal(_, _), Ok(actual)) => Err(format!("not refused: {actual}")),
            (Expected::Refusal(code, words), Err(refusal)) => {
                let known = refusal.code == code.as_str();
                if known && words.iter().all(|word| refusal.message.contains(&fill(word))) {
                    Ok(())
                } else {
                    Err(format!("{refusal:?} instead of {} with {words:?}", code.as_str()))
                }
            }
        }
    }
}

#[tokio::test]
async fn every_protocol_gives_every_expected_result() {
    let server = Server::start().await;
    let contributor = server.create_key("contributor").await;
    let contributor = server.token(&contributor).await;
    let fixture = Fixture { server, contributor };
    let mut wrong = Vec::new();
    for protocol in Protocol::ALL {
        let client = RpcClient::new(&fixture.server.process, protocol);
        let runs = stream::iter(CASES).map(|case| {
            let (fixture, client) = (&fixture, &client);
            async move { (case.name, fixture.run(case, client, protocol).await) }
        });
        let outcomes: Vec<_> = runs.buffered(8).collect().await;
        let failures =
            outcomes.into_iter().filter_map(|(name, outcome)| Some((name, outcome.err()?)));
        wrong.extend(failures.map(|(name, why)| format!("{name}, {}: {why}", protocol.name())));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len() * 5, wrong.join("\n"));
    let log = stop_and_read_log(fixture.server.process).await;
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        assert!(log.iter().any(|line| line["version"] == version), "no request used {version}");
    }
}
