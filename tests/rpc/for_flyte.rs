//! Requests that are for Flyte, and reached Gatekey.

use http::Method;
use serde_json::json;

use super::{
    protocols::{Protocol, RpcClient},
    refused,
};
use crate::support::Server;

#[tokio::test]
async fn a_method_of_flyte_is_refused_by_name() {
    let server = Server::start().await;
    for protocol in Protocol::ALL {
        let client = RpcClient::new(&server.process, protocol);
        for procedure in [
            "/flyteidl2.project.ProjectService/ListProjects",
            "/flyteidl2.auth.IdentityService/Other",
            "/flyteidl.service.AdminService/ListProjects",
            "/datacatalog.DataCatalog/GetDataset",
            "/cloudidl.app.AppService/List",
        ] {
            let outcome = client.call(procedure, &server.admin_token, &json!({})).await;
            refused(&outcome, "unimplemented", &["this is Gatekey", "Flyte", "flyte.md"]);
        }
        let outcome = client.call("/gatekey.v1.ApiKeyService/Other", "", &json!({})).await;
        refused(&outcome, "unimplemented", &["this method is not served here"]);
    }
}

/// Connect's GET, JSON without the header of Connect, and the plain HTTP of flyteadmin.
#[tokio::test]
async fn plain_requests_for_flyte_are_refused_too() {
    let server = Server::start().await;
    let get =
        "/flyteidl2.project.ProjectService/ListProjects?connect=v1&encoding=json&message=%7B%7D";
    let json = [("content-type", "application/json")];
    for (method, path, headers) in [
        (Method::GET, get, &[][..]),
        (Method::POST, "/flyteidl.service.AdminService/ListProjects", &json[..]),
        (Method::GET, "/api/v1/projects", &[]),
        (Method::POST, "/api/v1/executions", &json),
        (Method::GET, "/data/node_executions", &[]),
    ] {
        let response = server.http.send(method, path, headers, "").await;
        assert!([404, 501].contains(&response.status.as_u16()), "{path}: {}", response.status);
        assert!(response.text().contains("this is Gatekey"), "{path}: {}", response.text());
    }
    let elsewhere = server.http.get("/nowhere", &[]).await;
    assert!(elsewhere.text().contains("openapi.json"), "{}", elsewhere.text());
}
