//! [`Bindings`]: which methods are also plain HTTP with JSON, as the protos' `google.api.http` says.

use std::sync::LazyLock;

use axum::http::{Method, Uri};
use buffa::ExtensionSet as _;
use buffa_descriptor::{DescriptorPool, MessageIndex};
use gatekey_proto::google::api::{HTTP, HttpRule, http_rule::Pattern};

/// A method as plain HTTP.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The HTTP method.
    pub method: Method,
    /// The path, as axum's router takes it too: literal segments, and names of fields in braces.
    pub path: String,
    /// The same as an RPC: its path alone.
    pub procedure: Uri,
    /// Whether the HTTP body is the request; else the query has its fields.
    pub has_body: bool,
    /// The request's message.
    pub input: MessageIndex,
    /// The answer's message.
    pub output: MessageIndex,
}

/// Every binding, and the descriptors that say what their messages are.
#[derive(Debug)]
pub struct Bindings {
    /// Every message of the wire.
    pub pool: DescriptorPool,
    all: Vec<Binding>,
}

impl Bindings {
    /// Those of the protos. They are read once.
    pub fn get() -> &'static Self {
        static BINDINGS: LazyLock<Bindings> = LazyLock::new(Bindings::read);
        &BINDINGS
    }

    fn read() -> Self {
        let pool = DescriptorPool::decode(gatekey_proto::DESCRIPTOR_SET)
            .expect("the build writes a valid descriptor set");
        let mut all = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let Some(rule) = method.options().and_then(|options| options.extension(&HTTP)) else {
                    continue;
                };
                let procedure = format!("/{}/{}", service.full_name(), method.name());
                let (http_method, path, has_body) = supported(rule);
                all.push(Binding {
                    method: http_method,
                    path,
                    procedure: procedure.try_into().expect("a procedure's name is a path"),
                    has_body,
                    input: method.input(),
                    output: method.output(),
                });
            }
        }
        Self { pool, all }
    }

    /// All of them, in the protos' order.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.all.iter()
    }

    /// The bindings of one path.
    pub fn of_path<'b>(&'b self, path: &str) -> impl Iterator<Item = &'b Binding> {
        self.all.iter().filter(move |binding| binding.path == path)
    }
}

impl Binding {
    /// The fields that the path names, each with its place among the path's segments.
    pub fn path_fields(&self) -> impl Iterator<Item = (usize, &str)> {
        let fields = self.path.split('/').enumerate();
        fields.filter_map(|(at, segment)| Some((at, segment.strip_prefix('{')?.strip_suffix('}')?)))
    }
}

/// The parts of a rule. Our protos use no more of `google.api.http` than this.
fn supported(rule: HttpRule) -> (Method, String, bool) {
    assert!(
        rule.additional_bindings.is_empty() && rule.response_body.is_empty(),
        "a method has one binding, and its answer is all of the answer"
    );
    let (method, path) = match rule.pattern.expect("a binding has a pattern") {
        Pattern::Get(path) => (Method::GET, path),
        Pattern::Put(path) => (Method::PUT, path),
        Pattern::Post(path) => (Method::POST, path),
        Pattern::Delete(path) => (Method::DELETE, path),
        Pattern::Patch(path) => (Method::PATCH, path),
        Pattern::Custom(_) => panic!("no method of ours has a verb of its own"),
    };
    let has_body = match rule.body.as_str() {
        "" => false,
        "*" => true,
        field => panic!("the body is the whole request, not its field {field}"),
    };
    (method, path, has_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_public_api_is_bound() {
        let bound: Vec<_> = Bindings::get()
            .iter()
            .map(|binding| format!("{} {} {}", binding.method, binding.path, binding.procedure.path()))
            .collect();
        assert_eq!(
            bound,
            [
                "POST /oauth_app/api/v1 /cloudidl.identity.AppsService/Create",
                "GET /oauth_app/api/v1/{client_id} /cloudidl.identity.AppsService/Get",
                "PUT /oauth_app/api/v1/{client_id} /cloudidl.identity.AppsService/Update",
                "DELETE /oauth_app/api/v1/{client_id} /cloudidl.identity.AppsService/Delete",
                "GET /oauth_app/api/v1 /cloudidl.identity.AppsService/List",
            ]
        );
    }
}
