//! [`Bindings`]: the methods that are also plain HTTP with JSON, by `google.api.http` in the
//! protos.

use std::sync::LazyLock;

use axum::http::{Method, Uri};
use buffa::ExtensionSet as _;
use buffa_descriptor::{DescriptorPool, FieldKind, MessageIndex, SingularKind};
use gatekey_proto::google::api::{HTTP, HttpRule, http_rule::Pattern};

/// A method that is bound to plain HTTP.
#[derive(Debug, Clone)]
pub struct Binding {
    pub method: Method,
    /// The path in the format of axum's router: literal segments, and the last names of fields in
    /// braces.
    pub path: String,
    /// The path of the RPC.
    pub procedure: Uri,
    /// The part of the request that the HTTP body has. The query has the rest.
    pub body: BodyPart,
    /// The fields in the path, such as `api_key.client_id`, each with the index of its segment.
    path_fields: Vec<(usize, String)>,
    pub input: MessageIndex,
    pub output: MessageIndex,
}

/// The part of a request that an HTTP body has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPart {
    Nothing,
    /// The whole request.
    Whole,
    /// One field, which is a message.
    Field(String),
}

/// Every binding, and the descriptors of the messages, without comments.
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
        let pool = DescriptorPool::decode(gatekey_proto::DESCRIPTOR_SET_WITHOUT_COMMENTS)
            .expect("the build writes a valid descriptor set");
        let mut all = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let Some(rule) = method.options().and_then(|options| options.extension(&HTTP))
                else {
                    continue;
                };
                let procedure = format!("/{}/{}", service.full_name(), method.name());
                let (http_method, pattern, body) = supported(rule);
                let (path, path_fields) = fields_of(&pattern);
                all.push(Binding {
                    method: http_method,
                    path,
                    procedure: procedure.try_into().expect("a procedure's name is a path"),
                    body,
                    path_fields,
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
        self.path_fields.iter().map(|(at, field)| (*at, field.as_str()))
    }

    /// Returns whether the request may have a body.
    pub fn has_body(&self) -> bool {
        self.body != BodyPart::Nothing
    }

    /// Returns the message that the body is, and the name of its field unless it is the whole
    /// request; `None` without a body.
    pub fn body_message(&self, pool: &DescriptorPool) -> Option<(MessageIndex, Option<&str>)> {
        match &self.body {
            BodyPart::Nothing => None,
            BodyPart::Whole => Some((self.input, None)),
            BodyPart::Field(name) => {
                let mut fields = pool.message(self.input).fields().iter();
                match fields.find(|field| field.name() == name)?.kind() {
                    FieldKind::Singular(SingularKind::Message(message)) => {
                        Some((message, Some(name)))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// Returns a pattern in the format of axum's router, and its fields with the indexes of their
/// segments.
fn fields_of(pattern: &str) -> (String, Vec<(usize, String)>) {
    let mut fields = Vec::new();
    let segments = pattern.split('/').enumerate().map(|(at, segment)| {
        let field = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        let Some(field) = field else { return segment.to_owned() };
        fields.push((at, field.to_owned()));
        format!("{{{}}}", last_name(field))
    });
    (segments.collect::<Vec<_>>().join("/"), fields)
}

/// Returns the last name of a field's path: `client_id` of `api_key.client_id`.
pub fn last_name(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}

/// Returns the parts of a rule. Gatekey's protos use no more of `google.api.http`.
fn supported(rule: HttpRule) -> (Method, String, BodyPart) {
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
    let body = match rule.body.as_str() {
        "" => BodyPart::Nothing,
        "*" => BodyPart::Whole,
        field => BodyPart::Field(field.to_owned()),
    };
    (method, path, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_for_keys_is_bound() {
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
                "POST /gatekey/v1/keys /gatekey.v1.ApiKeyService/Create",
                "GET /gatekey/v1/keys/{client_id} /gatekey.v1.ApiKeyService/Get",
                "GET /gatekey/v1/keys /gatekey.v1.ApiKeyService/List",
                "PATCH /gatekey/v1/keys/{client_id} /gatekey.v1.ApiKeyService/Update",
                "DELETE /gatekey/v1/keys/{client_id} /gatekey.v1.ApiKeyService/Delete",
                "POST /gatekey/v1/keys/{client_id}/rotate /gatekey.v1.ApiKeyService/RotateSecret",
                "DELETE /gatekey/v1/keys/{client_id}/secrets/{secret_id} /gatekey.v1.ApiKeyService/RetireSecret",
                "POST /gatekey/v1/keys/{client_id}/disable /gatekey.v1.ApiKeyService/Disable",
                "POST /gatekey/v1/keys/{client_id}/enable /gatekey.v1.ApiKeyService/Enable",
            ]
        );
    }
}
