//! The main use, from start to end.

use serde_json::json;

use crate::support::ServerProcess;

#[tokio::test]
async fn a_key_works_until_it_is_deleted() {
    let server = ServerProcess::start();
    let admin = server.token(&server.init()).await;
    let http = server.http();
    let key = http.create(&admin, "ci").await;
    let token = server.token(&key).await;
    assert_eq!(
        http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await.json()["subject"],
        "ci"
    );
    let body = json!({ "clientId": "ci" });
    let deleted = http.connect_json("/cloudidl.identity.AppsService/Delete", &admin, &body).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await.status, 401);
    assert_eq!(http.token(&key, &[]).await.status, 401);
}
