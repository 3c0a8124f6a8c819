//! The last admin key that works: without one, no key can manage the others.

use std::time::Duration;

use futures::future::join;
use http::Method;
use serde_json::{Value, json};

use super::{Outcome, outcome, refused};
use crate::support::{Server, in_future};

/// A role to set, `None` for none.
fn role_update(client_id: &str, role: Option<&str>, force: bool) -> Value {
    let mut key = json!({ "clientId": client_id });
    if let Some(role) = role {
        key["role"] = json!(role);
    }
    json!({ "apiKey": key, "updateMask": "role", "force": force })
}

impl Server {
    /// Every way to take the last admin away that `gatekey.v1` has, as method and request.
    async fn losses(
        &self,
        token: &str,
        client_id: &str,
        force: bool,
    ) -> [(&'static str, Value); 5] {
        let shown = self.keys_as(token, "Get", json!({ "clientId": client_id })).await.unwrap();
        let secret_id = shown["apiKey"]["secrets"][0]["id"].clone();
        let id = json!({ "clientId": client_id, "force": force });
        let retire = json!({ "clientId": client_id, "secretId": secret_id, "force": force });
        [
            ("Update", role_update(client_id, Some("ROLE_VIEWER"), force)),
            ("Update", role_update(client_id, None, force)),
            ("Disable", id.clone()),
            ("RetireSecret", retire),
            ("Delete", id),
        ]
    }

    async fn loss(&self, client_id: &str, at: usize) -> (&'static str, Value) {
        self.losses(&self.admin_token, client_id, false).await[at].clone()
    }

    async fn plain_delete(&self, path: &str) -> Outcome {
        let bearer = format!("Bearer {}", self.admin_token);
        let headers = [("authorization", &*bearer)];
        outcome(&self.http.send(Method::DELETE, path, &headers, "").await)
    }
}

fn names_the_way_out(outcome: &Outcome) {
    refused(outcome, "failed_precondition", &["last admin key", "gatekey init"]);
}

#[tokio::test]
async fn the_last_admin_cannot_be_removed() {
    let server = Server::start().await;
    server.create_key("other").await;
    let before = server.shown("admin").await;
    for (method, request) in server.losses(&server.admin_token, "admin", false).await {
        names_the_way_out(&server.keys(method, request).await);
    }
    names_the_way_out(&server.apps("Delete", json!({ "clientId": "admin" })).await);
    let without_grant = json!({ "clientId": "admin", "grantTypes": ["DEVICE_CODE"] });
    names_the_way_out(&server.apps("Update", without_grant).await);
    for path in ["/oauth_app/api/v1/admin", "/gatekey/v1/keys/admin"] {
        names_the_way_out(&server.plain_delete(path).await);
    }
    assert_eq!(server.shown("admin").await, before);
    assert!(server.secret_works(&server.admin).await);
}

#[tokio::test]
async fn rotating_the_last_admin_is_allowed() {
    let server = Server::start().await;
    let current = json!({ "currentSecret": server.admin.client_secret });
    let rotated = server.rotate(&server.admin, current).await;
    let token = server.token(&rotated).await;
    let renamed = json!({ "clientId": "admin", "clientName": "renamed" });
    assert!(server.apps_as(&token, "Update", renamed).await.is_ok());
}

#[tokio::test]
async fn one_of_two_admins_can_be_removed() {
    let server = Server::start().await;
    for at in 0..5 {
        let name = format!("second-{at}");
        let made = json!({ "clientId": name, "role": "ROLE_ADMIN" });
        server.create_key_from(made).await;
        let (method, request) = server.loss(&name, at).await;
        let outcome = server.keys(method, request).await;
        assert!(outcome.is_ok(), "{method}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_unusable_admin_does_not_count() {
    let server = Server::start().await;
    for at in 1..4 {
        let name = format!("second-{at}");
        let made = json!({ "clientId": name, "role": "ROLE_ADMIN" });
        server.create_key_from(made).await;
        let (method, request) = server.loss(&name, at).await;
        server.keys(method, request).await.unwrap();
        names_the_way_out(&server.keys("Delete", json!({ "clientId": "admin" })).await);
    }
    let made = json!({ "clientId": "no-grant", "role": "ROLE_ADMIN" });
    server.create_key_from(made).await;
    let update = json!({ "clientId": "no-grant", "grantTypes": ["REFRESH_TOKEN"] });
    server.apps("Update", update).await.unwrap();
    names_the_way_out(&server.keys("Delete", json!({ "clientId": "admin" })).await);
}

/// An update that makes a key expire, in the given number of hours.
fn expiry_update(client_id: &str, hours: u64, force: bool) -> Value {
    let at = in_future(Duration::from_hours(hours));
    json!({
        "apiKey": { "clientId": client_id, "expiresAt": at },
        "updateMask": "expiresAt",
        "force": force,
    })
}

/// Otherwise no key works once it has expired.
#[tokio::test]
async fn the_last_admin_cannot_be_made_to_expire() {
    let server = Server::start().await;
    let update = async |client_id: &str, hours, force| {
        server.keys("Update", expiry_update(client_id, hours, force)).await
    };
    names_the_way_out(&update("admin", 1, false).await);
    server.create_key_from(json!({ "clientId": "second", "role": "ROLE_ADMIN" })).await;
    assert!(update("second", 24, false).await.is_ok(), "another admin stays");
    names_the_way_out(&update("admin", 48, false).await);
    assert!(update("admin", 12, false).await.is_ok(), "the other admin expires later");
    assert!(update("admin", 13, false).await.is_ok(), "a later expiry takes nothing away");
    names_the_way_out(&update("second", 20, false).await);
    assert!(update("second", 20, true).await.is_ok());
}

/// `gatekey init` on the server is then the way back.
#[tokio::test]
async fn force_permits_losing_the_last_admin() {
    let server = Server::start().await;
    let (mut name, mut token) = ("admin".to_owned(), server.admin_token.clone());
    for at in 0..5 {
        let (method, request) = server.losses(&token, &name, true).await[at].clone();
        let outcome = server.keys_as(&token, method, request).await;
        assert!(outcome.is_ok(), "{method}: {outcome:?}");
        assert!(server.keys_as(&token, "List", json!({})).await.is_err());
        name = format!("admin-{at}");
        token = server.token(&server.process.init_named(&name)).await;
    }
}

#[tokio::test]
async fn admins_demoting_each_other_leave_one() {
    let server = Server::start().await;
    for round in 0..8 {
        let name = format!("second-{round}");
        let made = json!({ "clientId": name, "role": "ROLE_ADMIN" });
        let second = server.create_key_from(made).await;
        let second = server.token(&second).await;
        let (first, second) = join(
            server.keys_as(&second, "Update", role_update("admin", None, false)),
            server.keys("Update", role_update(&name, None, false)),
        )
        .await;
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        if first.is_ok() {
            return;
        }
    }
}
