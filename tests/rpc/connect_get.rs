//! GET in the Connect protocol, for methods that declare `NO_SIDE_EFFECTS`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use http::{Method, StatusCode};

use crate::support::{Response, Server};

impl Server {
    /// Sends GET as the admin.
    async fn get_as_admin(&self, path: &str) -> Response {
        self.http.get(path, &[("authorization", &format!("Bearer {}", self.admin_token))]).await
    }
}

#[tokio::test]
async fn methods_without_side_effects_accept_get() {
    let server = Server::start().await;
    let message = "encoding=json&message=%7B%22clientId%22%3A%22admin%22%7D&connect=v1";
    let got = server.get_as_admin(&format!("/gatekey.v1.ApiKeyService/Get?{message}")).await;
    assert_eq!(got.json()["apiKey"]["clientId"], "admin");
    // GetRequest.client_id is field 1.
    let message = BASE64_URL_SAFE.encode(b"\x0a\x05admin");
    let query = format!("encoding=proto&base64=1&message={message}&connect=v1");
    let got = server.get_as_admin(&format!("/gatekey.v1.ApiKeyService/Get?{query}")).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "application/proto");
    assert!(got.text().contains("admin"));
    let empty = "encoding=json&message=%7B%7D&connect=v1";
    let listed = server.get_as_admin(&format!("/gatekey.v1.ApiKeyService/List?{empty}")).await;
    assert_eq!(listed.json()["apiKeys"][0]["clientId"], "admin");
    for method in ["GetOAuth2Metadata", "GetPublicClientConfig"] {
        let path = format!("/flyteidl2.auth.AuthMetadataService/{method}?{empty}");
        let anonymous = server.http.get(&path, &[]).await;
        assert_eq!(anonymous.status, StatusCode::OK, "{}", anonymous.text());
    }
}

#[tokio::test]
async fn get_needs_the_same_credential_as_post() {
    let server = Server::start().await;
    let path = "/gatekey.v1.ApiKeyService/Get?encoding=json&message=%7B%22clientId%22%3A%22admin%22%7D&connect=v1";
    let anonymous = server.http.get(path, &[]).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    assert_eq!(anonymous.json()["code"], "unauthenticated");
    let contributor = server.create_key("ci").await;
    let bearer = format!("Bearer {}", server.token(&contributor).await);
    let denied = server.http.get(path, &[("authorization", &bearer)]).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert_eq!(denied.json()["code"], "permission_denied");
}

#[tokio::test]
async fn methods_with_side_effects_refuse_get() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let message = "encoding=json&message=%7B%22clientId%22%3A%22ci%22%7D&connect=v1";
    for procedure in [
        "/cloudidl.identity.AppsService/Get",
        "/cloudidl.identity.AppsService/Delete",
        "/gatekey.v1.ApiKeyService/Delete",
        "/gatekey.v1.ApiKeyService/Disable",
        "/gatekey.v1.ApiKeyService/RotateSecret",
    ] {
        let response = server.get_as_admin(&format!("{procedure}?{message}")).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{procedure}");
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let bearer = format!("Bearer {}", server.admin_token);
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let path = "/gatekey.v1.ApiKeyService/Get";
        let response = server.http.send(method.clone(), path, &headers, "{}").await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(server.shown("ci").await["secrets"].as_array().unwrap().len(), 1);
}
