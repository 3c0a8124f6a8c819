//! Tests the operations of `cloudidl.identity.AppsService`.

use futures::{StreamExt, TryStreamExt};
use gatekey_client::{ApiKey, CreateOptions, EncodedCredentials, UpdateOptions};
use gatekey_proto::cloudidl::identity::{
    App, ApplicationType, ConsentMethod, GrantTypes, ResponseTypes, TokenEndpointAuthMethod,
};

use crate::server::{Behavior, Server};

#[tokio::test]
async fn create_sends_the_same_as_unions_client() {
    let server = Server::start().await;
    let key = ApiKey::create(&server.client(), "CI Pipeline").await.unwrap();
    let sent = server.0.record().creates.remove(0);
    assert_eq!(
        (sent.client_id.as_str(), sent.client_name.as_str()),
        ("ci-pipeline", "ci-pipeline")
    );
    assert_eq!(sent.organization, "");
    assert_eq!(sent.redirect_uris, ["http://localhost:8080/authorization-code/callback"]);
    assert_eq!(sent.grant_types, [GrantTypes::CLIENT_CREDENTIALS, GrantTypes::AUTHORIZATION_CODE]);
    assert_eq!(sent.response_types, [ResponseTypes::CODE]);
    assert_eq!(sent.token_endpoint_auth_method, TokenEndpointAuthMethod::CLIENT_SECRET_BASIC);
    assert_eq!(sent.consent_method, ConsentMethod::CONSENT_METHOD_REQUIRED);
    assert!(!sent.skip_default_policy_assignments);

    assert_eq!(
        (key.client_id(), key.client_name(), key.client_secret()),
        ("ci-pipeline", "ci-pipeline", "s3cret")
    );
    assert_eq!(key.organization(), None);
    assert_eq!(key.pb2().grant_types, sent.grant_types);
    let encoded = EncodedCredentials::decode(key.encoded_credentials().unwrap()).unwrap();
    assert_eq!(encoded.endpoint(), server.endpoint());
    assert_eq!((encoded.client_id(), encoded.client_secret().expose()), ("ci-pipeline", "s3cret"));
    assert!(!format!("{key:?}").contains("s3cret"));
}

#[tokio::test]
async fn create_sends_its_options() {
    let server = Server::start().await;
    let options = CreateOptions {
        client_id: Some("EAGER_API_KEY".into()),
        redirect_uris: vec!["https://h/cb".into()],
        skip_default_policy_assignments: true,
        ..CreateOptions::new("Eager")
    };
    let client = server.builder().organization("acme").build().unwrap();
    let key = ApiKey::create_with(&client, options).await.unwrap();
    let sent = server.0.record().creates.remove(0);
    assert_eq!((sent.client_id.as_str(), sent.client_name.as_str()), ("EAGER_API_KEY", "Eager"));
    assert_eq!(sent.redirect_uris, ["https://h/cb"]);
    assert!(sent.skip_default_policy_assignments);
    assert_eq!(sent.organization, "acme");
    assert_eq!(key.organization(), Some("acme"));
    let encoded = EncodedCredentials::decode(key.encoded_credentials().unwrap()).unwrap();
    assert_eq!(encoded.organization(), "acme");
}

#[tokio::test]
async fn an_unusable_name_is_refused_without_a_request() {
    let server = Server::start().await;
    let error = ApiKey::create(&server.client(), "***").await.unwrap_err();
    assert!(error.is_invalid_argument());
    assert!(
        error.to_string().starts_with("the name \"***\" must contain a letter or digit"),
        "{error}"
    );
    assert!(server.0.record().calls.is_empty());
}

#[tokio::test]
async fn an_existing_key_is_already_exists() {
    let server = Server::start().await;
    let client = server.client();
    ApiKey::create(&client, "ci").await.unwrap();
    assert!(ApiKey::create(&client, "ci").await.unwrap_err().is_already_exists());
}

#[tokio::test]
async fn a_missing_key_is_not_found() {
    let server = Server::start().await;
    server.add_apps(1);
    let client = server.client();
    let key = ApiKey::get(&client, "key-0000").await.unwrap();
    assert_eq!((key.client_secret(), key.encoded_credentials()), ("", None));
    ApiKey::delete(&client, "key-0000").await.unwrap();
    assert!(ApiKey::get(&client, "key-0000").await.unwrap_err().is_not_found());
    assert!(ApiKey::delete(&client, "key-0000").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn update_preserves_all_other_fields() {
    let server = Server::start().await;
    let app = App {
        client_id: "ci".into(),
        client_name: "ci".into(),
        redirect_uris: vec!["https://old/cb".into()],
        response_types: vec![ResponseTypes::ID_TOKEN.into()],
        grant_types: vec![GrantTypes::DEVICE_CODE.into()],
        application_type: ApplicationType::NATIVE.into(),
        contacts: vec!["a@b.example".into()],
        logo_uri: "https://l".into(),
        client_uri: "https://c".into(),
        policy_uri: "https://p".into(),
        tos_uri: "https://t".into(),
        jwks_uri: "https://j".into(),
        token_endpoint_auth_method: TokenEndpointAuthMethod::CLIENT_SECRET_POST.into(),
        ..App::default()
    };
    server.0.apps().insert("ci".into(), app.clone());
    let options = UpdateOptions { client_name: Some("deploy".into()), ..UpdateOptions::default() };
    let key = ApiKey::update(&server.client(), "ci", options).await.unwrap();
    assert_eq!(key.client_name(), "deploy");
    let sent = server.0.record().updates.remove(0);
    let sent = App {
        client_id: sent.client_id,
        client_name: app.client_name.clone(),
        redirect_uris: sent.redirect_uris,
        response_types: sent.response_types,
        grant_types: sent.grant_types,
        application_type: sent.application_type,
        contacts: sent.contacts,
        logo_uri: sent.logo_uri,
        client_uri: sent.client_uri,
        policy_uri: sent.policy_uri,
        tos_uri: sent.tos_uri,
        jwks_uri: sent.jwks_uri,
        token_endpoint_auth_method: sent.token_endpoint_auth_method,
        ..App::default()
    };
    assert_eq!(sent, app);

    let options =
        UpdateOptions { redirect_uris: vec!["https://new/cb".into()], ..UpdateOptions::default() };
    ApiKey::update(&server.client(), "ci", options).await.unwrap();
    let sent = server.0.record().updates.remove(0);
    assert_eq!(
        (sent.client_name.as_str(), sent.redirect_uris),
        ("ci", vec!["https://new/cb".to_owned()])
    );
}

#[tokio::test]
async fn listall_follows_pages_up_to_the_limit() {
    let server = Server::start().await;
    server.add_apps(250);
    let client = server.client();
    for (limit, expected, page_sizes) in [
        (Some(0), 0, vec![]),
        (Some(1), 1, vec![1]),
        (Some(100), 100, vec![100]),
        (Some(101), 101, vec![100, 1]),
        (Some(249), 249, vec![100, 100, 49]),
        (Some(250), 250, vec![100, 100, 50]),
        (Some(1000), 250, vec![100, 100, 100]),
        (None, 250, vec![100, 100, 100]),
    ] {
        server.0.record().pages.clear();
        let keys: Vec<ApiKey> = ApiKey::listall(&client, limit).try_collect().await.unwrap();
        assert_eq!(keys.len(), expected, "{limit:?}");
        assert!(keys.is_sorted_by_key(|key| key.client_id().to_owned()));
        let pages = server.0.record().pages.clone();
        assert_eq!(
            pages.iter().map(|(size, _)| *size).collect::<Vec<_>>(),
            page_sizes,
            "{limit:?}"
        );
    }
}

#[tokio::test]
async fn listall_fetches_pages_lazily() {
    let server = Server::start().await;
    server.add_apps(250);
    let mut keys = ApiKey::listall(&server.client(), None);
    assert!(server.0.record().calls.is_empty(), "creating the stream sends nothing");
    for _ in 0..100 {
        keys.try_next().await.unwrap().unwrap();
    }
    assert_eq!(server.0.record().pages.len(), 1);
    keys.try_next().await.unwrap().unwrap();
    assert_eq!(server.0.record().pages.len(), 2);
}

#[tokio::test]
async fn listall_stops_at_a_repeated_page_token() {
    let server =
        Server::start_with(Behavior { repeats_page_token: true, ..Behavior::default() }).await;
    server.add_apps(1);
    let items: Vec<_> = ApiKey::listall(&server.client(), None).take(10).collect().await;
    assert!(items.len() <= 2 && items.last().unwrap().is_err());
    assert_eq!(server.0.record().pages.len(), 2);
}

#[tokio::test]
async fn listall_truncates_an_oversized_page() {
    let server = Server::start_with(Behavior { ignores_limit: true, ..Behavior::default() }).await;
    server.add_apps(5);
    let keys: Vec<ApiKey> = ApiKey::listall(&server.client(), 3).try_collect().await.unwrap();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn every_call_sends_the_organization() {
    let server = Server::start().await;
    server.add_apps(1);
    let client = server.builder().organization("acme").build().unwrap();
    assert_eq!(ApiKey::get(&client, "key-0000").await.unwrap().organization(), Some("acme"));
    ApiKey::update(&client, "key-0000", UpdateOptions::default()).await.unwrap();
    let _: Vec<ApiKey> = ApiKey::listall(&client, None).try_collect().await.unwrap();
    ApiKey::delete(&client, "key-0000").await.unwrap();
    assert!(server.0.record().organizations.iter().all(|organization| organization == "acme"));
    assert_eq!(server.0.record().organizations.len(), 5);
}
