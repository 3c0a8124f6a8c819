//! The control socket, which local administration uses.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::support::Server;

impl Server {
    /// Sends bytes to the control socket, and returns the response.
    pub(crate) fn administer(&self, bytes: &[u8]) -> Value {
        let socket = self.process.data_dir.join("control.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        // It may respond and close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response);
        serde_json::from_str(&response).unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn the_control_socket_reports_a_malformed_request() {
    let server = Server::start().await;
    for bytes in [
        &b""[..],
        b"\n",
        b"nonsense\n",
        b"\xff\xfe\n",
        b"{}\n",
        b"[]\n",
        b"{\"destroy\":{}}\n",
        b"{\"init\":{}}\n",
        b"{\"init\":{\"name\":\"x\",\"rotate\":false,\"more\":1}}\n",
        b"{\"init\":{\"name\":\"x\",\"name\":\"y\",\"rotate\":false}}\n",
    ] {
        let response = server.administer(bytes);
        assert_eq!(response["Err"]["kind"], "failed", "{response}");
        assert!(response["Err"]["message"].as_str().unwrap().contains("malformed"), "{response}");
    }
    // Longer than a line may be: the response may get lost in the connection reset.
    let endless = server.administer(&b"{".repeat(100_000));
    assert!(endless.is_null() || endless["Err"]["kind"] == "failed", "{endless}");
    let listed = server.admin_call("List", json!({})).await;
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), 1, "no key was created");
    let made = server.administer(b"{\"init\":{\"name\":\"x\",\"rotate\":false}}\n");
    assert_eq!(made["Ok"]["key"]["clientId"], "x");
}

#[tokio::test]
async fn the_control_socket_validates_names() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    for (name, rule) in
        [("", "empty"), ("***", "letter or digit"), ("a\u{7}b", "control"), (&long, "200")]
    {
        let request = json!({ "init": { "name": name, "rotate": false } });
        let response = server.administer(format!("{request}\n").as_bytes());
        assert_eq!(response["Err"]["kind"], "invalid", "{response}");
        let message = response["Err"]["message"].as_str().unwrap();
        assert!(message.contains("client_name") && message.contains(rule), "{message}");
    }
    server.assert_serving().await;
}
