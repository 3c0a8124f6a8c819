//! How a key is presented where Flyte expects a person.

use serde_json::{Value, json};

use crate::support::{Server, decoded};

const NAMED: &str =
    "[identity]\nfamily_name = \"(API key)\"\nemail = \"{client_id}@keys.example.com\"\n";
const RPCS: [&str; 2] =
    ["/flyteidl2.auth.IdentityService/UserInfo", "/flyteidl.service.IdentityService/UserInfo"];

impl Server {
    /// Given name, family name and e-mail address, as every endpoint reports them.
    async fn persons(&self, token: &str) -> Vec<[Value; 3]> {
        let mut persons = Vec::new();
        for path in ["/oauth2/userinfo", "/me"] {
            let info = self.get_as(path, token).await.json();
            persons.push(["given_name", "family_name", "email"].map(|name| info[name].clone()));
        }
        for procedure in RPCS {
            let info = self.http.connect_json(procedure, token, &json!({})).await.json();
            persons.push(["givenName", "familyName", "email"].map(|name| info[name].clone()));
        }
        persons
    }

    async fn rename(&self, client_id: &str, name: &str) {
        let key = json!({ "clientId": client_id, "clientName": name });
        self.admin_call("Update", json!({ "apiKey": key, "updateMask": "clientName" })).await;
    }
}

#[tokio::test]
async fn the_given_name_is_the_keys_name() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for name in ["ci", "Nightly \u{1f511}"] {
        server.rename("ci", name).await;
        for person in server.persons(&token).await {
            assert_eq!(person, [json!(name), Value::Null, Value::Null]);
        }
    }
}

#[tokio::test]
async fn family_name_and_email_are_configured() {
    let server = Server::with_config(NAMED).await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for person in server.persons(&token).await {
        assert_eq!(person, ["ci", "(API key)", "ci@keys.example.com"].map(Value::from));
    }
    let (_, claims) = decoded(&token);
    for claim in ["given_name", "family_name", "email", "user_info"] {
        assert_eq!(claims[claim], Value::Null, "a token does not carry it unasked");
    }
}

/// Flyte 2 asks `UserInfo` if one of the three is missing. flyteadmin reads `user_info`, and panics
/// unless it is an object, and `email` a string.
#[tokio::test]
async fn tokens_carry_the_person_if_configured() {
    let server = Server::with_config(&format!("{NAMED}in_tokens = true")).await;
    let key = server.create_key("ci").await;
    server.rename("ci", "CI \"nightly\"").await;
    let token = server.token(&key).await;
    let (_, claims) = decoded(&token);
    let person = json!({
        "given_name": "CI \"nightly\"",
        "family_name": "(API key)",
        "email": "ci@keys.example.com",
    });
    for (claim, value) in person.as_object().unwrap() {
        assert_eq!((&claims[claim], &claims["user_info"][claim]), (value, value), "{claim}");
    }
    for (claim, value) in
        [("subject", "ci"), ("name", "CI \"nightly\""), ("preferred_username", "ci")]
    {
        assert_eq!(claims["user_info"][claim], value, "{claim}");
    }
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("ci"), &json!("ci")));
    assert!(server.accepts(&token).await);
    assert_eq!(server.introspect(&server.admin, &token).await["active"], true);
}

#[tokio::test]
async fn a_token_leaves_unset_names_out() {
    let server = Server::with_config("identity.in_tokens = true").await;
    let (_, claims) = decoded(&server.admin_token);
    assert_eq!(claims["given_name"], "admin");
    for claim in ["family_name", "email"] {
        assert_eq!((&claims[claim], &claims["user_info"][claim]), (&Value::Null, &Value::Null));
    }
}
