//! [`Bindings`]: the methods that are also plain HTTP with JSON, by `google.api.http` in the
//! protos.

use std::sync::LazyLock;

use axum::http::{Method, Uri};
use buffa::ExtensionSet as _;
use buffa_descriptor::{DescriptorPool, MessageIndex};
use gatekey_proto::google::api::{HTTP, HttpRule, http_rule::Pattern};

/// A method that is bound to plain HTTP.
#[derive(Debug, Clone)]
pub struct Binding {
    pub method: Method,
    /// The path in the format of axum's router: literal segments, and names of fields in braces.
    pub path: String,
    /// The path of the RPC.
    pub procedure: Uri,
    /// Whether the HTTP body is the request, rather than the query.
    pub has_body: bool,
    pub input: MessageIndex,
    pub output: MessageIndex,
}

/// Every binding, and the descriptors of the messages.
#[derive(Debug)]
pub struct Bindings {
    pub pool: DescriptorPool,
    all: Vec<Binding>,
}

impl Bindings {
    /// Returns the bindings of the protos, which are read once.
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
                let Some(rule) = method.options().and_then(|options| options.extension(&HTTP))
                else {
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

    /// Returns every binding, in the order of the protos.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.all.iter()
    }

    /// Returns the bindings of one path.
    pub fn of_path<'b>(&'b self, path: &str) -> impl Iterator<Item = &'b Binding> {
        self.all.iter().filter(move |binding| binding.path == path)
    }
}

impl Binding {
    /// Returns the fields in the path, each with the index of its segment.
    pub fn path_fields(&self) -> impl Iterator<Item = (usize, &str)> {
        let fields = self.path.split('/').enumerate();
        fields.filter_map(|(at, segment)| Some((at, segment.strip_prefix('{')?.strip_suffix('}')?)))
    }
}

/// Returns the parts of a rule. Gatekey's protos use no more of `google.api.http`.
fn supported(rule: HttpRule) -> (Method, String, bool) {
    assert!(
        rule.additional_bindings.is_empty() && rule.response_body.is_empty(),
        "a method has one binding, and its response is the whole body"
    );
    let (method, path) = match rule.pattern.expect("a binding has a pattern") {
        Pattern::Get(path) => (Method::GET, path),
        Pattern::Put(path) => (Method::PUT, path),
        Pattern::Post(path) => (Method::POST, path),
        Pattern::Delete(path) => (Method::DELETE, path),
        Pattern::Patch(path) => (Method::PATCH, path),
        Pattern::Custom(_) => panic!("custom methods are not supported"),
    };
    let has_body = match rule.body.as_str() {
        "" => false,
        "*" => true,
        field => panic!("the body must be the whole request, not its field {field}"),
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
            .map(|binding| {
                format!("{} {} {}", binding.method, binding.path, binding.procedure.path())
            })
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
