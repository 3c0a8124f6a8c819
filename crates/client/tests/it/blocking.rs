//! Tests the blocking API, outside and inside an async runtime.

use gatekey_client::blocking::{ApiKey, Client};

use crate::server::Server;

fn serve() -> Server {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(Server::start().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

#[test]
fn every_call_waits_for_its_response() {
    let server = serve();
    server.add_apps(150);
    let client = Client::from(server.client());
    let key = ApiKey::create(&client, "ci").unwrap();
    assert_eq!(key.client_secret(), "s3cret");
    assert_eq!(ApiKey::get(&client, "ci").unwrap().client_id(), "ci");
    assert_eq!(ApiKey::listall(&client, 120).map(Result::unwrap).count(), 120);
    assert_eq!(ApiKey::listall(&client, None).map(Result::unwrap).count(), 151);
    assert_eq!(ApiKey::list_details(&client, None).map(Result::unwrap).count(), 151);
    ApiKey::delete(&client, "ci").unwrap();
    assert!(ApiKey::get(&client, "ci").unwrap_err().is_not_found());
    assert_eq!(client.whoami().unwrap().subject, "ci");
}

#[tokio::test]
async fn a_blocking_call_works_inside_a_runtime() {
    let server = serve();
    let client = Client::from(server.client());
    assert_eq!(client.access_token().unwrap(), "token-1");
}
